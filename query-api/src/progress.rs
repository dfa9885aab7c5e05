//! How far the aggregators are: the group's committed offsets, asked for once for all who wait, at a bounded rate,
//! and the dead letters. A position is counted when the committed offset is beyond it: then it is stored and in
//! every rollup, or it is a dead letter.

mod dead_letters;

pub(crate) use dead_letters::{DeadLetters, Known as KnownDeadLetter, Listed, Place as DeadLetterPlace, Wanted};

use crate::QueryConfig;
use crate::registry::TopicSchemas;
use event_log::{Bounds, Log, LogError, Position};
use futures::future::try_join_all;
use schemas::codec::EVENTS;
use service_kit::registry::RegistryError;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two questions to the log while somebody waits.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);
/// Longest wait for the log's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Follows the aggregators' progress for receipts and the pipeline's page.
#[derive(Debug)]
pub struct Progress {
    log: Arc<dyn Log>,
    topic: String,
    topic_dead: String,
    group: String,
    dead: DeadLetters,
    looks: watch::Sender<Option<Arc<Look>>>,
    waiting: AtomicUsize,
    wanted: Notify,
    partitions: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<Known>>>>,
}

/// What was found when last looked.
#[derive(Debug)]
pub(crate) struct Look {
    /// Before the log was asked: everything committed until then is in it.
    began: Instant,
    outcome: Result<Committed, String>,
}

/// Committed offsets, and the bounds of the dead-letter topic taken after them.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The next offset to count, by partition; `None` where nothing was committed, or so long ago that it is forgotten.
    next: Vec<Option<u64>>,
    dead_bounds: Vec<Bounds>,
}

/// What is known of a partition of the events topic.
#[derive(Debug, Default)]
struct Known {
    bounds: Option<(Instant, Bounds)>,
    appended_at: Option<(u64, i64)>,
}

/// Somebody waits: the log is asked until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    progress: &'a Progress,
    looks: watch::Receiver<Option<Arc<Look>>>,
}

impl Progress {
    /// Starts reading the dead letters; the committed offsets are asked for only while somebody waits.
    ///
    /// Fails where the settings of the schema registry cannot be used.
    pub fn start(config: &QueryConfig, log: Arc<dyn Log>, shutdown: CancellationToken) -> Result<Arc<Self>, RegistryError> {
        let schemas = TopicSchemas::new(&config.registry, &EVENTS)?;
        let progress = Arc::new(Self {
            log,
            topic: config.topic_events.clone(),
            topic_dead: config.topic_dead.clone(),
            group: config.group.clone(),
            dead: DeadLetters::default(),
            looks: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            partitions: Mutex::default(),
        });
        let looking = Arc::clone(&progress);
        let stopped = shutdown.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(looking.look_while_wanted()).await });
        let reading = Arc::clone(&progress);
        let dead_log = Arc::clone(&progress.log);
        let topic = progress.topic_dead.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(reading.dead.follow(dead_log, topic, schemas)).await });
        Ok(progress)
    }

    /// Waits from now on.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let looks = self.looks.subscribe();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.wanted.notify_one();
        Waiting { progress: self, looks }
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The dead letters.
    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.dead
    }

    /// Number of partitions of the events topic.
    pub(crate) async fn partitions(&self) -> Result<u32, LogError> {
        in_time(self.log.partitions(&self.topic)).await
    }

    /// Bounds of a partition as they were at `since` or later. Requests that ask at the same time share an answer.
    pub(crate) async fn bounds(&self, partition: u32, since: Instant) -> Result<Bounds, LogError> {
        let known = self.known(partition);
        let mut known = known.lock().await;
        if let Some((asked, bounds)) = known.bounds
            && asked >= since
        {
            return Ok(bounds);
        }
        let asked = Instant::now();
        let bounds = in_time(self.log.bounds(&self.topic, partition)).await?;
        known.bounds = Some((asked, bounds));
        Ok(bounds)
    }

    /// When the record at that offset was appended, ms since the epoch; `None` where it is not there.
    pub(crate) async fn appended_at(&self, partition: u32, offset: u64) -> Result<Option<i64>, LogError> {
        let known = self.known(partition);
        let mut known = known.lock().await;
        if let Some((of, at)) = known.appended_at
            && of == offset
        {
            return Ok(Some(at));
        }
        let at = in_time(self.log.record_at(&self.topic, partition, offset)).await?.map(|r| r.appended_at_ms);
        known.appended_at = at.map(|at| (offset, at));
        Ok(at)
    }

    /// The dead letter of a counted position; `None` where it is none.
    pub(crate) fn dead_letter(&self, position: Position) -> Option<KnownDeadLetter> {
        self.dead.find(position)
    }

    /// Waits until the dead letters that are in the log now have been read, but not longer than `within`; the bounds of their
    /// topic's partitions, and whether they have.
    pub(crate) async fn read_dead_letters(&self, within: Duration) -> Result<(Vec<Bounds>, bool), LogError> {
        let mut read = self.dead.watch();
        let bounds = self.dead_bounds().await?;
        let reading = async {
            while !self.dead.has_read(&bounds) {
                if read.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        let has_read = tokio::time::timeout(within, reading).await.unwrap_or(false);
        Ok((bounds, has_read))
    }

    /// Whether the dead letters are read as far as they were written when the log was asked.
    pub(crate) fn knows_dead_letters_of(&self, committed: &Committed) -> bool {
        self.dead.has_read(&committed.dead_bounds)
    }

    /// Tells of every batch of dead letters read.
    pub(crate) fn watch_dead_letters(&self) -> watch::Receiver<()> {
        self.dead.watch()
    }

    /// Waits until the log was asked so many times.
    #[cfg(test)]
    pub(crate) async fn looked(&self, times: usize) {
        let mut looks = self.looks.subscribe();
        for _ in 0..times {
            looks.changed().await.expect("somebody waits");
        }
    }

    fn known(&self, partition: u32) -> Arc<tokio::sync::Mutex<Known>> {
        Arc::clone(self.partitions.lock().expect("no panic while held").entry(partition).or_default())
    }

    async fn look_while_wanted(&self) {
        loop {
            if self.waiting() == 0 {
                self.wanted.notified().await;
            }
            let began = Instant::now();
            let outcome = self.look().await.map_err(|error| error.to_string());
            if let Err(error) = &outcome {
                tracing::debug!(error, "committed offsets cannot be read");
            }
            self.looks.send_replace(Some(Arc::new(Look { began, outcome })));
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// The committed offsets first, then the dead letters' bounds: what is committed as dead was written before.
    async fn look(&self) -> Result<Committed, LogError> {
        let next = in_time(self.log.committed(&self.group, &self.topic)).await?;
        Ok(Committed { next, dead_bounds: self.dead_bounds().await? })
    }

    async fn dead_bounds(&self) -> Result<Vec<Bounds>, LogError> {
        let partitions = in_time(self.log.partitions(&self.topic_dead)).await?;
        try_join_all((0..partitions).map(|partition| in_time(self.log.bounds(&self.topic_dead, partition)))).await
    }
}

impl Look {
    /// The offsets, where the log answered.
    pub(crate) fn committed(&self) -> Result<&Committed, LogError> {
        self.outcome.as_ref().map_err(|why| LogError::Unavailable(why.clone()))
    }
}

impl Committed {
    /// The next offset of a partition to count, where it is known.
    pub(crate) fn next_of(&self, partition: u32) -> Option<u64> {
        self.next.get(partition as usize).copied().flatten()
    }

    /// Whether the position is counted (or a dead letter).
    pub(crate) fn is_beyond(&self, position: &Position) -> bool {
        self.next_of(position.partition).is_some_and(|next| next > position.offset)
    }
}

impl Waiting<'_> {
    /// The next look that began at `since` or later. Safe to cancel.
    pub(crate) async fn look_since(&mut self, since: Instant) -> Result<Arc<Look>, LogError> {
        let found = self.looks.wait_for(|look| look.as_ref().is_some_and(|l| l.began >= since)).await;
        found.ok().and_then(|look| look.clone()).ok_or_else(|| LogError::Unavailable("shutting down".into()))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(LogError::Unavailable(format!("no answer within {ANSWER_WITHIN:?}"))),
    }
}
