//! Short texts from paths, headers and keys: ids, times, days, positions, receipts, `src`, sort keys, trace contexts and the
//! ids of a stream's messages.
//!
//! An input is a text, or several, one a line; each is tried as each.
//!
//! What must hold: what is read is written so that it is read as the same again; what a grammar admits, it admits for good;
//! times keep their order as texts.

use axum::http::{HeaderMap, HeaderValue};
use event_log::{Position, Receipt};
use schemas::item::{event_sort_key, parse_event_sort_key};
use schemas::time::{day_of, format_day, format_hour, format_micros, hour_of, parse_client_time, parse_day, parse_micros, slot_of};
use schemas::{AgentId, MessageType, agent_id, identity};
use service_kit::telemetry::traceparent;

/// See the module.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut times = Vec::new();
    for line in text.split('\n') {
        check_ids(line);
        check_positions(line);
        check_trace(line);
        query_api::fuzz::stream_id(line);
        times.extend(check_times(line));
    }
    // In the contract's centuries the keys of events sort as their times do.
    times.retain(|time| (946_684_800_000_000..4_102_444_800_000_000).contains(time));
    for two in times.windows(2) {
        assert_eq!(two[0].cmp(&two[1]), format_micros(two[0]).cmp(&format_micros(two[1])));
    }
}

fn check_ids(text: &str) {
    if let Some(id) = AgentId::parse(text) {
        assert!(!text.contains(['#', '~', '*', '\0']) && text.len() <= 128 && id.as_str() == text);
        assert!(agent_id::is_valid(text));
    }
    if identity::is_valid_event_id(text) {
        let key = event_sort_key(0, text);
        assert_eq!(parse_event_sort_key(&key), Some((0, text)));
    }
    assert!(MessageType::parse(text).is_none_or(|of| of.name() == text));
}

fn check_positions(text: &str) {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!(Position::parse_src(&position.src()), Some(position));
        assert_eq!(Receipt::of([position]).map(|receipt| receipt.to_string()), Some(position.to_string()));
    }
    if let Some(position) = Position::parse_src(text) {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    if let Ok(receipt) = text.parse::<Receipt>() {
        assert_eq!(receipt.to_string().parse().as_ref(), Ok(&receipt));
        let places: Vec<_> = receipt.positions().iter().map(|p| (p.epoch, p.partition)).collect();
        assert!((1..=1_000).contains(&places.len()) && places.is_sorted_by(|a, b| a < b), "each partition once: {receipt}");
    }
}

fn check_times(text: &str) -> Option<i64> {
    if let Some(day) = parse_day(text) {
        assert_eq!(format_day(day), text);
    }
    if let Some((time, id)) = parse_event_sort_key(text) {
        assert_eq!(parse_event_sort_key(&event_sort_key(time, id)), Some((time, id)));
    }
    let read = parse_client_time(text).map(|time| time.micros);
    let time = read.or_else(|| parse_micros(text))?;
    let written = format_micros(time);
    assert_eq!(parse_micros(&written), Some(time), "{written}");
    assert_eq!(parse_day(&format_day(day_of(time))).or(Some(day_of(time))), Some(day_of(time)));
    assert!(hour_of(time).div_euclid(24) == day_of(time) && slot_of(time) < 12);
    assert!(format_hour(hour_of(time)).starts_with(&format_day(day_of(time))));
    // A year before 0 is no client's.
    if !written.starts_with('-') {
        let again = parse_client_time(&written).expect("our own form is a client's too");
        assert!(again.micros == time && again.is_fine);
    }
    read
}

fn check_trace(text: &str) {
    let Ok(value) = HeaderValue::from_str(text) else { return };
    let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static("traceparent"), value)]);
    if let Some(context) = traceparent(&headers) {
        assert!(context == text && context.len() <= 128 && context.is_ascii());
    }
}
