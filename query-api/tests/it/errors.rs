//! Errors by type and shape, against events written by hand.

use crate::fixture::{Fixture, Options, agent};
use query_api::QueryConfig;
use schemas::event::{AgentEvent, MessageType};
use schemas::item::{Period, Subject};
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, HOUR_US, day_of, format_day, format_micros, now_micros};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn error(agent: &str, at: i64, id: &str, error_type: Option<&str>, details: &str) -> AgentEvent {
    let mut event = AgentEvent::new(agent, at, id, MessageType::Error);
    event.error_type = error_type.map(str::to_owned);
    event.error_details = Some(details.into());
    event
}

/// Stores the events and what their days count.
async fn put(fixture: &Fixture, events: &[AgentEvent]) {
    fixture.put_events(events).await;
    let mut counts: BTreeMap<(Subject, i32), i64> = BTreeMap::new();
    for event in events.iter().filter(|e| e.message_type == MessageType::Error) {
        for subject in [agent(&event.agent_id), Subject::Fleet(0)] {
            *counts.entry((subject, day_of(event.timestamp))).or_default() += 1;
        }
    }
    for ((subject, day), count) in counts {
        let mut rollup = Rollup { calls: count, ..Rollup::default() };
        rollup.by_type[MessageType::Error as usize] = count;
        fixture.put_rollup(subject, Period::Day(day), &rollup).await;
    }
}

/// Type, shape and count of each group.
fn groups(body: &Value) -> Vec<(Option<&str>, &str, i64)> {
    let items = body["items"].as_array().expect("items").iter();
    items.map(|g| (g["error_type"].as_str(), g["shape"].as_str().unwrap_or_default(), g["count"].as_i64().unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_grouped_by_type_and_shape() {
    let fixture = Fixture::start().await;
    let now = now_micros();
    let mut events = Vec::new();
    for i in 0..12_i64 {
        let agent = format!("agent-{}", i % 3);
        let mut event = error(&agent, now - i * HOUR_US, &format!("t{i:02}"), Some("Timeout"), &format!("no answer after {i} s"));
        event.content = Some("not this".into());
        events.push(event);
    }
    events.push(error("agent-0", now - 2 * DAY_US, "other", Some("Timeout"), "connection reset"));
    let mut untyped = error("agent-1", now - DAY_US, "untyped", None, " ");
    untyped.content = Some("no answer after 3 s".into());
    events.push(untyped);
    events.push(error("agent-9", now - 9 * DAY_US, "old", Some("Timeout"), "no answer after 9 s"));
    events.push(AgentEvent::new("agent-0", now, "fine", MessageType::UserMessage));
    put(&fixture, &events).await;

    let body = fixture.get("/api/v1/errors").await;
    assert_eq!(
        groups(&body),
        [(Some("Timeout"), "no answer after <n> s", 12), (None, "no answer after <n> s", 1), (Some("Timeout"), "connection reset", 1)]
    );
    assert_eq!((body["total"].as_i64(), body["groups"].as_i64(), body["is_complete"].as_bool()), (Some(14), Some(3), Some(true)));
    assert!(body["complete_from"].is_null());
    let first = &body["items"][0];
    assert_eq!(first["share"], 12.0 / 14.0);
    assert_eq!(first["agents_affected"], 3);
    assert_eq!(first["agents"][2], json!({"agent_id": "agent-2", "count": 4}));
    assert_eq!(
        (first["first_seen"].as_str(), first["last_seen"].as_str()),
        (Some(&*format_micros(now - 11 * HOUR_US)), Some(&*format_micros(now)))
    );
    let example = &first["example"];
    assert_eq!(
        (example["event_id"].as_str(), example["content"].as_str(), first["is_example_cut"].as_bool()),
        (Some("t00"), Some("not this"), Some(false))
    );
    let recent: Vec<&str> = first["recent"].as_array().expect("recent").iter().filter_map(|r| r["event_id"].as_str()).collect();
    assert_eq!(recent, ["t00", "t01", "t02", "t03", "t04"]);
    let trend: Vec<i64> = first["trend"].as_array().expect("trend").iter().filter_map(Value::as_i64).collect();
    assert_eq!(trend.iter().sum::<i64>(), 12);
    assert!(trend.len() <= 60 && body["trend_interval_s"] == 10_800, "{trend:?}");
    // Groups keep their ids from one question to another.
    let of_agent = fixture.get("/api/v1/errors?agents=agent-0").await;
    assert_eq!(groups(&of_agent), [(Some("Timeout"), "no answer after <n> s", 4), (Some("Timeout"), "connection reset", 1)]);
    assert_eq!((&of_agent["items"][0]["id"], &of_agent["agents"]), (&first["id"], &json!(["agent-0"])));
    let longer = format!("start_date={}", format_day(day_of(now) - 10));
    let two = fixture.get(&format!("/api/v1/errors?agents=agent-1,agent-9&{longer}")).await;
    assert_eq!(groups(&two), [(Some("Timeout"), "no answer after <n> s", 5), (None, "no answer after <n> s", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_errors_of_the_range_count_and_only_as_many_groups_as_asked_for_are_shown() {
    let fixture = Fixture::start().await;
    let start = 1_767_744_000_000_000;
    let word = |i: i64| "abcdefghij".chars().nth(i as usize).map(String::from).unwrap_or_default();
    let events: Vec<_> = (0..10_i64).map(|i| error("a", start + i * HOUR_US, &format!("e{i}"), None, &word(i))).collect();
    put(&fixture, &events).await;
    let range = format!("start_date={}&end_date={}", format_micros(start + 2 * HOUR_US), format_micros(start + 5 * HOUR_US));
    let body = fixture.get(&format!("/api/v1/errors?{range}&limit=2")).await;
    assert_eq!(groups(&body), [(None, "e", 1), (None, "d", 1)], "the end is exclusive");
    assert_eq!((body["total"].as_i64(), body["groups"].as_i64()), (Some(3), Some(3)));
    assert_eq!((body["trend_start"].as_str(), body["trend_interval_s"].as_i64()), (Some("2026-01-07T02:00:00.000000Z"), Some(300)));
    assert_eq!(body["items"][0]["trend"].as_array().map(Vec::len), Some(36));
    assert_eq!(body["items"][0]["trend"][24], 1);
    let day = format!("start_date={0}&end_date={0}", format_day(day_of(start)));
    assert_eq!(fixture.get(&format!("/api/v1/errors?{day}")).await["total"], 10);
    assert_eq!(fixture.get("/api/v1/errors?start_date=2026-02-01&end_date=2026-02-02").await["total"], 0);
    for (query, field) in [
        ("limit=0", "limit"),
        ("start_date=soon", "start_date"),
        ("start_date=2026-02-02&end_date=2026-02-01", "start_date"),
        ("start_date=2020-01-01", "start_date"),
        ("agents=%23", "agents"),
    ] {
        assert_eq!(fixture.refused(&format!("/api/v1/errors?{query}"), 422).await["errors"][0]["field"], field, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_of_an_example_are_cut_and_said_to_be() {
    let fixture = Fixture::start().await;
    let mut event = error("a", now_micros(), "e", None, &"ä".repeat(5_000));
    event.metadata = Some(json!({"long": "x".repeat(5_000)}).to_string());
    event.content = Some("short".into());
    put(&fixture, &[event]).await;
    let body = fixture.get("/api/v1/errors").await;
    let group = &body["items"][0];
    assert_eq!((group["is_example_cut"].as_bool(), group["example"]["content"].as_str()), (Some(true), Some("short")));
    assert!(group["example"]["metadata"].is_null());
    assert_eq!(group["example"]["error_details"].as_str().map(str::len), Some(4_096));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_errors_than_a_list_holds_are_met_once_each() {
    let fixture = Fixture::start().await;
    let day = i64::from(day_of(now_micros()) - 1) * DAY_US;
    // One shard has far more than the others, and many share a time: lists end in the middle of them.
    let events: Vec<_> = (0..2_600_i64).map(|i| error("busy", day + i / 7 * 1_000, &format!("e{i:05}"), None, "boom")).collect();
    let others: Vec<_> = (0..40_i64).map(|i| error(&format!("o-{i}"), day + i * 10_000, "same", None, "boom")).collect();
    put(&fixture, &[events, others].concat()).await;
    let body = fixture.get("/api/v1/errors").await;
    assert_eq!(
        (body["total"].as_i64(), body["items"][0]["agents_affected"].as_i64(), body["is_complete"].as_bool()),
        (Some(2_640), Some(41), Some(true))
    );
    assert_eq!(fixture.get("/api/v1/errors?agents=o-1,o-2").await["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_index_the_agents_own_events_are_read() {
    let config = QueryConfig { indexed_message_types: vec![MessageType::Feedback], ..QueryConfig::default() };
    let fixture = Fixture::with(Options { config, ..Options::default() }).await;
    fixture.register(&["a", "b", "c"]).await;
    let now = now_micros();
    put(&fixture, &[error("a", now, "1", None, "boom"), error("b", now - 1, "2", None, "boom"), error("c", now - 2, "3", None, "bang")])
        .await;
    assert_eq!(groups(&fixture.get("/api/v1/errors").await), [(None, "boom", 2), (None, "bang", 1)]);
    assert_eq!(groups(&fixture.get("/api/v1/errors?agents=b,c").await), [(None, "boom", 1), (None, "bang", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_all_errors_are_read_the_answer_says_from_when_on_they_are() {
    let config = QueryConfig { most_errors: 10, ..QueryConfig::default() };
    let fixture = Fixture::with(Options { config, ..Options::default() }).await;
    let midnight = i64::from(day_of(now_micros()) - 1) * DAY_US;
    let mut events: Vec<_> =
        (0..7_i64).map(|i| error(&format!("a-{i}"), midnight + i * HOUR_US, &format!("new-{i}"), None, "boom")).collect();
    events.extend((1..=5_i64).map(|i| error("b", midnight - i * HOUR_US, &format!("old-{i}"), None, "boom")));
    put(&fixture, &events).await;
    let told = async |query: &str| {
        let body = fixture.get(&format!("/api/v1/errors{query}")).await;
        (body["total"].as_i64(), body["is_complete"].as_bool(), body["complete_from"].as_str().map(str::to_owned))
    };
    let from = |at: i64| Some(format_micros(at));
    assert_eq!(told("").await, (Some(10), Some(false), from(midnight - 3 * HOUR_US + 1)), "the tenth is the last that was read");
    assert_eq!(told("?agents=b,a-0").await, (Some(6), Some(true), None));
    // A day that was read to its end, and more errors on the days before.
    let more: Vec<_> = (7..10_i64).map(|i| error("a-7", midnight + i * HOUR_US, &format!("new-{i}"), None, "boom")).collect();
    put(&fixture, &more).await;
    fixture.put_events(&events).await;
    let whole_day = told("").await;
    assert_eq!((whole_day.0, whole_day.2), (Some(10), from(midnight)));
}
