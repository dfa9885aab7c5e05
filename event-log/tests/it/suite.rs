//! The tests that every log has to pass. They know no log: each gets a [`Harness`] and speaks to [`event_log::Log`] only.
//!
//! A log takes them with `suite::run!(harness)`, where `harness` names an
//! `async fn() -> Option<impl Harness>` that is called once per test; `None` leaves the test out.
//! Nothing but the four methods of [`Harness`] is asked of it.

use bytes::Bytes;
use event_log::{
    Acknowledgement, AppendError, Assignment, Bounds, Delivery, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record,
    TopicSpec,
};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Opens a log for a test.
pub(crate) trait Harness: Send + Sync {
    /// Opens the log. Called again in the same test it opens the same log, after the one handed out before and all
    /// that came of it was dropped.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>>;

    /// Like [`Harness::open`], with a buffer for appends that less than a thousand records of 1 KiB overflow.
    fn open_with_tiny_buffer(&self) -> BoxFuture<'_, Arc<dyn Log>>;

    /// Removes the records of a partition before `before`, as retention would. Nothing before it is uncommitted.
    fn trim<'a>(&'a self, log: &'a Arc<dyn Log>, topic: &'a TopicSpec, partition: u32, before: u64) -> BoxFuture<'a, ()>;

    /// Whether a superseded record of a compacted topic is gone once its successor is acknowledged.
    fn compacts_at_once(&self) -> bool;
}

/// One `#[tokio::test]` per test of the suite.
macro_rules! run {
    ($harness:path) => {
        $crate::suite::run!(@each $harness,
            offsets_are_dense_and_follow_the_order_of_the_appends,
            an_acknowledged_record_can_be_read,
            keys_are_placed_as_kafka_places_them,
            records_appended_together_are_told_of_together,
            keys_values_and_headers_come_back_as_they_were,
            two_groups_read_independently,
            a_committed_offset_survives_reopening,
            the_log_keeps_its_id_and_its_records,
            every_record_is_delivered_while_members_come_and_go,
            the_next_consumer_goes_on_at_the_committed_offset,
            a_paused_partition_delivers_nothing_until_resumed,
            reading_begins_where_it_is_told_to,
            a_reader_knows_when_it_has_caught_up,
            a_compacted_topic_keeps_the_newest_record_of_each_key,
            added_partitions_are_picked_up,
            bounds_and_record_at_tell_what_is_there,
            beginning_below_the_start_is_refused,
            beginning_beyond_the_end_is_refused,
            a_full_buffer_refuses_and_loses_nothing,
            a_group_that_left_may_not_commit,
            waiting_may_be_cancelled_without_losing_records,
            an_unknown_topic_is_named,
        );
    };
    (@each $harness:path, $($test:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            if let Some(harness) = $harness().await {
                $crate::suite::within($crate::suite::$test(&harness)).await;
            }
        }
    )+};
}
pub(crate) use run;

/// Fails the test where it hangs; far beyond what any test needs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    Box::pin(tokio::time::timeout(Duration::from_secs(300), future)).await.expect("the test hangs")
}

/// A topic that no other test uses.
pub(crate) fn topic(partitions: u32) -> TopicSpec {
    TopicSpec { name: fresh("topic"), partitions, retention: None, retention_bytes: None, is_compacted: false }
}

/// A name that no other test uses.
pub(crate) fn fresh(what: &str) -> String {
    format!("{what}-{:016x}", rand::random::<u64>())
}

pub(crate) fn record(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Record {
    Record { key: Bytes::from(key.into()), value: Bytes::from(value.into()), headers: Vec::new() }
}

/// Appends, trying again while the buffer is full, and waits for all acknowledgements.
pub(crate) async fn append_all(log: &Arc<dyn Log>, topic: &str, records: impl IntoIterator<Item = Record>) -> Vec<(u32, u64)> {
    let acknowledgements: Vec<Acknowledgement> =
        records.into_iter().map(|record| log.append(topic, record).expect("room in the buffer")).collect();
    futures::future::try_join_all(acknowledgements).await.expect("acknowledged")
}

/// For each partition a key that is placed there.
pub(crate) async fn a_key_for_each_partition(log: &Arc<dyn Log>, topic: &TopicSpec) -> Vec<Vec<u8>> {
    let mut keys = BTreeMap::new();
    for n in 0_u32.. {
        let key = format!("key-{n}").into_bytes();
        keys.entry(placed(&key, topic.partitions)).or_insert(key);
        if keys.len() == topic.partitions as usize {
            break;
        }
    }
    assert_eq!(log.partitions(&topic.name).await.expect("partitions"), topic.partitions);
    keys.into_values().collect()
}

/// The partition of a key by Kafka's default partitioner, written down a second time from its Java source
/// (`Utils.murmur2`, `Utils.toPositive`).
fn placed(key: &[u8], partitions: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c_u32 ^ u32::try_from(key.len()).expect("a short key");
    let words = key.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    ((h ^ (h >> 15)) & 0x7fff_ffff) % partitions
}

/// Reads until `count` records came.
pub(crate) async fn read_records(reader: &mut Box<dyn Reader>, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = reader.next().await.expect("records");
        assert!(!more.is_empty(), "a reader waits for at least one record");
        records.extend(more);
    }
    records
}

/// Waits for the first assignment and begins each partition at its committed offset, or at the start.
pub(crate) async fn begin_all(
    log: &Arc<dyn Log>,
    topic: &str,
    consumer: &mut Box<dyn GroupConsumer>,
    partitions: usize,
) -> Vec<Assignment> {
    let mut all = Vec::new();
    while all.len() < partitions {
        match consumer.next().await.expect("a delivery") {
            Delivery::Assigned(assignments) => {
                for assignment in &assignments {
                    begin(log, topic, consumer, assignment).await;
                }
                all.extend(assignments);
            }
            // Of a partition that has begun already.
            Delivery::Records(_) => {}
            other => panic!("expected an assignment, not {other:?}"),
        }
    }
    all
}

async fn begin(log: &Arc<dyn Log>, topic: &str, consumer: &mut Box<dyn GroupConsumer>, assignment: &Assignment) {
    let offset = match assignment.committed {
        Some(offset) => offset,
        None => log.bounds(topic, assignment.partition).await.expect("bounds").start,
    };
    consumer.begin(assignment.partition, offset).expect("begins");
}

/// Consumes until `count` records came.
pub(crate) async fn consume_records(consumer: &mut Box<dyn GroupConsumer>, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        match consumer.next().await.expect("a delivery") {
            Delivery::Records(more) => records.extend(more),
            other => panic!("expected records, not {other:?}"),
        }
    }
    records
}

fn positions(records: &[LogRecord]) -> BTreeSet<(u32, u64)> {
    records.iter().map(|r| (r.partition, r.offset)).collect()
}

fn values(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.to_vec()).expect("text")).collect()
}

pub(crate) async fn offsets_are_dense_and_follow_the_order_of_the_appends(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(3);
    log.create_topic(&topic).await.expect("created");
    let sent: Vec<Record> = (0..500).map(|n| record(format!("agent-{}", n % 10), n.to_string())).collect();
    let acknowledged = append_all(&log, &topic.name, sent.clone()).await;

    let mut next = HashMap::new();
    for (partition, offset) in &acknowledged {
        let expected = next.entry(*partition).or_insert(0_u64);
        assert_eq!(offset, expected, "the next offset of partition {partition}");
        *expected += 1;
    }
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let read = read_records(&mut reader, sent.len()).await;
    let mut last = HashMap::new();
    for record in &read {
        assert!(last.insert(record.partition, record.offset).is_none_or(|before| before < record.offset), "in offset order");
    }
    let by_position: HashMap<_, _> = read.iter().map(|r| ((r.partition, r.offset), &r.value)).collect();
    for (record, position) in sent.iter().zip(&acknowledged) {
        assert_eq!(by_position[position], &record.value);
    }
}

pub(crate) async fn an_acknowledged_record_can_be_read(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    for n in 0..20 {
        let (partition, offset) = log.append(&topic.name, record("a", n.to_string())).expect("taken").await.expect("acknowledged");
        let found = log.record_at(&topic.name, partition, offset).await.expect("readable").expect("there");
        assert_eq!((found.partition, found.offset, found.value), (partition, offset, Bytes::from(n.to_string())));
        assert_eq!(log.bounds(&topic.name, partition).await.expect("bounds"), Bounds { start: 0, end: offset + 1 });
    }
}

pub(crate) async fn keys_are_placed_as_kafka_places_them(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(7);
    log.create_topic(&topic).await.expect("created");
    let keys: Vec<String> = (0..40).map(|n| format!("agent-{}", "x".repeat(n))).collect();
    for _ in 0..2 {
        let acknowledged = append_all(&log, &topic.name, keys.iter().map(|key| record(key.as_str(), "v"))).await;
        for (key, (partition, _)) in keys.iter().zip(acknowledged) {
            assert_eq!(partition, placed(key.as_bytes(), topic.partitions), "{key}");
        }
    }
}

pub(crate) async fn records_appended_together_are_told_of_together(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(3);
    log.create_topic(&topic).await.expect("created");
    let header = [("epoch".to_owned(), Bytes::from_static(b"0"))];
    assert_eq!(log.append_many(&topic.name, Vec::new(), &header).expect("taken").await.expect("nothing to wait for"), []);
    let sent: Vec<(Bytes, Bytes)> = (0..200).map(|n| (format!("key-{}", n % 7).into(), format!("value-{n}").into())).collect();
    let mut positions = log.append_many(&topic.name, sent.clone(), &header).expect("taken").await.expect("durable");
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let read = read_records(&mut reader, sent.len()).await;
    let mut found: Vec<(u32, u64)> = read.iter().map(|record| (record.partition, record.offset)).collect();
    positions.sort_unstable();
    found.sort_unstable();
    assert_eq!(positions, found);
    for key in 0..7 {
        // One key's records stay in order.
        let of = |key: &str| read.iter().filter(|r| r.key == key.as_bytes()).map(|r| r.value.clone()).collect::<Vec<_>>();
        let key = format!("key-{key}");
        let wanted: Vec<Bytes> = sent.iter().filter(|(k, _)| k == key.as_bytes()).map(|(_, value)| value.clone()).collect();
        assert_eq!(of(&key), wanted);
    }
    assert!(read.iter().all(|record| record.header("epoch").is_some()));
}

pub(crate) async fn keys_values_and_headers_come_back_as_they_were(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    let header = |name: &str, value: &[u8]| (name.to_owned(), Bytes::copy_from_slice(value));
    let sent = vec![
        Record { key: "k".into(), value: Bytes::new(), headers: Vec::new() },
        Record { key: vec![0, 255, 128].into(), value: vec![0; 3].into(), headers: vec![header("epoch", b"0"), header("empty", b"")] },
        Record { key: "ünï".into(), value: "💡".into(), headers: vec![header("b", &[0, 255]), header("a", b"1"), header("b", b"2")] },
        Record { key: "long".repeat(200).into(), value: vec![7; 300_000].into(), headers: vec![header(&"n".repeat(300), &[9; 5_000])] },
    ];
    let before = now_ms();
    append_all(&log, &topic.name, sent.clone()).await;
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    for (record, sent) in read_records(&mut reader, sent.len()).await.into_iter().zip(sent) {
        assert_eq!((record.key, record.value, record.headers), (sent.key, sent.value, sent.headers));
        assert!((before - 1_000..=now_ms() + 1_000).contains(&record.appended_at_ms), "{}", record.appended_at_ms);
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("in range")
}

pub(crate) async fn two_groups_read_independently(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    let acknowledged = append_all(&log, &topic.name, (0..50).map(|n| record(format!("k{n}"), "v"))).await;
    let groups = [fresh("group"), fresh("group")];
    for (n, group) in groups.iter().enumerate() {
        assert_eq!(log.committed(group, &topic.name).await.expect("committed"), [None, None]);
        let mut consumer = Arc::clone(&log).join(group, &topic.name).expect("joins");
        let assigned = begin_all(&log, &topic.name, &mut consumer, 2).await;
        assert!(assigned.iter().all(|a| a.committed.is_none()), "never committed");
        let records = consume_records(&mut consumer, acknowledged.len()).await;
        assert_eq!(positions(&records), acknowledged.iter().copied().collect());
        if n == 0 {
            consumer.committer().commit(0, 1).await.expect("commits");
        }
        consumer.leave().await;
    }
    assert_eq!(log.committed(&groups[0], &topic.name).await.expect("committed"), [Some(1), None]);
    assert_eq!(log.committed(&groups[1], &topic.name).await.expect("committed"), [None, None]);
}

pub(crate) async fn a_committed_offset_survives_reopening(harness: &impl Harness) {
    let topic = topic(1);
    let group = fresh("group");
    {
        let log = harness.open().await;
        log.create_topic(&topic).await.expect("created");
        append_all(&log, &topic.name, (0..10).map(|n| record("k", n.to_string()))).await;
        let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
        begin_all(&log, &topic.name, &mut consumer, 1).await;
        consume_records(&mut consumer, 10).await;
        consumer.committer().commit(0, 7).await.expect("commits");
        consumer.leave().await;
    }
    let log = harness.open().await;
    assert_eq!(log.committed(&group, &topic.name).await.expect("committed"), [Some(7)]);
    let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
    assert_eq!(begin_all(&log, &topic.name, &mut consumer, 1).await, [Assignment { partition: 0, committed: Some(7) }]);
    assert_eq!(values(&consume_records(&mut consumer, 3).await), ["7", "8", "9"]);
    consumer.leave().await;
}

pub(crate) async fn the_log_keeps_its_id_and_its_records(harness: &impl Harness) {
    let topic = topic(2);
    let (id, acknowledged) = {
        let log = harness.open().await;
        log.create_topic(&topic).await.expect("created");
        let acknowledged = append_all(&log, &topic.name, (0..30).map(|n| record(format!("k{n}"), "v"))).await;
        (log.id().await.expect("an id"), acknowledged)
    };
    assert!(!id.is_empty());
    let log = harness.open().await;
    assert_eq!(log.id().await.expect("an id"), id);
    log.check().await.expect("can take records");
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    assert_eq!(positions(&read_records(&mut reader, 30).await), acknowledged.into_iter().collect());
}

/// What members of a group saw, and what they must not see.
#[derive(Default)]
struct Sightings {
    seen: BTreeSet<(u32, u64)>,
    holder: HashMap<u32, usize>,
}

/// A member that commits what it gets at once and lets go when asked to.
async fn member(
    log: Arc<dyn Log>,
    topic: String,
    group: String,
    name: usize,
    sightings: Arc<Mutex<Sightings>>,
    mut stop: watch::Receiver<bool>,
    joined: mpsc::UnboundedSender<usize>,
) {
    let mut consumer = Arc::clone(&log).join(&group, &topic).expect("joins");
    let mut next = HashMap::new();
    loop {
        let delivery = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => break,
            delivery = consumer.next() => delivery.expect("a delivery"),
        };
        match delivery {
            Delivery::Assigned(assignments) => {
                for assignment in &assignments {
                    let before = sightings.lock().expect("lock").holder.insert(assignment.partition, name);
                    assert_eq!(before, None, "partition {} was let go before it was given to another", assignment.partition);
                    begin(&log, &topic, &mut consumer, assignment).await;
                    next.insert(assignment.partition, assignment.committed);
                }
                // The test may be over.
                let _ = joined.send(name);
            }
            Delivery::Records(records) => {
                for record in &records {
                    let mut sightings = sightings.lock().expect("lock");
                    assert_eq!(sightings.holder.get(&record.partition), Some(&name), "delivered after a finished revocation");
                    sightings.seen.insert((record.partition, record.offset));
                    let expected = next.insert(record.partition, Some(record.offset + 1)).expect("begun");
                    assert!(expected.is_none_or(|expected| expected == record.offset), "without gaps and repeats");
                }
                for partition in records.iter().map(|record| record.partition).collect::<BTreeSet<_>>() {
                    let offset = next[&partition].expect("just seen");
                    consumer.committer().commit(partition, offset).await.expect("holds it");
                }
            }
            Delivery::Revoked(revocation) => {
                for partition in &revocation.partitions {
                    if let Some(offset) = next.remove(partition).flatten() {
                        consumer.committer().commit(*partition, offset).await.expect("still holds it");
                    }
                    sightings.lock().expect("lock").holder.remove(partition);
                }
                revocation.done();
            }
            Delivery::Lost(partitions) => panic!("lost {partitions:?}"),
        }
    }
    for (partition, offset) in next {
        if let Some(offset) = offset {
            consumer.committer().commit(partition, offset).await.expect("still holds it");
        }
    }
    sightings.lock().expect("lock").holder.retain(|_, holder| *holder != name);
    consumer.leave().await;
}

pub(crate) async fn every_record_is_delivered_while_members_come_and_go(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(6);
    log.create_topic(&topic).await.expect("created");
    let group = fresh("group");
    let sightings = Arc::new(Mutex::new(Sightings::default()));
    let (joined, mut has_joined) = mpsc::unbounded_channel();
    let mut members = Vec::new();
    let mut start = |name: usize| {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(member(
            Arc::clone(&log),
            topic.name.clone(),
            group.clone(),
            name,
            Arc::clone(&sightings),
            stopped,
            joined.clone(),
        ));
        members.push((stop, task));
    };
    let mut sent = BTreeSet::new();
    let some = |from: usize| (from..from + 200).map(|n| record(format!("k{n}"), "v")).collect::<Vec<_>>();

    start(0);
    sent.extend(append_all(&log, &topic.name, some(0)).await);
    while has_joined.recv().await.expect("members") != 0 {}
    start(1);
    start(2);
    sent.extend(append_all(&log, &topic.name, some(200)).await);
    let mut waiting = BTreeSet::from([1, 2]);
    while !waiting.is_empty() {
        waiting.remove(&has_joined.recv().await.expect("members"));
        sent.extend(append_all(&log, &topic.name, some(400)).await);
    }
    let held: BTreeSet<_> = sightings.lock().expect("lock").holder.values().copied().collect();
    assert!(held.len() > 1, "the partitions are shared: {held:?}");
    for (stop, task) in members.drain(..2) {
        stop.send(true).expect("running");
        sent.extend(append_all(&log, &topic.name, some(600)).await);
        task.await.expect("a member ends in order");
    }
    sent.extend(append_all(&log, &topic.name, some(800)).await);

    // The last member commits all there is.
    let mut ends = Vec::new();
    for partition in 0..topic.partitions {
        ends.push(Some(log.bounds(&topic.name, partition).await.expect("bounds").end));
    }
    while log.committed(&group, &topic.name).await.expect("committed") != ends {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sightings.lock().expect("lock").seen, sent);
    for (stop, task) in members {
        stop.send(true).expect("running");
        task.await.expect("a member ends in order");
    }
}

pub(crate) async fn the_next_consumer_goes_on_at_the_committed_offset(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    let group = fresh("group");
    append_all(&log, &topic.name, (0..9).map(|n| record("k", n.to_string()))).await;
    let mut seen = Vec::new();
    for round in 1..=3 {
        let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
        begin_all(&log, &topic.name, &mut consumer, 1).await;
        let records = consume_records(&mut consumer, 9 - seen.len()).await;
        seen.extend(values(&records).into_iter().take(3));
        consumer.committer().commit(0, 3 * round).await.expect("commits");
        consumer.leave().await;
    }
    assert_eq!(seen, (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(log.committed(&group, &topic.name).await.expect("committed"), [Some(9)]);
}

pub(crate) async fn a_paused_partition_delivers_nothing_until_resumed(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    let keys = a_key_for_each_partition(&log, &topic).await;
    let mut consumer = Arc::clone(&log).join(&fresh("group"), &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut consumer, 2).await;

    consumer.pause(0).expect("holds it");
    append_all(&log, &topic.name, [record(keys[0].clone(), "held back")]).await;
    for n in 0..5 {
        append_all(&log, &topic.name, [record(keys[1].clone(), n.to_string())]).await;
        assert_eq!(values(&consume_records(&mut consumer, 1).await), [n.to_string()]);
    }
    consumer.resume(0).expect("holds it");
    assert_eq!(values(&consume_records(&mut consumer, 1).await), ["held back"]);
    consumer.leave().await;
}

pub(crate) async fn reading_begins_where_it_is_told_to(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    let keys = a_key_for_each_partition(&log, &topic).await;
    let both = |n: usize| keys.iter().map(move |key| record(key.clone(), n.to_string()));
    append_all(&log, &topic.name, (0..5).flat_map(both)).await;

    let mut start = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let mut end = Arc::clone(&log).read(&topic.name, ReadFrom::End).await.expect("opens");
    let mut offsets = Arc::clone(&log).read(&topic.name, ReadFrom::Offsets(vec![(1, 3)])).await.expect("opens");
    append_all(&log, &topic.name, both(5)).await;

    let all: BTreeSet<_> = (0..2).flat_map(|partition| (0..6).map(move |offset| (partition, offset))).collect();
    assert_eq!(positions(&read_records(&mut start, 12).await), all);
    assert_eq!(positions(&read_records(&mut end, 2).await), BTreeSet::from([(0, 5), (1, 5)]));
    assert_eq!(positions(&read_records(&mut offsets, 4).await), BTreeSet::from([(0, 5), (1, 3), (1, 4), (1, 5)]));
}

pub(crate) async fn a_reader_knows_when_it_has_caught_up(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(2);
    log.create_topic(&topic).await.expect("created");
    let empty = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    assert!(empty.is_caught_up(), "nothing was there");
    append_all(&log, &topic.name, (0..100).map(|n| record(format!("k{n}"), "v"))).await;
    assert!(empty.is_caught_up(), "what came later does not count");

    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let mut read = 0;
    while !reader.is_caught_up() {
        assert!(read < 100, "all was returned");
        read += reader.next().await.expect("records").len();
    }
    assert_eq!(read, 100);
    let end = Arc::clone(&log).read(&topic.name, ReadFrom::End).await.expect("opens");
    assert!(end.is_caught_up());
}

pub(crate) async fn a_compacted_topic_keeps_the_newest_record_of_each_key(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = TopicSpec { is_compacted: true, retention: Some(Duration::from_secs(86_400)), ..topic(2) };
    log.create_topic(&topic).await.expect("created");
    let sent: Vec<Record> = (0..300).map(|n| record(format!("k{}", n % 7), n.to_string())).collect();
    let acknowledged = append_all(&log, &topic.name, sent.clone()).await;
    let newest: HashMap<_, _> =
        sent.iter().zip(&acknowledged).map(|(record, position)| (record.key.clone(), (*position, record.value.clone()))).collect();

    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let mut read = Vec::new();
    while !reader.is_caught_up() {
        read.extend(reader.next().await.expect("records"));
    }
    if harness.compacts_at_once() {
        assert_eq!(read.len(), newest.len(), "one record per key");
    }
    let found: HashMap<_, _> = read.into_iter().map(|r| (r.key, ((r.partition, r.offset), r.value))).collect();
    assert_eq!(found, newest);
}

pub(crate) async fn added_partitions_are_picked_up(harness: &impl Harness) {
    let log = harness.open().await;
    let mut topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    let mut consumer = Arc::clone(&log).join(&fresh("group"), &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut consumer, 1).await;
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::End).await.expect("opens");
    append_all(&log, &topic.name, [record("first", "v")]).await;
    assert_eq!(positions(&read_records(&mut reader, 1).await), BTreeSet::from([(0, 0)]));
    assert_eq!(positions(&consume_records(&mut consumer, 1).await), BTreeSet::from([(0, 0)]));

    topic.partitions = 3;
    log.create_topic(&topic).await.expect("grown");
    let keys = a_key_for_each_partition(&log, &topic).await;
    let grown = TopicSpec { partitions: 1, ..topic.clone() };
    log.create_topic(&grown).await.expect("left as it is");
    assert_eq!(log.partitions(&topic.name).await.expect("partitions"), 3);
    // A producer may use the new partitions a little later.
    let mut sent = BTreeSet::new();
    while sent.iter().map(|(partition, _)| *partition).collect::<BTreeSet<u32>>().len() < 3 {
        sent.extend(append_all(&log, &topic.name, keys.iter().map(|key| record(key.clone(), "v"))).await);
    }
    assert_eq!(positions(&read_records(&mut reader, sent.len()).await), sent);

    let mut consumed = BTreeSet::new();
    while consumed != sent {
        match consumer.next().await.expect("a delivery") {
            Delivery::Assigned(assignments) => {
                for assignment in &assignments {
                    begin(&log, &topic.name, &mut consumer, assignment).await;
                }
            }
            Delivery::Records(records) => consumed.extend(positions(&records).into_iter().filter(|position| *position != (0, 0))),
            // A log may hand all partitions out anew.
            Delivery::Revoked(revocation) => revocation.done(),
            Delivery::Lost(partitions) => panic!("lost {partitions:?}"),
        }
    }
    consumer.leave().await;
}

pub(crate) async fn bounds_and_record_at_tell_what_is_there(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    assert_eq!(log.bounds(&topic.name, 0).await.expect("bounds"), Bounds { start: 0, end: 0 });
    assert_eq!(log.record_at(&topic.name, 0, 0).await.expect("readable"), None);
    append_all(&log, &topic.name, (0..3).map(|n| record("k", n.to_string()))).await;
    assert_eq!(log.bounds(&topic.name, 0).await.expect("bounds"), Bounds { start: 0, end: 3 });
    for offset in 0..3 {
        let found = log.record_at(&topic.name, 0, offset).await.expect("readable").expect("there");
        assert_eq!((found.offset, found.value), (offset, Bytes::from(offset.to_string())));
    }
    assert_eq!(log.record_at(&topic.name, 0, 3).await.expect("readable"), None);
    assert!(log.bounds(&topic.name, 1).await.is_err(), "there is no such partition");
}

pub(crate) async fn beginning_below_the_start_is_refused(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    append_all(&log, &topic.name, (0..10).map(|n| record("k", n.to_string()))).await;
    let group = fresh("group");
    let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut consumer, 1).await;
    consumer.committer().commit(0, 5).await.expect("commits");
    consumer.leave().await;
    harness.trim(&log, &topic, 0, 5).await;
    assert_eq!(log.bounds(&topic.name, 0).await.expect("bounds"), Bounds { start: 5, end: 10 });
    assert_eq!(log.record_at(&topic.name, 0, 4).await.expect("readable"), None);

    let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
    assert_eq!(first_assignment(&mut consumer).await, [Assignment { partition: 0, committed: Some(5) }]);
    let refused = consumer.begin(0, 3).expect_err("two records are gone");
    assert!(matches!(&refused, LogError::Trimmed { partition: 0, committed: 3, start: 5, .. }), "{refused}");
    assert!(!refused.is_retryable());
    consumer.begin(0, 5).expect("all that is left");
    assert_eq!(values(&consume_records(&mut consumer, 5).await), ["5", "6", "7", "8", "9"]);
    consumer.leave().await;
}

pub(crate) async fn beginning_beyond_the_end_is_refused(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    append_all(&log, &topic.name, [record("k", "v")]).await;
    let mut consumer = Arc::clone(&log).join(&fresh("group"), &topic.name).expect("joins");
    assert_eq!(first_assignment(&mut consumer).await, [Assignment { partition: 0, committed: None }]);
    let refused = consumer.begin(0, 2).expect_err("there is no such offset");
    assert!(matches!(&refused, LogError::BeyondEnd { partition: 0, committed: 2, end: 1, .. }), "{refused}");
    assert!(!refused.is_retryable());
    assert!(matches!(consumer.begin(7, 0), Err(LogError::NotHeld(7))), "never assigned");
    consumer.begin(0, 1).expect("behind the newest");
    append_all(&log, &topic.name, [record("k", "next")]).await;
    assert_eq!(values(&consume_records(&mut consumer, 1).await), ["next"]);
    consumer.leave().await;
}

async fn first_assignment(consumer: &mut Box<dyn GroupConsumer>) -> Vec<Assignment> {
    match consumer.next().await.expect("a delivery") {
        Delivery::Assigned(assignments) => assignments,
        other => panic!("expected an assignment, not {other:?}"),
    }
}

pub(crate) async fn a_full_buffer_refuses_and_loses_nothing(harness: &impl Harness) {
    let log = harness.open_with_tiny_buffer().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    let mut taken = Vec::new();
    let refused = loop {
        assert!(taken.len() < 100_000, "the buffer is bounded");
        match log.append(&topic.name, record("k", vec![b'x'; 1_024])) {
            Ok(acknowledgement) => taken.push(acknowledgement),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, AppendError::BufferFull), "{refused}");
    let acknowledged = futures::future::try_join_all(taken).await.expect("all that was taken is acknowledged");
    let offsets: Vec<u64> = acknowledged.iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>(), "what was refused left no gap");
    append_all(&log, &topic.name, [record("k", "room again")]).await;
}

pub(crate) async fn a_group_that_left_may_not_commit(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    append_all(&log, &topic.name, (0..3).map(|n| record("k", n.to_string()))).await;
    let group = fresh("group");
    let mut zombie = Arc::clone(&log).join(&group, &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut zombie, 1).await;
    let late = zombie.committer();
    late.commit(0, 1).await.expect("holds it");
    zombie.leave().await;
    let mut consumer = Arc::clone(&log).join(&group, &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut consumer, 1).await;
    consumer.committer().commit(0, 3).await.expect("holds it");
    assert!(late.commit(0, 2).await.is_err(), "another consumer holds it by now");
    assert_eq!(log.committed(&group, &topic.name).await.expect("committed"), [Some(3)]);
    consumer.leave().await;
}

pub(crate) async fn waiting_may_be_cancelled_without_losing_records(harness: &impl Harness) {
    let log = harness.open().await;
    let topic = topic(1);
    log.create_topic(&topic).await.expect("created");
    let mut consumer = Arc::clone(&log).join(&fresh("group"), &topic.name).expect("joins");
    begin_all(&log, &topic.name, &mut consumer, 1).await;
    let mut reader = Arc::clone(&log).read(&topic.name, ReadFrom::Start).await.expect("opens");
    let (mut consumed, mut read) = (Vec::new(), Vec::new());
    let mut appends = 0_usize;
    while consumed.len() < 30 || read.len() < 30 {
        if appends < 30 {
            append_all(&log, &topic.name, [record("k", appends.to_string())]).await;
            appends += 1;
        }
        // Each wait is given up at another point of its progress.
        let patience = Duration::from_micros(rand::random_range(0..3_000));
        if let Ok(delivery) = tokio::time::timeout(patience, consumer.next()).await {
            match delivery.expect("a delivery") {
                Delivery::Records(records) => consumed.extend(values(&records)),
                other => panic!("expected records, not {other:?}"),
            }
        }
        if let Ok(records) = tokio::time::timeout(patience, reader.next()).await {
            read.extend(values(&records.expect("records")));
        }
    }
    let sent: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!((consumed, read), (sent.clone(), sent));
    consumer.leave().await;
}

pub(crate) async fn an_unknown_topic_is_named(harness: &impl Harness) {
    let log = harness.open().await;
    let name = fresh("nowhere");
    let is_named = |error: LogError| assert!(matches!(&error, LogError::UnknownTopic(topic) if *topic == name), "{error}");
    is_named(log.partitions(&name).await.expect_err("unknown"));
    is_named(log.bounds(&name, 0).await.expect_err("unknown"));
}
