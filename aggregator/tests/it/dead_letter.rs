//! Dead letters on a log that takes only so much.

use aggregator::dead_letter::{dead_letter, header, publish};
use aggregator::partition::DeadReason;
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, LogRecord, TopicSpec};
use std::sync::Arc;
use std::time::Duration;

const TOPIC: &str = "agent-events-dead";

async fn published(value: usize, foreign_header: usize) -> LogRecord {
    let directory = tempfile::tempdir().unwrap();
    let options = LocalOptions { max_record_bytes: 2_000, ..LocalOptions::default() };
    let log: Arc<dyn Log> = Arc::new(LocalLog::open(directory.path().join("log"), options).unwrap());
    let spec = TopicSpec { name: TOPIC.into(), partitions: 1, retention: None, retention_bytes: None, is_compacted: false };
    log.create_topic(&spec).await.unwrap();
    let original = LogRecord {
        partition: 0,
        offset: 7,
        appended_at_ms: 0,
        key: "bot".into(),
        value: vec![b'x'; value].into(),
        headers: vec![("foreign".into(), vec![b'x'; foreign_header].into())],
    };
    let letter = dead_letter(&original, 0, &DeadReason { reason: "undecodable", stage: "decode", detail: "no event".into() });
    tokio::time::timeout(Duration::from_secs(10), publish(&log, TOPIC, letter)).await.expect("it is published");
    log.record_at(TOPIC, 0, 0).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_dead_letter_that_the_log_does_not_take_whole_is_cut_and_says_so() {
    let whole = published(1_000, 10).await;
    assert_eq!((whole.value.len(), whole.header(header::CUT)), (1_000, None));
    let cut = published(1_900, 10).await;
    assert_eq!((cut.value.len(), cut.header(header::CUT).map(|h| h.as_ref())), (950, Some(&b"1900"[..])));
    assert_eq!(cut.header(header::KEY).map(|h| h.as_ref()), Some(&b"bot"[..]));
    let bare = published(500, 1_900).await;
    assert!(bare.value.is_empty() && bare.header("foreign").is_none());
    assert_eq!(bare.header(header::POSITION).map(|h| h.as_ref()), Some(&b"0-0-7"[..]));
}
