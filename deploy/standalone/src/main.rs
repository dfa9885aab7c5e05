//! The `agent-tally` command.

fn main() {}
