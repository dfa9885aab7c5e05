//! The pipeline's state: what was accepted and counted, today's counts, how fresh, and what it cost.

use crate::fixture::Fixture;
use schemas::AgentTotals;
use schemas::item::{ID, KIND, WRITE_UNITS, WRITE_UNITS_RECORDS, WRITE_UNITS_SINCE, kind, n, s};
use schemas::time::{day_of, format_day, now_micros};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn accepted_counted_and_fresh_are_told_from_the_log_and_the_live_table() {
    let fixture = Fixture::start().await;
    let now = now_micros();
    for (agent, calls, duplicates) in [("a", 10, 1), ("b", 5, 2)] {
        let totals = AgentTotals {
            agent_id: agent.into(),
            day: day_of(now),
            version: 1,
            flushed_at: now - 3_000_000,
            calls,
            errors: 1,
            duplicates,
            ..AgentTotals::default()
        };
        fixture.announce(&totals).await;
    }
    let today = json!({"date": format_day(day_of(now)), "events": 15, "errors": 2, "duplicates_skipped": 3});
    let idle = fixture.eventually("/api/v1/pipeline", |p| p["today"] == today).await;
    assert_eq!((idle["accepted"].as_i64(), idle["counted"].as_i64(), idle["freshness_ms"].as_i64()), (Some(0), Some(0), Some(0)));
    assert!(idle["write_units"].is_null());

    let receipt = fixture.append("a", "1").await;
    fixture.append("a", "2").await;
    // An answer may be half a second old.
    let waiting = fixture.eventually("/api/v1/pipeline", |p| p["accepted"] == 2).await;
    assert_eq!((waiting["counted"].as_i64(), waiting["lag_records"].as_i64()), (Some(0), Some(2)));
    assert!(waiting["freshness_ms"].as_i64() >= Some(3_000), "{waiting}");
    let partition = receipt.split('-').nth(1).and_then(|p| p.parse().ok()).expect("a partition");
    fixture.aggregator().await.committer().commit(partition, 2).await.expect("committed");
    let counted = fixture.eventually("/api/v1/pipeline", |p| p["counted"] == 2).await;
    assert_eq!((counted["accepted"].as_i64(), counted["freshness_ms"].as_i64()), (Some(2), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn write_units_are_the_sum_of_what_each_partition_noted() {
    let fixture = Fixture::start().await;
    for (id, units, records, since_ms) in
        [("agent-events:0", 900, 600, 2_000_i64), ("agent-events:1", 600, 400, 1_000), ("another-topic:0", 9_999, 1, 1)]
    {
        let item = [
            (KIND, s(kind::CHECKPOINT)),
            (ID, s(id)),
            (WRITE_UNITS, n(units)),
            (WRITE_UNITS_RECORDS, n(records)),
            (WRITE_UNITS_SINCE, n(since_ms)),
        ];
        let item = item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        fixture.store.put_item().table_name(&fixture.tables.control).set_item(Some(item)).send().await.expect("the checkpoint is put");
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let units = loop {
        let mut pipeline = fixture.get("/api/v1/pipeline").await;
        if !pipeline["write_units"].is_null() {
            break pipeline["write_units"].take();
        }
        assert!(Instant::now() < deadline, "the checkpoints are never read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        units,
        json!({"total": 1_500, "since": "1970-01-01T00:00:01.000000Z", "per_1000_events": 1_500.0, "dollars_per_million_events": 0.9375})
    );
}
