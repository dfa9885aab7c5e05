//! The suite on the local log, and what only that one can show: what is left after a kill, what retention takes and
//! never takes, full disks, lost partitions.

use crate::suite::{
    self, Harness, a_key_for_each_partition, append_all, begin_all, consume_records, fresh, read_records, record, topic, within,
};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{AppendError, Assignment, Bounds, Delivery, Log, LogError, ReadFrom, TopicSpec};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tempfile::TempDir;

/// A log in a directory of its own.
struct LocalHarness {
    directory: TempDir,
    opened: Mutex<Weak<LocalLog>>,
}

async fn harness() -> Option<LocalHarness> {
    Some(LocalHarness { directory: TempDir::new().expect("a directory"), opened: Mutex::default() })
}

fn file(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("log.sqlite3")
}

impl LocalHarness {
    fn open_with(&self, options: LocalOptions) -> Arc<LocalLog> {
        let log = Arc::new(LocalLog::open(file(&self.directory), options).expect("opens"));
        *self.opened.lock().expect("lock") = Arc::downgrade(&log);
        log
    }
}

impl Harness for LocalHarness {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        let log: Arc<dyn Log> = self.open_with(LocalOptions::default());
        std::future::ready(log).boxed()
    }

    fn open_with_tiny_buffer(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        let log: Arc<dyn Log> = self.open_with(LocalOptions { queue_bytes: 16 << 10, ..LocalOptions::default() });
        std::future::ready(log).boxed()
    }

    fn trim<'a>(&'a self, log: &'a Arc<dyn Log>, topic: &'a TopicSpec, partition: u32, before: u64) -> BoxFuture<'a, ()> {
        let opened = self.opened.lock().expect("lock").upgrade().expect("open");
        async move {
            log.create_topic(&TopicSpec { retention_bytes: Some(0), ..topic.clone() }).await.expect("bounded");
            opened.trim().await.expect("trims");
            assert_eq!(log.bounds(&topic.name, partition).await.expect("bounds").start, before, "the committed records are gone");
            log.create_topic(topic).await.expect("unbounded again");
        }
        .boxed()
    }

    fn compacts_at_once(&self) -> bool {
        true
    }
}

suite::run!(harness);

fn open(path: &Path, options: LocalOptions) -> (Arc<LocalLog>, Arc<dyn Log>) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match LocalLog::open(path, options.clone()) {
            Ok(log) => {
                let log = Arc::new(log);
                return (Arc::clone(&log), log);
            }
            // Between fork and exec, a child that another test starts holds the lock of a log that was closed meanwhile.
            Err(LogError::Unavailable(_)) if std::time::Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_log_is_opened_by_one_at_a_time() {
    let directory = TempDir::new().expect("a directory");
    let first = LocalLog::open(file(&directory), LocalOptions::default()).expect("opens");
    let refused = LocalLog::open(file(&directory), LocalOptions::default()).expect_err("open already");
    assert!(refused.is_retryable(), "{refused}");
    drop(first);
    LocalLog::open(file(&directory), LocalOptions::default()).expect("opens again");
}

#[test]
fn what_is_no_log_is_left_alone() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(file(&directory), b"something else that is long enough to be read as a header of a database file, but is none at all")
        .expect("written");
    let before = std::fs::read(file(&directory)).expect("read");
    assert!(matches!(LocalLog::open(file(&directory), LocalOptions::default()), Err(LogError::Broken(_))));
    assert_eq!(std::fs::read(file(&directory)).expect("read"), before);

    let other = directory.path().join("other.sqlite3");
    let connection = rusqlite::Connection::open(&other).expect("opens");
    connection.execute_batch("CREATE TABLE users(name TEXT)").expect("created");
    drop(connection);
    let refused = LocalLog::open(&other, LocalOptions::default()).expect_err("another application's");
    assert!(matches!(&refused, LogError::Broken(reason) if reason.contains("not a log")), "{refused}");
}

#[tokio::test]
async fn the_file_is_set_up_to_be_durable_and_to_shrink() {
    let directory = TempDir::new().expect("a directory");
    drop(LocalLog::open(file(&directory), LocalOptions::default()).expect("opens"));
    let connection = rusqlite::Connection::open(file(&directory)).expect("opens");
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).expect("a value");
    assert_eq!(pragma("auto_vacuum"), rusqlite::types::Value::Integer(2), "incremental");
    assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".into()));
}

#[tokio::test]
async fn records_that_cannot_be_taken_are_refused_at_once() {
    let directory = TempDir::new().expect("a directory");
    let (_, log) = open(&file(&directory), LocalOptions { max_record_bytes: 1_000, ..LocalOptions::default() });
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    assert!(matches!(log.append(&topic.name, record("k", vec![0; 1_000])), Err(AppendError::TooLarge(size)) if size > 1_000));
    assert!(matches!(log.append("nowhere", record("k", "v")), Err(AppendError::NotAcknowledged(reason)) if reason.contains("nowhere")));
}

#[tokio::test]
async fn a_topic_is_made_as_specified_or_refused() {
    let directory = TempDir::new().expect("a directory");
    let (_, log) = open(&file(&directory), LocalOptions::default());
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    for wrong in [
        TopicSpec { is_compacted: true, ..topic.clone() },
        TopicSpec { partitions: 0, ..topic.clone() },
        TopicSpec { partitions: 100_000, ..topic.clone() },
    ] {
        assert!(matches!(log.create_topic(&wrong).await, Err(LogError::Broken(_))), "{wrong:?}");
    }
    assert_eq!(log.partitions(&topic.name).await.expect("partitions"), 2);
}

#[tokio::test]
async fn a_member_that_does_not_let_go_in_time_loses_its_partitions() {
    within(async {
        let directory = TempDir::new().expect("a directory");
        let (_, log) = open(&file(&directory), LocalOptions { revoke_wait: Duration::from_millis(50), ..LocalOptions::default() });
        let topic = topic(2);
        log.create_topic(&topic).await.expect("created");
        append_all(&log, &topic.name, (0..20).map(|n| record(format!("k{n}"), "v"))).await;
        let group = fresh("group");
        let mut slow = Arc::clone(&log).join(&group, &topic.name).expect("joins");
        begin_all(&log, &topic.name, &mut slow, 2).await;
        consume_records(&mut slow, 20).await;
        let committer = slow.committer();

        // One holds on to a revocation that it has read, the other never reads it: both lose what they were asked for.
        for has_read in [true, false] {
            let mut next = Arc::clone(&log).join(&group, &topic.name).expect("joins");
            let revocation = if has_read {
                match slow.next().await.expect("a delivery") {
                    Delivery::Revoked(revocation) => Some(revocation),
                    other => panic!("expected a revocation, not {other:?}"),
                }
            } else {
                None
            };
            let assigned = begin_all(&log, &topic.name, &mut next, 1).await;
            let moved = assigned[0].partition;
            assert!(matches!(committer.commit(moved, 1).await, Err(LogError::NotHeld(partition)) if partition == moved));
            committer.commit(1 - moved, 1).await.expect("still holds the other");
            match slow.next().await.expect("a delivery") {
                Delivery::Lost(partitions) => assert_eq!(partitions, [moved]),
                other => panic!("expected a loss, not {other:?}"),
            }
            drop(revocation);
            next.leave().await;
            begin_all(&log, &topic.name, &mut slow, 1).await;
            consume_records(&mut slow, 1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_last_holder_committed_is_what_the_next_one_is_told() {
    within(async {
        let directory = TempDir::new().expect("a directory");
        let (_, log) = open(&file(&directory), LocalOptions::default());
        let topic = topic(1);
        log.create_topic(&topic).await.expect("created");
        append_all(&log, &topic.name, (0..100).map(|_| record("k", "v"))).await;
        let group = fresh("group");
        for round in 1..=50 {
            let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
            let assigned = begin_all(&log, &topic.name, &mut consumer, 1).await;
            assert_eq!(assigned, [Assignment { partition: 0, committed: (round > 1).then_some(round - 1) }]);
            // Not awaited: it is on its way when the member leaves.
            let commit = consumer.committer();
            let mut commit = commit.commit(0, round);
            let outcome = (&mut commit).now_or_never();
            consumer.leave().await;
            match outcome {
                Some(outcome) => outcome,
                None => commit.await,
            }
            .expect("was held when enqueued");
        }
    })
    .await;
}

#[tokio::test]
async fn records_go_by_age_but_not_before_every_group_has_committed_them() {
    let directory = TempDir::new().expect("a directory");
    let (opened, log) = open(&file(&directory), LocalOptions::default());
    let spec = TopicSpec { retention: Some(Duration::ZERO), ..topic(1) };
    log.create_topic(&spec).await.expect("created");
    append_all(&log, &spec.name, (0..2_500).map(|n| record("k", n.to_string()))).await;
    let mut consumers = Vec::new();
    for _ in 0..2 {
        let mut consumer = Arc::clone(&log).join(&fresh("group"), &spec.name).expect("joins");
        begin_all(&log, &spec.name, &mut consumer, 1).await;
        consumers.push(consumer);
    }
    // Older than the retention once the clock has moved on.
    let appended = log.record_at(&spec.name, 0, 2_499).await.expect("readable").expect("there").appended_at_ms;
    while suite::now_ms() <= appended {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = async || {
        opened.trim().await.expect("trims");
        log.bounds(&spec.name, 0).await.expect("bounds").start
    };
    assert_eq!(start().await, 0, "neither has committed");
    consumers[0].committer().commit(0, 2_500).await.expect("commits");
    assert_eq!(start().await, 0, "one has not committed");
    consumers[1].committer().commit(0, 1_234).await.expect("commits");
    assert_eq!(start().await, 1_234);
    consumers.into_iter().for_each(drop);
    assert_eq!(start().await, 1_234, "a group that is away still holds");
    drop((opened, log));

    let (opened, log) = open(&file(&directory), LocalOptions::default());
    opened.trim().await.expect("trims");
    assert_eq!(log.bounds(&spec.name, 0).await.expect("bounds"), Bounds { start: 1_234, end: 2_500 }, "after a restart too");
    let mut reader = Arc::clone(&log).read(&spec.name, ReadFrom::Start).await.expect("opens");
    assert_eq!(read_records(&mut reader, 1_266).await[0].offset, 1_234);
    assert!(reader.is_caught_up());
}

#[tokio::test]
async fn offsets_go_on_where_all_records_were_trimmed() {
    let directory = TempDir::new().expect("a directory");
    let spec = TopicSpec { retention_bytes: Some(0), ..topic(1) };
    {
        let (opened, log) = open(&file(&directory), LocalOptions::default());
        log.create_topic(&TopicSpec { retention_bytes: None, ..spec.clone() }).await.expect("created");
        let reader = Arc::clone(&log).read(&spec.name, ReadFrom::Start).await.expect("opens");
        append_all(&log, &spec.name, (0..10).map(|_| record("k", "v"))).await;
        let mut behind = Arc::clone(&log).read(&spec.name, ReadFrom::Start).await.expect("opens");
        assert!(!behind.is_caught_up());
        log.create_topic(&spec).await.expect("bounded");
        opened.trim().await.expect("trims");
        assert!(reader.is_caught_up() && behind.is_caught_up());
        assert_eq!(within(behind.next()).await.expect("says so"), [], "what is gone is not waited for");
    }
    let (_, log) = open(&file(&directory), LocalOptions::default());
    assert_eq!(log.bounds(&spec.name, 0).await.expect("bounds"), Bounds { start: 10, end: 10 });
    assert_eq!(append_all(&log, &spec.name, [record("k", "v")]).await, [(0, 10)]);
}

#[tokio::test]
async fn compacted_records_stay_whatever_their_size_until_they_are_old() {
    let directory = TempDir::new().expect("a directory");
    let (opened, log) = open(&file(&directory), LocalOptions::default());
    let spec = TopicSpec { is_compacted: true, retention_bytes: Some(0), ..topic(1) };
    log.create_topic(&spec).await.expect("created");
    append_all(&log, &spec.name, (0..100).map(|n| record(format!("k{}", n % 10), n.to_string()))).await;
    opened.trim().await.expect("trims");
    let mut reader = Arc::clone(&log).read(&spec.name, ReadFrom::Start).await.expect("opens");
    let offsets: Vec<u64> = read_records(&mut reader, 10).await.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (90..100).collect::<Vec<_>>());

    log.create_topic(&TopicSpec { retention: Some(Duration::ZERO), ..spec.clone() }).await.expect("bounded by age");
    let appended = log.record_at(&spec.name, 0, 99).await.expect("readable").expect("there").appended_at_ms;
    while suite::now_ms() <= appended {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    opened.trim().await.expect("trims");
    assert_eq!(log.bounds(&spec.name, 0).await.expect("bounds"), Bounds { start: 100, end: 100 });
}

#[tokio::test]
async fn a_full_log_refuses_what_nobody_counted_and_takes_more_once_it_was() {
    within(async {
        let directory = TempDir::new().expect("a directory");
        let (_, log) = open(&file(&directory), LocalOptions { max_bytes: Some(4 << 20), ..LocalOptions::default() });
        let bounded = TopicSpec { retention: Some(Duration::from_secs(86_400)), ..topic(2) };
        let kept = topic(1);
        log.create_topic(&bounded).await.expect("created");
        log.create_topic(&kept).await.expect("created");
        append_all(&log, &kept.name, (0..100).map(|_| record("k", vec![b'x'; 1_000]))).await;
        let keys = a_key_for_each_partition(&log, &bounded).await;

        // Nobody has registered: nothing may go for want of room.
        let fill = async || {
            let mut taken = 0_u64;
            loop {
                match log
                    .append(&bounded.name, record(keys[taken as usize % 2].clone(), vec![b'x'; 10_000]))
                    .expect("room in the buffer")
                    .await
                {
                    Ok(_) => taken += 1,
                    Err(AppendError::NoRoom) => return taken,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let first = fill().await;
        assert!((200..500).contains(&first), "{first} records of 10 KB in 4 MiB");
        let mut consumer = Arc::clone(&log).join(&fresh("group"), &bounded.name).expect("joins");
        begin_all(&log, &bounded.name, &mut consumer, 2).await;
        assert_eq!(fill().await, 0, "registered, but nothing committed");

        // The commit itself needs no room.
        consumer.committer().commit(0, 100).await.expect("commits");
        let second = fill().await;
        assert!((20..=110).contains(&second), "about as many as were committed: {second}");
        assert!(log.bounds(&bounded.name, 0).await.expect("bounds").start <= 100);
        assert_eq!(log.bounds(&bounded.name, 1).await.expect("bounds").start, 0);
        assert_eq!(log.bounds(&kept.name, 0).await.expect("bounds"), Bounds { start: 0, end: 100 }, "has no retention");
        assert!(log.check().await.expect_err("is full").is_retryable(), "a full log has not failed");
    })
    .await;
}

/// Whoever counts the records writes down what came of them before it commits: if that found no room behind records
/// that nobody has committed, nothing could ever be committed, and the log would stay full for good.
#[tokio::test]
async fn a_log_full_of_what_is_not_counted_leaves_room_for_what_comes_of_the_counting() {
    within(async {
        let directory = TempDir::new().expect("a directory");
        let (_, log) = open(&file(&directory), LocalOptions { max_bytes: Some(4 << 20), ..LocalOptions::default() });
        let counted = TopicSpec { retention: Some(Duration::from_secs(86_400)), ..topic(1) };
        let results = TopicSpec { is_compacted: true, ..topic(1) };
        let refused = topic(1);
        for spec in [&counted, &results, &refused] {
            log.create_topic(spec).await.expect("created");
        }
        let mut consumer = Arc::clone(&log).join(&fresh("group"), &counted.name).expect("joins");
        begin_all(&log, &counted.name, &mut consumer, 1).await;
        let fill = async |bytes: usize| {
            let mut taken = 0_u64;
            while log.append(&counted.name, record("k", vec![b'x'; bytes])).expect("room in the buffer").await.is_ok() {
                taken += 1;
            }
            taken
        };
        let first = fill(10_000).await + fill(100).await;
        append_all(&log, &results.name, (0..100).map(|n| record(format!("agent-{n}"), vec![b'x'; 300]))).await;
        append_all(&log, &refused.name, (0..5).map(|n| record(format!("{n}"), vec![b'x'; 10_000]))).await;
        assert_eq!(fill(100).await, 0, "that room is not for more of what is to be counted");
        consumer.committer().commit(0, first).await.expect("commits");
        assert!(fill(10_000).await > 100);
    })
    .await;
}

#[tokio::test]
async fn the_file_shrinks_again_after_a_trim() {
    within(async {
        let directory = TempDir::new().expect("a directory");
        let (opened, log) = open(&file(&directory), LocalOptions::default());
        let spec = topic(1);
        log.create_topic(&spec).await.expect("created");
        append_all(&log, &spec.name, (0..1_000).map(|_| record("k", vec![b'x'; 16_000]))).await;
        log.create_topic(&TopicSpec { retention_bytes: Some(1_000_000), ..spec.clone() }).await.expect("bounded");
        opened.trim().await.expect("trims");
        let pages = || {
            let connection = rusqlite::Connection::open(file(&directory)).expect("opens");
            connection.pragma_query_value(None, "page_count", |row| row.get::<_, u64>(0)).expect("a count")
        };
        while pages() * 4_096 > 8 << 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let bounds = log.bounds(&spec.name, 0).await.expect("bounds");
        assert!((900..1_000).contains(&bounds.start), "{bounds:?}");
        log.check().await.expect("works");
    })
    .await;
}

/// One step of [`retention_takes_only_what_every_group_committed`].
#[derive(Clone, Debug)]
enum Step {
    Append(usize, usize),
    Commit { group: usize, partition: u32, share: f64 },
    Join(usize),
    Trim,
    Bound(Option<u64>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..60_usize, 1..3_000_usize).prop_map(|(count, size)| Step::Append(count, size)),
        4 => (0..3_usize, 0..2_u32, 0.0..=1.0).prop_map(|(group, partition, share)| Step::Commit { group, partition, share }),
        1 => (0..3_usize).prop_map(Step::Join),
        3 => Just(Step::Trim),
        2 => prop_oneof![Just(None), Just(Some(0)), (0..100_000_u64).prop_map(Some)].prop_map(Step::Bound),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a model that only knows what was acknowledged and what groups committed: whatever retention, the log's
    /// bound and restarts do, everything from the lowest committed offset on is there, as it was appended.
    #[test]
    fn retention_takes_only_what_every_group_committed(steps in proptest::collection::vec(step(), 1..60), retains in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(within(check_retention(steps, retains)));
    }
}

async fn check_retention(steps: Vec<Step>, retains: bool) {
    let directory = TempDir::new().expect("a directory");
    let options = LocalOptions { max_bytes: Some(700_000), trim_interval: Duration::from_millis(1), ..LocalOptions::default() };
    let (mut opened, mut log) = open(&file(&directory), options.clone());
    let mut spec = TopicSpec { retention: retains.then_some(Duration::from_secs(86_400)), ..topic(2) };
    log.create_topic(&spec).await.expect("created");
    let mut consumers: HashMap<usize, Box<dyn event_log::GroupConsumer>> = HashMap::new();
    let mut committed: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
    let mut sent: HashMap<(u32, u64), usize> = HashMap::new();
    for step in steps {
        match step {
            Step::Append(count, size) => {
                let enqueue = |n| log.append(&spec.name, record(format!("k{n}"), vec![b'x'; size])).expect("room in the buffer");
                for outcome in futures::future::join_all((0..count).map(enqueue)).await {
                    match outcome {
                        Ok(position) => assert_eq!(sent.insert(position, size), None, "an offset is given once"),
                        Err(AppendError::NoRoom) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            Step::Join(group) => {
                let mut consumer = Arc::clone(&log).join(&format!("g{group}"), &spec.name).expect("joins");
                drop(consumers.remove(&group));
                let mut assigned = 0;
                while assigned < 2 {
                    if let Delivery::Assigned(assignments) = consumer.next().await.expect("a delivery") {
                        assigned += assignments.len();
                    }
                }
                consumers.insert(group, consumer);
                // Holds what is there by now.
                if let std::collections::btree_map::Entry::Vacant(entry) = committed.entry(group) {
                    let start = async |partition| log.bounds(&spec.name, partition).await.expect("bounds").start;
                    entry.insert([start(0).await, start(1).await]);
                }
            }
            Step::Commit { group, partition, share } => {
                let Some(consumer) = consumers.get(&group) else { continue };
                let Bounds { start, end } = log.bounds(&spec.name, partition).await.expect("bounds");
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a share of a small number"
                )]
                let offset = start + ((end - start) as f64 * share) as u64;
                let offset = offset.max(committed[&group][partition as usize]);
                consumer.committer().commit(partition, offset).await.expect("holds it");
                committed.get_mut(&group).expect("joined")[partition as usize] = offset;
            }
            Step::Trim => opened.trim().await.expect("trims"),
            Step::Bound(bytes) => {
                spec.retention_bytes = bytes;
                log.create_topic(&spec).await.expect("bounded");
            }
            Step::Reopen => {
                consumers.clear();
                drop((opened, log));
                (opened, log) = open(&file(&directory), options.clone());
            }
        }
        for partition in 0..2_u32 {
            let Bounds { start, end } = log.bounds(&spec.name, partition).await.expect("bounds");
            let held = committed.values().map(|offsets| offsets[partition as usize]).min();
            assert!(start <= held.unwrap_or(end), "{start} is beyond {held:?}");
        }
    }
    let mut reader = Arc::clone(&log).read(&spec.name, ReadFrom::Start).await.expect("opens");
    let mut found = HashMap::new();
    while !reader.is_caught_up() {
        found.extend(reader.next().await.expect("records").iter().map(|r| ((r.partition, r.offset), r.value.len())));
    }
    for (position, size) in &found {
        assert_eq!(sent.get(position), Some(size), "{position:?} was not acknowledged like that");
    }
    for partition in 0..2_u32 {
        // What was trimmed meanwhile may have been read before.
        let start = log.bounds(&spec.name, partition).await.expect("bounds").start;
        for (position, size) in sent.iter().filter(|((p, offset), _)| *p == partition && *offset >= start) {
            assert_eq!(found.get(position), Some(size), "{position:?}");
        }
    }
}

/// Names the directory to the child that is killed.
const CHILD: &str = "EVENT_LOG_TEST_CHILD";

/// Not a test: what [`every_acknowledged_record_survives_sigkill`] starts and kills. Appends to all partitions from
/// several tasks, commits for a group, and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by another test"]
async fn appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let (_, log) = open(Path::new(&directory), LocalOptions::default());
    let spec = TopicSpec { name: "killed".into(), ..topic(3) };
    log.create_topic(&spec).await.expect("created");
    let compacted = TopicSpec { name: "compacted".into(), is_compacted: true, ..topic(1) };
    log.create_topic(&compacted).await.expect("created");
    let tasks: Vec<_> = (0..8).map(|task| tokio::spawn(append_and_tell(Arc::clone(&log), task))).collect();
    let mut consumer = Arc::clone(&log).join("group", &spec.name).expect("joins");
    begin_all(&log, &spec.name, &mut consumer, 3).await;
    loop {
        if let Delivery::Records(records) = consumer.next().await.expect("a delivery") {
            let last = records.last().expect("at least one");
            consumer.committer().commit(last.partition, last.offset + 1).await.expect("commits");
            tell(&format!("commit {} {}", last.partition, last.offset + 1));
        }
        assert!(tasks.iter().all(|task| !task.is_finished()), "appends until it is killed");
    }
}

async fn append_and_tell(log: Arc<dyn Log>, task: usize) {
    for n in 0_u64.. {
        let value = format!("{:016x}-{task}-{n}", rand::random::<u64>());
        let batch = (0..5).map(|k| record(format!("{task}-{}", n % 50), format!("{value}-{k}")));
        let acknowledged = append_all(&log, "killed", batch).await;
        append_all(&log, "compacted", [record(format!("{task}"), n.to_string())]).await;
        for (k, (partition, offset)) in acknowledged.into_iter().enumerate() {
            tell(&format!("ack {partition} {offset} {value}-{k}"));
        }
    }
}

/// One write per line: a killed process leaves whole lines but for the last.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_record_survives_sigkill() {
    let directory = TempDir::new().expect("a directory");
    let mut acknowledged: HashMap<(u32, u64), String> = HashMap::new();
    let mut committed: HashMap<u32, u64> = HashMap::new();
    for round in 0..6 {
        let path = file(&directory);
        let before = acknowledged.len();
        let enough = before + rand::random_range(50..3_000);
        (acknowledged, committed) = tokio::task::spawn_blocking(move || {
            let mut lines = LinesOfAChild::start(&path);
            while let Some(line) = lines.next() {
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    ["ack", partition, offset, value] => {
                        let position = (partition.parse().expect("a partition"), offset.parse().expect("an offset"));
                        assert_eq!(acknowledged.insert(position, value.to_owned()), None, "an offset is given once");
                    }
                    ["commit", partition, next] => {
                        committed.insert(partition.parse().expect("a number"), next.parse().expect("a number"));
                    }
                    // The test harness speaks too.
                    _ => {}
                }
                if acknowledged.len() >= enough {
                    lines.kill();
                }
            }
            (acknowledged, committed)
        })
        .await
        .expect("reads the child");
        assert!(acknowledged.len() >= enough, "the child was killed, it did not end by itself");

        let (_, log) = open(&file(&directory), LocalOptions::default());
        let mut reader = Arc::clone(&log).read("killed", ReadFrom::Start).await.expect("opens");
        let mut found = HashMap::new();
        while !reader.is_caught_up() {
            found.extend(reader.next().await.expect("records").into_iter().map(|r| ((r.partition, r.offset), r.value)));
        }
        for (position, value) in &acknowledged {
            assert_eq!(found.get(position).map(|v| &v[..]), Some(value.as_bytes()), "round {round}: {position:?}");
        }
        let now = log.committed("group", "killed").await.expect("committed");
        for (partition, next) in &committed {
            assert!(now[*partition as usize].is_some_and(|now| now >= *next), "round {round}: {partition} committed {next}, found {now:?}");
        }
        let mut reader = Arc::clone(&log).read("compacted", ReadFrom::Start).await.expect("opens");
        assert_eq!(read_records(&mut reader, 8).await.len(), 8, "one record per key");
        assert!(reader.is_caught_up());
    }
}

/// The child's output, until it is killed.
struct LinesOfAChild {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl LinesOfAChild {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "local::appends_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
    }
}

impl Iterator for LinesOfAChild {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("text"))
    }
}

impl Drop for LinesOfAChild {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Prints durable records per second, alone and with a consumer; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measures_durable_appends() {
    for (producers, batch) in [(1, 1), (32, 1), (4, 100), (4, 1_000)] {
        for consumes in [false, true] {
            let directory = TempDir::new().expect("a directory");
            let (_, log) = open(&file(&directory), LocalOptions::default());
            let spec = topic(8);
            log.create_topic(&spec).await.expect("created");
            let mut consumer = Arc::clone(&log).join("group", &spec.name).expect("joins");
            begin_all(&log, &spec.name, &mut consumer, 8).await;
            let rounds = 100_000_usize.div_ceil(producers * batch).min(3_000);
            let total = rounds * producers * batch;
            let started = std::time::Instant::now();
            let tasks: Vec<_> = (0..producers)
                .map(|producer| {
                    let (log, name) = (Arc::clone(&log), spec.name.clone());
                    tokio::spawn(async move {
                        for n in 0..rounds {
                            let records = (0..batch).map(|k| record(format!("{producer}-{}", (n + k) % 50), vec![b'x'; 500]));
                            append_all(&log, &name, records).await;
                        }
                    })
                })
                .collect();
            if consumes {
                consume_records(&mut consumer, total).await;
            }
            futures::future::try_join_all(tasks).await.expect("appended");
            let per_second = total as u128 * 1_000 / started.elapsed().as_millis().max(1);
            let wal = std::fs::metadata(directory.path().join("log.sqlite3-wal")).map_or(0, |wal| wal.len()) >> 20;
            tell(&format!(
                "{producers} producers, {batch} records each, consumed: {consumes}: {per_second} records/s, write-ahead log {wal} MiB"
            ));
        }
    }
}
