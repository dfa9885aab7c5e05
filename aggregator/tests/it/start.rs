//! Whether the aggregator goes on with a log, and where: the local log, replaced, trimmed and raised.

use aggregator::checkpoint::{Checkpoint, Checkpoints, Spent, Start, StartError, starting_offset};
use aggregator::{TableOptions, create_tables};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Assignment, Log, LogError, Record, TopicSpec};
use schemas::item::TableNames;
use std::path::Path;
use std::sync::Arc;

const TOPIC: &str = "agent-events";

async fn log_with(path: &Path, records: u64) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LocalLog::open(path, LocalOptions::default()).unwrap());
    let spec = TopicSpec { name: TOPIC.into(), partitions: 1, retention: None, retention_bytes: None, is_compacted: false };
    log.create_topic(&spec).await.unwrap();
    for i in 0..records {
        log.append(TOPIC, Record { key: "k".into(), value: format!("{i}").into(), headers: vec![] }).unwrap().await.unwrap();
    }
    log
}

async fn checkpoints(engine: &engines::dynoxide::Dynoxide) -> Checkpoints {
    let (store, tables) = (engine.client(), TableNames::default());
    create_tables(&store, &tables, TableOptions::default()).await.unwrap();
    Checkpoints { store, tables, topic: TOPIC.into() }
}

async fn checkpoint_at(log: &Arc<dyn Log>, offset: u64, epoch: u32) -> Checkpoint {
    let record = log.record_at(TOPIC, 0, offset).await.unwrap().unwrap();
    Checkpoint { epoch, log_id: log.id().await.unwrap(), offset, appended_at_ms: record.appended_at_ms, spent: Spent::default() }
}

const fn assigned(committed: Option<u64>) -> Assignment {
    Assignment { partition: 0, committed }
}

#[tokio::test]
async fn the_counted_log_is_gone_on_with() {
    let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
    let (checkpoints, log) = (checkpoints(&engine).await, log_with(&directory.path().join("log"), 10).await);
    assert_eq!(starting_offset(&log, &checkpoints, assigned(None), 0, false).await.unwrap().offset, 0);
    checkpoints.write(0, &checkpoint_at(&log, 6, 0).await).await.unwrap();
    assert_eq!(starting_offset(&log, &checkpoints, assigned(Some(5)), 0, false).await.unwrap().offset, 5);
    // A group whose commits are gone goes on behind the checkpoint, not at the start.
    assert_eq!(starting_offset(&log, &checkpoints, assigned(None), 0, false).await.unwrap().offset, 7);
    // An older checkpoint never replaces a newer one.
    checkpoints.write(0, &checkpoint_at(&log, 2, 0).await).await.unwrap();
    assert_eq!(checkpoints.read(0).await.unwrap().unwrap().offset, 6);
    let beyond = starting_offset(&log, &checkpoints, assigned(Some(99)), 0, false).await.unwrap_err();
    assert!(matches!(beyond, StartError::Log(LogError::BeyondEnd { committed: 99, end: 10, .. })), "{beyond}");
}

#[tokio::test]
async fn a_lost_or_older_store_is_counted_from_where_it_is_sure() {
    let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
    let (checkpoints, log) = (checkpoints(&engine).await, log_with(&directory.path().join("log"), 10).await);
    // The group has committed, but this store has no checkpoint: it is not the store that was committed for.
    let lost = starting_offset(&log, &checkpoints, assigned(Some(8)), 0, false).await.unwrap();
    assert_eq!(lost, Start { offset: 0, is_anew: true, spent: Spent::default() });
    // An older copy: from its own checkpoint on.
    checkpoints.write(0, &checkpoint_at(&log, 2, 0).await).await.unwrap();
    let older = starting_offset(&log, &checkpoints, assigned(Some(8)), 0, false).await.unwrap();
    assert_eq!(older, Start { offset: 3, is_anew: false, spent: Spent::default() });
}

#[tokio::test]
async fn what_a_partition_cost_is_told_to_the_next_process() {
    let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
    let (checkpoints, log) = (checkpoints(&engine).await, log_with(&directory.path().join("log"), 10).await);
    let spent = Spent::default().plus(9, 7, 1_000);
    checkpoints.write(0, &Checkpoint { spent, ..checkpoint_at(&log, 6, 0).await }).await.unwrap();
    let start = starting_offset(&log, &checkpoints, assigned(Some(7)), 0, false).await.unwrap();
    assert_eq!(start, Start { offset: 7, is_anew: false, spent });
    assert_eq!(start.spent.plus(3, 2, 5_000), Spent { write_units: 12, records: 9, since_ms: 1_000 });
}

#[tokio::test]
async fn another_log_is_refused_until_the_epoch_is_raised() {
    let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
    let checkpoints = checkpoints(&engine).await;
    let counted = log_with(&directory.path().join("one"), 10).await;
    checkpoints.write(0, &checkpoint_at(&counted, 6, 0).await).await.unwrap();
    let other = log_with(&directory.path().join("other"), 20).await;
    let refused = starting_offset(&other, &checkpoints, assigned(None), 0, false).await.unwrap_err();
    assert!(matches!(refused, StartError::AnotherLog { .. }) && refused.to_string().contains("LOG_EPOCH"), "{refused}");
    assert!(!refused.is_retryable());
    // Raised: the new log is counted from its start, whatever the old group had committed.
    assert_eq!(starting_offset(&other, &checkpoints, assigned(Some(15)), 1, false).await.unwrap().offset, 0);
    checkpoints.write(0, &checkpoint_at(&other, 3, 1).await).await.unwrap();
    let back = starting_offset(&other, &checkpoints, assigned(None), 0, false).await.unwrap_err();
    assert!(matches!(back, StartError::EpochWentBack { configured: 0, counted: 1, .. }), "{back}");
}

#[tokio::test]
async fn a_record_with_another_time_or_a_shorter_log_is_another_log() {
    let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
    let (checkpoints, log) = (checkpoints(&engine).await, log_with(&directory.path().join("log"), 10).await);
    let good = checkpoint_at(&log, 6, 0).await;
    for (bad, word) in [
        (Checkpoint { appended_at_ms: good.appended_at_ms - 1, ..good.clone() }, "appended"),
        (Checkpoint { offset: 10, ..good.clone() }, "ends at"),
        (Checkpoint { offset: 11, log_id: "another".into(), ..good.clone() }, "id is"),
    ] {
        checkpoints.write(0, &bad).await.unwrap();
        let refused = starting_offset(&log, &checkpoints, assigned(Some(3)), 0, false).await.unwrap_err();
        assert!(matches!(refused, StartError::AnotherLog { .. }) && refused.to_string().contains(word), "{refused}");
    }
}
