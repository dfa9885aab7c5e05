//! Metrics, series and KPIs, against rollups written by hand.

use crate::fixture::{Fixture, agent};
use schemas::item::{Period, Subject};
use schemas::rollup::{ModelUse, Rollup, Slot};
use schemas::sketch::bucket_of;
use schemas::time::{DAY_US, day_of, format_day, now_micros, parse_day};
use schemas::{AgentTotals, MessageType};

/// `calls` messages, of which every response took `ms`.
fn rollup(calls: i64, errors: i64, ms: i64) -> Rollup {
    let mut r =
        Rollup { calls: calls + errors, latency_n: calls, latency_us: calls * ms * 1_000, latency_max_us: ms * 1_000, ..Rollup::default() };
    r.by_type[MessageType::UserMessage as usize] = calls;
    r.by_type[MessageType::Error as usize] = errors;
    r.latency_buckets.insert(bucket_of(ms * 1_000), calls);
    r.tokens = calls * 10;
    r.models.insert("gpt-4o".into(), ModelUse { calls, tokens: calls * 10, cost_nanousd: calls * 1_000_000 });
    (r.cost_nanousd, r.cost_n) = (calls * 1_000_000, calls);
    r
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_sum_the_days_asked_for() {
    let fixture = Fixture::start().await;
    let day = parse_day("2026-01-07").expect("a day");
    fixture.register(&["team/bot", "idle"]).await;
    fixture.put_rollup(agent("team/bot"), Period::Day(day), &rollup(10, 1, 100)).await;
    fixture.put_rollup(agent("team/bot"), Period::Day(day + 1), &rollup(30, 3, 200)).await;
    fixture.put_rollup(agent("team/bot"), Period::Day(day + 2), &rollup(99, 9, 900)).await;
    fixture.put_users(agent("team/bot"), day, &["u1", "u2"]).await;
    fixture.put_users(agent("team/bot"), day + 1, &["u2", "u3"]).await;
    let body = fixture.get("/api/v1/agents/team%2Fbot/metrics?start_date=2026-01-07&end_date=2026-01-08").await;
    assert_eq!(body["agent_id"], "team/bot");
    assert_eq!(body["time_range"], "2026-01-07 to 2026-01-08");
    let metrics = &body["metrics"];
    assert_eq!(metrics["date"], "2026-01-07_to_2026-01-08");
    assert_eq!((metrics["total_messages"].as_i64(), metrics["total_errors"].as_i64()), (Some(40), Some(4)));
    assert_eq!(metrics["average_response_time"], 175.0);
    assert_eq!(metrics["total_tokens_used"], 400);
    assert_eq!(metrics["average_feedback_score"], 0.0);
    assert_eq!(metrics["unique_users"], 3, "distinct over the range, not the sum of days");
    assert_eq!(metrics["cost_usd"], 0.04);
    assert_eq!(metrics["error_rate"], 0.1);
    let p99 = metrics["response_times"]["p99_ms"].as_f64().expect("a number");
    assert!((p99 / 200.0 - 1.0).abs() <= 0.02, "{p99}");

    let idle = fixture.get("/api/v1/agents/idle/metrics").await;
    assert_eq!((idle["metrics"]["total_messages"].as_i64(), idle["metrics"]["average_response_time"].as_f64()), (Some(0), Some(0.0)));
    assert!(idle["metrics"]["cost_usd"].is_null() && idle["metrics"]["response_times"]["p50_ms"].is_null());
    fixture.refused("/api/v1/agents/nobody/metrics", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_the_sum_of_its_partitions() {
    let fixture = Fixture::start().await;
    let day = parse_day("2026-01-07").expect("a day");
    for partition in 0..2 {
        fixture.put_rollup(Subject::Fleet(partition), Period::Day(day), &rollup(5, 1, 100)).await;
        fixture.put_users(Subject::Fleet(partition), day, &["u1", if partition == 0 { "u2" } else { "u3" }]).await;
    }
    let body = fixture.get("/api/v1/metrics/series?start_date=2026-01-06&end_date=2026-01-08").await;
    let items = body["items"].as_array().expect("items");
    let dates: Vec<_> = items.iter().map(|i| i["date"].as_str().unwrap_or_default()).collect();
    assert_eq!(dates, ["2026-01-06", "2026-01-07", "2026-01-08"], "every date is present");
    assert_eq!((items[1]["calls"].as_i64(), items[1]["errors"].as_i64(), items[1]["visitors"].as_i64()), (Some(12), Some(2), Some(3)));
    assert_eq!(items[1]["models"], serde_json::json!(["gpt-4o"]));
    assert_eq!(items[1]["model_usage"], serde_json::json!({"gpt-4o": 10}));
    assert_eq!(
        (items[0]["calls"].as_i64(), items[0]["visitors"].as_i64(), items[0]["average_response_time_ms"].is_null()),
        (Some(0), Some(0), true)
    );
    assert_eq!(body["agents"], serde_json::json!([]));
    assert_eq!(fixture.get("/api/v1/metrics/series").await["items"].as_array().map(Vec::len), Some(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn series_by_hour_and_five_minutes_come_from_the_hours() {
    let fixture = Fixture::start().await;
    let hour = parse_day("2026-01-07").expect("a day") * 24 + 10;
    let mut r = rollup(4, 0, 50);
    r.slots.insert(3, Slot { calls: 4, messages: 4, latency_us: 200_000, latency_n: 4, latency_max_us: 90_000, ..Slot::default() });
    fixture.put_rollup(agent("a"), Period::Hour(hour), &r).await;
    fixture.put_rollup(agent("b"), Period::Hour(hour), &rollup(1, 0, 50)).await;
    let by_hour = fixture.get("/api/v1/metrics/series?interval=hour&agents=a,b&start_date=2026-01-07&end_date=2026-01-07").await;
    let items = by_hour["items"].as_array().expect("items");
    assert_eq!((items.len(), items[10]["date"].as_str(), items[10]["calls"].as_i64()), (24, Some("2026-01-07T10:00:00Z"), Some(5)));
    assert!(items[10]["p95_response_time_ms"].is_number() && items[10]["visitors"].is_null());
    let by_slot =
        fixture.get("/api/v1/metrics/series?interval=5m&agents=a&start_date=2026-01-07T10:00:00Z&end_date=2026-01-07T10:59:59Z").await;
    let items = by_slot["items"].as_array().expect("items");
    assert_eq!((items.len(), items[3]["date"].as_str(), items[3]["calls"].as_i64()), (12, Some("2026-01-07T10:15:00Z"), Some(4)));
    assert_eq!((items[3]["average_response_time_ms"].as_f64(), items[3]["max_response_time_ms"].as_f64()), (Some(50.0), Some(90.0)));
    assert!(items[3]["p95_response_time_ms"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn kpis_compare_with_the_range_before() {
    let fixture = Fixture::start().await;
    let today = day_of(now_micros());
    for (day, messages) in [(today, 30), (today - 1, 20)] {
        fixture.put_rollup(Subject::Fleet(0), Period::Day(day), &rollup(messages, 0, 100)).await;
        fixture.put_rollup(Subject::Fleet(0), Period::Hour(day * 24), &rollup(messages, 0, 100)).await;
        fixture.announce(&AgentTotals { agent_id: "a".into(), day, version: 1, calls: messages, messages, ..AgentTotals::default() }).await;
    }
    fixture.put_rollup(Subject::Fleet(1), Period::Hour(today * 24 + 1), &rollup(1, 9, 100)).await;
    fixture.put_users(Subject::Fleet(0), today, &["u1", "u2", "u3"]).await;
    fixture.put_users(Subject::Fleet(0), today - 1, &["u1"]).await;
    let path = format!("/api/v1/dashboard/kpis?start_date={0}&end_date={0}", format_day(today));
    let kpi = |body: &serde_json::Value, title: &str| {
        let kpis = body["kpis"].as_array().expect("kpis");
        kpis.iter().find(|k| k["title"] == title).unwrap_or_else(|| panic!("no {title}")).clone()
    };
    let body = fixture.eventually(&path, |body| kpi(body, "Active Agents")["hasData"] == true).await;
    let messages = kpi(&body, "Total Messages");
    assert_eq!(
        (messages["value"].as_f64(), messages["change"].as_f64(), messages["changeType"].as_str()),
        (Some(30.0), Some(50.0), Some("increase"))
    );
    assert!(messages["description"].is_string());
    assert_eq!(kpi(&body, "Uptime")["value"], 50.0, "one of two hours was full of errors");
    assert_eq!(kpi(&body, "Unique Users")["value"], 3.0);
    assert_eq!(kpi(&body, "Returning Users")["value"], 1.0);
    assert_eq!(kpi(&body, "Messages per User")["value"], 10.0);
    assert_eq!(kpi(&body, "Active Agents")["value"], 1.0);
    assert_eq!((kpi(&body, "Feedback")["value"].as_f64(), kpi(&body, "Feedback")["hasData"].as_bool()), (Some(0.0), Some(false)));
    assert_eq!((body["start_date"].clone(), body["previous_end_date"].clone()), (format_day(today).into(), format_day(today - 1).into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_answer_is_not_sent_again() {
    let fixture = Fixture::start().await;
    fixture.put_rollup(agent("a"), Period::Day(day_of(now_micros() - 9 * DAY_US)), &rollup(1, 0, 1)).await;
    let url = format!("{}/api/v1/agents/a/metrics?days=10", fixture.base);
    let first = fixture.http.get(&url).send().await.expect("an answer");
    let tag = first.headers()["etag"].clone();
    let again = fixture.http.get(&url).header("if-none-match", tag.clone()).send().await.expect("an answer");
    assert_eq!(again.status().as_u16(), 304);
    fixture.put_rollup(agent("a"), Period::Day(day_of(now_micros())), &rollup(1, 0, 1)).await;
    let changed = fixture.http.get(&url).header("if-none-match", tag).send().await.expect("an answer");
    assert_eq!(changed.status().as_u16(), 200);
}
