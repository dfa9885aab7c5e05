//! KPIs and summaries over times: what is exact, what covers more, and what it is compared with.

use crate::fixture::{Fixture, agent};
use schemas::item::{Period, Subject};
use schemas::rollup::{ModelUse, Rollup, Slot, ToolUse};
use schemas::sketch::bucket_of;
use schemas::time::{HOUR_US, day_of, format_micros, now_micros, parse_day};
use schemas::{AgentTotals, MessageType};
use serde_json::{Value, json};

/// An hour's rollup of messages by slot; each took 100 ms and cost a tenth of a cent.
fn hour_of_messages(slots: &[(u8, i64)]) -> Rollup {
    let mut r = Rollup::default();
    for (slot, messages) in slots {
        let (latency_us, cost_nanousd) = (messages * 100_000, messages * 1_000_000);
        let slot_sum = Slot {
            calls: *messages,
            messages: *messages,
            latency_us,
            latency_n: *messages,
            cost_nanousd,
            tokens: *messages,
            ..Slot::default()
        };
        r.slots.insert(*slot, slot_sum);
        r.calls += messages;
        r.by_type[MessageType::UserMessage as usize] += messages;
        r.latency_us += latency_us;
        r.latency_n += messages;
        r.tokens += messages;
        r.cost_nanousd += cost_nanousd;
        r.cost_n += messages;
        *r.latency_buckets.entry(bucket_of(100_000)).or_default() += messages;
    }
    r.latency_max_us = 100_000;
    r
}

/// So many answers, of a day or an hour.
fn answers(count: i64) -> Rollup {
    let mut r = Rollup { calls: count, ..Rollup::default() };
    r.by_type[MessageType::AgentResponse as usize] = count;
    r
}

fn kpi(body: &Value, id: &str) -> Value {
    let kpis = body["kpis"].as_array().expect("kpis");
    kpis.iter().find(|k| k["id"] == id).unwrap_or_else(|| panic!("no {id}")).clone()
}

/// Value, previous and coversFrom.
fn told(body: &Value, id: &str) -> (Option<f64>, Option<f64>, Option<String>) {
    let kpi = kpi(body, id);
    (kpi["value"].as_f64(), kpi["previous"].as_f64(), kpi["coversFrom"].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn short_spans_are_exact_to_five_minutes_and_say_what_covers_more() {
    let fixture = Fixture::start().await;
    let day = parse_day("2026-01-07").expect("a day");
    for (hour, slots) in [(8, vec![(5, 50), (6, 1)]), (9, vec![(5, 7), (6, 2)]), (10, vec![(5, 3), (6, 100)])] {
        let mut rollup = hour_of_messages(&slots);
        rollup.add(&answers(hour));
        fixture.put_rollup(Subject::Fleet(0), Period::Hour(day * 24 + hour as i32), &rollup).await;
    }
    let mut of_day = hour_of_messages(&[(0, 1_000)]);
    of_day.slots.clear();
    fixture.put_rollup(Subject::Fleet(1), Period::Day(day), &of_day).await;
    fixture.put_users(Subject::Fleet(0), day, &["u1", "u2"]).await;
    fixture.put_users(Subject::Fleet(1), day - 1, &["u2", "u3", "u4"]).await;

    let body = fixture.get("/api/v1/dashboard/kpis?start_date=2026-01-07T09:30:00Z&end_date=2026-01-07T10:30:00Z").await;
    assert_eq!(
        [&body["start"], &body["end"], &body["previous_start"], &body["previous_end"]],
        ["2026-01-07T09:30:00.000000Z", "2026-01-07T10:30:00.000000Z", "2026-01-07T08:30:00.000000Z", "2026-01-07T09:30:00.000000Z"]
    );
    assert_eq!((body["start_date"].as_str(), body["previous_end_date"].as_str()), (Some("2026-01-07"), Some("2026-01-07")));
    for id in ["total_messages", "events", "tokens"] {
        assert_eq!(told(&body, id), (Some(5.0), Some(8.0), None), "{id}");
    }
    assert_eq!(told(&body, "cost"), (Some(0.005), Some(0.008), None));
    assert_eq!(told(&body, "average_response_time"), (Some(100.0), Some(100.0), None));
    assert_eq!(told(&body, "errors"), (Some(0.0), Some(0.0), None));
    assert_eq!(told(&body, "error_rate"), (Some(0.0), Some(0.0), None));
    let (hour, midnight) = (Some("2026-01-07T09:00:00.000000Z".to_owned()), Some("2026-01-07T00:00:00.000000Z".to_owned()));
    assert_eq!(told(&body, "responses"), (Some(19.0), None, hour.clone()), "an hour and a half against two hours is no comparison");
    let (p95, before, from) = told(&body, "p95_response_time");
    assert!(p95.is_some_and(|ms| (ms - 100.0).abs() <= 2.0) && before.is_some() && from == hour);
    assert_eq!(told(&body, "unique_users"), (Some(2.0), None, midnight.clone()));
    assert_eq!(told(&body, "returning_users"), (Some(1.0), None, midnight.clone()));
    assert_eq!(told(&body, "messages_per_user"), (Some(500.0), None, midnight), "messages of the days whose users these are");

    // Of whole hours everything is exact, and the range before is two hours too.
    let body = fixture.get("/api/v1/dashboard/kpis?start_date=2026-01-07T09:00:00Z&end_date=2026-01-07T11:00:00Z").await;
    assert_eq!(told(&body, "responses"), (Some(19.0), Some(8.0), None));
    assert_eq!(told(&body, "total_messages"), (Some(112.0), Some(51.0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_spans_are_whole_days_with_hours_at_both_ends() {
    let fixture = Fixture::start().await;
    let first = parse_day("2026-01-01").expect("a day");
    let put = async |period, count| fixture.put_rollup(agent("a"), period, &answers(count)).await;
    // The hours within whole days are never read: they say something else here.
    for (day, hour, count) in [(0, 9, 1_000), (0, 10, 1), (0, 23, 2), (1, 5, 1_000), (14, 10, 4), (14, 11, 1_000)] {
        put(Period::Hour((first + day) * 24 + hour), count).await;
    }
    for (day, count) in [(0, 5_000), (1, 10), (13, 20), (14, 5_000), (-1, 7)] {
        put(Period::Day(first + day), count).await;
    }
    fixture.put_rollup(agent("b"), Period::Day(first - 2), &answers(3)).await;
    let range = "start_date=2026-01-01T10:20:00Z&end_date=2026-01-15T10:20:00Z&agents=a,b";
    let body = fixture.get(&format!("/api/v1/dashboard/kpis?{range}")).await;
    let from = Some("2026-01-01T10:00:00.000000Z".to_owned());
    assert_eq!(told(&body, "responses"), (Some(37.0), Some(1_010.0), from.clone()));
    assert_eq!(told(&body, "active_agents"), (Some(1.0), Some(2.0), from.clone()));
    assert_eq!(kpi(&body, "uptime")["value"], 100.0);
    assert!(kpi(&body, "uptime")["description"].as_str().is_some_and(|d| d.contains("days with traffic")));

    let summary = fixture.get(&format!("/api/v1/metrics/summary?{range}")).await;
    assert_eq!((summary["metrics"]["total_responses"].as_i64(), summary["covers_from"].as_str()), (Some(37), from.as_deref()));
    assert_eq!(summary["users_cover_from"], "2026-01-01T00:00:00.000000Z");
    assert_eq!((&summary["agents"], &summary["start"]), (&json!(["a", "b"]), &json!("2026-01-01T10:20:00.000000Z")));
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_span_that_ends_now_are_those_seen_in_it() {
    let fixture = Fixture::start().await;
    let now = now_micros();
    for (agent, age) in [("lately", 60_000_000), ("earlier", 2 * HOUR_US)] {
        let at = now - age;
        let totals = AgentTotals { agent_id: agent.into(), day: day_of(at), version: 1, last_at: at, calls: 1, ..AgentTotals::default() };
        fixture.announce(&totals).await;
    }
    fixture.eventually("/api/v1/agents?detail=true", |page| page["is_live"] == true && page["total"] == 2).await;
    let since = |age: i64| format!("/api/v1/dashboard/kpis?start_date={}&end_date={}", format_micros(now - age), format_micros(now));
    assert_eq!(told(&fixture.get(&since(HOUR_US)).await, "active_agents"), (Some(1.0), None, None));
    assert_eq!(told(&fixture.get(&since(3 * HOUR_US)).await, "active_agents"), (Some(2.0), None, None));
    // Further back than the live table reaches, nobody knows.
    let old = fixture.get("/api/v1/dashboard/kpis?start_date=2024-01-07T09:00:00Z&end_date=2024-01-07T11:00:00Z").await;
    assert_eq!((kpi(&old, "active_agents")["hasData"].as_bool(), told(&old, "active_agents").1), (Some(false), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_are_compared_as_ever_and_say_their_times() {
    let fixture = Fixture::start().await;
    let day = parse_day("2026-01-07").expect("a day");
    for (day, count) in [(day, 6), (day - 1, 4)] {
        fixture.put_rollup(Subject::Fleet(0), Period::Day(day), &answers(count)).await;
    }
    let body = fixture.get("/api/v1/dashboard/kpis?start_date=2026-01-07&end_date=2026-01-07").await;
    assert_eq!(told(&body, "responses"), (Some(6.0), Some(4.0), None));
    assert_eq!(told(&body, "events"), (Some(6.0), Some(4.0), None));
    assert_eq!(told(&body, "unique_users"), (Some(0.0), Some(0.0), None));
    assert_eq!(
        [&body["start"], &body["end"], &body["previous_start"]],
        ["2026-01-07T00:00:00.000000Z", "2026-01-08T00:00:00.000000Z", "2026-01-06T00:00:00.000000Z"]
    );
    let ids: Vec<&str> = body["kpis"].as_array().expect("kpis").iter().filter_map(|k| k["id"].as_str()).collect();
    assert_eq!(
        ids,
        [
            "total_messages",
            "responses",
            "error_rate",
            "average_response_time",
            "p95_response_time",
            "tokens",
            "cost",
            "active_agents",
            "unique_users",
            "returning_users",
            "messages_per_user",
            "uptime",
            "feedback",
            "errors",
            "events",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_has_what_an_agents_metrics_have() {
    let fixture = Fixture::start().await;
    let day = parse_day("2026-01-07").expect("a day");
    let mut rollup = hour_of_messages(&[(0, 10)]);
    rollup.slots.clear();
    rollup.last_at = i64::from(day) * 24 * HOUR_US + 5;
    rollup.models.insert("gpt-4o".into(), ModelUse { calls: 3, tokens: 30, cost_nanousd: 1_000_000 });
    rollup.tools.insert("search".into(), ToolUse { calls: 2, latency_us: 3_000 });
    rollup.error_types.insert("Timeout".into(), 4);
    rollup.duplicates = 5;
    for subject in [agent("a"), agent("b"), Subject::Fleet(0), Subject::Fleet(1)] {
        fixture.put_rollup(subject.clone(), Period::Day(day), &rollup).await;
        fixture.put_users(subject, day, &["u1"]).await;
    }
    let range = "start_date=2026-01-07&end_date=2026-01-08";
    let mut of_agent = fixture.get(&format!("/api/v1/agents/a/metrics?{range}")).await["metrics"].take();
    let one = fixture.get(&format!("/api/v1/metrics/summary?{range}&agents=a")).await;
    let of_agent = of_agent.as_object_mut().expect("an object");
    assert_eq!((of_agent.remove("agent_id"), of_agent.remove("date")), (Some(json!("a")), Some(json!("2026-01-07_to_2026-01-08"))));
    assert_eq!(one["metrics"].as_object(), Some(&*of_agent));
    for question in ["", "&agents=a,b"] {
        let both = fixture.get(&format!("/api/v1/metrics/summary?{range}{question}")).await;
        let metrics = &both["metrics"];
        assert_eq!((metrics["total_messages"].as_i64(), metrics["unique_users"].as_i64()), (Some(20), Some(1)), "{question}");
        assert_eq!(metrics["tools"], json!([{"tool": "search", "calls": 4, "response_time_ms": 6.0}]));
        assert_eq!((metrics["duplicates_skipped"].as_i64(), metrics["error_types"][0]["count"].as_i64()), (Some(10), Some(8)));
        assert!(both["covers_from"].is_null() && both["users_cover_from"].is_null());
    }
    assert_eq!(fixture.get("/api/v1/metrics/summary?agents=nobody").await["metrics"]["total_events"], 0);
    for (query, field) in [
        ("start_date=noon", "start_date"),
        ("days=0", "days"),
        ("start_date=2026-01-07T10:00:00Z&end_date=2026-01-07T10:00:00Z", "start_date"),
        ("agents=a,b%23", "agents"),
    ] {
        for path in ["/api/v1/metrics/summary", "/api/v1/dashboard/kpis"] {
            assert_eq!(fixture.refused(&format!("{path}?{query}"), 422).await["errors"][0]["field"], field, "{path}?{query}");
        }
    }
}
