//! Reads an event's top-level fields one by one and keeps every complaint, so that a client learns of all of
//! them at once. Knows types and bounds, not what a field is for.

use schemas::canonical::Member;
use schemas::identity::content_hash_of;
use schemas::problem::FieldError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Levels of JSON, the event itself being the first.
const MAX_DEPTH: usize = 32;
/// Digits of a number.
const MAX_DIGITS: usize = 38;
/// Numbers nearer to 0 than this become 0: the store cannot hold numbers of any smallness.
const SMALLEST: f64 = 1e-9;
/// Complaints kept per event. More than the contract has fields, so that each of those is named.
const MAX_ERRORS: usize = 64;
const HALF_A_CHARACTER: &str = "holds half a character (a lone surrogate)";
/// Characters of an unknown field's name in a complaint.
const MAX_NAME_SHOWN: usize = 128;

/// Why a text has no fields at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFields {
    /// Not JSON: where and why.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("must be a JSON object, not {0}")]
    NotAnObject(&'static str),
}

/// The contract's fields, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    AgentId,
    CachedInputTokens,
    Content,
    ConversationId,
    CostUsd,
    ErrorDetails,
    ErrorType,
    EventId,
    InputTokens,
    MessageType,
    Metadata,
    ModelUsed,
    OutputTokens,
    ParentSpanId,
    ReasoningTokens,
    ResponseTimeMs,
    SessionId,
    SpanId,
    Timestamp,
    TokenCount,
    ToolName,
    TraceId,
    UserFeedback,
    UserId,
}

impl Known {
    /// All of them.
    pub(crate) const ALL: [Self; 24] = [
        Self::AgentId,
        Self::CachedInputTokens,
        Self::Content,
        Self::ConversationId,
        Self::CostUsd,
        Self::ErrorDetails,
        Self::ErrorType,
        Self::EventId,
        Self::InputTokens,
        Self::MessageType,
        Self::Metadata,
        Self::ModelUsed,
        Self::OutputTokens,
        Self::ParentSpanId,
        Self::ReasoningTokens,
        Self::ResponseTimeMs,
        Self::SessionId,
        Self::SpanId,
        Self::Timestamp,
        Self::TokenCount,
        Self::ToolName,
        Self::TraceId,
        Self::UserFeedback,
        Self::UserId,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AgentId => "agent_id",
            Self::CachedInputTokens => "cached_input_tokens",
            Self::Content => "content",
            Self::ConversationId => "conversation_id",
            Self::CostUsd => "cost_usd",
            Self::ErrorDetails => "error_details",
            Self::ErrorType => "error_type",
            Self::EventId => "event_id",
            Self::InputTokens => "input_tokens",
            Self::MessageType => "message_type",
            Self::Metadata => "metadata",
            Self::ModelUsed => "model_used",
            Self::OutputTokens => "output_tokens",
            Self::ParentSpanId => "parent_span_id",
            Self::ReasoningTokens => "reasoning_tokens",
            Self::ResponseTimeMs => "response_time_ms",
            Self::SessionId => "session_id",
            Self::SpanId => "span_id",
            Self::Timestamp => "timestamp",
            Self::TokenCount => "token_count",
            Self::ToolName => "tool_name",
            Self::TraceId => "trace_id",
            Self::UserFeedback => "user_feedback",
            Self::UserId => "user_id",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "agent_id" => Self::AgentId,
            "cached_input_tokens" => Self::CachedInputTokens,
            "content" => Self::Content,
            "conversation_id" => Self::ConversationId,
            "cost_usd" => Self::CostUsd,
            "error_details" => Self::ErrorDetails,
            "error_type" => Self::ErrorType,
            "event_id" => Self::EventId,
            "input_tokens" => Self::InputTokens,
            "message_type" => Self::MessageType,
            "metadata" => Self::Metadata,
            "model_used" => Self::ModelUsed,
            "output_tokens" => Self::OutputTokens,
            "parent_span_id" => Self::ParentSpanId,
            "reasoning_tokens" => Self::ReasoningTokens,
            "response_time_ms" => Self::ResponseTimeMs,
            "session_id" => Self::SessionId,
            "span_id" => Self::SpanId,
            "timestamp" => Self::Timestamp,
            "token_count" => Self::TokenCount,
            "tool_name" => Self::ToolName,
            "trace_id" => Self::TraceId,
            "user_feedback" => Self::UserFeedback,
            "user_id" => Self::UserId,
            _ => return None,
        })
    }
}

/// An event's fields, by name, with the complaints so far.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    index: usize,
    fields: Vec<Field<'a>>,
    /// Where each of the contract's fields is in `fields`; [`NOWHERE`] for one that did not come.
    places: [u32; Known::ALL.len()],
    errors: Vec<FieldError>,
    errors_left_out: usize,
}

/// One field as it came.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    /// Whether it is one of the contract's.
    pub(crate) is_known: bool,
    /// Its name.
    pub(crate) name: Cow<'a, str>,
    /// Its value's text.
    pub(crate) raw: &'a str,
    /// Its value; null too where there was something to complain about, so that it is neither absent nor unknown.
    pub(crate) value: FieldValue<'a>,
}

/// A field's value: borrowed from the request where it holds no escapes, a tree only where it is one.
#[derive(Debug)]
pub(crate) enum FieldValue<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    /// An array or an object.
    Tree(Value),
}

const NOWHERE: u32 = u32::MAX;
/// Unknown fields beyond which their names are looked up in a set: all are compared with each other otherwise.
const FEW: usize = 16;

impl<'a> Fields<'a> {
    /// Reads the object in `text`. Fields that are given twice, nest too deep, or hold what JSON allows and
    /// Unicode or a double does not, are complaints.
    pub(crate) fn read(index: usize, text: &'a str) -> Result<Self, NoFields> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let entries = deserializer.deserialize_map(Entries).and_then(|entries| {
            deserializer.end()?;
            Ok(entries)
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(e) if e.is_data() => return Err(not_an_object(text)),
            Err(e) => return Err(NoFields::NotJson(e.to_string())),
        };
        let places = [NOWHERE; Known::ALL.len()];
        let mut read = Self { index, fields: Vec::with_capacity(entries.len()), places, errors: Vec::new(), errors_left_out: 0 };
        let mut unknown = 0;
        let mut names: HashSet<Cow<'a, str>> = HashSet::new();
        for (name, raw) in entries {
            let known = Known::parse(&name);
            let is_there = match known {
                Some(known) => read.places[known as usize] != NOWHERE,
                None if unknown < FEW => read.unknown().any(|field| field.name == name),
                None => {
                    if names.is_empty() {
                        names = read.unknown().map(|field| field.name.clone()).collect();
                    }
                    !names.insert(name.clone())
                }
            };
            if is_there {
                read.complain(&name, "is given twice");
                continue;
            }
            let raw = raw.get();
            let value = match FieldValue::read(raw) {
                Ok(value) => value,
                Err(detail) => {
                    read.complain(&name, detail);
                    FieldValue::Null
                }
            };
            match known {
                Some(known) => read.places[known as usize] = u32::try_from(read.fields.len()).unwrap_or(NOWHERE),
                None => unknown += 1,
            }
            read.fields.push(Field { is_known: known.is_some(), name, raw, value });
        }
        Ok(read)
    }

    /// Those that are none of the contract's, in the order in which they came.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(|field| !field.is_known)
    }

    /// One of the contract's.
    pub(crate) fn get(&self, known: Known) -> Option<&Field<'a>> {
        self.fields.get(self.places[known as usize] as usize)
    }

    /// The hash of what the client sent.
    pub(crate) fn content_hash(&self) -> [u8; 16] {
        // The contract's fields come in the order that is wanted, which spares most of the sorting.
        let all = Known::ALL.iter().filter_map(|known| self.get(*known)).chain(self.unknown());
        content_hash_of(all.filter_map(|field| Some((&*field.name, field.value.member()?))).collect())
    }

    /// Adds a complaint.
    pub(crate) fn complain(&mut self, field: &str, detail: impl Into<String>) {
        if self.errors.len() == MAX_ERRORS {
            self.errors_left_out += 1;
            return;
        }
        let field = field.chars().take(MAX_NAME_SHOWN).collect();
        self.errors.push(FieldError { index: self.index, field, detail: detail.into() });
    }

    /// Adds a complaint about a field that has none yet: what could not be read is not missing too.
    pub(crate) fn complain_once(&mut self, field: &str, detail: &str) {
        if !self.errors.iter().any(|error| error.field == field) {
            self.complain(field, detail);
        }
    }

    /// Whether there was something to complain about.
    pub(crate) fn is_faulty(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Every complaint; the last one counts those beyond the bound.
    pub(crate) fn into_errors(mut self) -> Vec<FieldError> {
        if self.errors_left_out > 0 {
            let detail = format!("has {} more errors", self.errors_left_out);
            self.errors.push(FieldError { index: self.index, field: String::new(), detail });
        }
        self.errors
    }

    /// A string of any length, as sent.
    pub(crate) fn text(&mut self, known: Known) -> Option<Cow<'a, str>> {
        let field = self.fields.get_mut(self.places[known as usize] as usize)?;
        match &mut field.value {
            FieldValue::Null => None,
            FieldValue::Text(text) => Some(std::mem::take(text)),
            other => {
                let detail = format!("must be a string, not {}", other.kind());
                self.complain(known.name(), detail);
                None
            }
        }
    }

    /// An id or a name of 1 to `max` characters without control characters; empty is absent.
    pub(crate) fn name(&mut self, known: Known, max: usize) -> Option<String> {
        let text = self.text(known).filter(|text| !text.is_empty())?;
        if let Err(detail) = check_name(&text, max) {
            self.complain(known.name(), detail);
            return None;
        }
        Some(text.into_owned())
    }

    /// A number from `min` to `max`.
    pub(crate) fn number(&mut self, known: Known, min: f64, max: f64) -> Option<f64> {
        let outcome = match &self.get(known)?.value {
            FieldValue::Null => return None,
            FieldValue::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if (min..=max).contains(&number) { Ok(number) } else { Err(format!("must be from {min} to {max}")) }
            }
            other => Err(format!("must be a number, not {}", other.kind())),
        };
        match outcome {
            Ok(number) => Some(if number.abs() < SMALLEST { 0.0 } else { number }),
            Err(detail) => {
                self.complain(known.name(), detail);
                None
            }
        }
    }

    /// A whole number from 0 to `max`; `1.0` is one.
    pub(crate) fn count(&mut self, known: Known, max: i64) -> Option<i64> {
        let outcome = match &self.get(known)?.value {
            FieldValue::Null => return None,
            FieldValue::Number(number) => read_count(number, max),
            other => Err(format!("must be an integer, not {}", other.kind())),
        };
        match outcome {
            Ok(count) => Some(count),
            Err(detail) => {
                self.complain(known.name(), detail);
                None
            }
        }
    }
}

impl<'a> FieldValue<'a> {
    /// Parses a field's value after a look at its nesting and its numbers' digits.
    fn read(raw: &'a str) -> Result<Self, String> {
        // The text was JSON to the scanner, so what fails now is one of two things that JSON's grammar allows.
        match raw.as_bytes() {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Ok(Self::Text(Cow::Borrowed(&raw[1..raw.len() - 1]))),
            [b'"', ..] => Ok(Self::Text(Cow::Owned(serde_json::from_str(raw).map_err(|_| HALF_A_CHARACTER.to_owned())?))),
            b"null" => Ok(Self::Null),
            b"true" => Ok(Self::Bool(true)),
            b"false" => Ok(Self::Bool(false)),
            _ => {
                check_bounds(raw.as_bytes())?;
                let value = serde_json::from_str(raw).map_err(|e| {
                    let is_number = e.to_string().starts_with("number out of range");
                    (if is_number { "holds a number that is out of range" } else { HALF_A_CHARACTER }).to_owned()
                })?;
                Ok(match value {
                    Value::Number(number) => Self::Number(number),
                    tree => Self::Tree(tree),
                })
            }
        }
    }

    /// As a part of the identity; a null is none.
    fn member(&self) -> Option<Member<'_>> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => Member::Bool(*value),
            Self::Number(number) => Member::Number(number),
            Self::Text(text) => Member::Text(text),
            Self::Tree(value) => Member::Tree(value),
        })
    }

    /// Whether it is the same as that.
    pub(crate) fn is(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Number(a), Value::Number(b)) => a == b,
            (Self::Text(a), Value::String(b)) => a == b,
            (Self::Tree(a), b) => a == b,
            _ => false,
        }
    }

    /// What it is, for a complaint.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Tree(Value::Array(_)) => "an array",
            Self::Tree(_) => "an object",
        }
    }
}

/// A whole number from 0 to `max`, or what is wrong with it.
pub(crate) fn read_count(number: &Number, max: i64) -> Result<i64, String> {
    if let Some(count) = number.as_i64() {
        return if (0..=max).contains(&count) { Ok(count) } else { Err(format!("must be from 0 to {max}")) };
    }
    let number = number.as_f64().unwrap_or(f64::NAN);
    if !(0.0..=max as f64).contains(&number) {
        return Err(format!("must be from 0 to {max}"));
    }
    if number.fract() != 0.0 {
        return Err("must be an integer, not a fraction".to_owned());
    }
    Ok(number as i64)
}

/// Whether `text` is an id or a name of at most `max` characters; what is wrong where not.
pub(crate) fn check_name(text: &str, max: usize) -> Result<(), String> {
    // A character is a byte at least.
    if text.is_empty() || text.len() > max && text.chars().count() > max {
        return Err(format!("must be 1 to {max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(())
}

fn not_an_object(text: &str) -> NoFields {
    if let Err(e) = serde_json::from_str::<&RawValue>(text) {
        return NoFields::NotJson(e.to_string());
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'[') => NoFields::NotAnObject("an array"),
        Some(b'"') => NoFields::NotAnObject("a string"),
        Some(b't' | b'f') => NoFields::NotAnObject("a boolean"),
        Some(b'n') => NoFields::NotAnObject("null"),
        _ => NoFields::NotAnObject("a number"),
    }
}

fn check_bounds(raw: &[u8]) -> Result<(), String> {
    let mut depth = 1;
    let mut i = 0;
    while i < raw.len() {
        match raw[i] {
            b'"' => i = end_of_string(raw, i),
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("nests deeper than {MAX_DEPTH} levels"));
                }
            }
            b'}' | b']' => depth -= 1,
            b'0'..=b'9' => {
                let mut digits = 0;
                while i < raw.len() && matches!(raw[i], b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') {
                    digits += usize::from(raw[i].is_ascii_digit());
                    i += 1;
                }
                if digits > MAX_DIGITS {
                    return Err(format!("holds a number of more than {MAX_DIGITS} digits"));
                }
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    Ok(())
}

/// Index of the quote that ends the string that starts at `start`.
fn end_of_string(raw: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < raw.len() && raw[i] != b'"' {
        i += if raw[i] == b'\\' { 2 } else { 1 };
    }
    i
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(12);
        while let Some(Key(name)) = map.next_key()? {
            entries.push((name, map.next_value()?));
        }
        Ok(entries)
    }
}

/// A key, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields::read(7, text).expect("an object")
    }

    fn error(text: &str) -> String {
        let errors = fields(text).into_errors();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert_eq!(errors[0].index, 7);
        errors[0].detail.clone()
    }

    #[test]
    fn nesting_is_counted_from_the_event() {
        let nested = |levels: usize| format!(r#"{{"metadata":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(!fields(&nested(31)).is_faulty());
        assert!(error(&nested(32)).contains("32 levels"));
        assert!(error(&nested(100_000)).contains("32 levels"));
        assert!(!fields(&format!(r#"{{"metadata":["{}"]}}"#, "[".repeat(100))).is_faulty(), "brackets in a string do not nest");
        assert!(!fields(&format!(r#"{{"metadata":["\"{}\\"]}}"#, "[".repeat(100))).is_faulty());
    }

    #[test]
    fn digits_are_bounded_and_other_numbers_kept() {
        assert!(!fields(&format!(r#"{{"a":[-{}]}}"#, "9".repeat(38))).is_faulty());
        assert!(error(&format!(r#"{{"a":{{"b":{}}}}}"#, "9".repeat(39))).contains("38 digits"));
        assert!(error(&format!(r#"{{"a":0.{}}}"#, "1".repeat(38))).contains("38 digits"));
        assert!(error(r#"{"a":1e999}"#).contains("out of range"));
        assert!(!fields(&format!(r#"{{"a":"{}"}}"#, "9".repeat(100))).is_faulty(), "digits in a string are text");
    }

    #[test]
    fn half_characters_are_named() {
        assert!(error(r#"{"content":"\ud800"}"#).contains("surrogate"));
        assert!(error(r#"{"metadata":{"a":"\udc00"}}"#).contains("surrogate"));
        assert!(!fields(r#"{"content":"\ud83d\ude00\u0000"}"#).is_faulty());
    }

    #[test]
    fn a_field_given_twice_is_named() {
        assert_eq!(error(r#"{"a":1,"a":1}"#), "is given twice");
        assert_eq!(error(r#"{"a":null,"\u0061":1}"#), "is given twice");
    }

    #[test]
    fn what_is_no_object_says_what_it_is() {
        for (text, what) in [("[]", "an array"), ("1", "a number"), ("\"\"", "a string"), ("null", "null"), (" true", "a boolean")] {
            assert_eq!(Fields::read(0, text).map(|_| ()).expect_err(text), NoFields::NotAnObject(what));
        }
        for text in
            ["", "{", "{\"a\":NaN}", "{\"a\":01}", "{'a':1}", "{\"a\":1,}", "{\"a\":\"\n\"}", "{} {}", "{\"\\ud800\":1}", "[1", "1 x"]
        {
            assert!(matches!(Fields::read(0, text), Err(NoFields::NotJson(_))), "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_fractions() {
        let count = |value: &str| {
            let text = format!(r#"{{"token_count":{value}}}"#);
            let mut fields = fields(&text);
            let count = fields.count(Known::TokenCount, 1_000_000_000_000);
            (count, fields.into_errors().len())
        };
        for (value, whole) in [("1.0", 1), ("1e3", 1_000), ("1e12", 1_000_000_000_000), ("-0.0", 0)] {
            assert_eq!(count(value), (Some(whole), 0), "{value}");
        }
        for value in ["1.5", "-1", "1000000000001", "\"1\""] {
            assert_eq!(count(value), (None, 1), "{value}");
        }
        assert_eq!(count("null"), (None, 0));
        assert_eq!(fields("{}").count(Known::TokenCount, 1), None);
    }

    #[test]
    fn tiny_numbers_become_zero() {
        let number = |value: &str| fields(&format!(r#"{{"cost_usd":{value}}}"#)).number(Known::CostUsd, -1.0, 1.0);
        assert_eq!([number("1e-10"), number("-1e-300"), number("1e-9")], [Some(0.0), Some(0.0), Some(1e-9)]);
    }

    #[test]
    fn many_unknown_fields_are_told_apart_too() {
        let many = |last: &str| {
            let names: Vec<_> = (0..1_000).map(|n| format!(r#""f{n}":1"#)).collect();
            format!(r#"{{{},"{last}":2}}"#, names.join(","))
        };
        assert!(!fields(&many("g")).is_faulty());
        for twice in ["f0", "f15", "f16", "f999"] {
            assert_eq!(error(&many(twice)), "is given twice");
        }
    }

    #[test]
    fn every_field_of_the_contract_is_found_by_its_name() {
        for known in Known::ALL {
            assert_eq!(Known::parse(known.name()), Some(known));
        }
        assert!(Known::ALL.is_sorted_by_key(|known| known.name()), "as the identity wants them");
        let text = r#"{"zeta":1,"session_id":"s","alpha":2,"agent_id":"a"}"#;
        assert_eq!(fields(text).unknown().map(|field| &*field.name).collect::<Vec<_>>(), ["zeta", "alpha"]);
        assert_eq!(fields(text).get(Known::SessionId).map(|field| field.raw), Some("\"s\""));
        assert!(fields(text).get(Known::Content).is_none());
    }

    #[test]
    fn complaints_are_bounded_and_counted() {
        let mut f = fields("{}");
        for _ in 0..1_000 {
            f.complain(&"x".repeat(1_000), "is wrong");
        }
        let errors = f.into_errors();
        assert_eq!(errors.len(), MAX_ERRORS + 1);
        assert_eq!(errors[0].field.len(), MAX_NAME_SHOWN);
        assert_eq!(errors[MAX_ERRORS].detail, format!("has {} more errors", 1_000 - MAX_ERRORS));
    }
}
