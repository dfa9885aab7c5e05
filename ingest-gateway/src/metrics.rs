//! The gateway's Prometheus metrics: names, units and what they tell. HTTP durations and statuses are counted
//! by the HTTP layers.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Events answered with success.
pub(crate) const ACCEPTED: &str = "events_accepted_total";
/// Events refused, by `reason`.
pub(crate) const REJECTED: &str = "events_rejected_total";
/// Records that the log acknowledged.
pub(crate) const PUBLISHED: &str = "events_published_total";
/// From the first append of a request to its last acknowledgement.
pub(crate) const PUBLISH_DURATION: &str = "publish_duration_seconds";
/// Dead letters whose events were published once more.
pub(crate) const REDRIVEN: &str = "dead_letters_redriven_total";
/// Bytes that requests hold at the moment.
pub(crate) const IN_FLIGHT_BYTES: &str = "ingest_in_flight_bytes";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    describe_counter!(ACCEPTED, Unit::Count, "Events answered with success: the log has them durably");
    describe_counter!(
        REJECTED,
        Unit::Count,
        "Events refused, by reason (malformed, unauthorized, too_large, unsupported, invalid, limited, slow, unavailable, internal); 1 for a body that was not looked into"
    );
    describe_counter!(PUBLISHED, Unit::Count, "Records that the log acknowledged");
    describe_histogram!(PUBLISH_DURATION, Unit::Seconds, "From a request's first append to its last acknowledgement");
    describe_counter!(REDRIVEN, Unit::Count, "Dead letters whose events were published once more");
    describe_gauge!(IN_FLIGHT_BYTES, Unit::Bytes, "Bytes of the in-flight budget that requests hold");
}

/// The label of a refusal with that status.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        400 => "malformed",
        401 | 403 => "unauthorized",
        408 => "slow",
        413 => "too_large",
        415 => "unsupported",
        422 => "invalid",
        429 => "limited",
        503 => "unavailable",
        _ => "internal",
    }
}
