//! Writes a log as the script says, and remembers what was acknowledged.

use super::damage::Files;
use super::script::{Script, Step};
use super::{close, open};
use bytes::Bytes;
use event_log::local::LocalLog;
use event_log::{Delivery, Log, LogRecord, ReadFrom, Record, TopicSpec};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// One topic that keeps everything, one that keeps the newest record of each key.
pub(super) const TOPICS: [&str; 2] = ["events", "totals"];
pub(super) const EVENTS: usize = 0;
pub(super) const TOTALS: usize = 1;
/// Who has committed some of the events.
pub(super) const GROUP: &str = "aggregator";

/// What a log has when its process ends.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// By topic, partition and offset.
    pub(super) records: BTreeMap<(usize, u32, u64), LogRecord>,
    /// With those that were compacted away: damage may bring one back, as it was.
    pub(super) acknowledged: BTreeMap<(usize, u32, u64), LogRecord>,
    committed: BTreeMap<u32, u64>,
}

impl Written {
    pub(super) fn committed(&self, partition: u32) -> Option<u64> {
        self.committed.get(&partition).copied()
    }
}

pub(super) async fn write(script: &Script, folder: &Path) -> (Written, Files) {
    let path = folder.join("log");
    let mut log = open(&path).expect("a new log");
    for (topic, name) in TOPICS.into_iter().enumerate() {
        let partitions = if topic == EVENTS { script.partitions } else { 1 };
        let spec = TopicSpec { name: name.to_owned(), partitions, retention: None, retention_bytes: None, is_compacted: topic == TOTALS };
        log.create_topic(&spec).await.expect("a topic");
    }
    let (mut written, mut sent) = (Written::default(), BTreeMap::new());
    for (n, step) in script.steps.iter().enumerate() {
        match *step {
            Step::Append { topic, key, bytes } => {
                let record = record(n, key, bytes);
                let place = log.append(TOPICS[topic], record.clone()).expect("room").await.expect("acknowledged");
                let found = log.record_at(TOPICS[topic], place.0, place.1).await.expect("readable").expect("what was acknowledged");
                written.acknowledged.insert((topic, place.0, place.1), found);
                sent.insert((topic, place.0, place.1), record);
            }
            Step::Commit { fifteenths } => commit(&log, &mut written, fifteenths).await,
            Step::Reopen => {
                close(log);
                log = open(&path).expect("the log that was closed");
            }
        }
    }
    for topic in 0..TOPICS.len() {
        read(&log, topic, &mut written).await;
    }
    check_sent(&written, sent);
    let files = || Files { main: std::fs::read(&path).expect("the file"), wal: std::fs::read(folder.join("log-wal")).ok() };
    if script.is_killed {
        let files = files();
        close(log);
        (written, files)
    } else {
        close(log);
        (written, files())
    }
}

/// Each is unlike every other, in all its parts.
fn record(n: usize, key: u8, bytes: usize) -> Record {
    let mut state = n as u32 + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let value: Bytes = (0..bytes).map(|_| next()).collect();
    let headers = (0..n % 3).map(|i| (format!("header-{i}"), Bytes::from(vec![n as u8; i * 3]))).collect();
    Record { key: Bytes::from(vec![b'k', key]), value, headers }
}

async fn commit(log: &Arc<LocalLog>, written: &mut Written, fifteenths: u64) {
    let mut consumer = Arc::clone(log).join(GROUP, TOPICS[EVENTS]).expect("a member");
    let Ok(Delivery::Assigned(assigned)) = consumer.next().await else { panic!("no assignment") };
    for assignment in assigned {
        let bounds = log.bounds(TOPICS[EVENTS], assignment.partition).await.expect("bounds");
        let next = bounds.end * fifteenths / 15;
        consumer.committer().commit(assignment.partition, next).await.expect("committed");
        written.committed.insert(assignment.partition, next);
    }
    consumer.leave().await;
}

async fn read(log: &Arc<LocalLog>, topic: usize, written: &mut Written) {
    let mut reader = Arc::clone(log).read(TOPICS[topic], ReadFrom::Start).await.expect("a reader");
    while !reader.is_caught_up() {
        for record in reader.next().await.expect("records") {
            written.records.insert((topic, record.partition, record.offset), record);
        }
    }
}

/// A sound log has what it acknowledged: all of it, or the newest of each key.
fn check_sent(written: &Written, mut sent: BTreeMap<(usize, u32, u64), Record>) {
    let newest: BTreeMap<Bytes, u64> =
        sent.iter().filter(|((topic, ..), _)| *topic == TOTALS).map(|((_, _, offset), record)| (record.key.clone(), *offset)).collect();
    sent.retain(|(topic, _, offset), record| *topic == EVENTS || newest.get(&record.key) == Some(offset));
    assert_eq!(sent.len(), written.records.len());
    for (place, record) in sent {
        let found = written.records.get(&place).expect("a record");
        assert_eq!((&found.key, &found.value, &found.headers), (&record.key, &record.value, &record.headers));
    }
}
