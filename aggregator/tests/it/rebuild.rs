//! `rebuild` makes a table that equals the one that it replaces, while events keep coming, and mends one that is wrong.

use crate::pipeline::Pipeline;
use crate::verify::{AGENTS, EVENTS, counted, event, verify};
use aggregator::decode::Decoder;
use aggregator::rebuild::{RebuildError, RebuildOptions, RebuildReport, Rebuilder};
use aggregator::verify::Progress;
use event_log::Log;
use schemas::AgentEvent;
use schemas::codec::{WireForm, decode_totals, encode_event};
use schemas::item::{AGENT_ID, DATE, Item, MetricKey, Period, Subject, TIMESTAMP, TableNames, event_sort_key, n, s};
use schemas::time::{DAY_US, day_of, now_micros};
use service_kit::log::Topics;
use service_kit::metrics_tables::{FollowedTables, MetricsTables};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const REBUILT: &str = "ai-agent-metrics-g1";

pub(crate) fn rebuilder(pipeline: &Pipeline, options: RebuildOptions) -> Rebuilder {
    Rebuilder {
        store: pipeline.engine.client(),
        tables: TableNames::default(),
        log: Arc::clone(&pipeline.local) as Arc<dyn Log>,
        topics: Topics::default(),
        decoder: Decoder::default(),
        wire_form: WireForm::SingleObject,
        barrier: None,
        // The aggregator looks every second; nobody depends on it here.
        options: RebuildOptions { followed_within: Some(Duration::from_millis(1)), live_days: 10_000, ..options },
    }
}

async fn rebuild(pipeline: &Pipeline, options: RebuildOptions) -> RebuildReport {
    Box::pin(rebuilder(pipeline, options).run(&Progress::new(|_| {}))).await.unwrap()
}

/// Runs an aggregator while `work` is under way.
pub(crate) async fn beside<T>(pipeline: &Pipeline, work: impl Future<Output = T>) -> T {
    let (mut outcome, work) = (None, Box::pin(work));
    pipeline.run_through(Arc::clone(&pipeline.local) as Arc<dyn Log>, async { outcome = Some(work.await) }).await;
    outcome.unwrap()
}

/// Every item of a table by its keys, without what two right tables may differ in: how often they were written, and which
/// names came first where there are more than get counters of their own.
async fn items(pipeline: &Pipeline, table: &str) -> BTreeMap<(String, String), BTreeMap<String, String>> {
    let mut pages = pipeline.engine.client().scan().table_name(table).into_paginator().items().send();
    let mut items = BTreeMap::new();
    while let Some(item) = pages.next().await {
        let item: Item = item.unwrap();
        let text = |name: &str| item[name].as_s().unwrap().clone();
        let key = (text(AGENT_ID), text(DATE));
        let is_crowded = item.contains_key("m#(other)");
        let mut kept: BTreeMap<String, String> = BTreeMap::new();
        let mut together: BTreeMap<&str, i64> = BTreeMap::new();
        for (name, value) in item.iter().filter(|(name, _)| !["version", "filled_at"].contains(&name.as_str())) {
            match name.split_once('#') {
                Some((of @ ("m" | "mt" | "mc"), _)) if is_crowded => {
                    *together.entry(of).or_default() += value.as_n().unwrap().parse::<i64>().unwrap();
                }
                _ => drop(kept.insert(name.clone(), format!("{value:?}"))),
            }
        }
        kept.extend(together.into_iter().map(|(of, sum)| (of.to_owned(), sum.to_string())));
        items.insert(key, kept);
    }
    items
}

pub(crate) async fn tables(pipeline: &Pipeline) -> MetricsTables {
    MetricsTables::read(&pipeline.engine.client(), &TableNames::default()).await.unwrap()
}

/// Posts until told to stop, some of it of now, each tenth event twice; how many records that were.
pub(crate) async fn post_until(pipeline: &Pipeline, stop: &CancellationToken, posted: &AtomicU32) {
    for number in EVENTS.. {
        let mut event = event(number);
        if number % 2 == 0 {
            event.timestamp = now_micros();
        }
        let encoded = encode_event(&event, WireForm::SingleObject);
        for _ in 0..1 + u32::from(number % 10 == 0) {
            pipeline.append(&event.agent_id, encoded.clone()).await;
            posted.fetch_add(1, Ordering::Relaxed);
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

pub(crate) async fn all_counted(pipeline: &Pipeline) {
    let end = pipeline.local.bounds(&pipeline.config.topic_events, 0).await.unwrap().end;
    while pipeline.local.committed(&pipeline.config.group, &pipeline.config.topic_events).await.unwrap() != [Some(end)] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_table_equals_the_old_one_while_events_keep_coming() {
    let pipeline = counted().await;
    let (stop, posted) = (CancellationToken::new(), AtomicU32::new(0));
    let report = beside(&pipeline, async {
        let (_, report) = tokio::join!(post_until(&pipeline, &stop, &posted), async {
            let report = rebuild(&pipeline, RebuildOptions { no_switch: true, ..RebuildOptions::default() }).await;
            stop.cancel();
            report
        });
        all_counted(&pipeline).await;
        report
    })
    .await;
    assert!(posted.load(Ordering::Relaxed) > 50, "it was rebuilt under load");
    assert!(report.verified.agrees, "{report}");
    assert_eq!((report.filled.changes_total, report.filled.changes), (0, vec![]));
    assert!(report.filled.events >= u64::from(EVENTS) && report.filled.items > 40, "{:?}", (report.filled.events, report.filled.items));
    assert_eq!((report.is_switched, tables(&pipeline).await.served.generation), (false, 0));
    let (old, new) = (items(&pipeline, "ai-agent-metrics").await, items(&pipeline, REBUILT).await);
    assert!(old.len() > 60);
    for (key, item) in &old {
        assert_eq!(new.get(key), Some(item), "{key:?}");
    }
    assert_eq!(old.len(), new.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_changes_over_and_counting_goes_on_in_the_new_table() {
    let pipeline = counted().await;
    let report = beside(&pipeline, rebuild(&pipeline, RebuildOptions { drop_old: true, ..RebuildOptions::default() })).await;
    assert!(report.is_switched && report.is_old_dropped, "{report}");
    let now = tables(&pipeline).await;
    assert_eq!((now.served.name.as_str(), now.served.generation, now.other), (REBUILT, 1, None));
    let (stop, posted) = (CancellationToken::new(), AtomicU32::new(0));
    stop.cancel();
    post_until(&pipeline, &stop, &posted).await;
    beside(&pipeline, all_counted(&pipeline)).await;
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!(verified.raw.events, u64::from(EVENTS) + 1);
    assert_eq!(newest_versions(&pipeline).await.into_iter().filter(|(_, version)| version >> 24 != 1).collect::<Vec<_>>(), []);
    let tables: Vec<String> = pipeline.engine.client().list_tables().send().await.unwrap().table_names.unwrap();
    assert!(!tables.contains(&"ai-agent-metrics".to_owned()), "{tables:?}");
}

/// The highest version that was announced, by agent and day.
async fn newest_versions(pipeline: &Pipeline) -> BTreeMap<(String, i32), i64> {
    let topic = &pipeline.config.topic_metrics;
    let bounds = pipeline.local.bounds(topic, 0).await.unwrap();
    let mut newest = BTreeMap::new();
    for offset in bounds.start..bounds.end {
        let Some(record) = pipeline.local.record_at(topic, 0, offset).await.unwrap() else { continue };
        let totals = decode_totals(&record.value).unwrap();
        let version = newest.entry((totals.agent_id.clone(), totals.day)).or_insert(0);
        *version = totals.version.max(*version);
    }
    assert!(newest.len() >= AGENTS.len());
    newest
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_is_named_and_mended() {
    let pipeline = counted().await;
    let of = event(8);
    let subject = Subject::Agent(of.agent_id.as_str().into());
    let key = MetricKey { subject: subject.clone(), period: Period::Day(day_of(of.timestamp)) };
    let store = pipeline.engine.client();
    let update = store.update_item().table_name(TableNames::default().metrics).set_key(Some(key.key())).update_expression("ADD calls :n");
    update.expression_attribute_values(":n", n(5)).send().await.unwrap();
    assert!(!verify(&pipeline).await.agrees);
    let unsure = beside(&pipeline, rebuild(&pipeline, RebuildOptions::default())).await;
    assert!(!unsure.is_switched && !unsure.is_good() && unsure.filled.lowered == 1, "fewer events are a question: {unsure}");
    let give_up = RebuildOptions { give_up: true, ..RebuildOptions::default() };
    assert!(rebuild(&pipeline, give_up).await.is_given_up);
    let report = beside(&pipeline, rebuild(&pipeline, RebuildOptions { accept_findings: true, ..RebuildOptions::default() })).await;
    assert!(report.is_switched && report.is_good(), "{report}");
    let text = report.to_string();
    assert!(text.contains(&format!("agent {}, day {}: calls was ", of.agent_id, key.sort_key())), "{text}");
    assert_eq!(report.filled.changes_total, 1, "{text}");
    assert!(verify(&pipeline).await.agrees);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_was_interrupted_and_a_third_one_makes_a_third_table() {
    let pipeline = counted().await;
    let first = beside(&pipeline, rebuild(&pipeline, RebuildOptions { no_switch: true, ..RebuildOptions::default() })).await;
    let second = beside(&pipeline, rebuild(&pipeline, RebuildOptions::default())).await;
    assert_eq!((first.filled.filled_before, second.filled.filled_before), (0, first.filled.items));
    assert!(second.is_switched && second.filled.items == 0, "{second}");
    let third = beside(&pipeline, rebuild(&pipeline, RebuildOptions::default())).await;
    assert_eq!((third.old.as_str(), third.new.as_str()), (REBUILT, "ai-agent-metrics-g2"));
    assert!(verify(&pipeline).await.agrees);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_over_that_was_interrupted_is_ended_and_the_old_table_dropped() {
    let pipeline = counted().await;
    beside(&pipeline, rebuild(&pipeline, RebuildOptions { no_switch: true, ..RebuildOptions::default() })).await;
    // As it is right behind the decisive step.
    let filled = tables(&pipeline).await;
    let (old, new) = (filled.served.clone(), filled.other.clone().unwrap());
    filled.change(&pipeline.engine.client(), &TableNames::default(), (new, Some(old))).await.unwrap();
    let report = beside(&pipeline, rebuild(&pipeline, RebuildOptions { drop_old: true, ..RebuildOptions::default() })).await;
    assert!(report.is_ended && report.is_good(), "{report}");
    let now = tables(&pipeline).await;
    assert_eq!((now.served.name.as_str(), now.other), (REBUILT, None));
    let names = pipeline.engine.client().list_tables().send().await.unwrap().table_names.unwrap();
    assert!(!names.contains(&"ai-agent-metrics".to_owned()), "{names:?}");
    assert!(verify(&pipeline).await.agrees);
    // The name of the new table would lead past everybody else.
    let renamed = TableNames { metrics: REBUILT.to_owned(), ..TableNames::default() };
    let refused = aggregator::check_tables(&pipeline.engine.client(), &renamed).await.unwrap_err().to_string();
    assert!(refused.contains("keep DYNAMODB_TABLE_METRICS=ai-agent-metrics"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_given_up_leaves_nothing() {
    let pipeline = counted().await;
    beside(&pipeline, rebuild(&pipeline, RebuildOptions { no_switch: true, ..RebuildOptions::default() })).await;
    let give_up = RebuildOptions { give_up: true, ..RebuildOptions::default() };
    assert!(rebuild(&pipeline, give_up.clone()).await.is_given_up);
    assert!(matches!(Box::pin(rebuilder(&pipeline, give_up).run(&Progress::new(|_| {}))).await, Err(RebuildError::NothingToGiveUp)));
    let now = tables(&pipeline).await;
    assert_eq!((now.served.generation, now.other.clone(), now.next_version(&TableNames::default()).generation), (0, None, 2));
    let tables = pipeline.engine.client().list_tables().send().await.unwrap().table_names.unwrap();
    assert!(!tables.contains(&REBUILT.to_owned()), "{tables:?}");
    beside(&pipeline, all_counted(&pipeline)).await;
    assert!(verify(&pipeline).await.agrees);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_taken_over() {
    let pipeline = Pipeline::new().await;
    let old_day = now_micros() - 40 * DAY_US;
    let events: Vec<AgentEvent> = (0..20)
        .map(|i| AgentEvent { timestamp: if i < 10 { old_day + i64::from(i) } else { now_micros() - i64::from(i) }, ..event(i) })
        .collect();
    for event in &events {
        pipeline.append(&event.agent_id, encode_event(event, WireForm::SingleObject)).await;
    }
    beside(&pipeline, all_counted(&pipeline)).await;
    for event in &events[..10] {
        let delete = pipeline.engine.client().delete_item().table_name(TableNames::default().events);
        let delete = delete.key(AGENT_ID, s(&event.agent_id)).key(TIMESTAMP, s(event_sort_key(event.timestamp, &event.event_id)));
        delete.send().await.unwrap();
    }
    let retention = Some(Duration::from_secs(30 * 86_400));
    let report = beside(&pipeline, rebuild(&pipeline, RebuildOptions { retention, ..RebuildOptions::default() })).await;
    assert!(report.is_switched && report.filled.taken_over > 0 && report.filled.changes_total == 0, "{report}");
    let (old, new) = (items(&pipeline, "ai-agent-metrics").await, items(&pipeline, REBUILT).await);
    assert_eq!(old, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn estimated_costs_are_priced_anew_and_told_costs_stay() {
    let pipeline = Pipeline::new().await;
    let cost_of = async |n: u32| {
        let event = priced(n);
        let get = pipeline.engine.client().get_item().table_name(TableNames::default().events).consistent_read(true);
        let get = get.key(AGENT_ID, s(&event.agent_id)).key(TIMESTAMP, s(event_sort_key(event.timestamp, &event.event_id)));
        let item = get.send().await.unwrap().item.unwrap();
        item.get("cost_usd").map(|cost| cost.as_n().unwrap().parse::<f64>().unwrap())
    };
    for n in 0..4 {
        let event = priced(n);
        pipeline.append(&event.agent_id, encode_event(&event, WireForm::SingleObject)).await;
    }
    beside(&pipeline, all_counted(&pipeline)).await;
    let prices = r#"{"date":"2026-11-26","source":"a test","models":{"of-ours":{"input":0.002,"output":0.0}}}"#.to_owned();
    let options = RebuildOptions { prices: Some(prices), ..RebuildOptions::default() };
    let report = beside(&pipeline, rebuild(&pipeline, options)).await;
    assert!(report.is_switched, "{report}");
    assert_eq!(report.filled.repriced, 2);
    // Told by the client, estimated before, not known before, and never to be known.
    assert_eq!([cost_of(0).await, cost_of(1).await, cost_of(2).await, cost_of(3).await], [Some(7.0), Some(2.0), Some(2.0), None]);
    let day = &items(&pipeline, REBUILT).await[&("alpha".to_owned(), "2024-10-04".to_owned())];
    assert_eq!((day["cost_nanousd"].as_str(), day["cost_n"].as_str()), ("N(\"11000000000\")", "N(\"3\")"));
    assert!(verify(&pipeline).await.agrees);
}

/// An event whose cost a client told, a gateway estimated, or nobody knew.
fn priced(n: u32) -> AgentEvent {
    let mut event = AgentEvent::new("alpha", 20_000 * DAY_US + i64::from(n), format!("e{n}"), schemas::MessageType::AgentResponse);
    event.content_hash = [1; 16];
    event.input_tokens = Some(1_000);
    event.model_used = Some(if n == 3 { "nobody-knows" } else { "of-ours" }.to_owned());
    event.cost_usd = [Some(7.0), Some(1.0), None, None][n as usize];
    event.cost_estimated = n == 1;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_hears_of_a_change_by_itself() {
    let pipeline = counted().await;
    let stop = CancellationToken::new();
    let followed = FollowedTables::start(&pipeline.engine.client(), &TableNames::default(), stop.clone()).await.unwrap();
    let mut changes = followed.watch();
    assert_eq!(followed.now().served.generation, 0);
    beside(&pipeline, rebuild(&pipeline, RebuildOptions::default())).await;
    changes.wait_for(|now| now.served.generation == 1 && now.other.is_none()).await.unwrap();
    stop.cancel();
}
