//! The wire contract: committed bytes stay readable, other Avro implementations read and write the same bytes,
//! and no bytes at all bring the decoder down.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bytes;
mod compatibility;
mod examples;
mod exports;
