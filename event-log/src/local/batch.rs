//! What the writer is asked to do, and what of it goes into one transaction. Owns the answers for what is refused.

use super::failure::Failure;
use super::intake::Intake;
use crate::{AppendError, LogError, Record, TopicSpec};
use tokio::sync::oneshot;

/// A group's committed offsets by partition.
pub(super) type Offsets = Result<Vec<Option<u64>>, LogError>;

/// What the writer is asked to do, in order.
#[derive(Debug)]
pub(super) enum Command {
    Append(Append),
    /// A group is to hold what it has not committed. Never refused: it holds from now on, and is written when that is possible.
    Register {
        topic: usize,
        group: String,
    },
    Commit(Commit),
    /// Answers a group's committed offsets, with all commits that were enqueued before.
    Committed {
        topic: usize,
        group: String,
        answer: oneshot::Sender<Offsets>,
    },
    CreateTopic {
        spec: TopicSpec,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    /// Trims all that may go.
    Trim {
        done: oneshot::Sender<()>,
    },
    Close,
    #[cfg(test)]
    Break(Break),
}

/// A record on its way.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) topic: usize,
    pub(super) partition: u32,
    pub(super) record: Record,
    /// What it took of the queue.
    pub(super) weight: usize,
    pub(super) acknowledge: oneshot::Sender<Result<(u32, u64), AppendError>>,
}

/// A group's offset on its way.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) topic: usize,
    pub(super) group: String,
    pub(super) partition: u32,
    pub(super) next: u64,
    pub(super) done: oneshot::Sender<Result<(), LogError>>,
}

/// Faults for tests.
#[cfg(test)]
#[derive(Debug)]
pub(super) enum Break {
    /// The next commit fails as if its fsync had.
    NextCommit,
    /// SQLite finds the disk full once the file has so many pages more than now; `None` for no bound.
    PagesLeft(Option<u32>),
}

/// One transaction's work.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<Append>,
    pub(super) commits: Vec<Commit>,
    pub(super) asked: Vec<(usize, String, oneshot::Sender<Offsets>)>,
    pub(super) created: Vec<(TopicSpec, oneshot::Sender<Result<(), LogError>>)>,
    pub(super) trims: Vec<oneshot::Sender<()>>,
    pub(super) weight: usize,
    pub(super) commands: usize,
    pub(super) is_last: bool,
}

impl Batch {
    /// Refuses all of it, since the log has failed.
    pub(super) fn refuse(mut self, failure: &Failure, intake: &Intake) {
        let reason = failure.reason().unwrap_or_default();
        self.refuse_appends(intake, || AppendError::NotAcknowledged(reason.clone()));
        self.refuse_commits(|| LogError::Broken(reason.clone()));
        for (_, _, answer) in self.asked {
            tell(answer, Err(LogError::Broken(reason.clone())));
        }
        for (_, done) in self.created {
            tell(done, Err(LogError::Broken(reason.clone())));
        }
    }

    pub(super) fn refuse_appends(&mut self, intake: &Intake, reason: impl Fn() -> AppendError) {
        for append in self.appends.drain(..) {
            intake.release(append.weight);
            tell(append.acknowledge, Err(reason()));
        }
    }

    pub(super) fn refuse_commits(&mut self, reason: impl Fn() -> LogError) {
        for commit in self.commits.drain(..) {
            tell(commit.done, Err(reason()));
        }
    }
}

/// Answers; whoever asked may be gone.
pub(super) fn tell<T>(to: oneshot::Sender<T>, answer: T) {
    drop(to.send(answer));
}
