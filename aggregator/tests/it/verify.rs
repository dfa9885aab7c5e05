//! `verify` agrees with what was counted right, and names exactly what was tampered with.

use crate::pipeline::Pipeline;
use aggregator::decode::Decoder;
use aggregator::fold::{add, fold};
use aggregator::verify::{Finding, Progress, RawTally, Report, Verifier, VerifyError, VerifyOptions};
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::{Log, TopicSpec};
use schemas::codec::{WireForm, encode_event};
use schemas::item::{AGENT_ID, DATE, MetricKey, Period, SRC, Subject, TIMESTAMP, TableNames, directory_partition, event_sort_key, n, s};
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, day_of, hour_of, now_micros};
use schemas::users::{UserSet, user_hash};
use schemas::{AgentEvent, MessageType};
use service_kit::log::Topics;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const AGENTS: [&str; 3] = ["alpha", "beta/1", "gamma"];
pub(crate) const EVENTS: u32 = 240;

/// The `n`-th event: over three days and three agents, of every kind.
pub(crate) fn event(n: u32) -> AgentEvent {
    let timestamp = (20_000 - i64::from(n % 3)) * DAY_US + i64::from(n) * 97_000_003;
    let mut event = AgentEvent::new(AGENTS[n as usize % 3], timestamp, format!("e{n}"), MessageType::ALL[n as usize % 9]);
    event.content_hash = [1; 16];
    event.content = Some(format!("content {n}"));
    event.response_time_ms = n.is_multiple_of(2).then(|| f64::from(n) * 7.25);
    event.token_count = n.is_multiple_of(4).then(|| i64::from(n));
    event.cost_usd = n.is_multiple_of(5).then(|| f64::from(n) * 0.000_1);
    event.model_used = (n % 3 != 1).then(|| format!("model-{}", n % 80));
    event.tool_name = n.is_multiple_of(6).then(|| format!("tool-{}", n % 4));
    event.error_type = n.is_multiple_of(2).then(|| "timeout".to_owned());
    event.user_id = (n % 2 == 1).then(|| format!("user-{}", n % 11));
    event
}

/// Everything that a log may hold: events, repeats, a conflict and noise.
pub(crate) async fn counted() -> Pipeline {
    let pipeline = Pipeline::new().await;
    for n in 0..EVENTS {
        let event = event(n);
        pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
        if n.is_multiple_of(10) {
            pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
        }
    }
    let mut conflict = event(3);
    conflict.content_hash = [9; 16];
    pipeline.append(&conflict.agent_id, encode_event(&conflict, WireForm::SingleObject)).await;
    pipeline.append("noise", b"noise".to_vec()).await;
    let records = u64::from(EVENTS + EVENTS / 10) + 2;
    pipeline.run_until(Arc::clone(&pipeline.local) as Arc<dyn Log>, records).await;
    pipeline
}

pub(crate) fn verifier(pipeline: &Pipeline, options: VerifyOptions) -> Verifier {
    Verifier {
        store: pipeline.engine.client(),
        tables: TableNames::default(),
        log: Arc::clone(&pipeline.local) as Arc<dyn Log>,
        topics: Topics::default(),
        decoder: Decoder::default(),
        options,
    }
}

pub(crate) async fn verify(pipeline: &Pipeline) -> Report {
    let options = VerifyOptions { scan_events: true, ..VerifyOptions::default() };
    verifier(pipeline, options).run(&Progress::new(|_| {})).await.unwrap()
}

fn sentences(report: &Report) -> Vec<String> {
    assert_eq!(report.agrees, report.findings.is_empty());
    report.findings.iter().map(ToString::to_string).collect()
}

fn key_of(event: &AgentEvent) -> HashMap<String, AttributeValue> {
    HashMap::from([(AGENT_ID.to_owned(), s(&event.agent_id)), (TIMESTAMP.to_owned(), s(event_sort_key(event.timestamp, &event.event_id)))])
}

#[tokio::test]
async fn what_was_counted_right_agrees_in_every_counter() {
    let pipeline = counted().await;
    let report = verify(&pipeline).await;
    assert_eq!(sentences(&report), [] as [String; 0]);
    assert_eq!((report.raw.events, report.raw.pending, report.agents), (u64::from(EVENTS), 0, 3));
    let log = &report.log[&0];
    assert_eq!((log.records, log.inserted, log.duplicates, log.dead_letters), (266, 240, 24, 2));
    assert!(report.log_is_whole && report.raw.items > 40 && report.raw.user_sets > 3, "{report}");
    assert!(report.to_string().ends_with("every number is what its events add up to"), "{report}");
}

#[tokio::test]
async fn a_corrupted_counter_is_named_with_both_its_values() {
    let pipeline = counted().await;
    let event = event(8);
    let first = pipeline.local.record_at(&pipeline.config.topic_events, 0, 0).await.unwrap().unwrap();
    for (subject, period, counter) in [
        (Subject::Agent(event.agent_id.as_str().into()), Period::Day(day_of(event.timestamp)), "tokens"),
        (Subject::Agent(event.agent_id.as_str().into()), Period::Hour(hour_of(event.timestamp)), "calls"),
        (Subject::Fleet(0), Period::Day(day_of(event.timestamp)), "duplicates"),
        (Subject::Log(0), Period::Day(day_of(first.appended_at_ms * 1_000)), "inserted"),
    ] {
        let key = MetricKey { subject, period };
        let add = async |n_: i64| {
            let update = pipeline.engine.client().update_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
            let update = update.update_expression("ADD #c :n").expression_attribute_names("#c", counter);
            update.expression_attribute_values(":n", n(n_)).send().await.unwrap();
        };
        add(5).await;
        let report = verify(&pipeline).await;
        let [Finding::Counter { item, counter: named, stored, recounted }] = &report.findings[..] else { panic!("{report}") };
        assert_eq!((&item.agent_id, &item.date), (&key.partition_key(), &key.sort_key()));
        assert_eq!((named.as_str(), stored - recounted), (counter, 5));
        add(-5).await;
    }
    assert!(verify(&pipeline).await.agrees);
}

#[tokio::test]
async fn a_rollup_that_is_gone_is_named() {
    let pipeline = counted().await;
    let event = event(8);
    let key = MetricKey { subject: Subject::Agent(event.agent_id.as_str().into()), period: Period::Hour(hour_of(event.timestamp)) };
    let delete = pipeline.engine.client().delete_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
    delete.send().await.unwrap();
    let report = verify(&pipeline).await;
    assert!(report.findings.len() > 3, "{report}");
    for finding in &report.findings {
        let Finding::Counter { item, stored: 0, recounted, .. } = finding else { panic!("{report}") };
        assert!(item.agent_id == key.partition_key() && item.date == key.sort_key() && *recounted > 0, "{report}");
    }
}

#[tokio::test]
async fn a_deleted_event_is_named_with_its_record() {
    let pipeline = counted().await;
    let (store, event) = (pipeline.engine.client(), event(21));
    store.delete_item().table_name(TableNames::default().events).set_key(Some(key_of(&event))).send().await.unwrap();
    let report = verify(&pipeline).await;
    let [Finding::EventMissing { event: named, position }] = &report.findings[..] else { panic!("{report}") };
    assert_eq!((named.event_id.as_str(), named.agent_id.as_str()), ("e21", event.agent_id.as_str()));
    // Three repeats lie before it.
    assert_eq!(position, "0-0-24");
}

#[tokio::test]
async fn an_event_that_the_log_never_had_is_named() {
    let pipeline = counted().await;
    let (store, tables) = (pipeline.engine.client(), TableNames::default());
    let real = event(21);
    let item = store.get_item().table_name(&tables.events).set_key(Some(key_of(&real))).send().await.unwrap().item.unwrap();
    let mut added = real.clone();
    added.event_id = "added".into();
    for (src, agent, reason) in [
        // A copy of a real event's item under another id.
        (None, real.agent_id.as_str(), "its record 0-0-24 is event e21 of agent alpha"),
        (Some("0:0:9000"), real.agent_id.as_str(), "its record 0-0-9000 is beyond the log's end 266"),
        (Some("0:7:1"), real.agent_id.as_str(), "the log has no partition for its record 0-7-1"),
        (Some("none"), real.agent_id.as_str(), "it names no record of the log (`src`)"),
        // Of an agent that nobody knows.
        (Some("none"), "stranger", "it names no record of the log (`src`)"),
    ] {
        added.agent_id = agent.to_owned();
        let mut item = item.clone();
        item.extend(key_of(&added));
        item.extend(src.map(|src| (SRC.to_owned(), s(src))));
        store.put_item().table_name(&tables.events).set_item(Some(item)).send().await.unwrap();
        let report = verify(&pipeline).await;
        let named: Vec<_> = report.findings.iter().filter(|f| matches!(f, Finding::EventForeign { .. })).collect();
        let [Finding::EventForeign { event: named, reason: told }] = named[..] else { panic!("{src:?}: {report}") };
        assert_eq!((named.event_id.as_str(), named.agent_id.as_str()), ("added", agent));
        assert!(told.starts_with(reason), "{told}");
        let is_unlisted = agent == "stranger";
        assert_eq!(report.findings.len(), 1 + usize::from(is_unlisted), "{report}");
        assert_eq!(report.findings.iter().any(|f| matches!(f, Finding::AgentNotListed { .. })), is_unlisted);
        store.delete_item().table_name(&tables.events).set_key(Some(key_of(&added))).send().await.unwrap();
    }
}

/// Somebody who adds an event and sees to it that all sums fit gets past the sums, but the log has no record for it.
#[tokio::test]
async fn an_event_that_was_added_with_fitting_numbers_is_one_too_many() {
    let pipeline = counted().await;
    let (store, tables) = (pipeline.engine.client(), TableNames::default());
    let mut added = event(21);
    added.event_id = "added".into();
    let item = store.get_item().table_name(&tables.events).set_key(Some(key_of(&event(21)))).send().await.unwrap().item.unwrap();
    let item: HashMap<_, _> = item.into_iter().chain(key_of(&added)).collect();
    store.put_item().table_name(&tables.events).set_item(Some(item)).send().await.unwrap();
    let mut sum = Rollup::default();
    add(&mut sum, &fold(&added), true);
    for subject in [Subject::Agent(added.agent_id.as_str().into()), Subject::Fleet(0)] {
        for period in [Period::Day(day_of(added.timestamp)), Period::Hour(hour_of(added.timestamp))] {
            let key = MetricKey { subject: subject.clone(), period };
            let is_hour = matches!(period, Period::Hour(_));
            for (counter, value) in sum.counters().into_iter().filter(|(name, _)| is_hour || !is_of_a_slot(name)) {
                let update = store.update_item().table_name(&tables.metrics).set_key(Some(key.key())).update_expression("ADD #c :n");
                let update = update.expression_attribute_names("#c", counter).expression_attribute_values(":n", n(value));
                update.send().await.unwrap();
            }
        }
    }
    let told = ["log partition 0: the table has 241 events of its records, but 240 of them became events"];
    assert_eq!(sentences(&verify(&pipeline).await), told);
}

/// Five-minute slots are in hours only.
fn is_of_a_slot(counter: &str) -> bool {
    counter.strip_prefix('f').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[tokio::test]
async fn what_an_earlier_epoch_logged_is_no_difference() {
    let mut pipeline = counted().await;
    let directory = tempfile::tempdir().unwrap();
    pipeline.begin_log_anew(directory.path()).await;
    pipeline.config.epoch = 1;
    let event = event(EVENTS);
    pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
    pipeline.run_until(Arc::clone(&pipeline.local) as Arc<dyn Log>, 1).await;
    let report = verify(&pipeline).await;
    assert_eq!(sentences(&report), [] as [String; 0]);
    assert_eq!((report.raw.events, report.log[&0].inserted), (u64::from(EVENTS) + 1, 1));
}

#[tokio::test]
async fn dead_letters_that_have_left_their_topic_are_no_differences() {
    let pipeline = counted().await;
    let dead = &pipeline.config.topic_dead;
    let letters = pipeline.local.bounds(dead, 0).await.unwrap().end;
    assert_eq!(letters, 2);
    let spec = TopicSpec { name: dead.clone(), partitions: 1, retention: Some(Duration::ZERO), retention_bytes: None, is_compacted: false };
    pipeline.local.create_topic(&spec).await.unwrap();
    pipeline.local.trim().await.unwrap();
    assert!(pipeline.local.bounds(dead, 0).await.unwrap().start > 0, "they have left");
    let report = verify(&pipeline).await;
    assert_eq!(sentences(&report), [] as [String; 0]);
    assert!(report.log[&0].untold > 0, "{report}");
}

#[tokio::test]
async fn an_altered_event_is_named_with_its_fields() {
    let pipeline = counted().await;
    let update = pipeline.engine.client().update_item().table_name(TableNames::default().events).set_key(Some(key_of(&event(24))));
    let update = update.update_expression("SET #c = :c").expression_attribute_names("#c", "content");
    update.expression_attribute_values(":c", s("never said")).send().await.unwrap();
    let report = verify(&pipeline).await;
    let [Finding::EventAltered { event, fields, .. }] = &report.findings[..] else { panic!("{report}") };
    assert_eq!((event.event_id.as_str(), &fields[..]), ("e24", &["content".to_owned()][..]));
}

#[tokio::test]
async fn users_that_are_lost_or_invented_are_named() {
    let pipeline = counted().await;
    let event = event(21);
    let key = MetricKey { subject: Subject::Agent(event.agent_id.as_str().into()), period: Period::Users(day_of(event.timestamp)) };
    let (store, table) = (pipeline.engine.client(), TableNames::default().metrics);
    let item = store.get_item().table_name(&table).set_key(Some(key.key())).send().await.unwrap().item.unwrap();
    let right = UserSet::from_bytes(item["set"].as_b().unwrap().as_ref()).unwrap();
    let mut invented = right.clone();
    invented.insert(user_hash("nobody"));
    for (set, problem) in [(UserSet::default(), "the set lacks users of its events"), (invented, "the set has users of no event")] {
        let mut item = item.clone();
        item.insert("set".into(), AttributeValue::B(set.to_bytes().into()));
        store.put_item().table_name(&table).set_item(Some(item)).send().await.unwrap();
        let report = verify(&pipeline).await;
        assert_eq!(sentences(&report), [format!("agent {}, users of {}: {problem}", event.agent_id, key.sort_key())]);
    }
}

#[tokio::test]
async fn an_agent_that_the_directory_lost_is_named() {
    let pipeline = counted().await;
    let delete = pipeline.engine.client().delete_item().table_name(TableNames::default().metrics);
    delete.key(AGENT_ID, s(directory_partition("gamma"))).key(DATE, s("gamma")).send().await.unwrap();
    assert_eq!(sentences(&verify(&pipeline).await), ["agent gamma has events, but the directory does not list it"]);
}

#[tokio::test]
async fn it_agrees_while_events_keep_coming() {
    let pipeline = counted().await;
    let is_posted = AtomicBool::new(false);
    let posting = async {
        for n in EVENTS..EVENTS + 500 {
            let mut event = event(n);
            // An agent now and then that nobody has heard of before.
            if n.is_multiple_of(25) {
                event.agent_id = format!("newcomer-{n}");
            }
            pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
            if n.is_multiple_of(7) {
                pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
            }
        }
        is_posted.store(true, Ordering::Relaxed);
    };
    let verifying = async {
        loop {
            let is_last = is_posted.load(Ordering::Relaxed);
            assert_eq!(sentences(&verify(&pipeline).await), [] as [String; 0]);
            if is_last {
                break;
            }
        }
    };
    let busy = Box::pin(async {
        tokio::join!(posting, verifying);
    });
    pipeline.run_through(Arc::clone(&pipeline.local) as Arc<dyn Log>, busy).await;
}

#[tokio::test]
async fn what_may_have_expired_is_not_compared() {
    let pipeline = counted().await;
    let (store, event) = (pipeline.engine.client(), event(22));
    store.delete_item().table_name(TableNames::default().events).set_key(Some(key_of(&event))).send().await.unwrap();
    let retention = Some(Duration::from_micros((now_micros() - 19_999 * DAY_US) as u64));
    let options = VerifyOptions { retention, skip_log: true, ..VerifyOptions::default() };
    let report = verifier(&pipeline, options).run(&Progress::new(|_| {})).await.unwrap();
    assert!(report.agrees && report.raw.expired_items > 0 && report.raw.items > 0, "{report}");
}

#[tokio::test]
async fn an_interrupted_verification_goes_on_where_it_was() {
    let pipeline = counted().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("verification");
    let options = || VerifyOptions { resume: Some(path.clone()), ..VerifyOptions::default() };
    std::fs::write(&path, "something else").unwrap();
    let refused = verifier(&pipeline, options()).run(&Progress::new(|_| {})).await.unwrap_err();
    assert!(matches!(&refused, VerifyError::Resume { .. }), "{refused}");
    std::fs::write(&path, r#"{"of": "another table", "done": {}}"#).unwrap();
    let refused = verifier(&pipeline, options()).run(&Progress::new(|_| {})).await.unwrap_err();
    assert!(refused.to_string().contains("of another verification (another table)"), "{refused}");
    // Of days that are noted as done nothing is read again: not even what would differ now.
    let of = refused.to_string().split_once("not of ").unwrap().1.to_owned();
    let (first, last) = (schemas::time::format_day(19_998), schemas::time::format_day(20_000));
    let tally = RawTally { events: 7, judged: [(0, u64::from(EVENTS))].into(), ..RawTally::default() };
    let done = serde_json::json!({format!("{first} to {last}"): {"tally": tally, "findings": [], "findings_total": 0}});
    std::fs::write(&path, serde_json::json!({"of": of, "done": done}).to_string()).unwrap();
    let report = verifier(&pipeline, options()).run(&Progress::new(|_| {})).await.unwrap();
    assert_eq!((report.agrees, report.raw.events, report.resumed_windows), (true, 7, 1), "{report}");
    assert!(!path.exists(), "the next one begins anew");
}

#[tokio::test]
async fn nothing_counted_yet_is_no_difference() {
    let pipeline = Pipeline::new().await;
    let report = verify(&pipeline).await;
    assert!(report.agrees, "{report}");
    assert_eq!(report.to_string(), "nothing is counted yet, so there is nothing to compare");
}
