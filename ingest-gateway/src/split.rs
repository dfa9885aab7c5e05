//! From a body's text to the raw text of each event. Looks no deeper than the batch's envelope: what an event
//! says is judged in [`crate::validate`].

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Events that one request may carry.
pub const MAX_EVENTS: usize = 1_000;

/// Why a body is no batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    /// Not JSON: where and why.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// JSON, but of another shape.
    #[error("{0}")]
    NotABatch(String),
    /// More than [`MAX_EVENTS`].
    #[error("a request carries at most {MAX_EVENTS} events")]
    TooMany,
    /// No event.
    #[error("the batch holds no event")]
    Empty,
}

const SHAPE: &str = "expected an array of events, {\"events\": [...]} or NDJSON (content type application/x-ndjson)";

/// Splits a JSON array or `{"events": [...]}`.
pub(crate) fn split_json(text: &str) -> Result<Vec<&str>, SplitError> {
    let mut outcome = Outcome::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let events = Batch { outcome: &mut outcome }.deserialize(&mut deserializer).and_then(|events| {
        deserializer.end()?;
        Ok(events)
    });
    if outcome.is_too_many {
        return Err(SplitError::TooMany);
    }
    if let Some(reason) = outcome.shape {
        // A body of another shape is still refused as broken where it is broken.
        return Err(
            serde_json::from_str::<&RawValue>(text).map_or_else(|e| SplitError::NotJson(e.to_string()), |_| SplitError::NotABatch(reason))
        );
    }
    let events = events.map_err(|e| SplitError::NotJson(e.to_string()))?;
    if events.is_empty() {
        return Err(SplitError::Empty);
    }
    Ok(events)
}

/// Splits NDJSON: one event a line, empty lines left out. Lines are not looked at.
pub(crate) fn split_lines(text: &str) -> Result<Vec<&str>, SplitError> {
    let mut events = Vec::new();
    for line in text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
        if events.len() == MAX_EVENTS {
            return Err(SplitError::TooMany);
        }
        events.push(line);
    }
    if events.is_empty() {
        return Err(SplitError::Empty);
    }
    Ok(events)
}

/// What serde's error cannot carry.
#[derive(Default)]
struct Outcome {
    is_too_many: bool,
    shape: Option<String>,
}

impl Outcome {
    fn refuse<E: de::Error>(&mut self, reason: String) -> E {
        self.shape = Some(reason);
        E::custom("not a batch")
    }
}

struct Batch<'o> {
    outcome: &'o mut Outcome,
}

impl<'de> DeserializeSeed<'de> for Batch<'_> {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = seq.next_element::<&'de RawValue>()? {
            if events.len() == MAX_EVENTS {
                self.outcome.is_too_many = true;
                return Err(de::Error::custom("too many events"));
            }
            events.push(event.get());
        }
        Ok(events)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut events = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "events" {
                return Err(self.outcome.refuse(if key == "message_type" || key == "agent_id" {
                    format!("{SHAPE}; a single event goes to /api/v1/agents/{{agent_id}}/events")
                } else {
                    SHAPE.to_owned()
                }));
            }
            if events.is_some() {
                return Err(self.outcome.refuse("events is given twice".to_owned()));
            }
            events = Some(map.next_value_seed(Events { outcome: &mut *self.outcome })?);
        }
        events.ok_or_else(|| self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Err(self.outcome.refuse(SHAPE.to_owned()))
    }
}

/// The value of `events`: an array and nothing else.
struct Events<'o> {
    outcome: &'o mut Outcome,
}

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('[') {
            return Err(self.outcome.refuse("events must be an array".to_owned()));
        }
        let mut inner = serde_json::Deserializer::from_str(raw.get());
        Batch { outcome: self.outcome }.deserialize(&mut inner).map_err(de::Error::custom)
    }
}

use serde::Deserialize as _;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_envelopes_and_lines_give_the_same_events() {
        let want = vec![r#"{"a": 1}"#, r#"{"b":2}"#];
        assert_eq!(split_json(r#" [{"a": 1}, {"b":2}] "#), Ok(want.clone()));
        assert_eq!(split_json(r#"{"events": [{"a": 1},{"b":2}]}"#), Ok(want.clone()));
        assert_eq!(split_lines("{\"a\": 1}\r\n\n  {\"b\":2}"), Ok(want));
    }

    #[test]
    fn what_is_no_batch_says_what_was_expected() {
        for text in [
            "1",
            "-1",
            "1.5",
            "\"x\"",
            "null",
            "true",
            "{}",
            r#"{"events":{}}"#,
            r#"{"events":null}"#,
            r#"{"events":[],"x":1}"#,
            r#"{"events":[],"events":[]}"#,
            r#"{"message_type":"error"}"#,
        ] {
            assert!(matches!(split_json(text), Err(SplitError::NotABatch(_))), "{text}: {:?}", split_json(text));
        }
        for text in ["", "[", "[1,]", "[NaN]", "{\"events\":[}", "[] []", r#"{"x":1"#, "{\"x\":1} x", "nul"] {
            assert!(matches!(split_json(text), Err(SplitError::NotJson(_))), "{text}: {:?}", split_json(text));
        }
        for text in ["[]", r#"{"events":[]}"#] {
            assert_eq!(split_json(text), Err(SplitError::Empty), "{text}");
        }
        assert_eq!(split_lines("\n \n"), Err(SplitError::Empty));
    }

    #[test]
    fn too_many_events_are_not_even_collected() {
        let many = format!("[{}0]", "0,".repeat(MAX_EVENTS));
        assert_eq!(split_json(&many), Err(SplitError::TooMany));
        assert_eq!(split_json(&format!("{{\"events\":{many}}}")), Err(SplitError::TooMany));
        assert_eq!(split_lines(&"0\n".repeat(MAX_EVENTS + 1)), Err(SplitError::TooMany));
        assert_eq!(split_json(&format!("[{}0]", "0,".repeat(MAX_EVENTS - 1))).map(|e| e.len()), Ok(MAX_EVENTS));
    }
}
