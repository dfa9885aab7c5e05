//! The gateway over real HTTP, on a real log.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod accept;
mod hostile;
mod keys;
mod measures;
mod outage;
mod redrive;
mod registry;
mod server;
