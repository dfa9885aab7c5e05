//! Tests of what a failing or full disk does to the log. Beside the code, since only it can be told to fail.

use super::batch::{Break, Command};
use super::{LocalLog, LocalOptions};
use crate::{AppendError, Bounds, Delivery, Log, LogError, ReadFrom, Record, TopicSpec};
use futures::FutureExt as _;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn open(directory: &TempDir, options: LocalOptions) -> Arc<LocalLog> {
    Arc::new(LocalLog::open(directory.path().join("log.sqlite3"), options).expect("opens"))
}

fn topic() -> TopicSpec {
    let retention = Some(Duration::from_secs(86_400));
    TopicSpec { name: "topic".into(), partitions: 1, retention, retention_bytes: None, is_compacted: false }
}

fn record(bytes: usize) -> Record {
    Record { key: "k".into(), value: vec![b'x'; bytes].into(), headers: Vec::new() }
}

fn break_it(log: &LocalLog, how: Break) {
    log.commands.send(Command::Break(how)).expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_fsync_nothing_is_acknowledged_and_everyone_is_told() {
    let directory = TempDir::new().expect("a directory");
    let log = open(&directory, LocalOptions::default());
    log.create_topic(&topic()).await.expect("created");
    log.append("topic", record(10)).expect("taken").await.expect("acknowledged");
    let mut consumer = Arc::clone(&log).join("group", "topic").expect("joins");
    let Ok(Delivery::Assigned(_)) = consumer.next().await else { panic!("assigned first") };
    consumer.begin(0, 1).expect("begins");
    let committer = consumer.committer();
    let mut reader = Arc::clone(&log).read("topic", ReadFrom::End).await.expect("opens");
    let waiting = tokio::spawn(async move {
        let errors = (consumer.next().await.err(), reader.next().await.err());
        // Not dropped: it stays a member.
        (errors, consumer)
    });
    assert!(log.failed().now_or_never().is_none());

    break_it(&log, Break::NextCommit);
    let refused = log.append("topic", record(10)).expect("taken").await.expect_err("not durable");
    assert!(matches!(refused, AppendError::NotAcknowledged(_)), "{refused}");

    assert!(log.failed().await.contains("a write failed"));
    assert!(matches!(log.check().await, Err(LogError::Broken(_))));
    let (errors, consumer) = waiting.await.expect("woken");
    assert!(matches!(errors, (Some(LogError::Broken(_)), Some(LogError::Broken(_)))), "{errors:?}");
    assert!(matches!(log.append("topic", record(10)), Err(AppendError::NotAcknowledged(_))));
    assert!(matches!(committer.commit(0, 1).await, Err(LogError::Broken(_))));
    assert!(matches!(log.create_topic(&TopicSpec { name: "other".into(), ..topic() }).await, Err(LogError::Broken(_))));
    assert_eq!(log.bounds("topic", 0).await.expect("bounds"), Bounds { start: 0, end: 1 });
    assert_eq!(log.intake.queued(), 0);
    drop((log, committer, consumer));

    let log = open(&directory, LocalOptions::default());
    assert_eq!(log.bounds("topic", 0).await.expect("bounds"), Bounds { start: 0, end: 1 }, "only what was acknowledged");
    assert_eq!(log.append("topic", record(10)).expect("taken").await.expect("acknowledged"), (0, 1));
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room_again() {
    let directory = TempDir::new().expect("a directory");
    let log = open(&directory, LocalOptions::default());
    log.create_topic(&topic()).await.expect("created");
    let mut consumer = Arc::clone(&log).join("group", "topic").expect("joins");
    let Ok(Delivery::Assigned(_)) = consumer.next().await else { panic!("assigned first") };
    break_it(&log, Break::PagesLeft(Some(100)));
    let mut taken = 0;
    let refused = loop {
        match log.append("topic", record(4_000)).expect("room in the queue").await {
            Ok(position) => assert_eq!(position, (0, taken)),
            Err(refused) => break refused,
        }
        taken += 1;
    };
    assert!(matches!(refused, AppendError::NoRoom), "{refused}");
    assert!((50..=100).contains(&taken), "{taken}");
    for _ in 0..3 {
        let refused = log.append("topic", record(40_000)).expect("room in the queue").await.expect_err("still full");
        assert!(matches!(refused, AppendError::NoRoom), "{refused}");
    }
    assert!(matches!(log.check().await, Err(LogError::Unavailable(_))), "a full disk is no failure");
    assert_eq!(log.bounds("topic", 0).await.expect("bounds"), Bounds { start: 0, end: taken });
    assert_eq!(log.intake.queued(), 0);

    // Committed records go by themselves when the disk is full.
    consumer.committer().commit(0, taken - 10).await.expect("needs no new page");
    let mut again = 0;
    while log.append("topic", record(4_000)).expect("room in the queue").await.is_ok() {
        again += 1;
        assert!(again <= 2 * taken, "the disk is full");
    }
    let bounds = log.bounds("topic", 0).await.expect("bounds");
    assert!(bounds.start > 0 && bounds.start <= taken - 10, "{bounds:?}");

    break_it(&log, Break::PagesLeft(None));
    let (_, offset) = log.append("topic", record(4_000)).expect("room in the queue").await.expect("room again");
    assert_eq!(offset, bounds.end, "no gap");
    log.check().await.expect("takes records");
}

#[tokio::test]
async fn joining_on_a_full_disk_holds_all_the_same() {
    let directory = TempDir::new().expect("a directory");
    let spec = TopicSpec { retention: Some(Duration::ZERO), ..topic() };
    {
        let log = open(&directory, LocalOptions::default());
        log.create_topic(&spec).await.expect("created");
        for _ in 0..5 {
            log.append("topic", record(10)).expect("taken").await.expect("acknowledged");
        }
        break_it(&log, Break::PagesLeft(Some(0)));
        // Long enough to need a page of its own.
        let group = "g".repeat(20_000);
        let mut consumer = Arc::clone(&log).join(&group, "topic").expect("joins");
        let Ok(Delivery::Assigned(_)) = consumer.next().await else { panic!("assigned first") };
        let appended = log.record_at("topic", 0, 4).await.expect("readable").expect("there").appended_at_ms;
        while super::writer::now_ms() <= appended {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        log.trim().await.expect("trims");
        assert_eq!(log.bounds("topic", 0).await.expect("bounds"), Bounds { start: 0, end: 5 });
        break_it(&log, Break::PagesLeft(None));
        log.append("topic", record(10)).expect("taken").await.expect("acknowledged");
    }
    let log = open(&directory, LocalOptions::default());
    log.trim().await.expect("trims");
    assert_eq!(log.bounds("topic", 0).await.expect("bounds"), Bounds { start: 0, end: 6 }, "written once there was room");
}
