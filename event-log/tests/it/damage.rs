//! The local log on a file that is not as it was written: whoever reads is told, and nobody is given anything else.

use crate::suite::{append_all, record};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Delivery, Log, LogError, LogRecord, ReadFrom, TopicSpec};
use rusqlite::Connection;
use std::sync::Arc;
use tempfile::TempDir;

const TOPIC: &str = "topic";

fn open(directory: &TempDir) -> Result<Arc<LocalLog>, LogError> {
    LocalLog::open(directory.path().join("log.sqlite3"), LocalOptions::default()).map(Arc::new)
}

/// A closed log with ten records in its only partition.
async fn ten_records() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let log = open(&directory).expect("opens");
    let spec = TopicSpec { name: TOPIC.into(), partitions: 1, retention: None, retention_bytes: None, is_compacted: false };
    log.create_topic(&spec).await.expect("created");
    let log: Arc<dyn Log> = log;
    append_all(&log, TOPIC, (0..10).map(|n| record("k", format!("value {n}")))).await;
    directory
}

/// Changes the closed file behind the log's back.
fn change(directory: &TempDir, sql: &str) {
    Connection::open(directory.path().join("log.sqlite3")).expect("opens").execute_batch(sql).expect("changes");
}

/// Everything that a reader gets, and what it is told at the end.
async fn read(log: &Arc<LocalLog>) -> (Vec<LogRecord>, Option<LogError>) {
    let mut reader = Arc::clone(log).read(TOPIC, ReadFrom::Start).await.expect("opens");
    let mut records = Vec::new();
    while !reader.is_caught_up() {
        match reader.next().await {
            Ok(more) => records.extend(more),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

async fn consume(log: &Arc<LocalLog>) -> Result<Vec<LogRecord>, LogError> {
    let mut consumer = Arc::clone(log).join("group", TOPIC)?;
    let Delivery::Assigned(_) = consumer.next().await? else { panic!("assigned first") };
    consumer.begin(0, 0)?;
    match consumer.next().await? {
        Delivery::Records(records) => Ok(records),
        other => panic!("{other:?} in place of records"),
    }
}

#[tokio::test]
async fn a_record_whose_bytes_changed_is_never_delivered() {
    for change_to in ["value = x'6576696c'", "key = x'6c'", "headers = x'01000000610000000000'", "appended_at_ms = 1", "checksum = -1"] {
        let directory = ten_records().await;
        change(&directory, &format!("UPDATE records_1_0 SET {change_to} WHERE offset = 4"));
        let log = open(&directory).expect("opens");
        assert!(matches!(read(&log).await, (_, Some(LogError::Broken(_)))), "{change_to}");
        assert!(matches!(consume(&log).await, Err(LogError::Broken(_))), "{change_to}");
        let error = log.record_at(TOPIC, 0, 4).await.expect_err("changed");
        assert!(error.to_string().contains("record 4 of partition 0 is not as it was written"), "{error}");
        assert!(log.record_at(TOPIC, 0, 5).await.expect("readable").is_some(), "the others are there");
    }
    let directory = ten_records().await;
    change(&directory, "DELETE FROM records_1_0 WHERE offset = 9; UPDATE records_1_0 SET offset = 9 WHERE offset = 3");
    let log = open(&directory).expect("opens");
    assert!(matches!(log.record_at(TOPIC, 0, 9).await, Err(LogError::Broken(_))), "at another's offset");
}

#[tokio::test]
async fn records_that_are_gone_are_missed() {
    for gone in ["offset = 4", "offset = 0", "offset = 9", "offset >= 0"] {
        let directory = ten_records().await;
        change(&directory, &format!("DELETE FROM records_1_0 WHERE {gone}"));
        let log = open(&directory).expect("opens");
        assert!(matches!(read(&log).await, (_, Some(LogError::Broken(_)))), "{gone}");
        assert!(matches!(consume(&log).await, Err(LogError::Broken(_))), "{gone}");
    }
}

#[tokio::test]
async fn a_file_that_contradicts_itself_is_refused() {
    let groups = "INSERT INTO groups(topic, name) VALUES(1, 'group');";
    for (sql, says) in [
        (
            format!("{groups} INSERT INTO commits(topic, name, partition, next) VALUES(1, 'group', 4000000000, 1)"),
            "no partition 4000000000",
        ),
        (
            "UPDATE partitions SET partition = 7; ALTER TABLE records_1_0 RENAME TO records_1_7".to_owned(),
            "a partition of topic topic is missing",
        ),
        ("DELETE FROM partitions".to_owned(), "a partition of topic topic is missing"),
        ("UPDATE partitions SET next = 5".to_owned(), "records outside of 0..5"),
    ] {
        let directory = ten_records().await;
        change(&directory, &sql);
        let error = open(&directory).expect_err("contradicts itself");
        assert!(matches!(&error, LogError::Broken(why) if why.contains(says)), "{error}");
    }
}

#[tokio::test]
async fn a_log_from_before_checksums_is_taken_on() {
    let directory = ten_records().await;
    change(
        &directory,
        "ALTER TABLE records_1_0 DROP COLUMN checksum; ALTER TABLE partitions DROP COLUMN unchecked_until; PRAGMA user_version = 1",
    );
    let log: Arc<dyn Log> = open(&directory).expect("opens");
    append_all(&log, TOPIC, [record("k", "value 10")]).await;
    drop(log);
    let log = open(&directory).expect("opens again");
    let (records, error) = read(&log).await;
    assert!(error.is_none(), "{error:?}");
    let values: Vec<_> = records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect();
    assert_eq!(values, (0..=10).map(|n| format!("value {n}")).collect::<Vec<_>>());
    drop(log);

    change(&directory, "UPDATE records_1_0 SET checksum = -1");
    let log = open(&directory).expect("opens");
    assert!(log.record_at(TOPIC, 0, 9).await.expect("an old record has none").is_some());
    assert!(matches!(log.record_at(TOPIC, 0, 10).await, Err(LogError::Broken(_))), "a new one must have one");
}
