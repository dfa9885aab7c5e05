//! The trace context between processes: W3C's `traceparent`, taken from HTTP, stamped into the log's records, taken
//! up again by the aggregator.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Whether spans are exported.
static IS_EXPORTING: AtomicBool = AtomicBool::new(false);

pub(super) fn install(is_exporting: bool) {
    IS_EXPORTING.store(is_exporting, Ordering::Relaxed);
}

/// The trace context of a request that came through the HTTP layer: what to stamp into what it leads to.
pub fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    is_traceparent(value).then(|| value.to_owned())
}

/// Makes a span part of the trace that `traceparent` names. Does nothing where traces are not exported or the text
/// is no such context.
pub fn continue_trace(span: &Span, traceparent: &str) {
    if !IS_EXPORTING.load(Ordering::Relaxed) || !is_traceparent(traceparent) {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&One(Some(traceparent.to_owned())));
    // Only a span that is not recorded cannot have a parent.
    drop(span.set_parent(parent));
}

/// Gives a request its trace context: the span's where traces are exported, else the one it came with, else a new
/// one that nobody records.
pub(crate) fn stamp(span: &Span, headers: &mut HeaderMap) {
    let given = traceparent(headers);
    let own = if IS_EXPORTING.load(Ordering::Relaxed) {
        if let Some(given) = &given {
            continue_trace(span, given);
        }
        let mut carrier = One(None);
        TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
        carrier.0
    } else {
        None
    };
    let context = own.or(given).unwrap_or_else(unrecorded);
    match HeaderValue::try_from(context) {
        Ok(value) => headers.insert(TRACEPARENT, value),
        Err(_) => headers.remove(TRACEPARENT),
    };
}

fn unrecorded() -> String {
    let (trace, span): (u128, u64) = (rand::random(), rand::random());
    // All zeros would be no id.
    format!("00-{:032x}-{:016x}-00", trace.max(1), span.max(1))
}

/// W3C Trace Context, version 00 (a later one may go on after a further dash).
fn is_traceparent(value: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = value.splitn(5, '-');
    let (Some(version), Some(trace), Some(span), Some(flags)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    version.len() == 2
        && trace.len() == 32
        && span.len() == 16
        && flags.len() == 2
        && value.len() <= 128
        && [version, trace, span, flags].into_iter().all(is_hex)
        && version != "ff"
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
        && (version != "00" || parts.next().is_none())
}

/// A carrier of one header.
struct One(Option<String>);

impl Extractor for One {
    fn get(&self, key: &str) -> Option<&str> {
        if key.eq_ignore_ascii_case("traceparent") { self.0.as_deref() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

impl Injector for One {
    fn set(&mut self, key: &str, value: String) {
        if key.eq_ignore_ascii_case("traceparent") {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn stamped(given: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert(TRACEPARENT, HeaderValue::from_str(given).expect("a header"));
        }
        stamp(&Span::none(), &mut headers);
        traceparent(&headers).expect("a context")
    }

    #[test]
    fn a_given_context_passes_and_a_broken_one_is_replaced() {
        assert_eq!(stamped(Some(GOOD)), GOOD);
        for broken in [
            "",
            "00",
            "00-0-0-0",
            &GOOD.to_uppercase(),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &format!("{GOOD}-x"),
            &GOOD.replacen("00", "ff", 1),
        ] {
            assert_ne!(stamped(Some(broken)), *broken, "{broken}");
        }
    }

    #[test]
    fn without_a_context_each_request_gets_its_own() {
        assert_ne!(stamped(None), stamped(None));
    }
}
