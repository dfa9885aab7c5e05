//! Real engines for tests, without containers: Apache Kafka and DynamoDB Local from their Maven artifacts, and
//! dynoxide inside the process. Owns getting, starting and ending them; knows nothing of what is tested on them.
//!
//! No Java process outlives the test binary, however that ends.

mod artifacts;
pub mod dynamodb;
pub mod dynoxide;
pub mod kafka;
mod leash;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether the tests on real engines can go on. Says loudly what is missing and fails without Java or Maven,
/// unless `SKIP_REAL_ENGINES=1` asks to leave these tests out: then it answers `false` and the test returns.
///
/// # Panics
/// Where Java or Maven is missing and `SKIP_REAL_ENGINES` does not say `1`.
pub fn java_or_skip() -> bool {
    static MISSING: OnceLock<Vec<&'static str>> = OnceLock::new();
    if std::env::var("SKIP_REAL_ENGINES").is_ok_and(|v| v == "1") {
        say("SKIP_REAL_ENGINES=1: tests on Apache Kafka and DynamoDB Local are left out");
        return false;
    }
    let missing =
        MISSING.get_or_init(|| [("java", "-version"), ("mvn", "-v")].iter().filter(|(p, a)| !runs(p, a)).map(|(p, _)| *p).collect());
    if missing.is_empty() {
        return true;
    }
    let message = format!(
        "tests on real engines need {}: apt-get install -y openjdk-17-jre-headless maven (or set SKIP_REAL_ENGINES=1 to leave them out)",
        missing.join(" and ")
    );
    say(&message);
    panic!("{message}");
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Written to stderr itself, since the test harness hides what goes through the print macros.
fn say(message: &str) {
    // Nothing can be done about a closed stderr.
    drop(writeln!(std::io::stderr(), "\n*** {message} ***"));
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
