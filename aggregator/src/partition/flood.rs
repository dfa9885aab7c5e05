//! Whether so much of a partition dies that something else must be wrong: then nobody should bury more of it.
//!
//! Counted by step and minute: what a step lets through against what dies at it. Events on their way belong to neither,
//! so a slow store looks like no flood. No single figure would do: a tenth of a million garbled records is a producer's
//! bug that must not stop the others, and ten of ten are a test.

use super::DeadReason;

/// Another event has the identity: whoever may post can make as many as he likes.
pub(super) const ID_CONFLICT: &str = "id_conflict";
/// How long both are counted before they begin anew, ms.
const WINDOW_MS: u64 = 60_000;

/// Why a partition stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The first position that was not buried.
    pub offset: u64,
    /// Why it would have been.
    pub reason: &'static str,
    /// How many died within a minute at the same step, that one included.
    pub dead: u64,
}

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    dead: u64,
}

/// What passes and what dies.
#[derive(Debug)]
pub(super) struct Flood {
    /// Dead letters of a step and minute that are never too many; `None` where none ever are.
    limit: Option<u64>,
    since: u64,
    /// When they are read and admitted.
    first: Counts,
    /// When they are inserted.
    second: Counts,
    stopped: Option<Stopped>,
}

impl Flood {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, since: 0, first: Counts::default(), second: Counts::default(), stopped: None }
    }

    /// Why nothing may be buried any more.
    pub(super) fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// A record was read and admitted.
    pub(super) fn admitted(&mut self, now: u64) {
        self.turn(now);
        self.first.passed += 1;
    }

    /// An event was stored, or is there already.
    pub(super) fn stored(&mut self, now: u64) {
        self.turn(now);
        self.second.passed += 1;
    }

    /// Whether this one may still be buried. Once one may not, none may.
    pub(super) fn may_bury(&mut self, offset: u64, reason: &DeadReason, now: u64) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        // A client's own doing: it must not stop the others, however many it sends.
        if reason.reason == ID_CONFLICT {
            return true;
        }
        self.turn(now);
        let counts = if reason.stage == "insert" { &mut self.second } else { &mut self.first };
        counts.dead += 1;
        if self.limit.is_some_and(|limit| counts.dead > limit) && counts.dead > counts.passed {
            self.stopped = Some(Stopped { offset, reason: reason.reason, dead: counts.dead });
        }
        self.stopped.is_none()
    }

    fn turn(&mut self, now: u64) {
        if now >= self.since + WINDOW_MS {
            self.since = now;
            (self.first, self.second) = (Counts::default(), Counts::default());
        }
    }
}
