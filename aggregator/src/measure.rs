//! The aggregator's Prometheus metrics, spelled once.

use metrics::{counter, gauge, histogram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

tokio::task_local! {
    /// Write units spent by the partition whose task this is.
    static SPENT: Arc<AtomicU64>;
}

/// Runs a partition's work; what it spends is added to `spent`.
pub(crate) fn spending<F: Future>(spent: Arc<AtomicU64>, work: F) -> impl Future<Output = F::Output> {
    SPENT.scope(spent, work)
}

/// One request to the store.
pub(crate) fn operation(name: &'static str, started: Instant, is_ok: bool) {
    let result = if is_ok { "ok" } else { "error" };
    histogram!("dynamodb_request_duration_seconds", "operation" => name, "result" => result).record(started.elapsed().as_secs_f64());
}

/// A request or statement that the store did not take.
pub(crate) fn store_failure(operation: &'static str, code: &str) {
    counter!("dynamodb_errors_total", "operation" => operation, "code" => code.to_owned()).increment(1);
}

/// Write units that the store reported.
pub(crate) fn write_units(operation: &'static str, units: f64) {
    // Writes consume whole units.
    let units = units.round().max(0.0) as u64;
    counter!("dynamodb_write_units_total", "operation" => operation).increment(units);
    // Outside of a partition's task nobody adds them up.
    let _ = SPENT.try_with(|spent| spent.fetch_add(units, Ordering::Relaxed));
}

/// What became of records.
pub(crate) fn outcome(kind: &'static str, count: u64) {
    counter!("aggregator_events_total", "outcome" => kind).increment(count);
}

/// A dead letter.
pub(crate) fn dead_letter(reason: &'static str) {
    counter!("aggregator_dead_letters_total", "reason" => reason).increment(1);
}

/// Whether a partition has stopped before it buries more.
pub(crate) fn stopped(partition: u32, is_stopped: bool) {
    gauge!("aggregator_partition_stopped", "partition" => partition.to_string()).set(f64::from(u8::from(is_stopped)));
}

/// Time from the append of the oldest position of a flush until it was counted.
pub(crate) fn freshness(seconds: f64) {
    histogram!("aggregator_freshness_seconds").record(seconds.max(0.0));
}

/// Time of a commit, the barrier included.
pub(crate) fn commit(started: Instant) {
    histogram!("aggregator_commit_duration_seconds").record(started.elapsed().as_secs_f64());
}

/// Records of a partition that are in the log and not committed.
pub(crate) fn lag_records(partition: u32, records: u64) {
    gauge!("aggregator_lag_records", "partition" => partition.to_string()).set(records as f64);
}

/// Age of a partition's oldest unfinished record.
pub(crate) fn lag_seconds(partition: u32, seconds: f64) {
    gauge!("aggregator_lag_seconds", "partition" => partition.to_string()).set(seconds);
}

/// Bytes that unfinished positions of a partition hold.
pub(crate) fn memory(partition: u32, bytes: usize) {
    gauge!("aggregator_unfinished_bytes", "partition" => partition.to_string()).set(bytes as f64);
}

/// Insert requests that may be under way at once.
pub(crate) fn store_concurrency(limit: usize) {
    gauge!("aggregator_store_concurrency").set(limit as f64);
}
