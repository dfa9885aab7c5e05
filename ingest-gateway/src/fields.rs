//! Reads an event's top-level fields one by one and keeps every complaint, so that a client learns of all of
//! them at once. Knows types and bounds, not what a field is for.

use schemas::problem::FieldError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Levels of JSON, the event itself being the first.
const MAX_DEPTH: usize = 32;
/// Digits of a number.
const MAX_DIGITS: usize = 38;
/// Numbers nearer to 0 than this become 0: the store cannot hold numbers of any smallness.
const SMALLEST: f64 = 1e-9;
/// Complaints kept per event. More than the contract has fields, so that each of those is named.
const MAX_ERRORS: usize = 64;
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

/// An event's fields, by name, with the complaints so far.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    index: usize,
    values: Map<String, Value>,
    raw: Vec<(Cow<'a, str>, &'a str)>,
    errors: Vec<FieldError>,
    errors_left_out: usize,
}

impl<'a> Fields<'a> {
    /// Reads the object in `text`. Fields that are given twice, nest too deep, or hold what JSON allows and
    /// Unicode or a double does not, are complaints; nulls are dropped.
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
        let mut fields = Self { index, values: Map::new(), raw: Vec::new(), errors: Vec::new(), errors_left_out: 0 };
        for (name, raw) in entries {
            let raw = raw.get();
            if fields.values.contains_key(&*name) {
                fields.complain(&name, "is given twice");
                continue;
            }
            let value = match parse_bounded(raw) {
                Ok(value) => value,
                Err(detail) => {
                    fields.complain(&name, detail);
                    // Keeps its place, so that it is neither absent nor unknown.
                    Value::Null
                }
            };
            fields.values.insert(name.clone().into_owned(), value);
            fields.raw.push((name, raw));
        }
        Ok(fields)
    }

    /// The fields as received, for the identity.
    pub(crate) fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The text of every field as received, in order.
    pub(crate) fn raw(&self) -> &[(Cow<'a, str>, &'a str)] {
        &self.raw
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
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.values.get_mut(name)? {
            Value::Null => None,
            Value::String(text) => Some(std::mem::take(text)),
            other => {
                let detail = format!("must be a string, not {}", kind(other));
                self.complain(name, detail);
                None
            }
        }
    }

    /// An id or a name of 1 to `max` characters without control characters; empty is absent.
    pub(crate) fn name(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.text(name).filter(|text| !text.is_empty())?;
        if let Err(detail) = check_name(&text, max) {
            self.complain(name, detail);
            return None;
        }
        Some(text)
    }

    /// A number from `min` to `max`.
    pub(crate) fn number(&mut self, name: &str, min: f64, max: f64) -> Option<f64> {
        let value = self.values.get(name).filter(|value| !value.is_null())?;
        let outcome = match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if (min..=max).contains(&number) { Ok(number) } else { Err(format!("must be from {min} to {max}")) }
            }
            other => Err(format!("must be a number, not {}", kind(other))),
        };
        match outcome {
            Ok(number) => Some(if number.abs() < SMALLEST { 0.0 } else { number }),
            Err(detail) => {
                self.complain(name, detail);
                None
            }
        }
    }

    /// A whole number from 0 to `max`; `1.0` is one.
    pub(crate) fn count(&mut self, name: &str, max: i64) -> Option<i64> {
        let value = self.values.get(name).filter(|value| !value.is_null())?;
        match read_count(value, max) {
            Ok(count) => Some(count),
            Err(detail) => {
                self.complain(name, detail);
                None
            }
        }
    }
}

/// A whole number from 0 to `max`, or what is wrong with it.
pub(crate) fn read_count(value: &Value, max: i64) -> Result<i64, String> {
    let Value::Number(number) = value else { return Err(format!("must be an integer, not {}", kind(value))) };
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
    if text.is_empty() || text.chars().count() > max {
        return Err(format!("must be 1 to {max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(())
}

/// What a value is, for a complaint.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
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

/// Parses a field's value after a look at its nesting and its numbers' digits.
fn parse_bounded(raw: &str) -> Result<Value, String> {
    if !raw.starts_with('"') {
        check_bounds(raw.as_bytes())?;
    }
    // The text was JSON to the scanner, so what fails now is one of two things that JSON's grammar allows.
    serde_json::from_str(raw).map_err(|e| {
        let is_number = e.to_string().starts_with("number out of range");
        (if is_number { "holds a number that is out of range" } else { "holds half a character (a lone surrogate)" }).to_owned()
    })
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
        let mut f = fields(r#"{"a":1.0,"b":1e3,"c":1.5,"d":-1,"e":1e12,"f":1000000000001,"g":"1","h":-0.0,"i":null}"#);
        assert_eq!(f.count("a", 1_000_000_000_000), Some(1));
        assert_eq!(f.count("b", 1_000_000_000_000), Some(1000));
        assert_eq!(f.count("e", 1_000_000_000_000), Some(1_000_000_000_000));
        assert_eq!(f.count("h", 1_000_000_000_000), Some(0));
        assert_eq!(f.count("i", 1_000_000_000_000), None);
        assert!(!f.is_faulty());
        for name in ["c", "d", "f", "g"] {
            assert_eq!(f.count(name, 1_000_000_000_000), None);
        }
        assert_eq!(f.into_errors().len(), 4);
    }

    #[test]
    fn tiny_numbers_become_zero() {
        let mut f = fields(r#"{"a":1e-10,"b":-1e-300,"c":1e-9}"#);
        assert_eq!((f.number("a", -1.0, 1.0), f.number("b", -1.0, 1.0), f.number("c", -1.0, 1.0)), (Some(0.0), Some(0.0), Some(1e-9)));
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
