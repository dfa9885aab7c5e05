//! `delete` leaves every number as if the events had never been, while others keep coming, and nothing brings them back.

use crate::pipeline::Pipeline;
use crate::rebuild::{all_counted, beside, post_until, rebuilder, tables};
use crate::verify::{AGENTS, EVENTS, counted, event, verifier, verify};
use aggregator::delete::{DeleteError, DeleteOptions, Deleter, DeletionReport, Outcome};
use aggregator::partition::Guards;
use aggregator::rebuild::{RebuildError, RebuildOptions};
use aggregator::store::MetricsStore;
use aggregator::verify::{Finding, Progress, VerifyError, VerifyOptions};
use event_log::Log;
use schemas::AgentEvent;
use schemas::codec::{WireForm, decode_totals, encode_event};
use schemas::item::{AGENT_ID, DELETED, Item, KIND, MetricKey, Period, Subject, TIMESTAMP, TableNames, event_sort_key, kind, s};
use schemas::rollup::{ModelUse, Rollup};
use schemas::time::{DAY_US, day_of, now_micros};
use schemas::users::{UserSet, user_hash};
use service_kit::deletions::{self, Stage, Whose};
use service_kit::log::Topics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Of every eleventh odd event.
const USER: &str = "user-3";

fn is_users(event: &AgentEvent) -> bool {
    event.user_id.as_deref() == Some(USER)
}

fn deleter(pipeline: &Pipeline, options: DeleteOptions) -> Deleter {
    Deleter {
        store: pipeline.engine.client(),
        tables: TableNames::default(),
        log: Arc::clone(&pipeline.local) as Arc<dyn Log>,
        topics: Topics::default(),
        wire_form: WireForm::SingleObject,
        barrier: None,
        options,
    }
}

fn of(whose: Whose) -> DeleteOptions {
    DeleteOptions { whose: Some(whose), is_confirmed: true, live_days: 10_000, ..DeleteOptions::default() }
}

async fn try_delete(pipeline: &Pipeline, options: DeleteOptions) -> Result<DeletionReport, DeleteError> {
    Box::pin(deleter(pipeline, options).run(&Progress::new(|_| {}))).await
}

async fn delete(pipeline: &Pipeline, options: DeleteOptions) -> DeletionReport {
    beside(pipeline, try_delete(pipeline, options)).await.unwrap()
}

async fn get(pipeline: &Pipeline, key: &MetricKey) -> Rollup {
    let get = pipeline.engine.client().get_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
    get.consistent_read(true).send().await.unwrap().item.map(|item| Rollup::from_item(&item)).unwrap_or_default()
}

async fn stored(pipeline: &Pipeline, event: &AgentEvent) -> Option<Item> {
    let get = pipeline.engine.client().get_item().table_name(TableNames::default().events).consistent_read(true);
    let get = get.key(AGENT_ID, s(&event.agent_id)).key(TIMESTAMP, s(event_sort_key(event.timestamp, &event.event_id)));
    get.send().await.unwrap().item
}

/// What the rollup of a subject should be: of these events.
fn sum_of<'a>(events: impl Iterator<Item = &'a AgentEvent>, period: Period) -> Rollup {
    let mut sum = Rollup::default();
    for event in events {
        let is_in = match period {
            Period::Hour(hour) => schemas::time::hour_of(event.timestamp) == hour,
            Period::Day(day) | Period::Users(day) => day_of(event.timestamp) == day,
        };
        if is_in {
            aggregator::fold::add(&mut sum, &aggregator::fold::fold(event), matches!(period, Period::Hour(_)));
        }
    }
    sum
}

/// Every counter and every maximum that events make; all models together, since not each has counters of its own.
fn numbers(rollup: &Rollup) -> Rollup {
    let mut all = ModelUse::default();
    for of in rollup.models.values() {
        all.calls += of.calls;
        all.tokens += of.tokens;
        all.cost_nanousd += of.cost_nanousd;
    }
    let models = [("all".to_owned(), all)].into_iter().filter(|(_, all)| all.calls > 0).collect();
    Rollup { duplicates: 0, version: 0, marks: Default::default(), models, ..rollup.clone() }
}

async fn users_of(pipeline: &Pipeline, subject: Subject, day: i32) -> UserSet {
    let key = MetricKey { subject, period: Period::Users(day) };
    let get = pipeline.engine.client().get_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
    let item = get.consistent_read(true).send().await.unwrap().item.unwrap();
    UserSet::from_bytes(item["set"].as_b().unwrap().as_ref()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_events_are_out_of_every_number() {
    let pipeline = counted().await;
    let (gone, left): (Vec<AgentEvent>, Vec<AgentEvent>) = (0..EVENTS).map(event).partition(is_users);
    let look = try_delete(&pipeline, DeleteOptions { is_confirmed: false, ..of(Whose::user(USER)) }).await.unwrap();
    assert!(look.to_string().contains(&format!("would delete {} events", gone.len())), "{look}");
    assert_eq!(verify(&pipeline).await.raw.events, u64::from(EVENTS), "a look deletes nothing");

    let report = delete(&pipeline, of(Whose::user(USER))).await;
    assert_eq!((report.events, report.agents.clone()), (gone.len() as u64, AGENTS.map(str::to_owned).to_vec()), "{report}");
    let text = report.to_string();
    assert!(!text.contains(USER) && text.contains("deleted "), "the user's id is forgotten: {text}");
    for agent in AGENTS {
        for day in (0..3).map(|n| day_of(event(n).timestamp)).chain([day_of(event(EVENTS - 1).timestamp)]) {
            for period in std::iter::once(Period::Day(day)).chain((day * 24..day * 24 + 24).map(Period::Hour)) {
                let key = MetricKey { subject: Subject::Agent(agent.into()), period };
                let expected = sum_of(left.iter().filter(|event| event.agent_id == agent), period);
                assert_eq!(numbers(&get(&pipeline, &key).await), numbers(&expected), "{key:?}");
            }
            let users = left.iter().filter(|e| e.agent_id == agent && day_of(e.timestamp) == day).filter_map(|e| e.user_id.as_deref());
            let expected = users.fold(UserSet::default(), |mut set, user| {
                set.insert(user_hash(user));
                set
            });
            if expected.count() > 0 {
                assert_eq!(users_of(&pipeline, Subject::Agent(agent.into()), day).await, expected, "{agent} {day}");
            }
        }
    }
    for event in &gone {
        let item = stored(&pipeline, event).await.unwrap();
        let mut names: Vec<&str> = item.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, [AGENT_ID, DELETED, "src", TIMESTAMP]);
    }
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!((verified.raw.events, verified.log[&0].inserted, verified.log[&0].deleted), (left.len() as u64, 240, gone.len() as u64));

    // What is noted of it names no user, and says what was subtracted.
    let deletions = deletions::read(&pipeline.engine.client(), &TableNames::default()).await.unwrap();
    assert_eq!((deletions.len(), deletions[0].stage, deletions[0].events), (1, Stage::Done, gone.len() as u64));
    let corrections = pipeline.engine.client().query().table_name(TableNames::default().control).key_condition_expression("#k = :k");
    let corrections = corrections.expression_attribute_names("#k", KIND).expression_attribute_values(":k", s(kind::CORRECTION));
    let corrections = corrections.send().await.unwrap().items.unwrap();
    let tokens = |item: &Item| Rollup::from_item(item).tokens;
    let of_fleet = corrections.iter().filter(|item| item["id"].as_s().unwrap().contains("#*~0#"));
    assert_eq!(of_fleet.map(tokens).sum::<i64>(), gone.iter().filter_map(|event| event.token_count).sum::<i64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_events_are_out_of_every_number_and_it_is_listed_no_more() {
    let pipeline = counted().await;
    let gone: Vec<AgentEvent> = (0..EVENTS).map(event).filter(|event| event.agent_id == AGENTS[1]).collect();
    let report = delete(&pipeline, of(Whose::Agent(AGENTS[1].into()))).await;
    assert_eq!((report.events, report.agents.len()), (gone.len() as u64, 1), "{report}");
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!((verified.agents, verified.raw.events), (2, u64::from(EVENTS) - gone.len() as u64));
    for event in &gone {
        for period in [Period::Day(day_of(event.timestamp)), Period::Hour(schemas::time::hour_of(event.timestamp))] {
            let key = MetricKey { subject: Subject::Agent(AGENTS[1].into()), period };
            assert_eq!(numbers(&get(&pipeline, &key).await), Rollup::default());
        }
        if event.user_id.is_some() {
            let users = users_of(&pipeline, Subject::Agent(AGENTS[1].into()), day_of(event.timestamp)).await;
            assert_eq!(users, UserSet::default());
        }
    }
    // The live tables were told.
    let topic = &pipeline.config.topic_metrics;
    let mut newest = std::collections::BTreeMap::new();
    for offset in 0..pipeline.local.bounds(topic, 0).await.unwrap().end {
        if let Some(record) = pipeline.local.record_at(topic, 0, offset).await.unwrap() {
            let totals = decode_totals(&record.value).unwrap();
            let known = newest.entry((totals.agent_id.clone(), totals.day)).or_insert_with(|| totals.clone());
            if totals.version > known.version {
                *known = totals;
            }
        }
    }
    let of_gone: Vec<i64> = newest.values().filter(|totals| totals.agent_id == AGENTS[1]).map(|totals| totals.calls).collect();
    assert!(!of_gone.is_empty() && of_gone.iter().all(|calls| *calls == 0), "{of_gone:?}");

    // A second time there is nothing, and nothing is noted.
    let again = delete(&pipeline, of(Whose::Agent(AGENTS[1].into()))).await;
    assert!(again.outcome == Outcome::Nothing && again.to_string().contains("there is no event of agent beta/1"), "{again}");
    assert_eq!(deletions::read(&pipeline.engine.client(), &TableNames::default()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_brings_a_deleted_event_back_and_new_ones_count() {
    let pipeline = counted().await;
    let gone = event(1);
    delete(&pipeline, of(Whose::Agent(gone.agent_id.clone()))).await;
    let first = verify(&pipeline).await;
    // A client's repeat, and a replay of the whole log: the group's commit and the checkpoint go back to its beginning.
    pipeline.append(&gone.agent_id, encode_event(&gone, WireForm::SingleObject)).await;
    let store = pipeline.engine.client();
    let checkpoint = store.delete_item().table_name(TableNames::default().control).key(KIND, s(kind::CHECKPOINT));
    checkpoint.key("id", s(format!("{}:0", pipeline.config.topic_events))).send().await.unwrap();
    beside(&pipeline, all_counted(&pipeline)).await;
    assert!(stored(&pipeline, &gone).await.unwrap().contains_key(DELETED));
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!((verified.raw.events, verified.log[&0].duplicates), (first.raw.events, first.log[&0].duplicates + 1));
    // What the agent posts from now on is another matter.
    let new = AgentEvent { event_id: "new".into(), ..gone.clone() };
    pipeline.append(&new.agent_id, encode_event(&new, WireForm::SingleObject)).await;
    beside(&pipeline, all_counted(&pipeline)).await;
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!((verified.agents, verified.raw.events), (3, first.raw.events + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_right_while_events_keep_coming() {
    let pipeline = counted().await;
    for whose in [Whose::user(USER), Whose::Agent(AGENTS[2].into())] {
        let (stop, posted) = (CancellationToken::new(), AtomicU32::new(0));
        let report = beside(&pipeline, async {
            let (_, report) = tokio::join!(post_until(&pipeline, &stop, &posted), async {
                let report = try_delete(&pipeline, of(whose)).await;
                stop.cancel();
                report
            });
            all_counted(&pipeline).await;
            report
        })
        .await
        .unwrap();
        assert!(report.outcome == Outcome::Deleted && posted.load(Ordering::Relaxed) > 50, "{report}");
        let verified = verify(&pipeline).await;
        assert!(verified.agrees, "{verified}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_was_interrupted_and_nothing_recounts_meanwhile() {
    let pipeline = counted().await;
    let left = (0..EVENTS).map(event).filter(|event| !is_users(event)).count() as u64;
    for stage in [Stage::Erasing, Stage::Settling] {
        let stopped = beside(&pipeline, try_delete(&pipeline, DeleteOptions { stop_before: Some(stage), ..of(Whose::user(USER)) })).await;
        assert!(matches!(stopped, Err(DeleteError::Stopped)), "{stopped:?}");
        let verified = verifier(&pipeline, VerifyOptions::default()).run(&Progress::new(|_| {})).await;
        assert!(matches!(verified, Err(VerifyError::Deletions(_))), "{verified:?}");
        let rebuilt = Box::pin(rebuilder(&pipeline, RebuildOptions::default()).run(&Progress::new(|_| {}))).await;
        let Err(error @ RebuildError::Deletions(_)) = rebuilt else { panic!("{rebuilt:?}") };
        assert!(error.to_string().contains("are being deleted") && error.to_string().contains("delete --resume"), "{error}");
        let other = try_delete(&pipeline, of(Whose::Agent(AGENTS[0].into()))).await;
        assert!(matches!(other, Err(DeleteError::Deletions(_))), "{other:?}");
        let look = try_delete(&pipeline, DeleteOptions { is_confirmed: false, ..of(Whose::user(USER)) }).await;
        assert!(matches!(look, Err(DeleteError::Deletions(_))), "a look goes on with nothing: {look:?}");
    }
    let resumed = delete(&pipeline, DeleteOptions { whose: None, ..of(Whose::user(USER)) }).await;
    assert_eq!(resumed.outcome, Outcome::Deleted, "{resumed}");
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert_eq!(verified.raw.events, left);
    assert!(matches!(
        try_delete(&pipeline, DeleteOptions { whose: None, ..of(Whose::user(USER)) }).await,
        Err(DeleteError::NothingToResume)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_is_made_once_however_often_it_is_begun() {
    let pipeline = counted().await;
    let stopped = DeleteOptions { stop_before: Some(Stage::Erasing), ..of(Whose::user(USER)) };
    assert!(matches!(beside(&pipeline, try_delete(&pipeline, stopped)).await, Err(DeleteError::Stopped)));
    // As if it had died before it noted that it had corrected everything.
    let store = pipeline.engine.client();
    let id = deletions::read(&store, &TableNames::default()).await.unwrap().remove(0).id;
    let back = store.update_item().table_name(TableNames::default().control).key(KIND, s(kind::DELETION)).key("id", s(id));
    let back = back.update_expression("SET #s = :s").expression_attribute_names("#s", "stage");
    back.expression_attribute_values(":s", s("correcting")).send().await.unwrap();
    delete(&pipeline, of(Whose::user(USER))).await;
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_under_way_refuses_a_deletion_and_one_afterwards_agrees() {
    let pipeline = counted().await;
    let no_switch = RebuildOptions { no_switch: true, ..RebuildOptions::default() };
    beside(&pipeline, rebuilder(&pipeline, no_switch).run(&Progress::new(|_| {}))).await.unwrap();
    let refused = beside(&pipeline, try_delete(&pipeline, of(Whose::user(USER)))).await;
    assert!(matches!(refused, Err(DeleteError::RebuildUnderWay)), "{refused:?}");
    assert_eq!(deletions::read(&pipeline.engine.client(), &TableNames::default()).await.unwrap(), []);
    beside(&pipeline, rebuilder(&pipeline, RebuildOptions::default()).run(&Progress::new(|_| {}))).await.unwrap();
    assert_eq!(tables(&pipeline).await.served.generation, 1);
    delete(&pipeline, of(Whose::user(USER))).await;
    assert!(verify(&pipeline).await.agrees);
    let report = beside(&pipeline, rebuilder(&pipeline, RebuildOptions::default()).run(&Progress::new(|_| {}))).await.unwrap();
    assert!(report.is_switched && report.filled.changes_total == 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_days_whose_events_have_expired_go_too() {
    let pipeline = Pipeline::new().await;
    let old_day = now_micros() - 40 * DAY_US;
    let events: Vec<AgentEvent> = (0..30)
        .map(|i| AgentEvent { timestamp: if i < 15 { old_day + i64::from(i) } else { now_micros() - i64::from(i) }, ..event(i) })
        .collect();
    for event in &events {
        pipeline.append(&event.agent_id, encode_event(event, WireForm::SingleObject)).await;
    }
    beside(&pipeline, all_counted(&pipeline)).await;
    for event in &events[..15] {
        let delete = pipeline.engine.client().delete_item().table_name(TableNames::default().events);
        let delete = delete.key(AGENT_ID, s(&event.agent_id)).key(TIMESTAMP, s(event_sort_key(event.timestamp, &event.event_id)));
        delete.send().await.unwrap();
    }
    // Nobody said that events expire.
    let refused = beside(&pipeline, try_delete(&pipeline, of(Whose::Agent(AGENTS[0].into())))).await.unwrap_err().to_string();
    assert!(refused.contains("counts 5 events, of which 0 are stored") && refused.contains("--event-retention-days"), "{refused}");
    assert_eq!(deletions::read(&pipeline.engine.client(), &TableNames::default()).await.unwrap(), [], "nothing stays locked");
    let retention = Some(Duration::from_secs(30 * 86_400));
    let report = delete(&pipeline, DeleteOptions { retention, ..of(Whose::Agent(AGENTS[0].into())) }).await;
    assert_eq!(report.events, 10, "{report}");
    let fleet = get(&pipeline, &MetricKey { subject: Subject::Fleet(0), period: Period::Day(day_of(old_day)) }).await;
    let expected = sum_of(events[..15].iter().filter(|event| event.agent_id != AGENTS[0]), Period::Day(day_of(old_day)));
    assert_eq!((fleet.calls, fleet.latency_us, fleet.by_type), (10, expected.latency_us, expected.by_type));
    for period in [Period::Day(day_of(old_day)), Period::Hour(schemas::time::hour_of(old_day))] {
        let own = get(&pipeline, &MetricKey { subject: Subject::Agent(AGENTS[0].into()), period }).await;
        assert_eq!(numbers(&own), Rollup::default());
        let fleet = get(&pipeline, &MetricKey { subject: Subject::Fleet(0), period }).await;
        let in_slots = if matches!(period, Period::Hour(_)) { 10 } else { 0 };
        assert_eq!((fleet.calls, fleet.slots.values().map(|slot| slot.calls).sum::<i64>()), (10, in_slots));
    }
    assert_eq!(users_of(&pipeline, Subject::Agent(AGENTS[0].into()), day_of(old_day)).await, UserSet::default());
    let options = VerifyOptions { retention, scan_events: true, ..VerifyOptions::default() };
    let verified = verifier(&pipeline, options).run(&Progress::new(|_| {})).await.unwrap();
    assert!(verified.agrees, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_removed_by_hand_is_still_named() {
    let pipeline = counted().await;
    delete(&pipeline, of(Whose::user(USER))).await;
    let victim = event(21);
    let delete = pipeline.engine.client().delete_item().table_name(TableNames::default().events);
    let delete = delete.key(AGENT_ID, s(&victim.agent_id)).key(TIMESTAMP, s(event_sort_key(victim.timestamp, &victim.event_id)));
    delete.send().await.unwrap();
    let report = verify(&pipeline).await;
    assert!(matches!(&report.findings[..], [Finding::EventMissing { event: named, .. }] if named.event_id == victim.event_id), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_aggregator_remembers_of_lowered_items_is_mended_and_forgotten() {
    let pipeline = Pipeline::new().await;
    let at = |n: u32, user: &str, ms: f64| {
        let mut event = AgentEvent::new("bot", 20_000 * DAY_US + i64::from(n), format!("e{n}"), schemas::MessageType::AgentResponse);
        (event.content_hash, event.user_id, event.response_time_ms) = ([1; 16], Some(user.to_owned()), Some(ms));
        event
    };
    let post = async |event: &AgentEvent| {
        pipeline.append("bot", encode_event(event, WireForm::SingleObject)).await;
        all_counted(&pipeline).await;
    };
    let subject = || Subject::Agent("bot".into());
    let longest = async || get(&pipeline, &MetricKey { subject: subject(), period: Period::Day(20_000) }).await.latency_max_us / 1_000;
    let users =
        async || (users_of(&pipeline, subject(), 20_000).await.count(), users_of(&pipeline, Subject::Fleet(0), 20_000).await.count());
    // One aggregator all the while.
    beside(&pipeline, async {
        post(&at(0, "gone", 1_000.0)).await;
        post(&at(1, "stays", 10.0)).await;
        assert_eq!((longest().await, users().await), (1_000, (2, 2)));
        let until_settling = DeleteOptions { stop_before: Some(Stage::Settling), ..of(Whose::user("gone")) };
        assert!(matches!(try_delete(&pipeline, until_settling).await, Err(DeleteError::Stopped)));
        assert_eq!((longest().await, users().await), (10, (1, 1)));
        // It remembers a longer one, and this user.
        post(&at(2, "gone", 500.0)).await;
        assert_eq!((longest().await, users().await), (10, (1, 1)));
        try_delete(&pipeline, of(Whose::user("gone"))).await.unwrap();
        assert_eq!((longest().await, users().await), (500, (2, 2)));
        post(&at(3, "third", 700.0)).await;
        assert_eq!((longest().await, users().await), (700, (3, 3)));
    })
    .await;
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_at_most_one_is_made() {
    let pipeline = counted().await;
    let agents_of = |agent: &str| (0..EVENTS).map(event).filter(|event| event.agent_id == agent).count() as u64;
    let (user, agent) = beside(&pipeline, async {
        tokio::join!(try_delete(&pipeline, of(Whose::user(USER))), try_delete(&pipeline, of(Whose::Agent(AGENTS[0].into()))))
    })
    .await;
    let refused = [user.is_err(), agent.is_err()].into_iter().filter(|is| *is).count();
    assert!(refused >= 1, "{user:?} {agent:?}");
    for error in [&user, &agent].into_iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(error, DeleteError::Deletions(_) | DeleteError::Tables(_)), "{error}");
    }
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    // One after the other they both are; an event of both is subtracted once.
    for whose in [Whose::user(USER), Whose::Agent(AGENTS[0].into())] {
        delete(&pipeline, of(whose)).await;
    }
    let verified = verify(&pipeline).await;
    assert!(verified.agrees, "{verified}");
    assert!(verified.raw.events < u64::from(EVENTS) - agents_of(AGENTS[0]), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_log_held_is_deleted_before_the_new_one_has_a_record() {
    let mut pipeline = counted().await;
    let directory = tempfile::tempdir().unwrap();
    // As after an import.
    pipeline.begin_log_anew(directory.path()).await;
    pipeline.config.epoch = 1;
    let report = delete(&pipeline, of(Whose::Agent(AGENTS[1].into()))).await;
    assert_eq!((report.outcome, report.events), (Outcome::Deleted, u64::from(EVENTS / 3)), "{report}");
    // As where Kafka's topic was created anew: its id is that of the cluster.
    let id = pipeline.local.id().await.unwrap();
    let note = pipeline.engine.client().update_item().table_name(TableNames::default().control).key(KIND, s(kind::CHECKPOINT));
    let note = note.key("id", s(format!("{}:0", pipeline.config.topic_events))).update_expression("SET log_id = :id");
    note.expression_attribute_values(":id", s(id)).send().await.unwrap();
    let report = delete(&pipeline, of(Whose::user(USER))).await;
    let events = (0..EVENTS).map(event).filter(|event| is_users(event) && event.agent_id != AGENTS[1]).count();
    assert_eq!((report.outcome, report.events), (Outcome::Deleted, events as u64), "{report}");
    let options = VerifyOptions { scan_events: true, skip_log: true, ..VerifyOptions::default() };
    let verified = verifier(&pipeline, options).run(&Progress::new(|_| {})).await.unwrap();
    assert!(verified.agrees && verified.agents == 2, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_comes_late_brings_no_user_back() {
    let pipeline = counted().await;
    delete(&pipeline, of(Whose::user(USER))).await;
    let of_user = (0..EVENTS).map(event).find(is_users).unwrap();
    let key = MetricKey { subject: Subject::Agent(of_user.agent_id.as_str().into()), period: Period::Users(day_of(of_user.timestamp)) };
    let metrics =
        MetricsStore { store: pipeline.engine.client(), table: TableNames::default().metrics, epoch: 0, guards: Guards::default() };
    let before = users_of(&pipeline, key.subject.clone(), day_of(of_user.timestamp)).await;
    // An aggregator that was paused since before its record was counted by another one.
    let end = pipeline.local.bounds(&pipeline.config.topic_events, 0).await.unwrap().end;
    let hash = user_hash(USER);
    assert_eq!(metrics.unite(&key, 0, &[(end - 1, hash)]).await.unwrap(), before);
    assert!(verify(&pipeline).await.agrees);
    assert!(metrics.unite(&key, 0, &[(end, hash)]).await.unwrap().contains(hash), "what is logged later counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_any_more_is_not_lowered() {
    let pipeline = Pipeline::new().await;
    let of_user = |n: u32, user: &str, ms: f64| {
        let mut event = AgentEvent::new("bot", 20_000 * DAY_US + i64::from(n), format!("e{n}"), schemas::MessageType::AgentResponse);
        (event.content_hash, event.user_id, event.response_time_ms) = ([1; 16], Some(user.to_owned()), Some(ms));
        event
    };
    let events = [of_user(0, "gone", 1_000.0), of_user(1, "expired", 500.0), of_user(2, "stays", 10.0)];
    for event in &events {
        pipeline.append("bot", encode_event(event, WireForm::SingleObject)).await;
    }
    beside(&pipeline, all_counted(&pipeline)).await;
    // Expired, and nobody says so.
    let expired = &events[1];
    let delete_item = pipeline.engine.client().delete_item().table_name(TableNames::default().events).key(AGENT_ID, s("bot"));
    delete_item.key(TIMESTAMP, s(event_sort_key(expired.timestamp, &expired.event_id))).send().await.unwrap();
    let report = delete(&pipeline, of(Whose::user("gone"))).await;
    assert_eq!((report.events, report.partial_days), (1, 1), "{report}");
    for subject in [Subject::Agent("bot".into()), Subject::Fleet(0)] {
        let rollup = get(&pipeline, &MetricKey { subject: subject.clone(), period: Period::Day(20_000) }).await;
        assert_eq!(
            (rollup.calls, rollup.latency_us, rollup.latency_max_us),
            (2, 510_000, 1_000_000),
            "its sums are known, its maximum is not"
        );
        assert_eq!(users_of(&pipeline, subject, 20_000).await.count(), 3);
    }
}
