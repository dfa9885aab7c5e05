//! The list of agents, plain and with today's numbers.

use crate::fixture::{Fixture, agent};
use schemas::AgentTotals;
use schemas::item::Period;
use schemas::rollup::Rollup;
use schemas::time::{day_of, now_micros};
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
