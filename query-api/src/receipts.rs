//! `GET /api/v1/receipts/{receipt}`: whether what a client posted is logged and counted; can wait until it is.
//! Reads your own writes: once it says counted, the numbers contain the event (or it is named as a dead letter).

use crate::AppState;
use crate::parameters::Parameters;
use crate::progress::{Committed, KnownDeadLetter, Progress, Waiting};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use event_log::{LogError, Position, Receipt};
use futures::future::try_join_all;
use schemas::Problem;
use schemas::problem::FieldError;
use schemas::time::{format_micros, now_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest wait.
const LONGEST_WAIT_MS: i64 = 30_000;
/// Requests that wait at once.
const MOST_WAITING: usize = 4_000;
/// How long a first answer of the log may take.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long dead letters that are written but not read yet are waited for, whatever `wait_ms` says.
const DEAD_LETTERS_WITHIN: Duration = Duration::from_millis(500);
const RETRY_AFTER_S: u64 = 2;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(receipt_read))
}

/// What became of a receipt's events.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiptAnswer {
    /// The receipt.
    receipt: String,
    /// Whether the log has all of it.
    logged: bool,
    /// Whether all of it is counted: every number asked for from now on contains it.
    counted: bool,
    /// Age of the oldest event that waits to be counted in the receipt's partitions, ms; 0 when counted.
    lag_ms: i64,
    /// Of the events at exactly the receipt's positions (the last of each partition that a batch touched), those
    /// that were refused after all; `counted` is then false.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_letters: Vec<ReceiptDeadLetter>,
    /// When this was so.
    #[schema(format = DateTime)]
    as_of: String,
}

/// An event that was not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct ReceiptDeadLetter {
    /// `<epoch>-<partition>-<offset>`.
    position: String,
    /// Why.
    reason: String,
    /// The receipt of the event that an operator made of it; whether that is counted, is asked with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    redriven_to: Option<String>,
}

/// Whether the events of a receipt are logged and counted
///
/// Waits up to `wait_ms` until they are counted. A position older than the log's start is logged and counted.
#[utoipa::path(
    get,
    path = "/api/v1/receipts/{receipt}",
    operation_id = "getReceipt",
    tag = "receipts",
    params(
        ("receipt" = String, Path, description = "As in the answer to a POST: `<epoch>-<partition>-<offset>`, joined by `.`"),
        ("wait_ms" = Option<i64>, Query, description = "How long to wait until counted, 0 (default) to 30000", minimum = 0, maximum = 30_000),
    ),
    responses(
        (status = 200, description = "What became of it", body = ReceiptAnswer),
        (status = 404, description = "The log does not reach as far as the receipt", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The receipt is of an older log", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No receipt, or a wrong parameter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn receipt_read(
    State(state): State<Arc<AppState>>,
    Path(text): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let wait_ms = parameters.integer("wait_ms", 0..=LONGEST_WAIT_MS).unwrap_or(0);
    parameters.check()?;
    let receipt = receipt_of(&text)?;
    check_epoch(&receipt, state.config.epoch)?;
    if state.progress.waiting() >= MOST_WAITING {
        return Err(ApiError::unavailable("too many requests wait for receipts; try again", RETRY_AFTER_S));
    }
    let inquiry = Inquiry::new(&state.progress, &receipt);
    let wait = Duration::from_millis(wait_ms.unsigned_abs());
    let answer = inquiry.answer(wait, state.shutdown.cancelled()).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

fn receipt_of(text: &str) -> Result<Receipt, ApiError> {
    text.parse().map_err(|error: event_log::ParseError| {
        let error = FieldError { index: 0, field: "receipt".into(), detail: error.to_string() };
        ApiError::unprocessable(format!("receipt: {}", error.detail), vec![error])
    })
}

fn check_epoch(receipt: &Receipt, epoch: u32) -> Result<(), ApiError> {
    let epochs = receipt.positions().iter().map(|p| p.epoch);
    if epochs.clone().any(|e| e > epoch) {
        return Err(beyond());
    }
    if epochs.clone().any(|e| e < epoch) {
        return Err(ApiError::gone("the receipt is of an older log, which is no longer there"));
    }
    Ok(())
}

fn beyond() -> ApiError {
    ApiError::not_found("the log does not reach as far as this receipt")
}

fn no_answer(error: LogError) -> ApiError {
    if matches!(error, LogError::Broken(_)) {
        return ApiError::internal(error);
    }
    tracing::warn!(%error, "the log did not answer for a receipt");
    ApiError::unavailable("the log does not answer at the moment; try again", RETRY_AFTER_S)
}

/// One request's question.
struct Inquiry<'a> {
    progress: &'a Progress,
    receipt: &'a Receipt,
    began: Instant,
    /// Positions that were not counted when last looked.
    pending: Vec<Position>,
}

impl<'a> Inquiry<'a> {
    fn new(progress: &'a Progress, receipt: &'a Receipt) -> Self {
        Self { progress, receipt, began: Instant::now(), pending: receipt.positions().to_vec() }
    }

    async fn answer(mut self, wait: Duration, stopped: impl Future<Output = ()>) -> Result<ReceiptAnswer, ApiError> {
        let mut waiting = self.progress.wait();
        let first = tokio::time::timeout(FIRST_ANSWER_WITHIN, waiting.look_since(self.began)).await;
        let look = first.unwrap_or_else(|_| Err(LogError::Unavailable("no answer in time".into()))).map_err(no_answer)?;
        let committed = look.committed().map_err(no_answer)?;
        self.pending.retain(|p| !committed.is_beyond(p));
        self.check_bounds(committed).await?;
        if !self.pending.is_empty() && !wait.is_zero() {
            let until = self.began + wait;
            tokio::select! {
                () = self.wait_until_counted(&mut waiting) => {}
                () = tokio::time::sleep_until(until) => {}
                () = stopped => {}
            }
        }
        self.conclude(&mut waiting).await
    }

    /// Refuses a position beyond the log's end. One before its start is counted, unless the aggregators are known not to
    /// have come so far: then the log has lost it (Kafka's retention does not ask what is counted).
    async fn check_bounds(&mut self, committed: &Committed) -> Result<(), ApiError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let partitions = self.progress.partitions().await.map_err(no_answer)?;
        if self.pending.iter().any(|p| p.partition >= partitions) {
            return Err(beyond());
        }
        let asked = self.pending.iter().map(|p| self.progress.bounds(p.partition, self.began));
        let bounds = try_join_all(asked).await.map_err(no_answer)?;
        if self.pending.iter().zip(&bounds).any(|(p, b)| p.offset >= b.end) {
            return Err(beyond());
        }
        let mut bounds = bounds.into_iter();
        self.pending.retain(|p| bounds.next().is_some_and(|b| p.offset >= b.start) || committed.next_of(p.partition).is_some());
        Ok(())
    }

    /// A log that fails for a while is waited for.
    async fn wait_until_counted(&mut self, waiting: &mut Waiting<'_>) {
        let mut since = Instant::now();
        while !self.pending.is_empty() {
            let Ok(look) = waiting.look_since(since).await else { return };
            since = Instant::now();
            if let Ok(committed) = look.committed() {
                self.pending.retain(|p| !committed.is_beyond(p));
            }
        }
    }

    async fn conclude(self, waiting: &mut Waiting<'_>) -> Result<ReceiptAnswer, ApiError> {
        let dead_letters = self.dead_letters(waiting).await;
        let knows_all = dead_letters.is_some();
        let dead_letters = dead_letters.unwrap_or_default();
        let is_done = self.pending.is_empty();
        let lag_ms = if is_done && knows_all { 0 } else { self.lag_ms(waiting).await };
        Ok(ReceiptAnswer {
            receipt: self.receipt.to_string(),
            logged: true,
            counted: is_done && knows_all && dead_letters.is_empty(),
            lag_ms,
            dead_letters,
            as_of: format_micros(now_micros()),
        })
    }

    /// The receipt's dead letters; `None` while they cannot be known.
    async fn dead_letters(&self, waiting: &mut Waiting<'_>) -> Option<Vec<ReceiptDeadLetter>> {
        let knowing = async {
            let mut read = self.progress.watch_dead_letters();
            let mut since = self.began;
            loop {
                let look = waiting.look_since(since).await.ok()?;
                if let Ok(committed) = look.committed() {
                    while !self.progress.knows_dead_letters_of(committed) {
                        read.changed().await.ok()?;
                    }
                    return Some(());
                }
                since = Instant::now();
            }
        };
        let is_known = matches!(tokio::time::timeout(DEAD_LETTERS_WITHIN, knowing).await, Ok(Some(())));
        let dead = |p: &Position| {
            let KnownDeadLetter { reason, redriven_to, .. } = self.progress.dead_letter(*p)?;
            let redriven_to = redriven_to.map(|to| to.to_string());
            Some(ReceiptDeadLetter { position: p.to_string(), reason: reason.to_string(), redriven_to })
        };
        let found: Vec<_> = self.receipt.positions().iter().filter_map(dead).collect();
        (is_known || !found.is_empty()).then_some(found)
    }

    /// Age of the oldest record that waits in the pending partitions.
    async fn lag_ms(&self, waiting: &mut Waiting<'_>) -> i64 {
        let look = waiting.look_since(self.began).await.ok();
        let committed = look.as_ref().and_then(|l| l.committed().ok());
        let mut oldest: Option<i64> = None;
        for position in &self.pending {
            let next = committed.and_then(|c: &Committed| c.next_of(position.partition)).unwrap_or(position.offset);
            let at = match self.progress.appended_at(position.partition, next.min(position.offset)).await {
                Ok(Some(at)) => at,
                _ => continue,
            };
            oldest = Some(oldest.map_or(at, |o| o.min(at)));
        }
        let waited_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        oldest.map_or(waited_ms, |at| now_micros() / 1_000 - at).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryConfig;
    use crate::memory_log::MemoryLog;
    use axum::http::StatusCode;
    use event_log::Log;
    use schemas::{AgentEvent, MessageType};
    use tokio_util::sync::{CancellationToken, DropGuard};

    const AT_ONCE: Duration = Duration::ZERO;
    const PATIENT: Duration = Duration::from_secs(30);

    fn progress(log: &Arc<MemoryLog>) -> (Arc<Progress>, DropGuard) {
        let shutdown = CancellationToken::new();
        let log: Arc<dyn Log> = Arc::clone(log) as _;
        (Progress::start(&QueryConfig::default(), log, shutdown.clone()).expect("settings"), shutdown.drop_guard())
    }

    /// Three events in each of two partitions.
    fn log() -> Arc<MemoryLog> {
        let log = MemoryLog::new();
        for partition in [0, 1, 0, 1, 0, 1] {
            log.push_event(partition, &AgentEvent::new("a", 0, "e", MessageType::Error));
        }
        log
    }

    async fn ask(progress: &Progress, receipt: &str, wait: Duration) -> Result<ReceiptAnswer, StatusCode> {
        let receipt = receipt_of(receipt).map_err(|e| e.status())?;
        check_epoch(&receipt, 0).map_err(|e| e.status())?;
        Inquiry::new(progress, &receipt).answer(wait, std::future::pending()).await.map_err(|e| e.status())
    }

    #[tokio::test]
    async fn a_receipt_is_counted_when_all_its_positions_are() {
        let log = log();
        let (progress, _guard) = progress(&log);
        let answer = ask(&progress, "0-0-1.0-1-2", AT_ONCE).await.expect("an answer");
        assert!(answer.logged && !answer.counted && answer.lag_ms >= 50, "{answer:?}");
        log.commit(0, 2);
        assert!(ask(&progress, "0-0-1", AT_ONCE).await.expect("an answer").counted);
        assert!(!ask(&progress, "0-0-1.0-1-2", AT_ONCE).await.expect("an answer").counted);
        log.commit(1, 3);
        let answer = ask(&progress, "0-0-1.0-1-2", AT_ONCE).await.expect("an answer");
        assert!(answer.counted && answer.lag_ms == 0 && answer.dead_letters.is_empty(), "{answer:?}");
        assert_eq!(answer.receipt, "0-0-1.0-1-2");
    }

    #[tokio::test]
    async fn waiting_ends_when_the_last_position_is_counted_and_not_before() {
        let log = log();
        let (progress, _guard) = progress(&log);
        let is_counted = std::sync::atomic::AtomicBool::new(false);
        let waiting = async {
            let answer = ask(&progress, "0-0-1.0-1-2", PATIENT).await.expect("an answer");
            (answer.counted, is_counted.load(std::sync::atomic::Ordering::SeqCst))
        };
        let counting = async {
            log.commit(0, 3);
            progress.looked(5).await;
            is_counted.store(true, std::sync::atomic::Ordering::SeqCst);
            log.commit(1, 3);
        };
        assert_eq!(tokio::join!(waiting, counting).0, (true, true));
        assert_eq!(progress.waiting(), 0);
    }

    #[tokio::test]
    async fn waiting_is_over_when_the_time_is_up() {
        let log = log();
        let (progress, _guard) = progress(&log);
        let answer = ask(&progress, "0-0-1", Duration::from_millis(200)).await.expect("an answer");
        assert!(answer.logged && !answer.counted);
    }

    #[tokio::test]
    async fn what_the_log_cannot_hold_is_told_apart() {
        let log = log();
        let (progress, _guard) = progress(&log);
        for (receipt, status) in [
            ("0-0-3", StatusCode::NOT_FOUND),
            ("0-2-0", StatusCode::NOT_FOUND),
            ("0-0-18446744073709551615", StatusCode::NOT_FOUND),
            ("1-0-0", StatusCode::NOT_FOUND),
            ("0-0-0.0-1-9", StatusCode::NOT_FOUND),
            ("junk", StatusCode::UNPROCESSABLE_ENTITY),
            ("0-0-0.", StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            assert_eq!(ask(&progress, receipt, PATIENT).await.map_err(Some).err(), Some(Some(status)), "{receipt}");
        }
        let old = receipt_of("0-0-0").expect("a receipt");
        assert_eq!(check_epoch(&old, 1).map_err(|e| e.status()), Err(StatusCode::GONE));
    }

    #[tokio::test]
    async fn a_position_just_appended_is_never_beyond_the_end() {
        let log = log();
        let (progress, _guard) = progress(&log);
        for offset in 3..50 {
            log.push_event(0, &AgentEvent::new("a", 0, "e", MessageType::Error));
            assert!(ask(&progress, &format!("0-0-{offset}"), AT_ONCE).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_position_before_the_log_s_start_is_counted() {
        let log = log();
        log.trim("agent-events", 0, 2);
        let (progress, _guard) = progress(&log);
        assert!(ask(&progress, "0-0-1", AT_ONCE).await.expect("an answer").counted);
        assert!(!ask(&progress, "0-0-2", AT_ONCE).await.expect("an answer").counted);
    }

    #[tokio::test]
    async fn a_position_that_the_log_lost_before_it_was_counted_is_never_told_as_counted() {
        let log = log();
        log.commit(0, 1);
        log.trim("agent-events", 0, 2);
        let (progress, _guard) = progress(&log);
        assert!(ask(&progress, "0-0-0", AT_ONCE).await.expect("an answer").counted);
        assert!(!ask(&progress, "0-0-1", AT_ONCE).await.expect("an answer").counted);
    }

    #[tokio::test]
    async fn a_dead_letter_is_named_and_not_counted() {
        let log = log();
        log.push_dead("0-0-1", "id_conflict");
        let (progress, _guard) = progress(&log);
        log.commit(0, 3);
        let answer = ask(&progress, "0-0-1", PATIENT).await.expect("an answer");
        assert!(answer.logged && !answer.counted);
        let dead = ReceiptDeadLetter { position: "0-0-1".into(), reason: "id_conflict".into(), redriven_to: None };
        assert_eq!(answer.dead_letters, [dead]);
        assert!(ask(&progress, "0-0-2", PATIENT).await.expect("an answer").counted);
        // Written and committed at the same moment: never told as counted.
        log.push_dead("0-1-0", "too_old");
        log.commit(1, 1);
        assert_eq!(ask(&progress, "0-1-0", AT_ONCE).await.expect("an answer").dead_letters.len(), 1);
    }

    #[tokio::test]
    async fn an_outage_is_an_error_at_first_and_waited_for_later() {
        let log = log();
        let (progress, _guard) = progress(&log);
        log.set_down(true);
        assert_eq!(ask(&progress, "0-0-1", PATIENT).await.map_err(Some).err(), Some(Some(StatusCode::SERVICE_UNAVAILABLE)));
        log.set_down(false);
        let waiting = ask(&progress, "0-0-1", PATIENT);
        let outage = async {
            progress.looked(3).await;
            log.set_down(true);
            progress.looked(3).await;
            log.commit(0, 2);
            log.set_down(false);
        };
        let (answer, ()) = tokio::join!(waiting, outage);
        assert!(answer.expect("an answer").counted);
    }
}
