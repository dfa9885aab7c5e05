//! The `agent-tally` binary from outside: what its commands do, over real HTTP and real files.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
mod dead_letters;
mod delete;
mod demo;
mod export;
mod first_contact;
mod keys;
mod rebuild;
mod server;
mod verify;
