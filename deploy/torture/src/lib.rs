//! The failure suite: real processes, real engines, a client-side ledger that is the truth.
//!
//! [`ledger`] knows what was sent, [`client`] sends it and insists, [`process`] starts and kills the services,
//! [`audit`] reads the store and compares every counter and every raw event with the ledger.
//!
//! The program `torture` makes long runs of these: [`schedule`] draws from a seed what goes wrong and when, [`cluster`] does it
//! (through [`link`], [`fault_proxy`] and [`clock`]), [`probe`] takes the time until counting goes on, [`run`] has the
//! scenarios, [`report`] what they came to.

pub mod audit;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod fault_proxy;
pub mod ledger;
pub mod link;
pub mod probe;
pub mod process;
pub mod report;
pub mod run;
pub mod schedule;
