//! How the commands that count or change the tables tell what came of it: the report to stdout, why there is none to stderr.

use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// It did not come to its end, as `diff` has it.
const NOT_DONE: u8 = 2;

/// Tells it for people or as JSON; the exit code is the report's own, or 2 where there is none or it cannot be told.
pub(crate) fn tell<R: Serialize + Display>(command: &str, as_json: bool, outcome: anyhow::Result<(u8, R)>) -> ExitCode {
    if std::io::stderr().is_terminal() {
        // The line that told how far it was.
        drop(write!(std::io::stderr().lock(), "\r\x1b[K"));
    }
    let (code, report) = match outcome {
        Ok(told) => told,
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "{command}: {error:#}"));
            return ExitCode::from(NOT_DONE);
        }
    };
    let text = if as_json { serde_json::to_string_pretty(&report).unwrap_or_default() } else { report.to_string() };
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(NOT_DONE),
    }
}
