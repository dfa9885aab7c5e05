//! The gateway's metrics tell what happened.

use crate::server::{Server, answer};
use service_kit::telemetry::record_metrics;

/// The sum of a metric's samples with those labels.
fn sum(rendered: &str, name: &str, label: &str) -> f64 {
    let samples = rendered.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn accepted_refused_and_published_events_are_counted() {
    let prometheus = record_metrics().unwrap();
    let server = Server::start().await;
    let before = prometheus.render();
    assert_eq!(server.post_event(r#"{"message_type":"error"}"#).await.0, 202);
    let two = r#"[{"agent_id":"a","message_type":"error"},{"agent_id":"b","message_type":"error"}]"#;
    assert_eq!(server.post_batch(two).await.0, 202);
    assert_eq!(server.post_event("{").await.0, 400);
    assert_eq!(server.post_batch(&two.replace("error", "chat")).await.0, 422);
    let mixed = two.replacen("error", "chat", 1);
    assert_eq!(answer(server.post("/api/v1/events").header("prefer", "handling=lenient").body(mixed)).await.0, 207);
    let after = prometheus.render();
    // Other tests of this process count too, so these are lower bounds.
    let grown = |name: &str, label: &str| sum(&after, name, label) - sum(&before, name, label);
    assert!(grown("events_accepted_total", "") >= 4.0, "{after}");
    assert!(grown("events_published_total", "") >= 4.0);
    assert!(grown("events_rejected_total", r#"reason="malformed""#) >= 1.0);
    assert!(grown("events_rejected_total", r#"reason="invalid""#) >= 3.0);
    assert!(grown("publish_duration_seconds_count", "") >= 3.0);
    assert!(after.contains("# HELP events_accepted_total") && after.contains("ingest_in_flight_bytes"));
}
