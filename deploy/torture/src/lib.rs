//! The failure suite: real processes, real engines, a client-side ledger that is the truth.
//!
//! [`ledger`] knows what was sent, [`client`] sends it and insists, [`process`] starts and kills the services,
//! [`audit`] reads the store and compares every counter and every raw event with the ledger.

pub mod audit;
pub mod client;
pub mod fault_proxy;
pub mod ledger;
pub mod process;
