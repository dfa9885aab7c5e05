//! Query parameters: read strictly, every wrong one named. A value outside its bounds is refused, never clamped;
//! a parameter that nobody knows is passed over; an empty one counts as absent.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use schemas::problem::FieldError;
use schemas::time::{DAY_US, HOUR_US, SLOT_US, day_of, now_micros, parse_client_time, parse_day};
use schemas::{AgentId, agent_id};
use service_kit::problem::ApiError;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use crate::store::Selection;

/// Most days of a range.
pub(crate) const MOST_DAYS: i64 = 400;
/// Most days of a range by hour.
pub(crate) const MOST_DAYS_BY_HOUR: i64 = 31;
/// Most days of a range by five minutes.
pub(crate) const MOST_DAYS_BY_SLOT: i64 = 2;
/// Most agents named in one question.
const MOST_AGENTS: usize = 50;
/// What an amount is at most, as no event has more; a store refuses much larger numbers.
const LARGEST_AMOUNT: f64 = 1e9;
/// Longest list of agents: the most there may be, each as long as an id can be.
const LONGEST_LIST: usize = MOST_AGENTS * 129;
/// Longest text of a parameter.
const LONGEST: usize = 2_048;

/// The parameters of a request, and what was wrong with those read so far.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    /// Whole days, UTC, both inclusive.
    Days(RangeInclusive<i32>),
    /// From one time up to before another.
    Times(Span),
}

/// From when to when: µs, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First µs.
    pub(crate) from: i64,
    /// Last µs.
    pub(crate) to: i64,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = axum::extract::Query::try_from_uri(&parts.uri).map_or_else(|_| Vec::new(), |query| query.0);
        Ok(Self { pairs, errors: Vec::new() })
    }
}

impl Parameters {
    /// Refuses the request where a parameter read so far was wrong.
    pub(crate) fn check(&mut self) -> Result<(), ApiError> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let errors = std::mem::take(&mut self.errors);
        let detail = errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect::<Vec<_>>().join("; ");
        Err(ApiError::unprocessable(detail, errors))
    }

    /// Notes that a parameter is wrong.
    pub(crate) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError { index: 0, field: name.to_owned(), detail: detail.into() });
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.text_up_to(name, LONGEST)
    }

    fn text_up_to(&mut self, name: &str, longest: usize) -> Option<String> {
        let value = self.value(name)?.to_owned();
        if value.len() > longest {
            self.refuse(name, format!("must be at most {longest} bytes"));
            return None;
        }
        Some(value)
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, name: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(number) if bounds.contains(&number) => Some(number),
            _ => {
                self.refuse(name, format!("must be a whole number from {} to {}", bounds.start(), bounds.end()));
                None
            }
        }
    }

    /// A number of at least 0, at most the contract's longest response time.
    pub(crate) fn amount(&mut self, name: &str) -> Option<f64> {
        let text = self.text(name)?;
        match text.parse::<f64>() {
            Ok(number) if (0.0..=LARGEST_AMOUNT).contains(&number) => Some(number),
            _ => {
                self.refuse(name, "must be a number from 0 to 1000000000");
                None
            }
        }
    }

    /// `true` or `false`; absent is false.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            Some("true" | "1") => true,
            None | Some("false" | "0") => false,
            Some(_) => {
                self.refuse(name, "must be true or false");
                false
            }
        }
    }

    /// One of some names.
    pub(crate) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = choices.iter().find(|(n, _)| *n == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let names = choices.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
            self.refuse(name, format!("must be one of {names}"));
        }
        found
    }

    /// Some of these names, comma separated; `None` where absent.
    pub(crate) fn choices<T: Copy + PartialEq>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        let text = self.text(name)?;
        let mut found = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match choices.iter().find(|(n, _)| *n == part) {
                Some((_, choice)) if found.contains(choice) => {}
                Some((_, choice)) => found.push(*choice),
                None => {
                    let names = choices.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
                    self.refuse(name, format!("must be one or more of {names}, comma separated"));
                    return None;
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Whether it was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// `limit`: 1 to 1,000, by default 100.
    pub(crate) fn limit(&mut self) -> usize {
        self.integer("limit", 1..=1_000).unwrap_or(100) as usize
    }

    /// `agent_id`.
    pub(crate) fn agent(&mut self) -> Option<String> {
        let id = self.text("agent_id")?;
        if !agent_id::is_valid(&id) {
            self.refuse("agent_id", agent_id::RULE);
            return None;
        }
        Some(id)
    }

    /// `agents=a,b`; all agents where absent.
    pub(crate) fn selection(&mut self) -> Selection {
        let Some(list) = self.text_up_to("agents", LONGEST_LIST) else { return Selection::Fleet };
        let mut agents: Vec<String> = list.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        agents.sort_unstable();
        agents.dedup();
        if let Some(wrong) = agents.iter().find(|id| !agent_id::is_valid(id)) {
            self.refuse("agents", format!("{wrong:?}: an agent id {}", agent_id::RULE));
        } else if agents.len() > MOST_AGENTS {
            self.refuse("agents", format!("must name at most {MOST_AGENTS} agents"));
        } else if agents.is_empty() {
            return Selection::Fleet;
        }
        Selection::Agents(agents)
    }

    /// `YYYY-MM-DD`, as a day number.
    pub(crate) fn day(&mut self, name: &str) -> Option<i32> {
        let text = self.text(name)?;
        let day = parse_day(&text);
        if day.is_none() {
            self.refuse(name, "must be a date such as 2026-01-31");
        }
        day
    }

    /// `YYYY-MM-DD` or a full ISO time, as µs: of an end, the last µs of the day.
    pub(crate) fn moment(&mut self, name: &str, is_end: bool) -> Option<i64> {
        let text = self.text(name)?;
        if let Some(day) = parse_day(&text) {
            let start = i64::from(day) * DAY_US;
            return Some(if is_end { start + DAY_US - 1 } else { start });
        }
        let time = parse_client_time(&text).map(|t| t.micros);
        if time.is_none() {
            self.refuse(name, "must be a date such as 2026-01-31 or an ISO 8601 time such as 2026-01-31T12:00:00Z");
        }
        time
    }

    /// `start_date` and `end_date` (days), else `days=N` ending at `end_date` or today.
    pub(crate) fn days(&mut self, default: i64) -> RangeInclusive<i32> {
        let count = self.integer("days", 1..=MOST_DAYS).unwrap_or(default) as i32;
        let last = self.day("end_date");
        let first = self.day("start_date");
        let last = last.unwrap_or_else(|| day_of(now_micros()));
        let first = first.unwrap_or(last - count + 1);
        self.check_span(Span::of_days(first, last), MOST_DAYS);
        first..=last
    }

    /// `start_date` and `end_date`: days as [`Self::days`] takes them, or, where one of them is a time, times. A time as
    /// end is exclusive; by default it is now, and the start lies `days=N` times 24 hours before it.
    pub(crate) fn period(&mut self, default_days: i64) -> Period {
        if is_day(self.value("end_date")) && is_day(self.value("start_date")) {
            return Period::Days(self.days(default_days));
        }
        let count = self.integer("days", 1..=MOST_DAYS).unwrap_or(default_days);
        Period::Times(self.moments(count * DAY_US))
    }

    /// `start_date` and `end_date`, dates or times; a time as end is exclusive. By default the last `default_us` until
    /// now, or until the end given.
    pub(crate) fn moments(&mut self, default_us: i64) -> Span {
        let is_end_day = is_day(self.value("end_date"));
        let end = self.moment("end_date", true).map_or_else(now_micros, |end| if is_end_day { end + 1 } else { end });
        let start = self.moment("start_date", false).unwrap_or(end - default_us);
        let span = Span { from: start, to: end - 1 };
        if span.from > span.to {
            self.refuse("start_date", "must be before end_date");
        } else {
            self.check_span(span, MOST_DAYS);
        }
        span
    }

    /// `start_date` and `end_date` (dates or times); by default `default_days` days, the last one that of `default_end`.
    pub(crate) fn span(&mut self, default_days: i64, most_days: i64, default_end: i64) -> Span {
        let to = self.moment("end_date", true);
        let from = self.moment("start_date", false);
        let to = to.unwrap_or(default_end);
        let from = from.unwrap_or_else(|| (i64::from(day_of(to)) - default_days + 1) * DAY_US);
        let span = Span { from, to };
        self.check_span(span, most_days);
        span
    }

    /// Refuses a range that ends before it begins or is longer than `most_days`.
    pub(crate) fn check_span(&mut self, span: Span, most_days: i64) {
        if span.from > span.to {
            self.refuse("start_date", "must not be after end_date");
        } else if span.to - span.from >= most_days * DAY_US {
            self.refuse("start_date", format!("the range must be at most {most_days} days"));
        }
    }

    /// The cursor as sent.
    pub(crate) fn cursor(&mut self) -> Option<String> {
        self.text("cursor")
    }

    /// What a cursor belongs to: every named parameter as sent.
    pub(crate) fn fingerprint(&self, names: &[&str]) -> String {
        let mut text = String::new();
        for name in names {
            let value = self.value(name).unwrap_or_default();
            text.push_str(&format!("{name}={}:{value};", value.len()));
        }
        text
    }
}

impl Span {
    /// All of these days.
    pub(crate) fn of_days(first: i32, last: i32) -> Self {
        Self { from: i64::from(first) * DAY_US, to: (i64::from(last) + 1) * DAY_US - 1 }
    }

    /// The days it touches.
    pub(crate) fn days(self) -> RangeInclusive<i32> {
        day_of(self.from)..=day_of(self.to)
    }

    /// The hours it touches.
    pub(crate) fn hours(self) -> RangeInclusive<i32> {
        self.from.div_euclid(HOUR_US) as i32..=self.to.div_euclid(HOUR_US) as i32
    }

    /// The five-minute slots since the epoch that it touches.
    pub(crate) fn slots(self) -> RangeInclusive<i64> {
        self.from.div_euclid(SLOT_US)..=self.to.div_euclid(SLOT_US)
    }
}

impl Period {
    /// The days that it touches.
    pub(crate) fn days(&self) -> RangeInclusive<i32> {
        self.span().days()
    }

    /// From its first to its last µs.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Days(days) => Span::of_days(*days.start(), *days.end()),
            Self::Times(span) => *span,
        }
    }
}

/// Whether a date is absent or names a day, and no time.
fn is_day(text: Option<&str>) -> bool {
    text.is_none_or(|text| parse_day(text).is_some())
}

/// The last µs of today.
pub(crate) fn end_of_today() -> i64 {
    (i64::from(day_of(now_micros())) + 1) * DAY_US - 1
}

/// An agent id from a path.
pub(crate) fn agent_of_path(id: String) -> Result<String, ApiError> {
    AgentId::parse(id).map(AgentId::into_string).ok_or_else(|| {
        let detail = format!("agent_id {}", agent_id::RULE);
        ApiError::unprocessable(detail, vec![FieldError { index: 0, field: "agent_id".into(), detail: agent_id::RULE.into() }])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        let uri: axum::http::Uri = format!("/?{query}").parse().expect("a uri");
        Parameters { pairs: axum::extract::Query::try_from_uri(&uri).expect("pairs").0, errors: Vec::new() }
    }

    fn refused(query: &str, read: impl Fn(&mut Parameters)) -> Vec<String> {
        let mut parameters = parameters(query);
        read(&mut parameters);
        parameters.errors.into_iter().map(|e| e.field).collect()
    }

    #[test]
    fn values_outside_their_bounds_are_refused_by_name() {
        for query in ["limit=0", "limit=1001", "limit=ten", "limit=1.5", "limit=-1", "limit=99999999999999999999"] {
            assert_eq!(
                refused(query, |p| {
                    p.limit();
                }),
                ["limit"],
                "{query}"
            );
        }
        for query in ["days=0", "days=401"] {
            assert_eq!(
                refused(query, |p| {
                    p.days(7);
                }),
                ["days"],
                "{query}"
            );
        }
        for query in [
            "start_date=2026-01-02&end_date=2026-01-01",
            "start_date=2024-01-01&end_date=2026-01-01",
            "start_date=2026-02-30",
            "start_date=9999-12-31",
        ] {
            assert_eq!(
                refused(query, |p| {
                    p.days(7);
                }),
                ["start_date"],
                "{query}"
            );
        }
        assert_eq!(
            refused("agents=a,%23b", |p| {
                p.selection();
            }),
            ["agents"]
        );
        assert_eq!(
            refused("min=1e126", |p| {
                p.amount("min");
            }),
            ["min"]
        );
        assert_eq!(
            refused("min=NaN", |p| {
                p.amount("min");
            }),
            ["min"]
        );
    }

    #[test]
    fn absent_and_empty_parameters_are_the_same() {
        let mut p = parameters("limit=&days=&agents=&start_date=");
        assert_eq!((p.limit(), p.selection(), p.days(7).count()), (100, Selection::Fleet, 7));
        assert!(p.check().is_ok());
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut p = parameters("start_date=2026-01-01&end_date=2026-01-31");
        assert_eq!(p.days(7).count(), 31);
        let span = parameters("start_date=2026-01-01T10:30:00Z&end_date=2026-01-01T12:00:00Z").span(30, MOST_DAYS_BY_HOUR, end_of_today());
        assert_eq!((span.hours().count(), span.slots().count()), (3, 19));
    }

    #[test]
    fn a_period_is_days_unless_one_of_its_ends_is_a_time() {
        let of = |query: &str| parameters(query).period(7);
        assert_eq!(of("start_date=2026-01-01&end_date=2026-01-02"), Period::Days(20_454..=20_455));
        assert!(matches!(of("days=3"), Period::Days(days) if days.clone().count() == 3));
        let start = 20_454 * DAY_US;
        assert_eq!(
            of("start_date=2026-01-01T00:00:00Z&end_date=2026-01-01T02:00:00Z"),
            Period::Times(Span { from: start, to: start + 2 * HOUR_US - 1 })
        );
        assert_eq!(of("start_date=2026-01-01T01:00:00Z&end_date=2026-01-01").days(), 20_454..=20_454);
        assert_eq!(of("days=1&end_date=2026-01-02T00:00:00Z"), Period::Times(Span { from: start, to: start + DAY_US - 1 }));
        for query in ["start_date=noon", "start_date=2026-01-01T00:00:00Z&end_date=2026-01-01T00:00:00Z", "start_date=2020-01-01T00:00:00Z"]
        {
            assert_eq!(
                refused(query, |p| {
                    p.period(7);
                }),
                ["start_date"],
                "{query}"
            );
        }
    }
}
