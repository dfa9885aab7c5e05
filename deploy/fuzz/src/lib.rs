//! Every parser that meets the outside, each with what must hold of it whatever the bytes are: no panic, no overflow, no
//! bytes without bound, and the properties that its module names.
//!
//! The same checks run twice. `make fuzz` lets libFuzzer look for inputs that break them, guided by coverage, and keeps
//! what reaches new code. The tests of this crate try every kept input (`corpus/`) and small changes of it, on a plain
//! build, so that what was found once is never lost.
//!
//! Must not judge by itself: what is right is what the contract and the other half of a codec say.

pub mod archive;
pub mod bodies;
pub mod dead_letter;
pub mod event;
pub mod identity;
pub mod local_log;
pub mod query;
pub mod texts;
pub mod users;

/// What is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; its inputs lie in `corpus/<name>`.
    pub name: &'static str,
    /// Panics where the bytes break what must hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "bodies", check: bodies::check },
    Target { name: "event", check: event::check },
    Target { name: "identity", check: identity::check },
    Target { name: "texts", check: texts::check },
    Target { name: "query", check: query::check },
    Target { name: "users", check: users::check },
    Target { name: "dead_letter", check: dead_letter::check },
    Target { name: "archive", check: archive::check },
    Target { name: "local_log", check: local_log::check },
];
