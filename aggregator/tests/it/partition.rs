//! Rules of one partition that the model does not look at: who waits for whom, what is too old, what is foreign.

use aggregator::Cadence;
use aggregator::fold::{add, fold};
use aggregator::partition::{Command, Guards, InsertOutcome, Partition, PartitionConfig};
use event_log::LogRecord;
use schemas::item::{Period, Subject};
use schemas::rollup::Rollup;
use schemas::time::DAY_US;
use schemas::{AgentEvent, MessageType};
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: i64 = 1_767_780_000_000;

fn partition(retention: Option<Duration>) -> Partition {
    Partition::new(PartitionConfig {
        epoch: 0,
        partition: 0,
        cadence: Cadence::Fresh,
        retention,
        inserts_in_flight: 4,
        guards: Guards::default(),
    })
}

fn record(offset: u64) -> Arc<LogRecord> {
    Arc::new(LogRecord {
        partition: 0,
        offset,
        appended_at_ms: NOW_MS,
        key: bytes::Bytes::new(),
        value: bytes::Bytes::new(),
        headers: vec![],
    })
}

fn event(agent: &str, id: u64, age_us: i64) -> AgentEvent {
    AgentEvent::new(agent, NOW_MS * 1_000 - age_us, format!("e{id}"), MessageType::UserMessage)
}

/// Answers everything but what `refuse` names, until nothing more comes within `ms`; returns the updated items.
fn run(state: &mut Partition, ms: std::ops::Range<u64>, refuse: impl Fn(&AgentEvent) -> bool) -> Vec<(Subject, Period)> {
    let mut updated = Vec::new();
    for now in ms {
        let mut commands = state.tick(now);
        while let Some(command) = commands.pop() {
            match command {
                Command::Insert(insertions) => {
                    let judge = |e: &AgentEvent| if refuse(e) { InsertOutcome::Retry } else { InsertOutcome::New };
                    state.inserted(insertions.iter().map(|i| (i.offset, judge(&i.event))).collect());
                }
                Command::Read(key) => state.item_read(&key, None),
                Command::Update(key, update) => {
                    updated.push((key.subject.clone(), key.period));
                    state.item_applied(&key, &update, Some(Rollup { version: 1, ..Rollup::default() }));
                }
                Command::Announce(key, _) => state.announced(&key),
                Command::Unite(key, hashes) => {
                    let mut set = schemas::users::UserSet::default();
                    hashes.iter().for_each(|h| {
                        set.insert(*h);
                    });
                    state.united(&key, set);
                }
                Command::Register(_, _, offset) => state.registered(offset),
                Command::DeadLetter(record, _) => state.dead_lettered(record.offset),
            }
            commands.extend(state.tick(now));
        }
    }
    updated
}

#[test]
fn a_throttled_agent_holds_back_itself_the_fleet_and_the_commit_but_no_other_agent() {
    let mut state = partition(None);
    state.record(record(0), Ok(event("hot", 0, 0)));
    for offset in 1..200 {
        state.record(record(offset), Ok(event("calm", offset, 0)));
    }
    let updated = run(&mut state, 0..2_000, |e| e.agent_id == "hot");
    assert!(updated.iter().any(|(s, _)| *s == Subject::Agent("calm".into())));
    assert!(!updated.iter().any(|(s, _)| matches!(s, Subject::Fleet(_)) || *s == Subject::Agent("hot".into())));
    assert_eq!((state.finished(), state.unfinished()), (None, 200));
    // The events themselves are stored: what is held is small.
    assert!(state.weight() < 200 * 1_000, "{}", state.weight());
    let updated = run(&mut state, 2_000..12_000, |_| false);
    assert!(updated.iter().any(|(s, _)| matches!(s, Subject::Fleet(_))));
    assert_eq!((state.finished().map(|f| f.offset), state.unfinished()), (Some(199), 0));
}

#[test]
fn what_is_too_old_when_it_was_appended_is_a_dead_letter_and_ttl_leaves_two_days() {
    let mut state = partition(Some(Duration::from_secs(30 * 86_400)));
    state.record(record(0), Ok(event("a", 0, 29 * DAY_US + 1)));
    state.record(record(1), Ok(event("a", 1, 29 * DAY_US)));
    state.record(record(2), Ok(event("a", 2, 0)));
    let commands = state.tick(0);
    let dead: Vec<_> =
        commands.iter().filter_map(|c| if let Command::DeadLetter(r, why) = c { Some((r.offset, why.reason)) } else { None }).collect();
    assert_eq!(dead, [(0, "too_old")]);
    let ttls: Vec<_> =
        commands.iter().flat_map(|c| if let Command::Insert(i) = c { i.clone() } else { vec![] }).map(|i| i.ttl.unwrap()).collect();
    assert_eq!(ttls, [NOW_MS / 1_000 + 2 * 86_400, NOW_MS / 1_000 + 30 * 86_400]);
}

#[test]
fn a_foreign_producers_broken_values_are_dead_letters() {
    let mut state = partition(None);
    let broken: [fn(&mut AgentEvent); 6] = [
        |e| e.agent_id = "*~0".into(),
        |e| e.event_id = "a#b".into(),
        |e| e.timestamp = 0,
        |e| e.token_count = Some(-1),
        |e| e.response_time_ms = Some(f64::NAN),
        |e| e.model_used = Some(String::new()),
    ];
    for (offset, break_it) in broken.iter().enumerate() {
        let mut e = event("a", offset as u64, 0);
        break_it(&mut e);
        state.record(record(offset as u64), Ok(e));
    }
    let commands = state.tick(0);
    assert_eq!(commands.len(), broken.len());
    assert!(commands.iter().all(|c| matches!(c, Command::DeadLetter(_, why) if why.reason == "invalid")));
}

#[test]
fn every_golden_example_adds_what_it_says() {
    let sums: std::collections::BTreeMap<&'static str, Vec<(String, i64)>> = schemas::examples::all()
        .into_iter()
        .map(|example| {
            let mut sum = Rollup::default();
            add(&mut sum, &fold(&example.event), true);
            // When it was is not what it adds.
            sum.last_at = 0;
            sum.slots = sum.slots.into_values().map(|slot| (0, slot)).collect();
            (example.name, sum.counters())
        })
        .collect();
    insta::assert_json_snapshot!(sums);
}
