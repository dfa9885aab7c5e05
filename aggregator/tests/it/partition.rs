//! Rules of one partition that the model does not look at: who waits for whom, what is too old, what is foreign.

use aggregator::Cadence;
use aggregator::fold::{add, fold};
use aggregator::partition::{Command, DeadReason, Guards, InsertOutcome, Partition, PartitionConfig};
use aggregator::target::{Table, Target};
use event_log::LogRecord;
use schemas::item::{MetricKey, Period, Subject};
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, day_of};
use schemas::{AgentEvent, MessageType};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: i64 = 1_767_780_000_000;

fn partition(retention: Option<Duration>) -> Partition {
    limited(retention, None)
}

fn limited(retention: Option<Duration>, dead_letter_limit: Option<u64>) -> Partition {
    Partition::new(config(retention, dead_letter_limit))
}

fn config(retention: Option<Duration>, dead_letter_limit: Option<u64>) -> PartitionConfig {
    PartitionConfig {
        tables: Table::ONE,
        epoch: 0,
        partition: 0,
        cadence: Cadence::Fresh,
        retention,
        inserts_in_flight: 4,
        dead_letter_limit,
        guards: Guards::default(),
    }
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
                    updated.push((key.key.subject.clone(), key.key.period));
                    state.item_applied(&key, &update, Some(Rollup { version: 1, ..Rollup::default() }));
                }
                Command::Announce(key, _) => state.announced(&key),
                Command::Unite(key, users) => {
                    let mut set = schemas::users::UserSet::default();
                    users.iter().for_each(|(_, hash)| {
                        set.insert(*hash);
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

/// A slow answer for one version must not let the other run ahead: a rebuild compares them where their marks are equal.
#[test]
fn both_versions_of_an_item_are_written_together() {
    let mut state = Partition::new(PartitionConfig { tables: Table::BOTH, ..config(None, None) });
    let mut on_their_way: Vec<(u64, Command)> = Vec::new();
    let mut marks: BTreeMap<Target, u64> = BTreeMap::new();
    let mut meetings = 0;
    for now in 0..2_000 {
        state.record(record(now), Ok(event("busy", now, 0)));
        let (due, later): (Vec<_>, Vec<_>) = on_their_way.into_iter().partition(|(due, _)| *due <= now);
        on_their_way = later;
        let mut commands: Vec<Command> = due.into_iter().map(|(_, command)| command).collect();
        for command in &commands {
            let Command::Update(target, update) = command else { panic!("only updates are slow") };
            state.item_applied(target, update, None);
            marks.insert(target.clone(), update.last);
        }
        commands = state.tick(now);
        while let Some(command) = commands.pop() {
            match command {
                Command::Insert(insertions) => {
                    state.inserted(insertions.iter().map(|i| (i.offset, InsertOutcome::New)).collect());
                }
                Command::Read(target) => state.item_read(&target, None),
                Command::Update(target, update) if target.table == Table::Other => {
                    on_their_way.push((now + 7, Command::Update(target, update)));
                }
                Command::Update(target, update) => {
                    state.item_applied(&target, &update, Some(Rollup { version: 1, ..Rollup::default() }));
                    marks.insert(target, update.last);
                }
                Command::Announce(target, _) => state.announced(&target),
                Command::Register(agent, _) => state.registered(&agent),
                other => panic!("{other:?}"),
            }
            commands.extend(state.tick(now));
        }
        let key = MetricKey { subject: Subject::Fleet(0), period: Period::Day(day_of(NOW_MS * 1_000)) };
        if !on_their_way.iter().any(|(_, c)| matches!(c, Command::Update(target, _) if target.key == key)) {
            assert_eq!(marks.get(&Table::Served.of(&key)), marks.get(&Table::Other.of(&key)), "at {now} ms");
            meetings += u64::from(marks.contains_key(&Table::Served.of(&key)));
        }
    }
    assert!(meetings > 1_500 && marks.values().all(|mark| *mark > 1_800), "{meetings} {marks:?}");
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
    let letters: Vec<_> =
        commands.iter().filter_map(|c| if let Command::DeadLetter(_, why) = c { Some(why.reason) } else { None }).collect();
    assert_eq!(letters, ["invalid"; 6]);
    assert!(!commands.iter().any(|c| matches!(c, Command::Insert(_))), "{commands:?}");
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
    let (mut letters, mut counted) = (Vec::new(), 0);
    for now in 0..2_000 {
        for command in state.tick(now) {
            match command {
                Command::Insert(i) => state.inserted(i.iter().map(|i| (i.offset, InsertOutcome::Conflict)).collect()),
                Command::DeadLetter(record, _) => letters.push(record.offset),
                // The log's own item, which tells what became of the records.
                Command::Read(key) => state.item_read(&key, None),
                Command::Update(key, update) => {
                    counted += update.sum.dead_letters;
                    state.item_applied(&key, &update, None);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((letters.len(), counted), (200, 200));
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

fn garbage() -> Result<AgentEvent, DeadReason> {
    Err(DeadReason { reason: "undecodable", stage: "decode", detail: String::new() })
}

/// The dead letters that it wants published.
fn buried(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::DeadLetter(..))).count()
}

#[test]
fn a_flood_of_garbage_stops_the_partition_and_nothing_beyond_is_committed() {
    let mut state = limited(None, Some(10));
    for offset in 0..5 {
        state.record(record(offset), Ok(event("a", offset, 0)));
    }
    (5..100).for_each(|offset| state.record(record(offset), garbage()));
    let stopped = state.stopped().cloned().unwrap();
    assert_eq!((stopped.offset, stopped.reason, stopped.dead), (15, "undecodable", 11));
    state.record(record(100), Ok(event("a", 100, 0)));
    let commands = state.tick(0);
    assert_eq!(buried(&commands), 10);
    for command in commands {
        match command {
            Command::DeadLetter(letter, _) => state.dead_lettered(letter.offset),
            Command::Insert(insertions) => state.inserted(insertions.iter().map(|i| (i.offset, InsertOutcome::New)).collect()),
            _ => {}
        }
    }
    run(&mut state, 1..5_000, |_| false);
    assert_eq!((state.finished().map(|f| f.offset), state.unfinished()), (Some(14), 1));
}

/// Puts 40 events before a store that answers all of them alike: how many became dead letters, and why it stopped.
fn all_answered(outcome: &InsertOutcome) -> (usize, Option<&'static str>) {
    let mut state = limited(None, Some(10));
    (0..40).for_each(|offset| state.record(record(offset), Ok(event("a", offset, 0))));
    let mut letters = 0;
    let mut commands = state.tick(0);
    while let Some(command) = commands.pop() {
        match command {
            Command::Insert(insertions) => state.inserted(insertions.iter().map(|i| (i.offset, outcome.clone())).collect()),
            Command::DeadLetter(letter, _) => {
                letters += 1;
                state.dead_lettered(letter.offset);
            }
            _ => {}
        }
        commands.extend(state.tick(0));
    }
    (letters, state.stopped().map(|s| s.reason))
}

#[test]
fn what_the_store_will_not_take_stops_the_partition_too_but_no_client_can() {
    assert_eq!(all_answered(&InsertOutcome::Invalid(String::new())), (10, Some("invalid")));
    assert_eq!(all_answered(&InsertOutcome::Conflict), (40, None));
}

#[test]
fn many_dead_letters_among_more_good_records_or_over_a_long_time_stop_nothing() {
    let mut state = limited(None, Some(10));
    for offset in 0..200 {
        state.record(record(offset), if offset % 2 == 0 { Ok(event("a", offset, 0)) } else { garbage() });
    }
    assert_eq!(state.stopped(), None);
    let mut state = limited(None, Some(10));
    for minute in 0..20 {
        (0..10).for_each(|i| state.record(record(minute * 10 + i), garbage()));
        state.tick((minute + 1) * 60_000);
    }
    assert_eq!(state.stopped(), None);
    let mut state = limited(None, None);
    (0..5_000).for_each(|offset| state.record(record(offset), garbage()));
    assert_eq!(buried(&state.tick(0)), 5_000);
    assert_eq!(state.stopped(), None);
}
