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

/// Whether spans are exported.
pub(crate) fn is_exporting() -> bool {
    IS_EXPORTING.load(Ordering::Relaxed)
}

/// The trace context of a request that came through the HTTP layer: what to stamp into what it leads to.
pub fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    is_traceparent(value).then(|| value.to_owned())
}

/// Makes a span part of the trace that `traceparent` names. Does nothing where traces are not exported or the text
/// is no such context.
pub fn continue_trace(span: &Span, traceparent: &str) {
    if !is_exporting() || !is_traceparent(traceparent) {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&One(Some(traceparent.to_owned())));
    // Only a span that is not recorded cannot have a parent.
    drop(span.set_parent(parent));
}

/// Gives a request its trace context: the span's where traces are exported, else the one it came with. One that nobody
/// records is not made up: each record of the log would carry it, and the request's id is there anyway.
pub(crate) fn stamp(span: &Span, headers: &mut HeaderMap) {
    if !is_exporting() && !headers.contains_key(TRACEPARENT) {
        return;
    }
    let given = traceparent(headers);
    let own = is_exporting().then(|| {
        if let Some(given) = &given {
            continue_trace(span, given);
        }
        let mut carrier = One(None);
        TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
        carrier.0
    });
    match own.flatten().or(given).map(HeaderValue::try_from) {
        Some(Ok(value)) => headers.insert(TRACEPARENT, value),
        Some(Err(_)) | None => headers.remove(TRACEPARENT),
    };
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

    fn stamped(given: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert(TRACEPARENT, HeaderValue::from_str(given).expect("a header"));
        }
        stamp(&Span::none(), &mut headers);
        assert_eq!(headers.contains_key(TRACEPARENT), traceparent(&headers).is_some());
        traceparent(&headers)
    }

    #[test]
    fn a_given_context_passes_and_a_broken_one_does_not() {
        assert_eq!(stamped(Some(GOOD)).as_deref(), Some(GOOD));
        for broken in [
            "",
            "00",
            "00-0-0-0",
            &GOOD.to_uppercase(),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &format!("{GOOD}-x"),
            &GOOD.replacen("00", "ff", 1),
        ] {
            assert_eq!(stamped(Some(broken)), None, "{broken}");
        }
    }

    #[test]
    fn no_context_is_made_up_where_nobody_records_it() {
        assert_eq!(stamped(None), None);
    }
}
