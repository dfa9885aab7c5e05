//! Agents, their metrics, series and KPIs, field by field.

use super::api::Api;
use super::truth::{Sums, Truth};
use schemas::MessageType::{AgentResponse, Error, ToolCall, UserMessage};
use schemas::time::{DAY_US, HOUR_US, SLOT_US, day_of, format_day, format_micros, now_micros};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the contract promises of percentiles.
const PERCENTILE_ERROR: f64 = 0.02;

pub(super) async fn check_agents(api: &Api, truth: &Truth) {
    let agents: Vec<&str> = truth.agents().into_iter().collect();
    assert_eq!(api.get("/api/v1/agents").await, json!(agents));
    // Today's numbers come from the live table, which follows by a moment.
    let today = i64::from(day_of(now_micros())) * DAY_US;
    let calls_today = truth.events(&[], today, today + DAY_US).count() as i64;
    let path = "/api/v1/agents?detail=true";
    let is_there = |page: &Value| items(page).iter().map(|i| i["calls"].as_i64().unwrap()).sum::<i64>() == calls_today;
    let page = api.get_until(path, is_there).await;
    assert_eq!((&page["total"], &page["next_key"]), (&json!(agents.len()), &Value::Null), "{page}");
    for (item, agent) in items(&page).iter().zip(agents) {
        let sums = Sums::of(truth.events(&[agent], today, today + DAY_US));
        let last = truth.all_of(agent).map(|e| e.timestamp).max().unwrap();
        let want = json!({
            // The live table keeps milliseconds.
            "agent_id": agent, "last_seen": format_micros(last / 1_000 * 1_000), "calls": sums.calls,
            "total_messages": sums.count(UserMessage), "total_responses": sums.count(AgentResponse),
            "total_errors": sums.count(Error), "tool_calls": sums.count(ToolCall), "error_rate": sums.error_rate(),
            "average_response_time_ms": sums.mean_time(), "max_response_time_ms": sums.max_time(),
            "total_tokens_used": sums.tokens.0 + sums.tokens.1, "cost_usd": sums.cost(),
            "average_feedback_score": sums.mean_feedback(),
        });
        same(item, &want, path);
    }
    let page = api.get("/api/v1/agents?detail=true&sort=-calls&limit=4").await;
    let calls: Vec<_> = items(&page).iter().map(|i| i["calls"].as_i64().unwrap()).collect();
    assert!(calls.len() == 4 && calls.is_sorted_by(|a, b| a >= b) && page["next_key"].is_string(), "{page}");
}

pub(super) async fn check_metrics(api: &Api, truth: &Truth) {
    let last = day_of(truth.last_at());
    for agent in truth.agents() {
        for first in [last - 2, last - 1, last] {
            let (start, end) = (format_day(first), format_day(last));
            let path = format!("/api/v1/agents/{agent}/metrics?start_date={start}&end_date={end}");
            let answer = api.get(&path).await;
            let sums = Sums::of(truth.events(&[agent], i64::from(first) * DAY_US, i64::from(last + 1) * DAY_US));
            same(&answer, &json!({"agent_id": agent, "time_range": format!("{start} to {end}")}), &path);
            same(&answer["metrics"], &metrics(agent, &format!("{start}_to_{end}"), &sums), &path);
            percentiles(&answer["metrics"]["response_times"], ["p50_ms", "p95_ms", "p99_ms"], &sums, &path);
        }
    }
    assert_eq!(api.ask("/api/v1/agents/nobody/metrics").await.0, 404);
    assert_eq!(api.ask("/api/v1/agents/agent-0/metrics?days=401").await.0, 422);
}

fn metrics(agent: &str, date: &str, sums: &Sums) -> Value {
    let mut by_type: BTreeMap<&str, i64> = schemas::MessageType::ALL.map(|t| (t.name(), 0)).into();
    by_type.extend(&sums.by_type);
    json!({
        "agent_id": agent, "date": date,
        "total_messages": sums.count(UserMessage), "total_responses": sums.count(AgentResponse), "total_errors": sums.count(Error),
        "average_response_time": sums.mean_time().unwrap_or(0.0), "total_tokens_used": sums.tokens.0 + sums.tokens.1,
        "average_feedback_score": sums.mean_feedback().unwrap_or(0.0), "unique_users": sums.users.len(), "unique_users_error": 0.0,
        "total_events": sums.calls, "events_by_type": by_type, "error_rate": sums.error_rate(),
        "response_times": {
            "count": sums.times.len(), "average_ms": sums.mean_time(), "max_ms": sums.max_time(), "percentile_error": PERCENTILE_ERROR,
        },
        "tokens": {"total": sums.tokens.0 + sums.tokens.1, "input": sums.tokens.0, "output": sums.tokens.1, "cached_input": 0, "reasoning": 0},
        "cost_usd": sums.cost(), "cost_events": sums.costs.len(), "feedback_count": sums.feedback.len(),
        "models": most_first(sums.models.iter().map(|(model, (calls, tokens, cost))| {
            (*calls, json!({"model": model, "calls": calls, "tokens": tokens, "cost_usd": dollars(*cost)}))
        })),
        "tools": most_first(sums.tools.iter().map(|(tool, (calls, ms))| {
            (*calls, json!({"tool": tool, "calls": calls, "response_time_ms": ms}))
        })),
        "error_types": most_first(sums.error_types.iter().map(|(name, count)| (*count, json!({"error_type": name, "count": count})))),
        "last_event_at": sums.last_at.map(format_micros),
    })
}

/// Most first, then by name (in which order they come).
fn most_first(counted: impl Iterator<Item = (i64, Value)>) -> Vec<Value> {
    let mut list: Vec<_> = counted.collect();
    list.sort_by_key(|(count, _)| -count);
    list.into_iter().map(|(_, value)| value).collect()
}

/// A model's known cost; 0 is taken for unknown.
fn dollars(micro: i64) -> Option<f64> {
    (micro != 0).then(|| micro as f64 / 1e6)
}

pub(super) async fn check_series(api: &Api, truth: &Truth) {
    let last = day_of(truth.last_at());
    for agents in [&[][..], &["agent-1"], &["agent-2", "agent-4"]] {
        for (interval, width, first) in [("day", DAY_US, last - 2), ("hour", HOUR_US, last - 2), ("5m", SLOT_US, last - 1)] {
            let range = format!("start_date={}&end_date={}", format_day(first), format_day(last));
            let path = format!("/api/v1/metrics/series?{range}&interval={interval}&agents={}", agents.join(","));
            let answer = api.get(&path).await;
            same(&answer, &json!({"start_date": format_day(first), "end_date": format_day(last), "agents": agents}), &path);
            let starts: Vec<i64> = (i64::from(first) * DAY_US..i64::from(last + 1) * DAY_US).step_by(width as usize).collect();
            assert_eq!(items(&answer).len(), starts.len(), "{path}");
            for (item, start) in items(&answer).iter().zip(starts) {
                let sums = Sums::of(truth.events(agents, start, start + width));
                same(item, &point(&sums, interval, start), &path);
                if interval != "5m" {
                    percentiles(item, ["p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"], &sums, &path);
                }
            }
        }
    }
}

fn point(sums: &Sums, interval: &str, start: i64) -> Value {
    let date = if interval == "day" { format_day(day_of(start)) } else { format_micros(start).replace(".000000", "") };
    let mut point = json!({
        "date": date, "calls": sums.calls, "errors": sums.count(Error), "messages": sums.count(UserMessage),
        "visitors": (interval == "day").then_some(sums.users.len()), "error_rate": sums.error_rate(),
        "response_time_count": sums.times.len(), "average_response_time_ms": sums.mean_time(), "max_response_time_ms": sums.max_time(),
        "tokens": sums.tokens.0 + sums.tokens.1,
    });
    if interval == "5m" {
        point["cost_usd"] = json!(sums.cost().filter(|cost| *cost != 0.0));
        return point;
    }
    let costs = sums.models.iter().filter_map(|(name, used)| Some((name, dollars(used.2)?)));
    let more = json!({
        "models": sums.models.keys().collect::<Vec<_>>(),
        "model_usage": sums.models.iter().map(|(name, used)| (name, used.0)).collect::<BTreeMap<_, _>>(),
        "model_cost_usd": costs.collect::<BTreeMap<_, _>>(),
        "responses": sums.count(AgentResponse), "tool_calls": sums.count(ToolCall), "cost_usd": sums.cost(),
        "input_tokens": sums.tokens.0, "output_tokens": sums.tokens.1, "average_feedback_score": sums.mean_feedback(),
    });
    point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    point
}

pub(super) async fn check_kpis(api: &Api, truth: &Truth) {
    let last = day_of(truth.last_at());
    for agents in [&[][..], &["agent-3", "agent-5"]] {
        for first in [last, last - 1] {
            let length = last - first + 1;
            let range = format!("start_date={}&end_date={}", format_day(first), format_day(last));
            let path = format!("/api/v1/dashboard/kpis?{range}&agents={}", agents.join(","));
            let now = Figures::of(truth, agents, first, last);
            let then = Figures::of(truth, agents, first - length, first - 1);
            // The fleet's active agents come from the live table.
            let is_there = |answer: &Value| value_of(answer, "active_agents") == Some(now.active_agents);
            let answer = api.get_until(&path, is_there).await;
            let before = (format_day(first - length), format_day(first - 1));
            same(&answer, &json!({"previous_start_date": before.0, "previous_end_date": before.1, "agents": agents}), &path);
            let figures = now.list(Some(&then)).into_iter().zip(then.list(None));
            for ((id, now), (_, then)) in figures {
                let kpi = answer["kpis"].as_array().unwrap().iter().find(|k| k["id"] == id).unwrap_or_else(|| panic!("{id} is missing"));
                let change = match (now, then) {
                    (Some(now), Some(then)) if then != 0.0 => (now - then) / then * 100.0,
                    (Some(now), Some(_)) if now != 0.0 => 100.0,
                    _ => 0.0,
                };
                let want = json!({
                    "value": now.unwrap_or(0.0), "previous": then, "changeType": if change < 0.0 { "decrease" } else { "increase" },
                    "change": (change * 100.0).round() / 100.0, "hasData": now.is_some(),
                });
                same(kpi, &want, &format!("{path} {id}"));
                assert!(kpi["title"].is_string() && kpi["description"].is_string(), "{kpi}");
            }
        }
    }
}

fn value_of(answer: &Value, id: &str) -> Option<f64> {
    answer["kpis"].as_array()?.iter().find(|k| k["id"] == id)?["value"].as_f64()
}

struct Figures {
    sums: Sums,
    active_agents: f64,
    uptime: Option<f64>,
}

impl Figures {
    fn of(truth: &Truth, agents: &[&str], first: i32, last: i32) -> Self {
        let events = truth.events(agents, i64::from(first) * DAY_US, i64::from(last + 1) * DAY_US);
        let mut hours: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for e in events.clone() {
            let hour = hours.entry(e.timestamp / HOUR_US).or_default();
            *hour = (hour.0 + 1, hour.1 + i64::from(e.message_type == Error));
        }
        let up = hours.values().filter(|(calls, errors)| errors * 2 < *calls).count();
        let active: std::collections::BTreeSet<_> = events.clone().map(|e| &e.agent).collect();
        Self {
            active_agents: active.len() as f64,
            uptime: (!hours.is_empty()).then(|| up as f64 / hours.len() as f64 * 100.0),
            sums: Sums::of(events),
        }
    }

    fn list(&self, before: Option<&Self>) -> Vec<(&'static str, Option<f64>)> {
        let sums = &self.sums;
        let (messages, users) = (sums.count(UserMessage) as f64, sums.users.len() as f64);
        vec![
            ("total_messages", Some(messages)),
            ("responses", Some(sums.count(AgentResponse) as f64)),
            ("error_rate", (messages > 0.0).then(|| sums.count(Error) as f64 / messages * 100.0)),
            ("average_response_time", sums.mean_time()),
            ("tokens", Some((sums.tokens.0 + sums.tokens.1) as f64)),
            ("cost", sums.cost()),
            ("active_agents", Some(self.active_agents)),
            ("unique_users", Some(users)),
            ("returning_users", before.map(|b| b.sums.users.intersection(&sums.users).count() as f64)),
            ("messages_per_user", (users > 0.0).then(|| messages / users)),
            ("uptime", self.uptime),
            ("feedback", sums.mean_feedback()),
        ]
    }
}

fn percentiles(have: &Value, names: [&str; 3], sums: &Sums, path: &str) {
    for (name, q) in names.into_iter().zip([0.5, 0.95, 0.99]) {
        let (have, want) = (have[name].as_f64(), sums.percentile(q));
        let is_near = match (have, want) {
            // A microsecond stands for less than one.
            (Some(have), Some(want)) => (have - want).abs() <= want * PERCENTILE_ERROR * 1.000_001 + 0.002,
            (have, want) => have == want,
        };
        assert!(is_near, "{path}: {name} is {have:?}, exactly {want:?}");
    }
}

fn items(answer: &Value) -> &Vec<Value> {
    answer["items"].as_array().unwrap()
}

/// Every field of `want` is in `have` with that value; `have` may have more.
pub(crate) fn same(have: &Value, want: &Value, what: &str) {
    match want {
        Value::Object(fields) => {
            for (name, want) in fields {
                let have = have.get(name).unwrap_or_else(|| panic!("{what}: {name} is missing in {have}"));
                same(have, want, &format!("{what}: {name}"));
            }
        }
        Value::Array(list) => {
            assert_eq!(have.as_array().map(Vec::len), Some(list.len()), "{what}: {have} instead of {want}");
            have.as_array().unwrap().iter().zip(list).for_each(|(have, want)| same(have, want, what));
        }
        Value::Number(number) => {
            let (have_f, want_f) = (have.as_f64().unwrap_or(f64::NAN), number.as_f64().unwrap());
            assert!((have_f - want_f).abs() <= 1e-9 * want_f.abs().max(1e-3), "{what}: {have} instead of {want}");
        }
        _ => assert_eq!(have, want, "{what}"),
    }
}
