//! The log's promises, tested on every log there is: [`suite`] holds the tests, each other module opens one log for them.

mod local;
mod suite;
