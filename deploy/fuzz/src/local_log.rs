//! The local log's files after damage: bytes changed, zeroed, torn, misplaced, cut off, added, or a file gone, in the file
//! or in its write-ahead log, after a clean end or a killed process.
//!
//! An input is a program: what is written to a log, how it ends, and what is damaged then (see `Script`).
//!
//! What must hold: the log opens with what was acknowledged or with some of it, record for record as it was, and goes on; or
//! it says clearly that it cannot. Never another record, a panic, an endless read, or bytes without bound. Where nothing was
//! damaged, everything is there. Where only the end of the write-ahead log was, what is there has no holes.

mod damage;
mod input;
mod script;
mod written;

pub use input::Input;

use crate::local_log::damage::Image;
use crate::local_log::script::Script;
use crate::local_log::written::{EVENTS, GROUP, TOPICS, Written};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{AppendError, Delivery, Log, LogError, LogRecord, ReadFrom, Record};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// See the module.
pub fn check(bytes: &[u8]) {
    let script = Script::read(&mut Input::new(bytes));
    RUNTIME.block_on(async {
        timeout(PATIENCE, run(&script)).await.expect("no read, write or end hangs");
    });
}

/// A folder in memory where there is one: what is looked for is what damage does, not what a disk does.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::with_prefix_in("agent-tally-fuzz-", memory) } else { TempDir::new() };
    made.expect("room for a folder")
}

async fn run(script: &Script) {
    let folder = scratch();
    let (written, image) = written::write(script, folder.path()).await;
    let place = scratch();
    let path = place.path().join("log");
    let harm = Image { path: &path }.put(&image, &script.damages);
    let log = match open(&path) {
        Ok(log) => log,
        Err(error) => {
            assert!(harm.is_any, "an undamaged log opens: {error}");
            return check_error(&error);
        }
    };
    Reopened { log: &log, written: &written, is_damaged: harm.is_any, is_cut: harm.is_cut }.check().await;
    close(log);
}

fn open(path: &Path) -> Result<Arc<LocalLog>, LogError> {
    LocalLog::open(path, LocalOptions { revoke_wait: Duration::ZERO, ..LocalOptions::default() }).map(Arc::new)
}

/// Waits until everything is written and the file is closed.
fn close(log: Arc<LocalLog>) {
    drop(Arc::into_inner(log).expect("nothing else holds the log"));
}

/// The log after the damage.
struct Reopened<'a> {
    log: &'a Arc<LocalLog>,
    written: &'a Written,
    is_damaged: bool,
    /// Whether the damage was to the write-ahead log only.
    is_cut: bool,
}

impl Reopened<'_> {
    async fn check(&self) {
        for topic in 0..TOPICS.len() {
            self.read(topic).await;
        }
        self.look_up().await;
        self.consume().await;
        self.go_on().await;
    }

    fn check_record(&self, topic: usize, record: &LogRecord) {
        let known = self.written.acknowledged.get(&(topic, record.partition, record.offset));
        assert_eq!(Some(record), known, "{} has a record that it was not given", TOPICS[topic]);
    }

    /// Only damage makes the log fail.
    fn excuse(&self, error: &LogError) {
        assert!(self.is_damaged, "{error}");
        check_error(error);
    }

    async fn read(&self, topic: usize) {
        let mut reader = match Arc::clone(self.log).read(TOPICS[topic], ReadFrom::Start).await {
            Ok(reader) => reader,
            Err(error) => return self.excuse(&error),
        };
        let mut next = [0; 8];
        let mut count = 0;
        while !reader.is_caught_up() {
            match reader.next().await {
                Ok(records) => {
                    for record in &records {
                        self.check_record(topic, record);
                        let next = &mut next[record.partition as usize % 8];
                        assert!(record.offset >= *next, "offsets grow");
                        assert!(!self.is_cut || topic != EVENTS || record.offset == *next, "a hole before offset {}", record.offset);
                        *next = record.offset + 1;
                    }
                    count += records.len();
                }
                Err(error) => return self.excuse(&error),
            }
        }
        let all = self.written.records.keys().filter(|(of, ..)| *of == topic).count();
        assert!(self.is_damaged || count == all, "{count} of {all} records of {}", TOPICS[topic]);
    }

    async fn look_up(&self) {
        for ((topic, partition, offset), known) in &self.written.records {
            match self.log.record_at(TOPICS[*topic], *partition, *offset).await {
                Ok(Some(record)) => assert_eq!(&record, known),
                Ok(None) => assert!(self.is_damaged, "{topic}/{partition}/{offset} is missing"),
                Err(error) => self.excuse(&error),
            }
        }
    }

    /// A group goes on where it was.
    async fn consume(&self) {
        let mut consumer = match Arc::clone(self.log).join(GROUP, TOPICS[EVENTS]) {
            Ok(consumer) => consumer,
            Err(error) => return self.excuse(&error),
        };
        let assigned = match consumer.next().await {
            Ok(Delivery::Assigned(assigned)) => assigned,
            Ok(other) => panic!("{other:?} before an assignment"),
            Err(error) => return self.excuse(&error),
        };
        let mut left = Vec::new();
        for assignment in assigned {
            assert!(self.is_damaged || assignment.committed == self.written.committed(assignment.partition));
            let bounds = match self.log.bounds(TOPICS[EVENTS], assignment.partition).await {
                Ok(bounds) => bounds,
                Err(error) => return self.excuse(&error),
            };
            let begin = assignment.committed.unwrap_or(bounds.start);
            match consumer.begin(assignment.partition, begin) {
                Ok(()) if begin < bounds.end => left.push((assignment.partition, begin, bounds.end)),
                Ok(()) => {}
                Err(error) => self.excuse(&error),
            }
        }
        while left.iter().any(|(_, next, end)| next < end) {
            match consumer.next().await {
                Ok(Delivery::Records(records)) => {
                    for record in &records {
                        self.check_record(EVENTS, record);
                        let (_, next, _) = left.iter_mut().find(|(partition, ..)| *partition == record.partition).expect("assigned");
                        assert_eq!(record.offset, *next, "a consumer is told of a hole");
                        *next += 1;
                    }
                }
                Ok(_) => {}
                Err(error) => return self.excuse(&error),
            }
        }
        consumer.leave().await;
    }

    async fn go_on(&self) {
        for topic in TOPICS {
            let record = Record { key: "k".into(), value: "one more".into(), headers: vec![("after".to_owned(), "damage".into())] };
            let outcome = match self.log.append(topic, record.clone()) {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            let (partition, offset) = match outcome {
                Ok(place) => place,
                Err(AppendError::NotAcknowledged(reason)) => {
                    assert!(self.is_damaged, "{reason}");
                    check_text(&reason);
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            match self.log.record_at(topic, partition, offset).await {
                Ok(found) => {
                    let found = found.map(|found| Record { key: found.key, value: found.value, headers: found.headers });
                    // In a tree whose order is damaged it may not be found; then a reader is told of a hole.
                    assert!(found.as_ref() == Some(&record) || self.is_damaged && found.is_none(), "{found:?}");
                }
                Err(error) => self.excuse(&error),
            }
        }
    }
}

/// It says what is wrong, and is no panic in disguise.
fn check_error(error: &LogError) {
    check_text(&error.to_string());
}

fn check_text(text: &str) {
    assert!(!text.is_empty() && !text.contains("panicked"), "{text}");
}
