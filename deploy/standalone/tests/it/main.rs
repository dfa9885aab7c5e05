//! The `agent-tally` binary from outside: what its commands do, over real HTTP and real files.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
mod demo;
mod first_contact;
mod keys;
mod server;
