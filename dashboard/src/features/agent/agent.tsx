export function Agent() {
  return <h1>Agent</h1>;
}
