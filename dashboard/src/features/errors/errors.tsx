export function Errors() {
  return <h1>Errors</h1>;
}
