//! A door for deploy/fuzz: what must hold of every query string, cursor, stream id and dead letter that anybody may send.
//! Each function panics where it does not.

use crate::agents::listing::After;
use crate::dead_letters;
use crate::event_pages::Place;
use crate::events;
use crate::parameters::{MOST_DAYS, MOST_DAYS_BY_HOUR, MOST_DAYS_BY_SLOT, Parameters, Period, Span, end_of_today};
use crate::progress::Listed;
use crate::store::{EventRange, Selection};
use crate::stream::place::Place as StreamPlace;
use crate::{cursor, store};
use axum::extract::FromRequestParts as _;
use axum::http::{Request, Uri};
use event_log::{LogRecord, Position};
use futures::FutureExt as _;
use schemas::agent_id;
use schemas::time::{DAY_US, HOUR_US, now_micros};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Longest text that a list shows of a dead letter, bytes.
const LONGEST_SHOWN: usize = 4 * 300;

/// Reads everything that some path reads from a query string, the way that path does.
pub fn parameters(query: &str) {
    let Ok(uri) = format!("/?{query}").parse::<Uri>() else { return };
    let read = |check: &dyn Fn(&mut Parameters)| {
        let (mut parts, ()) = Request::builder().uri(uri.clone()).body(()).expect("a request").into_parts();
        let Some(Ok(mut parameters)) = Parameters::from_request_parts(&mut parts, &()).now_or_never() else {
            panic!("parameters are read at once")
        };
        check(&mut parameters);
    };
    read(&|p| {
        let (limit, selection, amount) = (p.limit(), p.selection(), p.amount("min_response_time_ms"));
        let (agent, text) = (p.agent(), p.text("q"));
        let named = p.choices("status", &[("healthy", 1), ("silent", 2)]);
        if p.check().is_err() {
            return;
        }
        assert!((1..=1_000).contains(&limit) && amount.is_none_or(|ms| (0.0..=1e9).contains(&ms)));
        assert!(agent.is_none_or(|id| agent_id::is_valid(&id)) && text.is_none_or(|text| text.len() <= 2_048));
        assert!(named.is_none_or(|named| (1..=2).contains(&named.len())));
        if let Selection::Agents(agents) = selection {
            assert!((1..=50).contains(&agents.len()) && agents.iter().all(|id| agent_id::is_valid(id)));
            assert!(agents.is_sorted_by(|a, b| a < b), "sorted, none twice");
        }
    });
    read(&|p| {
        let days = p.days(7);
        if p.check().is_ok() {
            assert!((1..=MOST_DAYS).contains(&(days.count() as i64)));
        }
    });
    read(&|p| {
        let period = p.period(7);
        if p.check().is_ok() {
            let (days, span) = (period.days(), period.span());
            check_span(span, MOST_DAYS);
            assert!(days.contains(&schemas::time::day_of(span.from)) && days.contains(&schemas::time::day_of(span.to)));
            assert!(matches!(period, Period::Times(_)) || span.to - span.from == days.count() as i64 * DAY_US - 1);
        }
    });
    for (default_days, most_days, default_end) in
        [(30, MOST_DAYS, end_of_today()), (7, MOST_DAYS_BY_HOUR, now_micros()), (1, MOST_DAYS_BY_SLOT, now_micros())]
    {
        read(&|p| {
            let span = p.span(default_days, most_days, default_end);
            if p.check().is_ok() {
                check_span(span, most_days);
            }
        });
    }
    read(&|p| {
        let span = p.moments(HOUR_US);
        if p.check().is_ok() {
            check_span(span, MOST_DAYS);
        }
    });
    read(&|p| {
        let question = events::question(p);
        let cursor = p.cursor();
        if p.check().is_ok() {
            assert!(question.agent_id.is_some() || question.to - question.from <= (MOST_DAYS + 3) * DAY_US);
            check_range(EventRange { from: question.from, to: question.to, before: None, at_before: false });
            if let Some(cursor) = cursor {
                drop(events::place_of("events", &cursor));
            }
        }
    });
}

fn check_span(span: Span, most_days: i64) {
    assert!(span.from <= span.to && span.to - span.from < most_days * DAY_US);
    assert!(span.days().count() as i64 <= most_days + 1);
    assert!(span.hours().count() as i64 <= most_days * 24 + 1);
    assert!(span.slots().count() as i64 <= most_days * 288 + 1);
}

/// What is asked of the store begins and ends in the order of its keys.
fn check_range(range: EventRange) {
    let day = range.last_day();
    if let Some(of_day) = range.on_day(day) {
        assert!(range.from <= of_day.from && of_day.to <= range.to);
    }
    if let Some((low, high)) = range.sort_keys() {
        assert!(low <= high, "{low} {high}");
    }
}

/// Reads a text as the cursor of each path that has one. `text` is what lies in a cursor for where to go on, so that not
/// every input has to find out how the question is hashed; it is tried as a whole cursor too.
pub fn cursors(text: &str) {
    let wrapped = serde_json::from_str::<serde_json::Value>(text).ok().map(|place| cursor::encode(QUESTION, &place));
    for text in wrapped.iter().map(String::as_str).chain([text]) {
        comes_back::<Place>(text);
        comes_back::<After>(text);
        comes_back::<(i64, String)>(text);
        if let Ok(place) = events::place_of(QUESTION, text) {
            assert!(store::time_of_key(&place.key).is_some());
            check_range(EventRange { from: 0, to: now_micros(), before: Some(place.key.clone()), at_before: true });
            check_range(EventRange { from: 0, to: now_micros(), before: Some(place.key), at_before: false });
        }
        if let Ok((_, position)) = dead_letters::place_of(QUESTION, text) {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
}

const QUESTION: &str = "a question";

fn comes_back<P: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    let Ok(place) = cursor::decode::<P>(QUESTION, text) else { return };
    let again = cursor::encode(QUESTION, &place);
    assert_eq!(cursor::decode::<P>(QUESTION, &again).ok(), Some(place));
    assert!(cursor::decode::<P>("another", &again).is_err(), "a cursor is bound to its question");
}

/// Reads a text as the id of a stream's message.
pub fn stream_id(text: &str) {
    let Ok(place) = text.parse::<StreamPlace>() else { return };
    assert_eq!(place.to_string().parse(), Ok(place));
}

/// Reads a record of the dead-letter topic for the list.
pub fn dead_letter(record: &LogRecord, position: Position) {
    let listed = Listed::of(record, position);
    let (at, to) = listed.redriven.as_ref().map(|(at, to)| (at, to)).unzip();
    let texts = [Some(&listed.reason), listed.stage.as_ref(), listed.detail.as_ref(), at, to];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= LONGEST_SHOWN), "the list keeps short texts only: {listed:?}");
    assert!(listed.agent_id.is_none_or(|id| agent_id::is_valid(&id)));
}
