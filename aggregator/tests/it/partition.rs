//! Rules of one partition that the model does not look at: who waits for whom, what is too old, what is foreign.

use aggregator::Cadence;
use aggregator::fold::{add, fold};
use aggregator::partition::{Command, DeadReason, Guards, InsertOutcome, Partition, PartitionConfig};
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
                Command::Register(agent, _) => state.registered(&agent),
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

#[test]
fn dead_letters_under_way_are_weighed() {
    let mut state = partition(None);
    let large = |offset| Arc::new(LogRecord { value: vec![b'x'; 10_000].into(), ..(*record(offset)).clone() });
    for offset in 0..100 {
        let reason = DeadReason { reason: "undecodable", stage: "decode", detail: String::new() };
        state.record(large(offset), Err(reason));
    }
    for offset in 100..200 {
        state.record(large(offset), Ok(event("a", offset, 0)));
    }
    let mut letters = Vec::new();
    for now in 0..100 {
        for command in state.tick(now) {
            match command {
                Command::Insert(i) => state.inserted(i.iter().map(|i| (i.offset, InsertOutcome::Conflict)).collect()),
                Command::DeadLetter(record, _) => letters.push(record.offset),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(letters.len(), 200);
    assert!(state.weight() > 200 * 10_000, "{}", state.weight());
    letters.into_iter().for_each(|offset| state.dead_lettered(offset));
    assert_eq!((state.weight(), state.unfinished(), state.finished().map(|f| f.offset)), (0, 0, Some(199)));
}

#[test]
fn what_is_remembered_does_not_grow_with_the_agents_nor_with_the_partitions() {
    for (partitions, most) in [(1, 45_000), (1_000, 5_000)] {
        let mut state = partition(None);
        state.share_with(partitions);
        let mut offset = 0;
        for round in 0..40_u64 {
            for agent in 0..1_000 {
                let mut e = event(&format!("agent-{round}-{agent}"), offset, 0);
                e.user_id = Some(format!("user-{offset}"));
                state.record(record(offset), Ok(e));
                offset += 1;
            }
            run(&mut state, round * 500..(round + 1) * 500, |_| false);
            assert_eq!(state.unfinished(), 0);
        }
        let [items, users, agents] = state.remembers();
        assert!(items <= most && users <= most && agents <= most * 2, "{items} items, {users} users, {agents} agents");
    }
}

#[test]
fn no_position_is_finished_before_its_agent_is_in_the_directory() {
    let mut state = partition(None);
    for offset in 0..2 {
        state.record(record(offset), Ok(event("a", offset, 0)));
    }
    // The later one is stored first, and the directory is slow.
    let mut is_first_try = true;
    let mut agents = Vec::new();
    for now in 0..1_000 {
        for command in state.tick(now) {
            match command {
                Command::Insert(insertions) => {
                    let judge = |offset| if offset == 0 && is_first_try { InsertOutcome::Retry } else { InsertOutcome::New };
                    state.inserted(insertions.iter().map(|i| (i.offset, judge(i.offset))).collect());
                    is_first_try = false;
                }
                Command::Read(key) => state.item_read(&key, None),
                Command::Update(key, update) => {
                    state.item_applied(&key, &update, Some(Rollup { version: 1, ..Rollup::default() }));
                }
                Command::Announce(key, _) => state.announced(&key),
                Command::Register(agent, _) => agents.push(agent),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((agents.len(), state.finished(), state.unfinished()), (1, None, 2));
    state.registered(&agents[0]);
    assert_eq!((state.finished().map(|f| f.offset), state.unfinished()), (Some(1), 0));
}
