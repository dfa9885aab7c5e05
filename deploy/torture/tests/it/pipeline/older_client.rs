//! A client of the system that users come from: it knows the contract's unmarked fields and nothing else.

use super::api::Api;
use schemas::time::{day_of, format_day, format_micros, now_micros};
use serde_json::{Value, json};

const AGENT: &str = "older-bot";

/// Posts as Python did (naive UTC times, `null` for what is not known, somebody else's id in the body) and reads back.
pub(super) async fn works_unchanged(api: &Api) {
    // Ten minutes ago, so that nothing is active; as `datetime.utcnow().isoformat()` writes it.
    let base = now_micros() - 600_000_000;
    let time = |n: i64| format_micros(base + n * 1_000_000).trim_end_matches('Z').to_owned();
    let event = |n: i64, message_type: &str| {
        json!({
            "agent_id": "somebody-else", "timestamp": time(n), "message_type": message_type, "content": null, "metadata": null,
            "error_details": null, "response_time_ms": null, "token_count": null, "model_used": null, "user_feedback": null,
        })
    };
    let mut message = event(0, "user_message");
    message["content"] = "How do I reset it?".into();
    message["metadata"] = json!({"user_id": "u-1", "session_id": "s-1", "trace_id": "t-1", "nested": {"list": [1, null, {"x": 1.5}]}});
    let mut response = event(1, "agent_response");
    response["response_time_ms"] = 250.5.into();
    response["token_count"] = 120.into();
    response["model_used"] = "in-house-7b".into();
    response["metadata"] = json!({"user_id": "u-1", "trace_id": "t-1", "tokens_prompt": 100, "tokens_completion": 20});
    let mut error = event(2, "error");
    error["error_details"] = "Traceback: …".into();
    let mut feedback = event(3, "feedback");
    feedback["user_feedback"] = 4.into();
    feedback["metadata"] = json!({"user_id": "u-2"});
    for event in [&message, &response, &error, &feedback, &message] {
        let answer = api.post(&format!("/api/v1/agents/{AGENT}/events"), event).await;
        assert_eq!((&answer["status"], &answer["message"]), (&json!("success"), &json!("Event recorded successfully")));
        assert!(answer["event_id"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
        api.await_counted(&answer).await;
    }
    reads_numbers(api, base).await;
    reads_events(api, &[&feedback, &error, &response, &message]).await;
    assert_eq!(api.get("/health").await["status"], "healthy");
}

async fn reads_numbers(api: &Api, base: i64) {
    let agents = api.get("/api/v1/agents").await;
    assert!(agents.as_array().unwrap().contains(&json!(AGENT)) && !agents.as_array().unwrap().contains(&json!("somebody-else")));
    let (first, last) = (format_day(day_of(now_micros()) - 6), format_day(day_of(now_micros())));
    let answer = api.get(&format!("/api/v1/agents/{AGENT}/metrics?days=7")).await;
    assert_eq!(answer["time_range"], format!("{first} to {last}"));
    let want = json!({
        "agent_id": AGENT, "date": format!("{first}_to_{last}"), "total_messages": 1, "total_responses": 1, "total_errors": 1,
        "average_response_time": 250.5, "total_tokens_used": 120, "average_feedback_score": 4.0, "unique_users": 2,
    });
    super::numbers::same(&answer["metrics"], &want, "metrics");

    let day = format_day(day_of(base));
    let series = api.get(&format!("/api/v1/metrics/series?start_date={day}&end_date={day}&agents={AGENT}")).await;
    let want = json!({
        "start_date": day, "end_date": day, "agents": [AGENT],
        "items": [{
            "date": day, "calls": 4, "errors": 1, "visitors": 2, "models": ["in-house-7b"], "model_usage": {"in-house-7b": 1},
        }],
    });
    super::numbers::same(&series, &want, "series");

    let answer = api.get(&format!("/api/v1/dashboard/kpis?start_date={day}&end_date={day}&agents={AGENT}")).await;
    assert_eq!((answer["start_date"].as_str(), &answer["agents"]), (Some(day.as_str()), &json!([AGENT])));
    for kpi in answer["kpis"].as_array().unwrap() {
        assert!(
            kpi["title"].is_string() && kpi["value"].is_number() && kpi["change"].is_number() && kpi["description"].is_string(),
            "{kpi}"
        );
        assert!(kpi["changeType"] == "increase" || kpi["changeType"] == "decrease", "{kpi}");
    }

    let answer = api.get(&format!("/api/v1/conversations?agent_id={AGENT}&limit=10")).await;
    let want = json!({"items": [{
        "id": "t-1", "agent_id": AGENT, "startedAt": format_micros(base), "duration": 1, "messageCount": 2, "status": "completed",
    }]});
    super::numbers::same(&answer, &want, "conversations");
}

async fn reads_events(api: &Api, sent: &[&Value]) {
    let page = api.get(&format!("/api/v1/events?agent_id={AGENT}&limit=50")).await;
    assert!(page.get("next_key").is_some_and(Value::is_null), "{page}");
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), sent.len(), "the repeat is counted once: {page}");
    for (item, sent) in items.iter().zip(sent) {
        let mut want = (*sent).clone();
        want["agent_id"] = AGENT.into();
        want["timestamp"] = format!("{}Z", sent["timestamp"].as_str().unwrap()).into();
        super::numbers::same(item, &want, "an event");
    }
}
