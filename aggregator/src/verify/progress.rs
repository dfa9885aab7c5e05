//! How far a verification is, told about once a second.

use super::window::Window;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// What it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The records of the log.
    Log,
    /// The agents of some days.
    Window(Window),
    /// What their events cost.
    Prices(Window),
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("records of the log"),
            Self::Window(window) => write!(f, "agents, days {window}"),
            Self::Prices(window) => write!(f, "agents priced anew, days {window}"),
        }
    }
}

/// Tells somebody.
pub struct Progress {
    tell: Box<dyn Fn(String) + Send + Sync>,
    last: Mutex<Instant>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Progress that is told line by line.
    pub fn new(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { tell: Box::new(tell), last: Mutex::new(Instant::now()) }
    }

    /// Passes on what another process tells.
    pub fn tell(&self, line: String) {
        (self.tell)(line);
    }

    /// So many of so many are done.
    pub(crate) fn report(&self, stage: Stage, done: u64, total: Option<u64>) {
        self.now_and_then(|| total.map_or_else(|| format!("{done} {stage}"), |total| format!("{done} of {total} {stage}")));
    }

    /// Tells a line, unless another was told a moment ago.
    pub(crate) fn now_and_then(&self, line: impl FnOnce() -> String) {
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() >= EVERY {
            *last = Instant::now();
            (self.tell)(line());
        }
    }
}
