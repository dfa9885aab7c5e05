//! Raw events and conversations.

use crate::fixture::{Fixture, Options};
use schemas::AgentTotals;
use schemas::event::{AgentEvent, MessageType};
use schemas::item::{EventItemOptions, ID, KIND, Period, ShardPlan, Subject, event_attributes, event_partition_key, kind, n, s};
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, day_of, format_micros, now_micros, parse_micros};
use serde_json::{Value, json};

fn event(agent: &str, at: i64, id: &str, message_type: MessageType) -> AgentEvent {
    AgentEvent::new(agent, at, id, message_type)
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().map(|items| items.iter().filter_map(|i| i["event_id"].as_str()).collect()).unwrap_or_default()
}

/// A day's counters.
fn counted(message_type: MessageType, events: i64) -> Rollup {
    let mut rollup = Rollup { calls: events, ..Rollup::default() };
    rollup.by_type[message_type as usize] = events;
    rollup
}

/// Follows the cursors; answers the ids of all pages.
async fn all_pages(fixture: &Fixture, path: &str) -> Vec<String> {
    let (mut met, mut cursor) = (Vec::new(), String::new());
    for _ in 0..200 {
        let page = fixture.get(&format!("{path}{cursor}")).await;
        met.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next_key"].as_str() else { return met };
        cursor = format!("&cursor={next}");
    }
    panic!("{path} never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_back_as_it_was_sent() {
    let fixture = Fixture::start().await;
    let at = 1_767_781_800_123_456;
    let mut sent = event("team/bot", at, "e-1", MessageType::UserMessage);
    sent.content = Some("hello".into());
    sent.metadata = Some(r#"{"a":null,"big":12345678901234567890123456789012345678}"#.into());
    sent.response_time_ms = Some(12.5);
    fixture.put_events(&[sent]).await;
    let page = fixture.get("/api/v1/events?agent_id=team/bot").await;
    let item = &page["items"][0];
    assert_eq!((item["timestamp"].as_str(), item["content"].as_str()), (Some("2026-01-07T10:30:00.123456Z"), Some("hello")));
    assert_eq!(
        (item["agent_id"].as_str(), item["message_type"].as_str(), item["response_time_ms"].as_f64()),
        (Some("team/bot"), Some("user_message"), Some(12.5))
    );
    assert!(item["error_details"].is_null() && item["metadata"]["a"].is_null() && item["metadata"].get("a").is_some());
    assert_eq!(item["receipt"], "0-1-0");
    assert!(page["next_key"].is_null() && page["scope"].is_null());
    let path = "/api/v1/agents/team%2Fbot/events/2026-01-07T10:30:00.123456Z/e-1";
    assert_eq!(fixture.get(path).await["event"], *item);
    let text = fixture.http.get(format!("{}{path}", fixture.base)).send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("12345678901234567890123456789012345678"), "numbers keep their digits");
    fixture.refused("/api/v1/agents/team%2Fbot/events/2026-01-07T10:30:00.123456Z/e-2", 404).await;
    fixture.refused("/api/v1/agents/team%2Fbot/events/yesterday/e-1", 422).await;
    fixture.refused("/api/v1/agents/team%2Fbot/events/2026-01-07T10:30:00Z/e%231", 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_agents_events_are_newest_first_and_meet_each_once() {
    let fixture = Fixture::start().await;
    let start = 1_767_744_000_000_000;
    let events: Vec<_> = (0..25).map(|i| event("a", start + i / 2 * 1_000, &format!("e{i:02}"), MessageType::UserMessage)).collect();
    fixture.put_events(&events).await;
    let mut expected: Vec<String> = events.iter().map(|e| e.event_id.clone()).collect();
    expected.reverse();
    for limit in [1, 7, 24, 25, 100] {
        assert_eq!(all_pages(&fixture, &format!("/api/v1/events?agent_id=a&limit={limit}")).await, expected, "{limit}");
    }
    let range = format!("start_date={}&end_date={}", format_micros(start + 2_000), format_micros(start + 3_000));
    assert_eq!(ids(&fixture.get(&format!("/api/v1/events?agent_id=a&{range}")).await), ["e07", "e06", "e05", "e04"]);
    assert_eq!(ids(&fixture.get("/api/v1/events?agent_id=a&start_date=2026-01-08").await), Vec::<&str>::new());
    let page = fixture.get("/api/v1/events?agent_id=a&limit=1").await;
    let cursor = page["next_key"].as_str().expect("more");
    let refusal = fixture.refused(&format!("/api/v1/events?agent_id=b&limit=1&cursor={cursor}"), 422).await;
    assert_eq!(refusal["errors"][0]["field"], "cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_take_what_fits() {
    let fixture = Fixture::start().await;
    let start = 1_767_744_000_000_000;
    let mut events = Vec::new();
    for i in 0..30_i64 {
        let mut e = event("a", start + i, &format!("e{i:02}"), if i % 3 == 0 { MessageType::Error } else { MessageType::UserMessage });
        e.model_used = Some(if i % 2 == 0 { "even".into() } else { "odd".into() });
        e.user_id = Some(format!("u{}", i % 5));
        e.response_time_ms = Some(i as f64);
        e.conversation_id = Some(format!("c{}", i % 10));
        events.push(e);
    }
    fixture.put_events(&events).await;
    for (filter, takes) in [
        ("message_type=error", (|i| i % 3 == 0) as fn(i64) -> bool),
        ("model=odd", |i| i % 2 == 1),
        ("user_id=u4", |i| i % 5 == 4),
        ("min_response_time_ms=20", |i| i >= 20),
        ("conversation_id=c3", |i| i % 10 == 3),
        ("model=even&message_type=error&min_response_time_ms=5.5", |i| i % 6 == 0 && i > 5),
    ] {
        let expected: Vec<String> = (0..30).rev().filter(|i| takes(*i)).map(|i| format!("e{i:02}")).collect();
        for limit in [2, 100] {
            assert_eq!(all_pages(&fixture, &format!("/api/v1/events?agent_id=a&limit={limit}&{filter}")).await, expected, "{filter}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_all_agents_come_from_the_index() {
    let fixture = Fixture::start().await;
    let today = i64::from(day_of(now_micros())) * DAY_US;
    let mut events = Vec::new();
    for day in [0, 1, 2, 40] {
        // Counted in either partition's part of the fleet.
        fixture
            .put_rollup(Subject::Fleet(day as u32 % 2), Period::Day((today / DAY_US - day) as i32), &counted(MessageType::Error, 10))
            .await;
        for i in 0..10 {
            events.push(event(&format!("agent-{i}"), today - day * DAY_US + i % 3, &format!("d{day:02}-{i}"), MessageType::Error));
        }
        events.push(event("agent-0", today - day * DAY_US, &format!("m{day}"), MessageType::UserMessage));
    }
    fixture.put_events(&events).await;
    let met = all_pages(&fixture, "/api/v1/events?message_type=error&limit=7").await;
    let mut expected: Vec<_> = events.iter().filter(|e| e.message_type == MessageType::Error).collect();
    expected.sort_by_key(|e| std::cmp::Reverse((e.timestamp, e.event_id.clone())));
    assert_eq!(met, expected.iter().map(|e| e.event_id.clone()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_far_apart_follow_each_other_without_empty_pages() {
    let fixture = Fixture::start().await;
    let today = i64::from(day_of(now_micros())) * DAY_US;
    let fleet = async |partition: u32, day: i64, rollup: &Rollup| {
        fixture.put_rollup(Subject::Fleet(partition), Period::Day((today / DAY_US - day) as i32), rollup).await;
    };
    let mut events = Vec::new();
    for (day, partition) in [(0, 0), (37, 1), (38, 0), (170, 1), (250, 0), (399, 1)] {
        events.push(event("a", today - day * DAY_US, &format!("d{day}"), MessageType::Error));
        if day > 1 {
            fleet(partition, day, &counted(MessageType::Error, 1)).await;
        }
    }
    // Other events every day, and one error out of reach.
    for day in 2..400 {
        fleet(0, day, &counted(MessageType::UserMessage, 5)).await;
    }
    fleet(0, 38, &counted(MessageType::Error, 1)).await;
    fleet(0, 250, &counted(MessageType::Error, 1)).await;
    events.push(event("a", today - 402 * DAY_US, "too-old", MessageType::Error));
    fleet(0, 402, &counted(MessageType::Error, 1)).await;
    fixture.put_events(&events).await;

    let far = |day: i64| format_micros(today - day * DAY_US);
    let mut cursor = String::new();
    for expected in ["d0", "d37", "d38", "d170", "d250", "d399"] {
        let page = fixture.get(&format!("/api/v1/events?message_type=error&limit=1{cursor}")).await;
        assert_eq!(ids(&page), [expected]);
        assert_eq!(page["start"], far(399));
        assert!(page["end"].as_str().and_then(parse_micros) > Some(today), "{}", page["end"]);
        cursor = page["next_key"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        assert_eq!(cursor.is_empty(), expected == "d399", "{expected}");
    }
    let whole = fixture.get("/api/v1/events?message_type=error").await;
    assert_eq!((ids(&whole).len(), whole["next_key"].as_str()), (6, None));
    let range = fixture.get(&format!("/api/v1/events?message_type=error&start_date={}&end_date={}", far(402), far(200))).await;
    assert_eq!(ids(&range), ["d250", "d399", "too-old"]);
    assert_eq!((range["start"].as_str(), range["end"].as_str()), (Some(far(402).as_str()), Some(far(200).as_str())));
    let refusal = fixture.refused(&format!("/api/v1/events?message_type=error&start_date={}", far(402)), 422).await;
    assert_eq!(refusal["errors"][0]["field"], "start_date");
    assert_eq!(ids(&fixture.get(&format!("/api/v1/events?message_type=error&start_date={}", far(399))).await).len(), 6);
    assert_eq!(ids(&fixture.get(&format!("/api/v1/events?agent_id=a&start_date={}", far(402))).await).len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_events_are_merged_from_the_agents_seen_last() {
    let fixture = Fixture::start().await;
    let now = now_micros() / 1_000_000 * 1_000_000;
    let mut events = Vec::new();
    for i in 0..12_i64 {
        let agent = format!("agent-{}", i % 4);
        // Equal times and ids of different agents are told apart across pages.
        events.push(event(&agent, now - i / 4 * 1_000_000, "same", MessageType::UserMessage));
    }
    fixture.put_events(&events).await;
    let names: Vec<String> = (0..4).map(|i| format!("agent-{i}")).collect();
    fixture.register(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names {
        fixture
            .announce(&AgentTotals {
                agent_id: name.clone(),
                day: day_of(now),
                version: 1,
                last_at: now,
                calls: 3,
                ..AgentTotals::default()
            })
            .await;
    }
    fixture.eventually("/api/v1/agents?detail=true", |page| page["is_live"] == true && page["items"][3]["calls"] == 3).await;
    let whole = fixture.get("/api/v1/events?message_type=user_message").await;
    assert_eq!(whole["items"].as_array().map(Vec::len), Some(12));
    assert_eq!(whole["scope"], json!({"agents": 4, "of": 4, "complete_from": null}));
    for limit in [1, 3, 5, 12] {
        let path = format!("/api/v1/events?limit={limit}");
        assert_eq!(all_pages(&fixture, &path).await.len(), 12, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_merged_agents_a_further_page_asks_for_an_agent() {
    let fixture = Fixture::start().await;
    let now = now_micros();
    let names: Vec<String> = (0..205).map(|i| format!("agent-{i:03}")).collect();
    fixture.register(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names {
        fixture
            .announce(&AgentTotals {
                agent_id: name.clone(),
                day: day_of(now),
                version: 1,
                last_at: now,
                calls: 1,
                ..AgentTotals::default()
            })
            .await;
    }
    fixture
        .put_events(&[
            event("agent-000", now - 5, "x", MessageType::UserMessage),
            event("agent-000", now - 9, "y", MessageType::UserMessage),
        ])
        .await;
    let path = "/api/v1/events?message_type=user_message&limit=1";
    let page = fixture.eventually(path, |page| page["scope"]["of"] == 205 && page["items"].as_array().is_some_and(|i| i.len() == 1)).await;
    assert_eq!(page["scope"]["agents"], 200);
    let cursor = page["next_key"].as_str().expect("more");
    let refusal = fixture.refused(&format!("{path}&cursor={cursor}"), 422).await;
    assert!(refusal["detail"].as_str().is_some_and(|d| d.contains("agent_id")), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sharded_agents_read_like_others() {
    let fixture = Fixture::with(Options::default()).await;
    let start = 1_767_744_000_000_000;
    let plans = [ShardPlan { from: start + 10, shards: 4 }];
    let plan = [(KIND, s(kind::SHARD_PLAN)), (ID, s("a:plan")), ("agent_id", s("a")), ("from", n(start + 10)), ("shards", n(4))];
    let plan = plan.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    fixture.store.put_item().table_name(&fixture.tables.control).set_item(Some(plan)).send().await.expect("the plan is put");
    for i in 0..30 {
        let e = event("a", start + i, &format!("e{i:02}"), MessageType::UserMessage);
        let key = event_partition_key("a", e.timestamp, &e.event_id, &plans);
        let item = event_attributes(&e, &key, "0:0:0", &EventItemOptions::default()).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        fixture.store.put_item().table_name(&fixture.tables.events).set_item(Some(item)).send().await.expect("the event is put");
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while ids(&fixture.get("/api/v1/events?agent_id=a").await).len() < 30 {
        assert!(std::time::Instant::now() < deadline, "the plan is never seen");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let expected: Vec<String> = (0..30).rev().map(|i| format!("e{i:02}")).collect();
    assert_eq!(all_pages(&fixture, "/api/v1/events?agent_id=a&limit=7").await, expected);
    let one = fixture.get(&format!("/api/v1/agents/a/events/{}/e25", format_micros(start + 25))).await;
    assert_eq!(one["event"]["agent_id"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_grouped_with_and_without_the_index() {
    for index_conversations in [true, false] {
        let fixture = Fixture::with(Options { index_conversations, ..Options::default() }).await;
        let now = now_micros();
        let second = 1_000_000;
        let mut events = Vec::new();
        let mut add = |conversation: &str, age_s: i64, kind: MessageType| {
            let mut e = event("a", now - age_s * second, &format!("e{}", events.len()), kind);
            e.conversation_id = Some(conversation.into());
            events.push(e);
        };
        add("done", 4_000, MessageType::ConversationStart);
        add("done", 3_990, MessageType::UserMessage);
        add("done", 3_900, MessageType::ConversationEnd);
        add("broken", 60, MessageType::Error);
        add("broken", 50, MessageType::UserMessage);
        add("open", 400, MessageType::UserMessage);
        add("open", 10, MessageType::AgentResponse);
        let mut traced = event("a", now - 9_000 * second, "t", MessageType::UserMessage);
        traced.trace_id = Some("trace-1".into());
        events.push(traced);
        events.push(event("a", now, "alone", MessageType::UserMessage));
        fixture.put_events(&events).await;
        let body = fixture.get("/api/v1/conversations?agent_id=a").await;
        let items = body["items"].as_array().expect("items");
        let told: Vec<_> = items
            .iter()
            .map(|c| {
                (
                    c["id"].as_str().unwrap_or_default(),
                    c["messageCount"].as_i64().unwrap_or_default(),
                    c["duration"].as_i64().unwrap_or_default(),
                    c["status"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [("open", 2, 390, "active"), ("broken", 2, 10, "error"), ("done", 3, 100, "completed"), ("trace-1", 1, 0, "completed")]
        );
        assert_eq!(items[0]["startedAt"], format_micros(now - 400 * second));
        let first = fixture.get("/api/v1/conversations?agent_id=a&limit=1").await;
        assert_eq!((first["items"].as_array().map(Vec::len), first["has_more"].as_bool()), (Some(1), Some(true)));
    }
}
