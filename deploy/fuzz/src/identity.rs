//! The canonical form of an event's fields, from which its identity follows.
//!
//! An input is a JSON object.
//!
//! What must hold: the form is JSON that reads as the same fields, it is its own form, and however the same fields are
//! written (order, spaces, escapes), the hash is the same. Ids that follow from it are valid and differ by their ordinal.

use schemas::canonical::write_object;
use schemas::identity::{content_hash, derived_event_id, is_valid_event_id};
use serde_json::{Map, Value};

/// See the module.
pub fn check(bytes: &[u8]) {
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let hash = content_hash(&fields);

    let form = canonical(&fields);
    let again: Map<String, Value> = serde_json::from_str(&form).expect("the form is JSON");
    assert_eq!(canonical(&again), form);
    assert_eq!(content_hash(&again), hash);

    let pretty = serde_json::to_string_pretty(&fields).expect("JSON");
    let mut rewritten = String::new();
    write_backwards(&Value::Object(fields.clone()), &mut rewritten);
    for text in [pretty, rewritten] {
        let other: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(content_hash(&other), hash, "{form}\n{text}");
    }

    let mut without = fields;
    for name in ["agent_id", "event_id"] {
        without.remove(name);
    }
    without.insert("absent".to_owned(), Value::Null);
    without.insert("agent_id".to_owned(), Value::from("another"));
    let kept = content_hash(&without);
    assert!(kept == hash || form.contains("\"absent\":"), "{form}");

    let ids = [0, 1, u32::MAX].map(|ordinal| derived_event_id(&hash, ordinal));
    assert!(ids.iter().all(|id| is_valid_event_id(id)) && ids[0] != ids[1] && ids[1] != ids[2]);
}

fn canonical(fields: &Map<String, Value>) -> String {
    let mut form = Vec::new();
    write_object(&mut form, fields);
    String::from_utf8(form).expect("the form is text")
}

/// The same JSON with its members the other way round, spaces everywhere and every character escaped.
fn write_backwards(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            text.push_str("{ ");
            for (i, (name, value)) in object.iter().rev().enumerate() {
                text.push_str(if i > 0 { " ,\n" } else { "" });
                write_escaped(name, text);
                text.push_str("\t: ");
                write_backwards(value, text);
            }
            text.push_str("\r\n}");
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { " , " } else { " " });
                write_backwards(item, text);
            }
            text.push(']');
        }
        Value::String(string) => write_escaped(string, text),
        other => text.push_str(&other.to_string()),
    }
}

fn write_escaped(string: &str, text: &mut String) {
    text.push('"');
    for unit in string.encode_utf16() {
        text.push_str(&format!("\\u{unit:04X}"));
    }
    text.push('"');
}
