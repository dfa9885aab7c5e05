//! Reading: connections of their own on the blocking pool, batches bounded in records and bytes, and the reader that
//! belongs to no group.

use super::failure::Failure;
use super::record::{COLUMNS, RowsOf, damaged, from_row};
use super::topic::Topic;
use super::{LocalLog, check_offset, database};
use crate::{LogError, LogRecord, ReadFrom, Reader};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, watch};

/// Bounds of one batch.
const MAX_BATCH_RECORDS: usize = 1_000;
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Reads at the same time; others wait.
const MAX_CONNECTIONS: usize = 4;

/// Connections for reading, opened as needed and kept.
#[derive(Debug)]
pub(super) struct Connections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Connections {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), permits: Semaphore::new(MAX_CONNECTIONS) }
    }

    /// Runs `work` with a connection on the blocking pool.
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let connections = Arc::clone(&self);
        let _permit = self.permits.acquire().await.map_err(|_| LogError::Unavailable("closed".into()))?;
        tokio::task::spawn_blocking(move || connections.run_blocking(work))
            .await
            .map_err(|error| LogError::Unavailable(error.to_string()))?
            .map_err(|error| read_error(&error))
    }

    fn run_blocking<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => database::open_to_read(&self.path)?,
        };
        // A connection that failed is not used again.
        let outcome = work(&connection)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(outcome)
    }

    /// The record at exactly that offset.
    pub(super) async fn record_at(self: Arc<Self>, rows: RowsOf, offset: u64) -> Result<Option<LogRecord>, LogError> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE offset = ?1", database::table(rows.topic, rows.partition));
        self.run(move |connection| connection.prepare_cached(&sql)?.query_row([offset], |row| from_row(rows, row)).optional()).await
    }

    /// The next records of these spans, in turn, up to a batch's bounds.
    pub(super) async fn fetch(self: Arc<Self>, topic: Arc<Topic>, spans: Vec<Span>) -> Result<Fetched, LogError> {
        self.run(move |connection| {
            let mut fetched = Fetched::default();
            let mut room = Room { records: MAX_BATCH_RECORDS, bytes: MAX_BATCH_BYTES };
            for span in spans {
                if room.records == 0 || room.bytes == 0 {
                    break;
                }
                fetch_span(connection, &topic, span, &mut room, &mut fetched)?;
            }
            Ok(fetched)
        })
        .await
    }
}

/// What of a partition is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) end: u64,
    /// Given back with what was read; tells apart what was asked before and after a partition changed hands.
    pub(super) session: u64,
}

/// How far a span was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) span: Span,
    /// Offset of the first record, where there was one.
    pub(super) first: Option<u64>,
    /// Where reading goes on.
    pub(super) next: u64,
}

/// A batch: progress by partition, and the records in the same order.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) progress: Vec<Progress>,
    pub(super) records: Vec<LogRecord>,
}

struct Room {
    records: usize,
    bytes: usize,
}

fn fetch_span(connection: &Connection, topic: &Topic, span: Span, room: &mut Room, into: &mut Fetched) -> rusqlite::Result<()> {
    let rows_of = topic.rows_of(span.partition).map_err(|error| damaged(0, error.to_string()))?;
    let table = database::table(topic.id, span.partition);
    let sql = format!("SELECT {COLUMNS} FROM {table} WHERE offset >= ?1 AND offset < ?2 ORDER BY offset");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![span.from, span.end])?;
    let mut progress = Progress { span, first: None, next: span.end };
    let mut expected = None;
    while let Some(row) = rows.next()? {
        let record = from_row(rows_of, row)?;
        progress.first.get_or_insert(record.offset);
        // Compaction leaves gaps; anything else takes from the beginning only.
        if !topic.is_compacted && expected.is_some_and(|expected| expected != record.offset) {
            return Err(missing(&table, record.offset));
        }
        expected = Some(record.offset + 1);
        let next = record.offset + 1;
        room.records -= 1;
        room.bytes = room.bytes.saturating_sub(record.weight());
        into.records.push(record);
        if room.records == 0 || room.bytes == 0 {
            progress.next = next;
            break;
        }
    }
    drop(rows);
    if !topic.is_compacted {
        let begins = progress.first.unwrap_or(span.end);
        if expected.unwrap_or(span.end) != progress.next {
            return Err(missing(&table, progress.next));
        }
        // The start only grows: what lay before the first record and was not trimmed by now is lost.
        if begins != span.from && database::start(connection, topic.id, span.partition)? < begins {
            return Err(missing(&table, begins));
        }
    }
    into.progress.push(progress);
    Ok(())
}

fn missing(table: &str, offset: u64) -> rusqlite::Error {
    damaged(0, format!("{table} has lost records before offset {offset}"))
}

fn read_error(error: &rusqlite::Error) -> LogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LogError::Broken(error.to_string()),
        None => LogError::Broken(error.to_string()),
        Some(_) => LogError::Unavailable(error.to_string()),
    }
}

/// A fetch that goes on while whoever waits for it may give up and come again.
pub(super) type Fetching = BoxFuture<'static, Result<Fetched, LogError>>;

/// Reads all partitions of a topic.
pub(super) struct TopicReader {
    topic: Arc<Topic>,
    connections: Arc<Connections>,
    failure: Arc<Failure>,
    changed: watch::Receiver<()>,
    /// Next offset, by partition.
    positions: Vec<u64>,
    /// What was there when the reader was opened.
    goals: Vec<u64>,
    /// Whether the user knows that the goals are reached.
    is_settled: bool,
    fetching: Option<Fetching>,
    /// The partition that comes first in the next batch.
    turn: usize,
    /// Keeps the log open.
    _log: Arc<LocalLog>,
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").field("topic", &self.topic.name).field("positions", &self.positions).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// A named offset before the start begins at the start; one beyond the end is refused.
    pub(super) fn open(log: Arc<LocalLog>, topic: Arc<Topic>, from: &ReadFrom) -> Result<Self, LogError> {
        let bounds: Vec<_> = topic.partitions().iter().map(|partition| partition.bounds()).collect();
        let goals = bounds.iter().map(|bounds| bounds.end).collect();
        let mut positions: Vec<u64> = match from {
            ReadFrom::Start => bounds.iter().map(|bounds| bounds.start).collect(),
            ReadFrom::End | ReadFrom::Offsets(_) => bounds.iter().map(|bounds| bounds.end).collect(),
        };
        if let ReadFrom::Offsets(offsets) = from {
            for (partition, offset) in offsets {
                let bounds = topic.partition(*partition)?.bounds();
                let offset = (*offset).max(bounds.start);
                check_offset(&topic.name, *partition, offset, bounds)?;
                positions[*partition as usize] = offset;
            }
        }
        let (connections, failure) = (Arc::clone(&log.connections), Arc::clone(&log.failure));
        let changed = topic.watch();
        let mut reader =
            Self { topic, connections, failure, changed, positions, goals, is_settled: false, fetching: None, turn: 0, _log: log };
        reader.is_settled = reader.is_caught_up();
        Ok(reader)
    }

    fn spans(&mut self) -> Vec<Span> {
        let partitions = self.topic.partitions();
        self.positions.resize(partitions.len(), 0);
        let mut spans = Vec::new();
        for (n, partition) in (0_u32..).zip(partitions.iter()) {
            let bounds = partition.bounds();
            // What was trimmed before it was read may go unread.
            let from = self.positions[n as usize].max(bounds.start);
            self.positions[n as usize] = from;
            if from < bounds.end {
                spans.push(Span { partition: n, from, end: bounds.end, session: 0 });
            }
        }
        rotate(&mut spans, &mut self.turn);
        spans
    }

    async fn next_batch(&mut self) -> Result<Vec<LogRecord>, LogError> {
        loop {
            self.failure.check()?;
            self.changed.borrow_and_update();
            if self.fetching.is_none() {
                let spans = self.spans();
                if !spans.is_empty() {
                    self.fetching = Some(Arc::clone(&self.connections).fetch(Arc::clone(&self.topic), spans).boxed());
                }
            }
            let Some(fetching) = &mut self.fetching else {
                // Whoever reads on until the goals are reached must not wait for records that were trimmed meanwhile.
                if !self.is_settled && self.is_caught_up() {
                    self.is_settled = true;
                    return Ok(Vec::new());
                }
                // The topic, and with it the sender, lives as long as the reader.
                let _ = self.changed.changed().await;
                continue;
            };
            let outcome = fetching.await;
            self.fetching = None;
            let fetched = outcome?;
            for progress in fetched.progress {
                self.positions[progress.span.partition as usize] = progress.next;
            }
            if !fetched.records.is_empty() {
                self.is_settled = self.is_settled || self.is_caught_up();
                return Ok(fetched.records);
            }
        }
    }
}

impl Reader for TopicReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<LogRecord>, LogError>> {
        self.next_batch().boxed()
    }

    fn is_caught_up(&self) -> bool {
        let partitions = self.topic.partitions();
        let is_read = |((position, goal), partition): ((&u64, &u64), &Arc<super::topic::Partition>)| {
            (*position).max(partition.bounds().start) >= *goal
        };
        self.positions.iter().zip(&self.goals).zip(partitions.iter()).all(is_read)
    }
}

/// Lets another partition come first each time, so that a busy one does not starve the others.
pub(super) fn rotate(spans: &mut [Span], turn: &mut usize) {
    if !spans.is_empty() {
        *turn = turn.wrapping_add(1);
        let first = *turn % spans.len();
        spans.rotate_left(first);
    }
}
