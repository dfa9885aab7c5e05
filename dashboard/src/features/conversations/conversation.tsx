export function Conversation() {
  return <h1>Conversation</h1>;
}
