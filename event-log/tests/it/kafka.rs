//! What only the Kafka log can show: handovers, lost partitions, broker faults. On a real broker, or on librdkafka's
//! mock cluster where the broker has to misbehave.

use crate::suite::Harness;
use bytes::Bytes;
use event_log::kafka::{KafkaConfig, KafkaLog};
use event_log::{AppendError, Assignment, Delivery, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record, TopicSpec};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Beyond any delay that is not a fault.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_with_key_headers_and_position() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 3).await;
    let mut acknowledged = Vec::new();
    for i in 0..50 {
        let mut record = record(&format!("agent-{}", i % 7), &format!("value {i}"));
        record.headers = vec![("epoch".into(), Bytes::from("0")), ("empty".into(), Bytes::new())];
        let (partition, offset) = log.append(&topic, record.clone()).expect("enqueued").await.expect("acknowledged");
        acknowledged.push((partition, offset, record));
    }
    for (partition, offset, record) in &acknowledged {
        let found = log.record_at(&topic, *partition, *offset).await.expect("record_at").expect("is there");
        assert_eq!((&found.key, &found.value, &found.headers), (&record.key, &record.value, &record.headers));
        assert!(found.appended_at_ms > 0);
        assert_eq!(*partition, acknowledged.iter().find(|(_, _, other)| other.key == record.key).expect("a first").0);
    }
    let (partition, _, _) = acknowledged[0];
    let bounds = log.bounds(&topic, partition).await.expect("bounds");
    assert_eq!(bounds.end, acknowledged.iter().filter(|(p, _, _)| *p == partition).count() as u64);
    assert_eq!(log.record_at(&topic, partition, bounds.end).await.expect("record_at"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_waits_for_the_holder_and_its_commits_count() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 2).await;
    fill(&log, &topic, 40).await;
    let mut first = join(&log, &topic);
    let assigned = assigned(&mut *first).await;
    assert_eq!(assigned, [Assignment { partition: 0, committed: None }, Assignment { partition: 1, committed: None }]);
    begin_all(&mut *first, &assigned);
    let records = take(&mut *first, 40).await;

    let mut second = join(&log, &topic);
    let revocation = loop {
        match next(&mut *first).await {
            Delivery::Revoked(revocation) => break revocation,
            Delivery::Records(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(revocation.partitions, [0, 1]);
    for partition in 0..2 {
        let end = records.iter().filter(|r| r.partition == partition).map(|r| r.offset + 1).max().unwrap_or(0);
        first.committer().commit(partition, end).await.expect("the holder may commit while it lets go");
    }
    revocation.done();

    let (mine, theirs) = tokio::join!(self::assigned(&mut *first), self::assigned(&mut *second));
    assert_eq!((mine.len(), theirs.len()), (1, 1));
    let committed = log.committed(&group(&topic), &topic).await.expect("committed");
    for assignment in mine.iter().chain(&theirs) {
        let end = log.bounds(&topic, assignment.partition).await.expect("bounds").end;
        assert_eq!(assignment.committed, Some(end));
        assert_eq!(committed[assignment.partition as usize], Some(end));
    }
    let not_mine = theirs[0].partition;
    let refused = first.committer().commit(not_mine, 0).await;
    assert!(matches!(refused, Err(LogError::NotHeld(p)) if p == not_mine), "{refused:?}");
    first.leave().await;
    let all = loop {
        match next(&mut *second).await {
            Delivery::Revoked(revocation) => revocation.done(),
            Delivery::Assigned(all) => break all,
            _ => {}
        }
    };
    assert_eq!(all.len(), 2, "who leaves gives its partitions away at once");
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_committed_together_and_each_is_told_of_its_own() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 100).await;
    let mut consumer = join(&log, &topic);
    let assigned = assigned(&mut *consumer).await;
    assert_eq!(assigned.len(), 100);
    fill(&log, &topic, 1_000).await;
    begin_all(&mut *consumer, &assigned);
    let records = take(&mut *consumer, 1_000).await;
    let ends: Vec<u64> = (0..100).map(|p| records.iter().filter(|r| r.partition == p).map(|r| r.offset + 1).max().unwrap_or(0)).collect();
    let committer = consumer.committer();
    let commits = (0..101_u32).map(|p| committer.commit(p, ends.get(p as usize).copied().unwrap_or(0)));
    let mut outcomes = futures::future::join_all(commits).await;
    assert!(matches!(outcomes.pop(), Some(Err(LogError::NotHeld(100)))));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let committed = log.committed(&group(&topic), &topic).await.expect("committed");
    assert_eq!(committed, ends.into_iter().map(Some).collect::<Vec<_>>());
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_does_not_let_go_in_time_loses_its_partitions() {
    let Some(log) = real_log_with(|config| config.revoke_wait_ms = 500) else { return };
    let topic = topic(&log, 2).await;
    let mut first = join(&log, &topic);
    assert_eq!(assigned(&mut *first).await.len(), 2);
    let mut second = join(&log, &topic);
    let Delivery::Revoked(revocation) = next(&mut *first).await else { panic!("expected a revocation") };
    assert!(matches!(next(&mut *first).await, Delivery::Lost(partitions) if partitions == [0, 1]));
    drop(revocation);
    let (mine, theirs) = tokio::join!(assigned(&mut *first), assigned(&mut *second));
    assert_eq!((mine.len(), theirs.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_before_begin_and_begin_decides_where() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 1).await;
    fill(&log, &topic, 100).await;
    let mut consumer = join(&log, &topic);
    assert_eq!(assigned(&mut *consumer).await.len(), 1);
    let early = tokio::time::timeout(Duration::from_millis(500), consumer.next()).await;
    assert!(early.is_err(), "{early:?}");
    consumer.begin(0, 60).expect("held");
    let records = take(&mut *consumer, 40).await;
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), (60..100).collect::<Vec<_>>());
    assert!(matches!(consumer.begin(7, 0), Err(LogError::NotHeld(7))));
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_stays_in_its_group_and_misses_nothing() {
    // A poll interval of 2 s, and a user that takes nothing for longer than that, with room for a fraction of the records.
    let Some(log) = real_log_with(|config| {
        config.session_timeout_ms = 2_000;
        config.max_poll_interval_ms = 2_000;
        config.consume_buffer_bytes = 64 << 10;
    }) else {
        return;
    };
    let topic = topic(&log, 3).await;
    let count = 6_000;
    fill(&log, &topic, count).await;
    let mut consumer = join(&log, &topic);
    let assigned = assigned(&mut *consumer).await;
    begin_all(&mut *consumer, &assigned);
    let mut records = take(&mut *consumer, 10).await;
    // The time that passes is the test.
    tokio::time::sleep(Duration::from_secs(4)).await;
    while records.len() < count {
        match next(&mut *consumer).await {
            Delivery::Records(more) => records.extend(more),
            other => panic!("the membership was disturbed: {other:?}"),
        }
    }
    assert_each_partition_is_gapless(&records, 3);
    for assignment in &assigned {
        let end = log.bounds(&topic, assignment.partition).await.expect("bounds").end;
        consumer.committer().commit(assignment.partition, end).await.expect("still held");
    }
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_one_partition_leaves_the_others_flowing() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 2).await;
    let mut consumer = join(&log, &topic);
    let assigned = assigned(&mut *consumer).await;
    consumer.pause(0).expect("held");
    begin_all(&mut *consumer, &assigned);
    fill(&log, &topic, 200).await;
    let other = log.bounds(&topic, 1).await.expect("bounds").end;
    let records = take(&mut *consumer, other as usize).await;
    assert!(records.iter().all(|r| r.partition == 1));
    consumer.resume(0).expect("held");
    let records = take(&mut *consumer, 200 - other as usize).await;
    assert!(records.iter().all(|r| r.partition == 0));
    assert_each_partition_is_gapless(&records, 1);
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_stopped_past_its_session_learns_that_its_partitions_are_lost() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 1).await;
    fill(&log, &topic, 10).await;
    let mut zombie = Zombie::start(&topic);
    assert_eq!(zombie.line(), "assigned");
    zombie.signal("STOP");

    let mut heir = join(&log, &topic);
    assert_eq!(assigned(&mut *heir).await.len(), 1);
    heir.committer().commit(0, 10).await.expect("the heir holds it");
    zombie.signal("CONT");
    zombie.say("commit");
    let mut lines = vec![zombie.line(), zombie.line()];
    lines.sort();
    assert_eq!(lines, ["commit: not held", "lost"]);
    assert_eq!(log.committed(&group(&topic), &topic).await.expect("committed"), [Some(10)]);
    zombie.say("leave");
    heir.leave().await;
}

/// The other side of the test above: a process that can be stopped.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_consumer_stopped_past_its_session_learns_that_its_partitions_are_lost"]
async fn child_that_holds_a_partition() {
    let (Ok(brokers), Ok(topic)) = (std::env::var("ZOMBIE_BROKERS"), std::env::var("ZOMBIE_TOPIC")) else { return };
    let log = Arc::new(KafkaLog::new(quick(&brokers)).expect("log"));
    let mut consumer = join(&log, &topic);
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    loop {
        tokio::select! {
            line = heard.recv() => match (line.as_deref(), consumer.committer().commit(0, 5).await) {
                (Some("commit"), Err(LogError::NotHeld(0))) => tell("commit: not held"),
                (Some("commit"), other) => tell(&format!("commit: {other:?}")),
                _ => return,
            },
            delivery = consumer.next() => match delivery {
                Ok(Delivery::Assigned(_)) => tell("assigned"),
                Ok(Delivery::Lost(_)) => tell("lost"),
                Ok(Delivery::Revoked(_)) => tell("revoked"),
                Ok(Delivery::Records(_)) => {}
                Err(error) => tell(&format!("{error}")),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_reach_readers_and_groups() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 1).await;
    fill(&log, &topic, 10).await;
    let mut reader = Arc::clone(&log).read(&topic, ReadFrom::Start).await.expect("reader");
    let mut consumer = join(&log, &topic);
    assert_eq!(assigned(&mut *consumer).await.len(), 1);

    log.create_topic(&spec(&topic, 4)).await.expect("grown");
    assert_eq!(log.partitions(&topic).await.expect("partitions"), 4);
    log.create_topic(&spec(&topic, 2)).await.expect("left as it is");
    assert_eq!(log.partitions(&topic).await.expect("partitions"), 4);
    let all = loop {
        match next(&mut *consumer).await {
            Delivery::Revoked(revocation) => revocation.done(),
            Delivery::Assigned(all) => break all,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(all.len(), 4);

    // A producer of its own knows the new partitions from the start.
    let writer = real_log().expect("the broker is there");
    fill(&writer, &topic, 200).await;
    let records = read(&mut *reader, 210).await;
    assert!(reader.is_caught_up());
    assert_each_partition_is_gapless(&records, 4);
    assert!(records.iter().any(|r| r.partition > 0));
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_says_when_it_has_caught_up_and_refuses_what_is_gone() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 2).await;
    let empty = Arc::clone(&log).read(&topic, ReadFrom::Start).await.expect("reader");
    assert!(empty.is_caught_up());
    fill(&log, &topic, 100).await;
    delete_before(&topic, 0, 5).await;
    let start = log.bounds(&topic, 0).await.expect("bounds");
    assert_eq!(start.start, 5);
    let mut reader = Arc::clone(&log).read(&topic, ReadFrom::Start).await.expect("reader");
    assert!(!reader.is_caught_up());
    assert_eq!(read(&mut *reader, 95).await.len(), 95);
    assert!(reader.is_caught_up());
    let gone = Arc::clone(&log).read(&topic, ReadFrom::Offsets(vec![(0, 4)])).await;
    assert!(matches!(gone, Err(LogError::Trimmed { partition: 0, committed: 4, start: 5, .. })), "{gone:?}");
    let beyond = Arc::clone(&log).read(&topic, ReadFrom::Offsets(vec![(1, 1_000)])).await;
    assert!(matches!(beyond, Err(LogError::BeyondEnd { partition: 1, committed: 1_000, .. })), "{beyond:?}");
    assert_eq!(log.record_at(&topic, 0, 4).await.expect("record_at"), None);
    let unknown = Arc::clone(&log).read("no-such-topic", ReadFrom::Start).await;
    assert!(matches!(unknown, Err(LogError::UnknownTopic(_))), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_retention_overtakes_is_told_so() {
    let Some(log) = real_log() else { return };
    let topic = topic(&log, 1).await;
    fill(&log, &topic, 20).await;
    let mut consumer = join(&log, &topic);
    assert_eq!(assigned(&mut *consumer).await.len(), 1);
    delete_before(&topic, 0, 10).await;
    consumer.begin(0, 3).expect("was there when the partition was assigned");
    let told = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time");
    assert!(matches!(told, Err(LogError::Trimmed { committed: 3, start: 10, .. })), "{told:?}");
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_loses_nothing_that_was_acknowledged() {
    if !engines::java_or_skip() {
        return;
    }
    let kafka = Arc::new(engines::kafka::Kafka::start().expect("kafka"));
    let log = Arc::new(KafkaLog::new(quick(&kafka.bootstrap())).expect("log"));
    let topic = topic(&log, 2).await;
    log.check().await.expect("the broker is there");
    let mut acknowledged = Vec::new();
    for i in 0..2_000 {
        let acknowledgement = log.append(&topic, record(&format!("agent-{i}"), &format!("{i}"))).expect("room");
        if i == 1_000 {
            kafka.kill(0);
        }
        acknowledged.push(acknowledgement);
    }
    let mut positions = Vec::new();
    let mut failures = 0;
    for (i, acknowledgement) in acknowledged.into_iter().enumerate() {
        match acknowledgement.await {
            Ok(position) => positions.push((position, i)),
            Err(AppendError::NotAcknowledged(_)) => failures += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failures > 0, "a dead broker acknowledges nothing");
    assert!(matches!(log.check().await, Err(LogError::Unavailable(_))));

    let restarting = Arc::clone(&kafka);
    tokio::task::spawn_blocking(move || restarting.restart(0)).await.expect("joined").expect("restarted");
    for ((partition, offset), i) in positions {
        let found = log.record_at(&topic, partition, offset).await.expect("record_at").expect("was acknowledged");
        assert_eq!(found.value, Bytes::from(i.to_string()));
    }
    log.append(&topic, record("agent", "again")).expect("room").await.expect("the log works again");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_brokers_a_record_is_on_two_or_not_acknowledged() {
    if !engines::java_or_skip() {
        return;
    }
    // A dead broker is noticed sooner than by default.
    let settings = [("broker.session.timeout.ms", "4000"), ("broker.heartbeat.interval.ms", "500")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let kafka = engines::kafka::Kafka::start_with(&engines::kafka::KafkaOptions {
        brokers: 3,
        settings,
        ..engines::kafka::KafkaOptions::default()
    })
    .expect("kafka");
    let mut config = quick(&kafka.bootstrap());
    config.delivery_timeout_ms = 20_000;
    let log = KafkaLog::new(config).expect("log");
    let topic = topic(&log, 1).await;
    log.append(&topic, record("a", "on three")).expect("room").await.expect("acknowledged");
    kafka.kill(2);
    log.append(&topic, record("a", "on two")).expect("room").await.expect("acknowledged");
    kafka.kill(1);
    let alone = log.append(&topic, record("a", "on one")).expect("room").await;
    assert!(matches!(alone, Err(AppendError::NotAcknowledged(_))), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_of_a_broker_are_retried_until_the_record_is_in() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic("events", 1, 1).expect("topic");
    let log = KafkaLog::new(quick(&cluster.bootstrap_servers())).expect("log");
    log.append("events", record("a", "0")).expect("room").await.expect("acknowledged");
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT],
    );
    let appended = log.append("events", record("a", "1")).expect("room").await;
    assert_eq!(appended.expect("acknowledged"), (0, 1), "once, behind the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_delivery_report_there_is_no_acknowledgement() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic("events", 1, 1).expect("topic");
    let mut config = quick(&cluster.bootstrap_servers());
    config.delivery_timeout_ms = 1_000;
    config.append_buffer_records = 3;
    let log = KafkaLog::new(config).expect("log");
    log.append("events", record("a", "0")).expect("room").await.expect("acknowledged");

    cluster.broker_down(-1).expect("down");
    let waiting: Vec<_> = (0..3).map(|i| log.append("events", record("a", &i.to_string())).expect("room")).collect();
    let refused = log.append("events", record("a", "one too many"));
    assert!(matches!(refused, Err(AppendError::BufferFull)), "{refused:?}");
    for acknowledgement in waiting {
        let outcome = tokio::time::timeout(PATIENCE, acknowledgement).await.expect("has an upper bound");
        assert!(matches!(outcome, Err(AppendError::NotAcknowledged(_))), "{outcome:?}");
    }
    cluster.broker_up(-1).expect("up");
    // The client reconnects in its own time, which may be longer than one append may take here.
    let again = tokio::time::timeout(PATIENCE, async {
        loop {
            let outcome = match log.append("events", record("a", "4")) {
                Ok(acknowledgement) => acknowledgement.await,
                Err(refused) => Err(refused),
            };
            match outcome {
                Err(AppendError::BufferFull | AppendError::NotAcknowledged(_)) => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    });
    again.await.expect("in time").expect("the log works again");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_broker_are_told_apart() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic("events", 1, 1).expect("topic");
    let log = KafkaLog::new(quick(&cluster.bootstrap_servers())).expect("log");
    let huge = Record { value: Bytes::from(vec![0; 2 << 20]), ..Record::default() };
    assert!(matches!(log.append("events", huge), Err(AppendError::TooLarge(size)) if size == 2 << 20));
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let refused = log.append("events", record("a", "b")).expect("room").await;
    assert!(matches!(refused, Err(AppendError::TooLarge(2))), "{refused:?}");
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let refused = log.append("events", record("a", "b")).expect("room").await;
    assert!(matches!(refused, Err(AppendError::NotAcknowledged(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_while_fetching_lose_nothing() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic("events", 1, 1).expect("topic");
    let log = Arc::new(KafkaLog::new(quick(&cluster.bootstrap_servers())).expect("log"));
    fill(&log, "events", 50).await;
    cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        ],
    );
    let mut reader = Arc::clone(&log).read("events", ReadFrom::Start).await.expect("reader");
    let records = read(&mut *reader, 50).await;
    assert_each_partition_is_gapless(&records, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_broker_refuses_is_not_taken_for_done() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic("events", 1, 1).expect("topic");
    let log = Arc::new(KafkaLog::new(quick(&cluster.bootstrap_servers())).expect("log"));
    fill(&log, "events", 5).await;
    let mut consumer = join(&log, "events");
    assert_eq!(assigned(&mut *consumer).await.len(), 1);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    let refused = consumer.committer().commit(0, 3).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    let refused = consumer.committer().commit(0, 3).await;
    assert!(matches!(refused, Err(LogError::NotHeld(0))), "{refused:?}");
    assert!(matches!(next(&mut *consumer).await, Delivery::Lost(partitions) if partitions == [0]));
}

crate::suite::run!(suite_harness);

/// The suite's topics and groups have names of their own, so that its tests share the broker.
struct RealBroker;

async fn suite_harness() -> Option<RealBroker> {
    engines::java_or_skip().then_some(RealBroker)
}

impl Harness for RealBroker {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        async { real_log().expect("the broker is there") as Arc<dyn Log> }.boxed()
    }

    fn open_with_tiny_buffer(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        async { real_log_with(|config| config.append_buffer_kib = 500).expect("the broker is there") as Arc<dyn Log> }.boxed()
    }

    fn trim<'a>(&'a self, _: &'a Arc<dyn Log>, topic: &'a TopicSpec, partition: u32, before: u64) -> BoxFuture<'a, ()> {
        async move {
            let (partition, before) = (i32::try_from(partition).expect("in range"), i64::try_from(before).expect("in range"));
            delete_before(&topic.name, partition, before).await;
        }
        .boxed()
    }

    fn compacts_at_once(&self) -> bool {
        false
    }
}

/// Timings that fit a test.
fn quick(brokers: &str) -> KafkaConfig {
    let mut config = KafkaConfig::new(brokers);
    config.session_timeout_ms = 3_000;
    config.delivery_timeout_ms = 5_000;
    config.metadata_refresh_ms = 500;
    config
}

fn real_log() -> Option<Arc<KafkaLog>> {
    real_log_with(|_| {})
}

fn real_log_with(adjust: impl FnOnce(&mut KafkaConfig)) -> Option<Arc<KafkaLog>> {
    if !engines::java_or_skip() {
        return None;
    }
    let mut config = quick(&engines::kafka::shared().bootstrap());
    adjust(&mut config);
    Some(Arc::new(KafkaLog::new(config).expect("log")))
}

async fn topic(log: &KafkaLog, partitions: u32) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("events-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    log.create_topic(&spec(&name, partitions)).await.expect("topic");
    name
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, retention: None, retention_bytes: None, is_compacted: false }
}

fn group(topic: &str) -> String {
    format!("group-of-{topic}")
}

fn join(log: &Arc<KafkaLog>, topic: &str) -> Box<dyn GroupConsumer> {
    Arc::clone(log).join(&group(topic), topic).expect("join")
}

fn record(key: &str, value: &str) -> Record {
    Record { key: Bytes::from(key.to_owned()), value: Bytes::from(value.to_owned()), headers: Vec::new() }
}

async fn fill(log: &KafkaLog, topic: &str, count: usize) {
    let appended: Vec<_> = (0..count).map(|i| log.append(topic, record(&format!("agent-{i}"), &"x".repeat(100))).expect("room")).collect();
    for acknowledgement in appended {
        acknowledgement.await.expect("acknowledged");
    }
}

async fn next(consumer: &mut dyn GroupConsumer) -> Delivery {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("a delivery")
}

/// The next assignment; revocations before it are let go.
async fn assigned(consumer: &mut dyn GroupConsumer) -> Vec<Assignment> {
    loop {
        match next(consumer).await {
            Delivery::Assigned(mut assigned) => {
                assigned.sort_by_key(|a| a.partition);
                return assigned;
            }
            Delivery::Revoked(revocation) => revocation.done(),
            other => panic!("expected an assignment, not {other:?}"),
        }
    }
}

fn begin_all(consumer: &mut dyn GroupConsumer, assigned: &[Assignment]) {
    for assignment in assigned {
        consumer.begin(assignment.partition, assignment.committed.unwrap_or(0)).expect("held");
    }
}

async fn take(consumer: &mut dyn GroupConsumer, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        match next(consumer).await {
            Delivery::Records(more) => records.extend(more),
            other => panic!("expected records, not {other:?}"),
        }
    }
    records
}

async fn read(reader: &mut dyn Reader, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("records"));
    }
    records
}

fn assert_each_partition_is_gapless(records: &[LogRecord], partitions: u32) {
    for partition in 0..partitions {
        let offsets: Vec<_> = records.iter().filter(|r| r.partition == partition).map(|r| r.offset).collect();
        assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "partition {partition}: {offsets:?}");
    }
}

async fn delete_before(topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", engines::kafka::shared().bootstrap()).create().expect("admin");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("offset");
    admin.delete_records(&list, &AdminOptions::new()).await.expect("deleted");
}

fn tell(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "zombie: {line}").expect("stdout");
    stdout.flush().expect("stdout");
}

struct Zombie {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Zombie {
    fn start(topic: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "--ignored", "--nocapture", "kafka::child_that_holds_a_partition"])
            .env("ZOMBIE_BROKERS", engines::kafka::shared().bootstrap())
            .env("ZOMBIE_TOPIC", topic)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawned");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, stdin, lines }
    }

    fn line(&mut self) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| line.split_once("zombie: ").map(|(_, said)| said.to_owned())).expect("the zombie says something")
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("stdin");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
