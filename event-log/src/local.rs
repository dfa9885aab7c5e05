//! The log in one local file, for a single machine. Owns the file, its lock and the thread that writes it; knows nothing
//! of what the records mean.
//!
//! **The file** is SQLite in WAL mode with `synchronous=FULL`, one table per partition (`database`). A lock file beside
//! it keeps a second process, and a second log in this process, away.
//!
//! **Writing.** One thread takes everything that is queued, appends and group offsets alike, and writes it in one
//! transaction with one fsync; then it publishes the new bounds, wakes who waits, and acknowledges (`writer`). The queue
//! is bounded in bytes. A full disk refuses appends until there is room again; any other failed write or fsync ends the
//! log for good, since trying again could acknowledge what is not on the disk (`failure`): [`LocalLog::failed`] tells,
//! and the process should exit.
//!
//! **Reading** uses connections of its own and never blocks the writer (`read`). Consumers and readers sleep until the
//! writer wakes them; nothing polls.
//!
//! **Retention** (`trim`) goes by age, by size per partition, and, where [`LocalOptions::max_bytes`] is reached, by
//! taking the oldest records that groups have committed from topics that bound their age or size. It never passes the
//! lowest committed offset of a registered group; a group is registered by joining once, and one that never committed
//! holds everything. With no room and nothing that may go, appends answer [`AppendError::NoRoom`]; a part of the bound is
//! kept for topics without groups, which take what comes of the counting, so that a full log can be emptied. In a
//! compacted topic a record goes in the same transaction that appends its successor; the partition's start moves by
//! retention only.
//!
//! **Groups** live in this process (`group`): partitions are shared evenly among the members and move as little as
//! possible. Committed offsets and registrations are in the file.
//!
//! Metrics: `log_appended_records_total{topic}`, `log_trimmed_records_total{topic}`, `log_commit_duration_seconds`,
//! `log_bytes`.

mod batch;
mod consume;
mod database;
mod failure;
mod group;
mod intake;
mod read;
mod record;
mod topic;
mod trim;
mod writer;

#[cfg(test)]
mod faults;

use crate::{Acknowledgement, AppendError, Bounds, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record, TopicSpec};
use batch::{Append, Command};
use consume::Consumer;
use failure::Failure;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use group::Groups;
use intake::Intake;
use read::{Connections, TopicReader};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use topic::Topics;
use writer::Writer;

/// Bytes that a queued record holds besides its content, about.
const QUEUED_OVERHEAD: usize = 192;

/// How a local log behaves.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Bytes that the log may use; `None` for as much as the disk has. The write-ahead log and free pages come on top
    /// (some ten MB), and a batch may pass the bound by its last pages.
    pub max_bytes: Option<u64>,
    /// Bytes of records that may wait to be written.
    pub queue_bytes: usize,
    /// A larger record (key, value and headers) is refused.
    pub max_record_bytes: usize,
    /// An append is acknowledged or fails within this time.
    pub delivery_timeout: Duration,
    /// How long a handover waits for [`crate::Revocation::done`].
    pub revoke_wait: Duration,
    /// How often records are looked at for their age.
    pub trim_interval: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            max_bytes: None,
            queue_bytes: 64 << 20,
            max_record_bytes: 1 << 20,
            delivery_timeout: Duration::from_secs(10),
            revoke_wait: Duration::from_secs(20),
            trim_interval: Duration::from_secs(10),
        }
    }
}

/// The log in one local file.
#[derive(Debug)]
pub struct LocalLog {
    id: String,
    options: LocalOptions,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    connections: Arc<Connections>,
    commands: Sender<Command>,
    intake: Arc<Intake>,
    failure: Arc<Failure>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Held, not read. Let go last.
    _lock: File,
}

impl LocalLog {
    /// Opens the log in the file at `path`, and makes it where there is none; the directory must exist. Blocks for
    /// the time of the recovery (milliseconds).
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where it is open already, [`LogError::Broken`] where the file cannot be used.
    pub fn open(path: impl AsRef<Path>, options: LocalOptions) -> Result<Self, LogError> {
        let path = path.as_ref();
        let lock = lock(path)?;
        let connection = database::open(path)?;
        let id = database::identity(&connection)?;
        let topics = Arc::new(Topics::default());
        let ledgers = database::load(&connection, &topics)?;

        let (intake, failure) = (Arc::new(Intake::new(options.queue_bytes)), Arc::<Failure>::default());
        let (commands, receiver) = mpsc::channel();
        let mut writer = Writer::new(connection, Arc::clone(&topics), ledgers, Arc::clone(&intake), Arc::clone(&failure));
        writer.max_bytes = options.max_bytes;
        writer.sweep.interval = options.trim_interval;
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| LogError::Unavailable(format!("no thread for the log: {error}")))?;
        Ok(Self {
            id,
            groups: Arc::new(Groups::new(commands.clone(), options.revoke_wait)),
            options,
            topics,
            connections: Arc::new(Connections::new(path.to_owned())),
            commands,
            intake,
            failure,
            writer: Mutex::new(Some(thread)),
            _lock: lock,
        })
    }

    /// Resolves with the reason when the log has failed for good. Nothing is taken from then on; the process should
    /// exit and start anew.
    pub async fn failed(&self) -> String {
        self.failure.wait().await
    }

    /// Trims what may go by age and size now, instead of within [`LocalOptions::trim_interval`].
    ///
    /// # Errors
    /// Where the log has failed or is closed.
    pub async fn trim(&self) -> Result<(), LogError> {
        self.ask(|done| Command::Trim { done }).await
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, LogError> {
        let (done, answer) = oneshot::channel();
        self.failure.check()?;
        self.commands.send(command(done)).map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    /// Why there is no answer.
    fn gone(&self) -> LogError {
        self.failure.check().err().unwrap_or_else(|| LogError::Unavailable("the log is closed".into()))
    }
}

impl Log for LocalLog {
    fn id(&self) -> BoxFuture<'_, Result<String, LogError>> {
        std::future::ready(Ok(self.id.clone())).boxed()
    }

    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>> {
        async move {
            self.ask(|done| Command::CreateTopic { spec: spec.clone(), done }).await??;
            self.groups.grow(&self.topics.find(&spec.name)?);
            Ok(())
        }
        .boxed()
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>> {
        std::future::ready(self.topics.find(topic).map(|topic| topic.partition_count())).boxed()
    }

    fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        if let Some(reason) = self.failure.reason() {
            return Err(AppendError::NotAcknowledged(reason));
        }
        let Some(topic) = self.topics.get(topic) else {
            return Err(AppendError::NotAcknowledged(LogError::UnknownTopic(topic.to_owned()).to_string()));
        };
        let bytes = record::stored_bytes(&record);
        let weight = bytes + QUEUED_OVERHEAD;
        if bytes > self.options.max_record_bytes || weight > self.options.queue_bytes {
            return Err(AppendError::TooLarge(bytes));
        }
        self.intake.reserve(weight)?;
        let (acknowledge, outcome) = oneshot::channel();
        let append = Append { topic: topic.index, partition: topic.place(&record.key), record, weight, acknowledge };
        if self.commands.send(Command::Append(append)).is_err() {
            self.intake.release(weight);
            return Err(AppendError::NotAcknowledged("the log is closed".into()));
        }
        let timeout = self.options.delivery_timeout;
        Ok(Acknowledgement::new(async move {
            match tokio::time::timeout(timeout, outcome).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(AppendError::NotAcknowledged("the log stopped".into())),
                Err(_) => Err(AppendError::NotAcknowledged("the disk did not answer in time".into())),
            }
        }))
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>> {
        let bounds = || Ok(self.topics.find(topic)?.partition(partition)?.bounds());
        std::future::ready(bounds()).boxed()
    }

    fn committed<'a>(&'a self, group: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>> {
        std::future::ready(self.topics.find(topic).map(|topic| topic.committed(group))).boxed()
    }

    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>> {
        async move {
            let topic = self.topics.find(topic)?;
            let bounds = topic.partition(partition)?.bounds();
            if !(bounds.start..bounds.end).contains(&offset) {
                return Ok(None);
            }
            Arc::clone(&self.connections).record_at(topic.rows_of(partition)?, offset).await
        }
        .boxed()
    }

    fn join(self: Arc<Self>, group: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.failure.check()?;
        let membership = self.groups.join(group, &self.topics.find(topic)?)?;
        Ok(Box::new(Consumer::new(self, membership)))
    }

    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>> {
        async move {
            let topic = self.topics.find(topic)?;
            let reader: Box<dyn Reader> = Box::new(TopicReader::open(self, topic, &from)?);
            Ok(reader)
        }
        .boxed()
    }

    /// [`LogError::Broken`] once the log has failed: the process should exit. [`LogError::Unavailable`] while the buffer
    /// is full, and for a while after a record found no room.
    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        std::future::ready(self.failure.check().and_then(|()| self.intake.check())).boxed()
    }
}

impl Drop for LocalLog {
    /// Writes what is queued and closes the file.
    fn drop(&mut self) {
        // Where the writer is gone there is nothing to wait for.
        drop(self.commands.send(Command::Close));
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
    }
}

/// Whether an offset can be begun at or committed.
fn check_offset(topic: &str, partition: u32, offset: u64, bounds: Bounds) -> Result<(), LogError> {
    let Bounds { start, end } = bounds;
    if offset < start {
        return Err(LogError::Trimmed { topic: topic.to_owned(), partition, committed: offset, start });
    }
    if offset > end {
        return Err(LogError::BeyondEnd { topic: topic.to_owned(), partition, committed: offset, end });
    }
    Ok(())
}

/// Locks the log for this process. The lock lies beside the file, since SQLite's own locks vanish when this process
/// closes the file anywhere else.
fn lock(path: &Path) -> Result<File, LogError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let cannot = |error: std::io::Error| LogError::Broken(format!("cannot lock {}: {error}", name.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Unavailable(format!("{} is open already", path.display()))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}
