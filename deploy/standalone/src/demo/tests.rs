use super::history::events_of_day;
use super::*;
use schemas::time::{DAY_US, HOUR_US, hour_of};
use std::collections::{BTreeMap, HashSet};

const MONDAY: i32 = 20_780;

fn fleet() -> Fleet {
    Fleet::new(12, 7, 280)
}

fn days(fleet: &Fleet, days: i32) -> Vec<conversation::Event> {
    (MONDAY..MONDAY + days).flat_map(|day| events_of_day(fleet, day, i64::MAX)).collect()
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_seed_another() {
    let story = |seed| serde_json::to_string(&events_of_day(&Fleet::new(12, seed, 280), MONDAY, i64::MAX)).expect("json");
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn an_agent_lives_the_same_in_a_larger_fleet() {
    let of_first = |fleet: &Fleet| {
        let events = events_of_day(fleet, MONDAY, i64::MAX);
        events.into_iter().filter(|e| e.agent_id == "support-bot").map(|e| e.event_id).collect::<Vec<_>>()
    };
    assert_eq!(of_first(&Fleet::new(1, 7, 280)), of_first(&Fleet::new(40, 7, 280)));
}

#[test]
fn no_two_events_have_the_same_identity_and_every_agent_id_is_valid() {
    let fleet = Fleet::new(30, 7, 280);
    let events = days(&fleet, 7);
    let identities: HashSet<_> = events.iter().map(|e| (&e.agent_id, &e.event_id)).collect();
    assert_eq!(identities.len(), events.len());
    assert!(fleet.agents().iter().all(|a| schemas::agent_id::is_valid(&a.id)));
    assert!(events.iter().all(|e| schemas::identity::is_valid_event_id(&e.event_id)));
}

#[test]
fn the_history_is_as_large_as_announced() {
    let events = days(&fleet(), 28).len() as f64;
    let expected = 12.0 * 280.0 * 28.0;
    assert!((0.85..1.15).contains(&(events / expected)), "{events} of {expected}");
}

#[test]
fn a_cut_off_history_is_a_part_of_the_whole() {
    let noon = i64::from(MONDAY) * DAY_US + 12 * HOUR_US;
    let whole: HashSet<_> = events_of_day(&fleet(), MONDAY, i64::MAX).into_iter().map(|e| e.event_id).collect();
    let part = events_of_day(&fleet(), MONDAY, noon);
    assert!(!part.is_empty() && part.len() < whole.len());
    assert!(part.iter().all(|e| e.at <= noon && whole.contains(&e.event_id)));
}

#[test]
fn working_hours_and_working_days_are_busier() {
    let events = days(&fleet(), 7);
    let mut by_hour = BTreeMap::<i32, usize>::new();
    let mut by_weekday = BTreeMap::<i32, usize>::new();
    for event in events.iter().filter(|e| e.agent_id == "code-reviewer") {
        *by_hour.entry(hour_of(event.at).rem_euclid(24)).or_default() += 1;
        *by_weekday.entry((schemas::time::day_of(event.at) + 3).rem_euclid(7)).or_default() += 1;
    }
    assert!(by_hour.get(&14) > by_hour.get(&3).map(|n| n * 3).as_ref());
    assert!(by_weekday.get(&1) > by_weekday.get(&6).map(|n| n * 2).as_ref());
}

#[test]
fn at_any_time_an_agent_has_been_getting_slower_for_thirty_days() {
    let fleet = fleet();
    for today in MONDAY..MONDAY + 130 {
        let at = |day: i32| i64::from(day) * DAY_US;
        let slower = |a: &fleet::Agent| (today - 29..=today).all(|day| a.slowness(at(day)) > a.slowness(at(day - 1)));
        assert!(fleet.agents().iter().any(slower), "on day {today}");
    }
}

#[test]
fn errors_come_in_bursts_too() {
    let events = days(&fleet(), 30);
    let mut worst = BTreeMap::<(String, i32), (u32, u32)>::new();
    for event in &events {
        let entry = worst.entry((event.agent_id.clone(), hour_of(event.at))).or_default();
        match event.message_type {
            schemas::MessageType::Error => entry.0 += 1,
            schemas::MessageType::AgentResponse => entry.1 += 1,
            _ => {}
        }
    }
    assert!(worst.values().any(|(errors, answers)| *errors >= 4 && errors * 2 >= *answers));
    let errors: u32 = worst.values().map(|w| w.0).sum();
    let answers: u32 = worst.values().map(|w| w.1).sum();
    assert!((0.01..0.05).contains(&(f64::from(errors) / f64::from(answers))), "{errors} of {answers}");
}

#[test]
fn the_ledger_adds_up() {
    let events = days(&fleet(), 3);
    let mut ledger = Ledger::new(7);
    events.iter().for_each(|e| ledger.add(e));
    let counted: u64 = ledger.agents().values().flat_map(BTreeMap::values).map(|day| day.events).sum();
    assert_eq!(counted, events.len() as u64);
    let day = ledger.agents()["support-bot"].values().next().expect("a day");
    assert!(day.users.len() > 5 && day.feedbacks > 0 && day.total_tokens > 0 && day.response_times > 0);
}

#[test]
fn every_day_one_kind_of_agent_has_a_bad_day() {
    let fleet = fleet();
    for day in MONDAY..MONDAY + 14 {
        let noon = i64::from(day) * DAY_US + 3 * HOUR_US;
        let bad = fleet.agents().iter().filter(|a| a.trouble(noon).error_rate > 0.1).count();
        assert_eq!(bad, 1, "day {day}");
    }
}
