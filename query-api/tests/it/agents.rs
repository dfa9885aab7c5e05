//! The list of agents, plain and with today's numbers.

use crate::fixture::{Fixture, agent};
use schemas::AgentTotals;
use schemas::item::Period;
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, day_of, format_day, now_micros};
use serde_json::{Value, json};

fn totals(agent: &str, messages: i64, errors: i64) -> AgentTotals {
    let now = now_micros();
    let calls = messages + errors;
    AgentTotals {
        agent_id: agent.into(),
        day: day_of(now),
        version: 1,
        flushed_at: now,
        last_at: now,
        calls,
        messages,
        errors,
        ..AgentTotals::default()
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().map(|items| items.iter().filter_map(|i| i["agent_id"].as_str()).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_a_sorted_list_of_ids() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get("/api/v1/agents").await, json!([]));
    fixture.register(&["b", "team/a", "a"]).await;
    fixture.announce(&totals("just-in", 1, 0)).await;
    let list = fixture.eventually("/api/v1/agents", |list| list.as_array().is_some_and(|l| l.len() == 4)).await;
    assert_eq!(list, json!(["a", "b", "just-in", "team/a"]));
    assert_eq!(fixture.get("/api/v1/agents?q=TEAM").await, json!(["team/a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn details_say_how_an_agent_is_and_why() {
    let fixture = Fixture::start().await;
    fixture.register(&["fine", "failing", "dormant"]).await;
    fixture
        .put_rollup(
            agent("dormant"),
            Period::Day(day_of(now_micros()) - 300),
            &Rollup { calls: 1, last_at: 1_700_000_000_000_000, ..Rollup::default() },
        )
        .await;
    fixture.announce(&totals("fine", 100, 1)).await;
    fixture.announce(&totals("failing", 10, 5)).await;
    let page =
        fixture.eventually("/api/v1/agents?detail=true", |page| page["items"][1]["calls"] == 15 && page["items"][2]["calls"] == 101).await;
    assert_eq!(ids(&page), ["dormant", "failing", "fine"]);
    let status = |i: usize| page["items"][i]["status"].as_str().unwrap_or_default();
    assert_eq!([status(0), status(1), status(2)], ["silent", "failing", "healthy"]);
    assert!(page["items"][1]["status_rule"].as_str().is_some_and(|rule| rule.contains("50.0 errors per 100 messages")));
    assert_eq!(page["items"][0]["last_seen"], "2023-11-14T22:13:20.000000Z");
    assert!(page["items"][2]["average_response_time_ms"].is_null() && page["items"][2]["cost_usd"].is_null());
    assert_eq!((page["total"].as_i64(), page["next_key"].is_null()), (Some(3), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_agents_meet_every_agent_once_in_order() {
    let fixture = Fixture::start().await;
    let names: Vec<String> = (0..7).map(|i| format!("agent-{i}")).collect();
    fixture.register(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (i, name) in names.iter().take(5).enumerate() {
        fixture.announce(&totals(name, i as i64 + 1, 0)).await;
    }
    fixture.eventually("/api/v1/agents?detail=true&sort=-calls&limit=1", |page| page["items"][0]["calls"] == 5).await;
    for (sort, expected) in [
        ("-calls", ["agent-4", "agent-3", "agent-2", "agent-1", "agent-0", "agent-5", "agent-6"]),
        ("agent_id", ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4", "agent-5", "agent-6"]),
        ("-agent_id", ["agent-6", "agent-5", "agent-4", "agent-3", "agent-2", "agent-1", "agent-0"]),
    ] {
        let (mut met, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = fixture.get(&format!("/api/v1/agents?detail=true&sort={sort}&limit=2{cursor}")).await;
            met.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next_key"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(met, expected, "{sort}");
    }
    let page = fixture.get("/api/v1/agents?detail=true&sort=calls&limit=2").await;
    let cursor = page["next_key"].as_str().expect("more");
    fixture.refused(&format!("/api/v1/agents?detail=true&sort=-calls&limit=2&cursor={cursor}"), 422).await;
    fixture.refused("/api/v1/agents?detail=true&sort=beauty", 422).await;
}

/// A day's totals of an agent that was just seen, or long ago.
fn of_day(agent: &str, days_ago: i32, calls: i64) -> AgentTotals {
    let at = now_micros() - i64::from(days_ago) * DAY_US;
    AgentTotals {
        day: day_of(at),
        last_at: at,
        flushed_at: at,
        latency_us: calls * 1_000,
        latency_n: calls,
        latency_max_us: calls * 1_000,
        ..totals(agent, calls, 0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_sums_over_the_days_asked_for() {
    let fixture = Fixture::start().await;
    fixture.register(&["a", "b", "dormant"]).await;
    for totals in [of_day("a", 0, 1), of_day("a", 1, 20), of_day("a", 13, 300), of_day("b", 0, 4), of_day("b", 34, 50_000)] {
        fixture.announce(&totals).await;
    }
    let today = day_of(now_micros());
    let path = |first: i32, last: i32| {
        format!("/api/v1/agents?detail=true&sort=-calls&start_date={}&end_date={}", format_day(today - first), format_day(today - last))
    };
    fixture.eventually(&path(34, 0), |page| page["items"][0]["calls"] == 50_004 && page["is_live"] == true).await;
    let calls = async |first, last| {
        let page = fixture.get(&path(first, last)).await;
        let items = page["items"].as_array().expect("items");
        let told: Vec<(String, i64)> = items
            .iter()
            .map(|i| (i["agent_id"].as_str().unwrap_or_default().to_owned(), i["calls"].as_i64().unwrap_or_default()))
            .collect();
        told
    };
    let expected = |pairs: &[(&str, i64)]| pairs.iter().map(|(id, calls)| ((*id).to_owned(), *calls)).collect::<Vec<_>>();
    assert_eq!(calls(0, 0).await, expected(&[("b", 4), ("a", 1), ("dormant", 0)]));
    assert_eq!(calls(1, 0).await, expected(&[("a", 21), ("b", 4), ("dormant", 0)]));
    assert_eq!(calls(13, 1).await, expected(&[("a", 320), ("b", 0), ("dormant", 0)]));
    let page = fixture.get(&path(13, 0)).await;
    let a = &page["items"][0];
    assert_eq!((a["max_response_time_ms"].as_f64(), a["average_response_time_ms"].as_f64()), (Some(300.0), Some(1.0)));
    assert_eq!(a["calls_by_day"], json!([300, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1]));
    assert_eq!(page["items"][2]["calls_by_day"], json!(vec![0; 14]));
    assert_eq!((page["first_day"].clone(), page["last_day"].clone()), (format_day(today - 13).into(), format_day(today).into()));
    assert_eq!(a["status"], "healthy", "of today, whatever the days");
    // Of the first days held there are fewer.
    assert_eq!(fixture.get(&path(34, 33)).await["items"][0]["calls_by_day"], json!([50_000, 0]));
    for (first, last, field) in [(35, 0, "start_date"), (0, 1, "start_date")] {
        let refusal = fixture.refused(&path(first, last), 422).await;
        assert_eq!(refusal["errors"][0]["field"], field, "{first} to {last}");
    }
    let refusal = fixture.refused(&format!("/api/v1/agents?detail=true&end_date={}", format_day(today - 35)), 422).await;
    assert_eq!(refusal["errors"][0]["field"], "end_date");
    assert!(refusal["detail"].as_str().is_some_and(|d| d.contains(&format_day(today - 34))), "the first day held is named: {refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_counted_and_picked_by_how_they_are() {
    let fixture = Fixture::start().await;
    fixture.register(&["fine-1", "fine-2", "slow", "bad", "quiet", "dormant-1", "dormant-2"]).await;
    for totals in [totals("fine-1", 100, 0), totals("fine-2", 50, 1), totals("slow", 100, 10), totals("bad", 10, 9), of_day("quiet", 1, 5)]
    {
        fixture.announce(&totals).await;
    }
    let counts = json!({"healthy": 2, "degraded": 1, "failing": 1, "silent": 3});
    fixture.eventually("/api/v1/agents?detail=true", |page| page["status_counts"] == counts).await;
    for (status, sort, expected) in [
        ("healthy", "-calls", vec!["fine-1", "fine-2"]),
        ("failing,degraded", "-calls", vec!["slow", "bad"]),
        ("silent", "-last_seen", vec!["quiet", "dormant-1", "dormant-2"]),
        ("silent, healthy", "agent_id", vec!["dormant-1", "dormant-2", "fine-1", "fine-2", "quiet"]),
        ("silent", "-agent_id", vec!["quiet", "dormant-2", "dormant-1"]),
    ] {
        let path = format!("/api/v1/agents?detail=true&status={status}&sort={sort}");
        let whole = fixture.get(&path).await;
        assert_eq!(ids(&whole), expected, "{path}");
        assert_eq!((whole["total"].as_u64(), &whole["status_counts"]), (Some(expected.len() as u64), &counts), "{path}");
        let (mut met, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = fixture.get(&format!("{path}&limit=1{cursor}")).await;
            met.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next_key"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(met, expected, "{path}, page by page");
    }
    let searched = fixture.get("/api/v1/agents?detail=true&q=fine&status=silent").await;
    assert_eq!((searched["total"].as_u64(), &searched["status_counts"]["healthy"]), (Some(0), &json!(2)));
    assert_eq!(fixture.refused("/api/v1/agents?detail=true&status=happy", 422).await["errors"][0]["field"], "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_is_as_in_the_list() {
    let fixture = Fixture::start().await;
    fixture.register(&["team/bot", "dormant"]).await;
    fixture.announce(&totals("team/bot", 9, 1)).await;
    fixture.announce(&totals("just-in", 1, 0)).await;
    let page = fixture.eventually("/api/v1/agents?detail=true&sort=-calls", |page| page["items"][1]["calls"] == 1).await;
    let mut one = fixture.get("/api/v1/agents/team%2Fbot").await;
    let fields = one.as_object_mut().expect("an object");
    for name in ["first_day", "last_day", "is_live", "as_of"] {
        assert!(fields.remove(name).is_some(), "{name}");
    }
    assert_eq!(one, page["items"][0]);
    assert_eq!(one["first_seen"], "2026-01-01T00:00:00.000000Z");
    let just_in = fixture.get("/api/v1/agents/just-in").await;
    assert_eq!((just_in["calls"].as_i64(), just_in["first_seen"].is_null()), (Some(1), true));
    assert_eq!(fixture.get("/api/v1/agents/dormant").await["status"], "silent");
    let yesterday = format_day(day_of(now_micros()) - 1);
    assert_eq!(fixture.get(&format!("/api/v1/agents/team%2Fbot?end_date={yesterday}")).await["calls"], 0);
    fixture.refused("/api/v1/agents/nobody", 404).await;
    fixture.refused("/api/v1/agents/%23a", 422).await;
    fixture.refused("/api/v1/agents/dormant?start_date=2020-01-01", 422).await;
}
