//! The log's promises, tested on every log there is: [`suite`] holds the tests, each other module opens one log for them
//! and shows what only that one can.

mod damage;
mod kafka;
mod local;
mod suite;
