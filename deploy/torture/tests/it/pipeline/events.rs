//! Raw events, conversations and receipts.

use super::api::Api;
use super::numbers::same;
use super::truth::Truth;
use schemas::MessageType;
use schemas::time::format_micros;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use torture::ledger::SentEvent;

/// Paging meets every event of an agent exactly once, newest first, as it was sent; each has a permalink.
pub(super) async fn check_pages(api: &Api, truth: &Truth) {
    for (agent, limit) in truth.agents().into_iter().zip([7, 37, 100, 1_000].into_iter().cycle()) {
        let path = format!("/api/v1/events?agent_id={agent}&limit={limit}");
        let items = api.pages(&path).await;
        let want = newest_first(truth.all_of(agent));
        assert_eq!(ids(&items), want.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), "{path}");
        items.iter().zip(&want).for_each(|(item, sent)| same(item, &as_sent(sent), &path));
        for (item, sent) in items.iter().zip(&want).step_by(41) {
            let link = format!("/api/v1/agents/{agent}/events/{}/{}", format_micros(sent.timestamp), sent.id);
            assert_eq!(api.get(&link).await["event"], *item, "{link}");
        }
    }
    assert_eq!(api.ask("/api/v1/agents/agent-0/events/2026-01-07T10:30:00Z/never-sent").await.0, 404);
}

pub(super) async fn check_filters(api: &Api, truth: &Truth) {
    let agent = "agent-1";
    let all = newest_first(truth.all_of(agent));
    let (newer, older) = (all[20].timestamp, all[120].timestamp);
    type Takes<'a> = Box<dyn Fn(&SentEvent) -> bool + 'a>;
    let cases: Vec<(String, Takes<'_>)> = vec![
        ("message_type=tool_call".into(), Box::new(|e| e.message_type == MessageType::ToolCall)),
        ("model=torture-model-2".into(), Box::new(|e| e.model.as_deref() == Some("torture-model-2"))),
        ("user_id=user-7".into(), Box::new(|e| e.user.as_deref() == Some("user-7"))),
        ("conversation_id=conversation-3".into(), Box::new(|e| e.conversation.as_deref() == Some("conversation-3"))),
        ("min_response_time_ms=15000".into(), Box::new(|e| e.response_time_ms.is_some_and(|ms| ms >= 15_000))),
        (
            format!("start_date={}&end_date={}", format_micros(older), format_micros(newer)),
            Box::new(|e| (older..=newer).contains(&e.timestamp)),
        ),
        (
            "message_type=error&model=torture-model-0".into(),
            Box::new(|e| e.message_type == MessageType::Error && e.model.as_deref() == Some("torture-model-0")),
        ),
    ];
    for (filter, takes) in cases {
        let want: Vec<_> = all.iter().filter(|e| takes(e)).map(|e| e.id.as_str()).collect();
        let items = api.pages(&format!("/api/v1/events?agent_id={agent}&limit=11&{filter}")).await;
        assert_eq!(ids(&items), want, "{filter}");
    }
    // Without an agent: errors from the index, the rest merged.
    for message_type in [MessageType::Error, MessageType::Feedback, MessageType::GraphStep] {
        let path = format!("/api/v1/events?message_type={}&limit=1000", message_type.name());
        let items = api.get(&path).await;
        let agents = truth.agents();
        let want = newest_first(agents.iter().flat_map(|a| truth.all_of(a)).filter(|e| e.message_type == message_type));
        assert_eq!(ids(items["items"].as_array().unwrap()), want.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), "{path}");
    }
    assert_eq!(api.ask("/api/v1/events?limit=1001").await.0, 422);
    assert_eq!(api.ask("/api/v1/events?agent_id=agent-1&cursor=nonsense").await.0, 422);
}

pub(super) async fn check_conversations(api: &Api, truth: &Truth) {
    for agent in truth.agents() {
        let mut want: BTreeMap<&str, Vec<&SentEvent>> = BTreeMap::new();
        for e in truth.all_of(agent) {
            if let Some(id) = &e.conversation {
                want.entry(id).or_default().push(e);
            }
        }
        let path = format!("/api/v1/conversations?agent_id={agent}");
        let answer = api.get(&path).await;
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), want.len(), "{path}");
        let ends: Vec<&str> = items.iter().map(|i| i["lastEventAt"].as_str().unwrap()).collect();
        assert!(ends.is_sorted_by(|a, b| a >= b), "newest first: {ends:?}");
        for item in items {
            let events = &want[item["id"].as_str().unwrap()];
            let first = events.iter().map(|e| e.timestamp).min().unwrap();
            let last = events.iter().map(|e| e.timestamp).max().unwrap();
            let has_error = events.iter().any(|e| e.message_type == MessageType::Error);
            let want = json!({
                "agent_id": agent, "startedAt": format_micros(first), "duration": (last - first) / 1_000_000,
                "messageCount": events.len(), "status": if has_error { "error" } else { "completed" },
            });
            same(item, &want, &path);
        }
    }
}

pub(super) async fn check_receipts(api: &Api, receipt: &str) {
    let answer = api.get(&format!("/api/v1/receipts/{receipt}?wait_ms=5000")).await;
    same(&answer, &json!({"logged": true, "counted": true, "lag_ms": 0}), receipt);
    for (receipt, status) in [("0-0-999999999", 404), ("0-99-0", 404), ("nonsense", 422)] {
        assert_eq!(api.ask(&format!("/api/v1/receipts/{receipt}")).await.0, status, "{receipt}");
    }
}

fn newest_first<'a>(events: impl Iterator<Item = &'a SentEvent>) -> Vec<&'a SentEvent> {
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|e| Reverse((e.timestamp, &e.id)));
    events
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|i| i["event_id"].as_str().unwrap()).collect()
}

fn as_sent(e: &SentEvent) -> Value {
    let mut event = json!({
        "agent_id": e.agent, "event_id": e.id, "timestamp": format_micros(e.timestamp), "message_type": e.message_type.name(),
        "content": format!("event {}", e.id), "error_details": null, "response_time_ms": e.response_time_ms,
        "token_count": e.tokens.map(|t| t.0 + t.1), "model_used": e.model, "user_feedback": e.feedback,
        "cost_usd": e.cost_micro.map(|c| c as f64 / 1e6), "metadata": {"run": e.id, "nothing": null},
    });
    let optional = [
        ("user_id", json!(e.user)),
        ("conversation_id", json!(e.conversation)),
        ("tool_name", json!(e.tool)),
        ("error_type", json!(e.error_type)),
        ("input_tokens", json!(e.tokens.map(|t| t.0))),
        ("output_tokens", json!(e.tokens.map(|t| t.1))),
    ];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        event[name] = value;
    }
    event
}
