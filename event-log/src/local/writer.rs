//! The one thread that writes. It takes everything that is queued, writes it in one transaction, lets SQLite fsync once,
//! and only then publishes and acknowledges (group commit). Between batches it trims a little (`trim`) and makes the
//! checkpoints. Nothing else writes the file; nothing here waits for a reader for long.

use super::batch::{Append, Batch, Command, Commit, tell};
use super::database::{self, CreateError, TopicLedger, is_full};
use super::failure::Failure;
use super::intake::Intake;
use super::record::{Stored, checksum, stored_bytes, write_headers};
use super::topic::Topics;
use super::trim::Sweep;
use crate::{AppendError, LogError, TopicSpec};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bounds of one transaction.
const MAX_BATCH_COMMANDS: usize = 10_000;
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Written since the last checkpoint before the next one.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// What a commit adds to the write-ahead log besides its records, about.
const COMMIT_BYTES: usize = 16 << 10;
/// Topics that groups count may not fill the last part (one in so many) of the log's bound: whoever counts appends what
/// comes of it before it commits, and where that found no room, no commit could ever make any.
const KEPT_FOR_RESULTS: u64 = 16;
/// A write-ahead log of more pages than this is worth making readers wait for its restart.
const LONG_WAL_PAGES: i64 = 16_384;

/// The writer's state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) ledgers: Vec<TopicLedger>,
    pub(super) topics: Arc<Topics>,
    pub(super) failure: Arc<Failure>,
    pub(super) intake: Arc<Intake>,
    pub(super) max_bytes: Option<u64>,
    pub(super) sweep: Sweep,
    /// Registrations that could not be written yet.
    unwritten: Vec<(usize, String)>,
    /// Bytes of pages in use, as of the last transaction.
    pub(super) used_bytes: u64,
    since_checkpoint: usize,
    headers: Vec<u8>,
    appended: HashMap<usize, metrics::Counter>,
    #[cfg(test)]
    is_next_commit_broken: bool,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        topics: Arc<Topics>,
        ledgers: Vec<TopicLedger>,
        intake: Arc<Intake>,
        failure: Arc<Failure>,
    ) -> Self {
        Self {
            connection,
            ledgers,
            topics,
            failure,
            intake,
            max_bytes: None,
            sweep: Sweep::default(),
            unwritten: Vec::new(),
            used_bytes: 0,
            since_checkpoint: CHECKPOINT_BYTES,
            headers: Vec::new(),
            appended: HashMap::new(),
            #[cfg(test)]
            is_next_commit_broken: false,
        }
    }

    /// Works until it is told to close.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        // A panic must not look like an idle log.
        let _watch = StopWatch { failure: Arc::clone(&self.failure), topics: Arc::clone(&self.topics) };
        if let Err(error) = self.measure() {
            self.stop("cannot read the size", &error);
        }
        loop {
            let batch = self.receive(commands);
            let (is_last, is_idle) = (batch.is_last, batch.commands == 0);
            if self.failure.reason().is_some() {
                batch.refuse(&self.failure, &self.intake);
            } else {
                self.process(batch);
                self.maintain(is_idle);
            }
            if is_last {
                break;
            }
        }
        if self.failure.reason().is_none() {
            self.checkpoint("TRUNCATE");
        }
    }

    /// Everything that is queued, up to a transaction's bounds.
    fn receive(&mut self, commands: &Receiver<Command>) -> Batch {
        let mut batch = Batch::default();
        match commands.recv_timeout(self.sweep.wait()) {
            Ok(command) => self.sort(command, &mut batch),
            Err(RecvTimeoutError::Timeout) => return batch,
            Err(RecvTimeoutError::Disconnected) => batch.is_last = true,
        }
        while batch.commands < MAX_BATCH_COMMANDS && batch.weight < MAX_BATCH_BYTES && !batch.is_last {
            match commands.try_recv() {
                Ok(command) => self.sort(command, &mut batch),
                Err(_) => break,
            }
        }
        batch
    }

    fn sort(&mut self, command: Command, batch: &mut Batch) {
        batch.commands += 1;
        match command {
            Command::Append(append) => {
                batch.weight += append.weight;
                batch.appends.push(append);
            }
            Command::Register { topic, group } => {
                if self.ledgers[topic].shared.register(&group) {
                    self.unwritten.push((topic, group));
                }
            }
            Command::Commit(commit) => batch.commits.push(commit),
            Command::Committed { topic, group, answer } => batch.asked.push((topic, group, answer)),
            Command::CreateTopic { spec, done } => batch.created.push((spec, done)),
            Command::Trim { done } => batch.trims.push(done),
            Command::Close => batch.is_last = true,
            #[cfg(test)]
            Command::Break(super::batch::Break::NextCommit) => self.is_next_commit_broken = true,
            #[cfg(test)]
            Command::Break(super::batch::Break::PagesLeft(pages)) => self.limit_pages(pages),
        }
    }

    fn process(&mut self, mut batch: Batch) {
        self.make_room_for(&batch);
        self.refuse_wrong_commits(&mut batch);
        let mut outcome = self.write(&batch.appends, &batch.commits);
        if outcome.as_ref().is_err_and(is_full) {
            outcome = self.write_on_a_full_disk(&mut batch);
        }
        match outcome {
            Ok(offsets) => self.acknowledge(&mut batch, &offsets),
            Err(error) if is_full(&error) || is_busy(&error) => {
                batch.refuse_appends(&self.intake, || AppendError::NotAcknowledged(error.to_string()));
                batch.refuse_commits(|| LogError::Unavailable(error.to_string()));
            }
            Err(error) => {
                self.stop("a write failed", &error);
                return batch.refuse(&self.failure, &self.intake);
            }
        }
        for (topic, group, answer) in batch.asked.drain(..) {
            tell(answer, Ok(self.ledgers[topic].shared.committed(&group)));
        }
        for (spec, done) in batch.created.drain(..) {
            tell(done, self.create_topic(&spec));
        }
        if !batch.trims.is_empty() {
            self.trim_all();
            batch.trims.drain(..).for_each(|done| tell(done, ()));
        }
    }

    /// Offsets first, since what groups finished may be what lets records go; then the appends, where that made room.
    fn write_on_a_full_disk(&mut self, batch: &mut Batch) -> rusqlite::Result<Vec<Option<u64>>> {
        tracing::warn!(records = batch.appends.len(), "no room on the disk for the log");
        let appends = std::mem::take(&mut batch.appends);
        let outcome = self.write(&[], &batch.commits);
        if outcome.is_ok() {
            self.acknowledge(batch, &[]);
        }
        batch.appends = appends;
        let needed = batch.appends.iter().map(|append| stored_bytes(&append.record)).sum::<usize>() as u64;
        self.make_room(self.used_bytes.saturating_sub(needed));
        match self.write(&batch.appends, &[]) {
            Err(error) if is_full(&error) => {
                self.intake.note_refusal();
                batch.refuse_appends(&self.intake, || AppendError::NoRoom);
                outcome
            }
            outcome => outcome,
        }
    }

    /// One transaction. Answers each append's offset; `None` where the log's bound in size leaves no room for it.
    fn write(&mut self, appends: &[Append], commits: &[Commit]) -> rusqlite::Result<Vec<Option<u64>>> {
        if appends.is_empty() && commits.is_empty() && self.unwritten.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let outcome = self.begin().and_then(|()| self.stage(appends, commits)).and_then(|offsets| self.commit().map(|()| offsets));
        if outcome.is_err() {
            self.roll_back();
            return outcome;
        }
        metrics::histogram!("log_commit_duration_seconds").record(started.elapsed());
        self.unwritten.clear();
        self.since_checkpoint += COMMIT_BYTES + appends.iter().map(|append| append.weight).sum::<usize>();
        self.measure()?;
        outcome
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    /// Writes to the disk; from here on the transaction is durable, or the log has failed.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        #[cfg(test)]
        if std::mem::take(&mut self.is_next_commit_broken) {
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None));
        }
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Forgets what was staged.
    pub(super) fn roll_back(&mut self) {
        // SQLite may have rolled back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.stop("cannot roll back", &error);
        }
        for partition in self.ledgers.iter_mut().flat_map(|ledger| &mut ledger.partitions) {
            partition.staged = partition.durable;
        }
    }

    fn stage(&mut self, appends: &[Append], commits: &[Commit]) -> rusqlite::Result<Vec<Option<u64>>> {
        let now = now_ms();
        let mut used = self.used_bytes;
        let bounds: Vec<u64> = (0..self.ledgers.len()).map(|topic| self.bound_of(topic)).collect();
        let mut offsets = Vec::with_capacity(appends.len());
        for Append { topic, partition, record, .. } in appends {
            let bytes = stored_bytes(record) as u64;
            if used + bytes > bounds[*topic] {
                offsets.push(None);
                continue;
            }
            used += bytes;
            let (id, number) = (self.ledgers[*topic].shared.id, *partition);
            let partition = &mut self.ledgers[*topic].partitions[number as usize];
            let offset = partition.staged.end;
            write_headers(&record.headers, &mut self.headers);
            let row = Stored { offset, appended_at_ms: now, key: &record.key, headers: &self.headers, value: &record.value };
            self.connection.prepare_cached(&partition.sql.insert)?.execute(params![
                offset,
                now,
                &record.key[..],
                &self.headers[..],
                &record.value[..],
                checksum(id, number, row)
            ])?;
            match &partition.sql.supersede {
                Some(supersede) => drop(self.connection.prepare_cached(supersede)?.execute(params![&record.key[..], offset])?),
                None => partition.staged.bytes += bytes,
            }
            partition.staged.end += 1;
            offsets.push(Some(offset));
        }
        self.write_extents()?;
        for (topic, group) in &self.unwritten {
            database::write_group(&self.connection, self.ledgers[*topic].shared.id, group)?;
        }
        for Commit { topic, group, partition, next, .. } in commits {
            database::write_commit(&self.connection, self.ledgers[*topic].shared.id, group, *partition, *next)?;
        }
        Ok(offsets)
    }

    /// Writes the extents that differ from what is durable.
    pub(super) fn write_extents(&self) -> rusqlite::Result<()> {
        for ledger in &self.ledgers {
            for (n, partition) in (0_u32..).zip(&ledger.partitions).filter(|(_, partition)| partition.staged != partition.durable) {
                database::write_extent(&self.connection, ledger.shared.id, n, partition.staged)?;
            }
        }
        Ok(())
    }

    /// Makes what was staged and is now durable visible.
    pub(super) fn publish(&mut self) {
        for ledger in &mut self.ledgers {
            let mut is_changed = false;
            for partition in ledger.partitions.iter_mut().filter(|partition| partition.staged != partition.durable) {
                partition.durable = partition.staged;
                partition.shared.set(partition.durable.start, partition.durable.end);
                is_changed = true;
            }
            if is_changed {
                ledger.shared.wake();
            }
        }
    }

    fn acknowledge(&mut self, batch: &mut Batch, offsets: &[Option<u64>]) {
        self.publish();
        for commit in batch.commits.drain(..) {
            self.ledgers[commit.topic].shared.set_committed(&commit.group, commit.partition, commit.next);
            self.sweep.note(&self.ledgers[commit.topic], commit.partition);
            tell(commit.done, Ok(()));
        }
        let mut counts: HashMap<usize, u64> = HashMap::new();
        // Let go first: whoever is told that a record is durable may count on its room in the queue.
        self.intake.release(batch.appends.iter().map(|append| append.weight).sum());
        match offsets.last() {
            Some(Some(_)) => self.intake.note_room(),
            Some(None) => self.intake.note_refusal(),
            None => {}
        }
        for (append, offset) in batch.appends.drain(..).zip(offsets) {
            if offset.is_some() {
                *counts.entry(append.topic).or_default() += 1;
                self.sweep.note(&self.ledgers[append.topic], append.partition);
            }
            tell(append.acknowledge, offset.map(|offset| (append.partition, offset)).ok_or(AppendError::NoRoom));
        }
        for (topic, count) in counts {
            let name = &self.ledgers[topic].shared.name;
            let counter = || metrics::counter!("log_appended_records_total", "topic" => name.clone());
            self.appended.entry(topic).or_insert_with(counter).increment(count);
        }
    }

    /// Offsets that the partition does not have are no offsets to commit.
    fn refuse_wrong_commits(&self, batch: &mut Batch) {
        let (good, wrong) = std::mem::take(&mut batch.commits).into_iter().partition(|commit| self.is_in_bounds(commit).is_ok());
        batch.commits = good;
        for commit in wrong {
            let refused = self.is_in_bounds(&commit);
            tell(commit.done, refused);
        }
    }

    fn is_in_bounds(&self, commit: &Commit) -> Result<(), LogError> {
        let ledger = &self.ledgers[commit.topic];
        let partition = ledger.partitions.get(commit.partition as usize).ok_or(LogError::NotHeld(commit.partition))?;
        super::check_offset(&ledger.shared.name, commit.partition, commit.next, partition.shared.bounds())
    }

    fn create_topic(&mut self, spec: &TopicSpec) -> Result<(), LogError> {
        match database::create_topic(&self.connection, &mut self.ledgers, &self.topics, spec) {
            Ok(()) => self.measure().map_err(|error| LogError::Unavailable(error.to_string())),
            Err(CreateError::Refused(reason)) => Err(LogError::Broken(reason)),
            Err(CreateError::Sqlite(error)) if is_full(&error) => Err(LogError::Unavailable("no room on the disk for the log".into())),
            Err(CreateError::Sqlite(error)) => {
                self.stop("cannot create a topic", &error);
                self.failure.check()
            }
        }
    }

    /// How large the log may grow by records of that topic.
    fn bound_of(&self, topic: usize) -> u64 {
        match self.max_bytes {
            Some(max) if self.ledgers[topic].shared.has_groups() => max - max / KEPT_FOR_RESULTS,
            Some(max) => max,
            None => u64::MAX,
        }
    }

    /// Trims where the batch would pass the log's bound in size; then a little more, so that not every batch has to.
    fn make_room_for(&mut self, batch: &Batch) {
        if self.max_bytes.is_none() {
            return;
        }
        let bytes = batch.appends.iter().map(|append| stored_bytes(&append.record)).sum::<usize>() as u64;
        let Some(bound) = batch.appends.iter().map(|append| self.bound_of(append.topic)).min() else { return };
        if self.used_bytes + bytes > bound {
            self.make_room(bound.saturating_sub(bytes.max(bound / 32)));
        }
    }

    /// What is done between batches, in small steps.
    fn maintain(&mut self, is_idle: bool) {
        self.sweep_once();
        if is_idle {
            self.vacuum();
        }
        if self.failure.reason().is_none() && self.since_checkpoint >= CHECKPOINT_BYTES {
            self.checkpoint("PASSIVE");
        }
    }

    /// Moves the write-ahead log's pages to the file.
    fn checkpoint(&mut self, mode: &str) {
        self.since_checkpoint = 0;
        let run = |mode: &str| self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1));
        let outcome = match run(mode) {
            // Readers that overlap without a gap keep the write-ahead log from starting over.
            Ok(pages) if mode == "PASSIVE" && pages > LONG_WAL_PAGES => run("RESTART"),
            outcome => outcome,
        };
        match outcome {
            Ok(_) => {}
            Err(error) if is_full(&error) || is_busy(&error) => tracing::warn!(%error, "the log's checkpoint has to wait"),
            Err(error) => self.stop("a checkpoint failed", &error),
        }
    }

    pub(super) fn measure(&mut self) -> rusqlite::Result<()> {
        let pragma = |name: &str| self.connection.prepare_cached(name)?.query_row([], |row| row.get::<_, u64>(0));
        let pages = pragma("PRAGMA page_count")?;
        let free = pragma("PRAGMA freelist_count")?;
        self.used_bytes = pages.saturating_sub(free) * pragma("PRAGMA page_size")?;
        self.sweep.free_pages = (pages, free);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("log_bytes").set(self.used_bytes as f64);
        Ok(())
    }

    /// From here on everything is refused.
    pub(super) fn stop(&mut self, what: &str, error: &rusqlite::Error) {
        self.failure.set(format!("{what}: {error}"));
        self.topics.wake_all();
    }

    #[cfg(test)]
    fn limit_pages(&mut self, left: Option<u32>) {
        let pages: u32 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a count");
        let max = left.map_or(u32::MAX - 1, |left| pages + left);
        self.connection.query_row(&format!("PRAGMA max_page_count = {max}"), [], |_| Ok(())).expect("a bound");
    }
}

/// Says so where the thread ends by a panic.
struct StopWatch {
    failure: Arc<Failure>,
    topics: Arc<Topics>,
}

impl Drop for StopWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.set("the log's writer panicked".into());
            self.topics.wake_all();
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// The clock, in ms since the epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
