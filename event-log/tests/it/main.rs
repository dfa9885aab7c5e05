//! The log's tests: one suite on both logs, and what each alone can show.

mod kafka;
