//! What `agent-tally export` writes and `agent-tally import` reads: the Avro form of table items and log records, and
//! which kinds of items there are.

use crate::item::{AGENT_ID, Item};
use apache_avro::Schema;
use apache_avro::types::Value;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use std::sync::LazyLock;

/// JSON of the schema of exported items.
pub const EXPORTED_ITEM_SCHEMA: &str = include_str!("../avro/exported_item.avsc");
/// JSON of the schema of exported records.
pub const EXPORTED_RECORD_SCHEMA: &str = include_str!("../avro/exported_record.avsc");

/// The schema of exported items.
pub static ITEMS: LazyLock<Schema> = LazyLock::new(|| Schema::parse_str(EXPORTED_ITEM_SCHEMA).expect("committed schemas parse"));
/// The schema of exported records.
pub static RECORDS: LazyLock<Schema> = LazyLock::new(|| Schema::parse_str(EXPORTED_RECORD_SCHEMA).expect("committed schemas parse"));

/// A record of the log without its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportedRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Its payload.
    pub value: Vec<u8>,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Which of the metrics table's items one is, by its partition key: `day`, `hour`, `users`, `fleet`, `log` or `directory`.
pub fn metric_kind(item: &Item) -> &'static str {
    let key = item.get(AGENT_ID).and_then(|v| v.as_s().ok()).map_or("", String::as_str);
    match key {
        _ if key.starts_with("#agents~") => "directory",
        _ if key.starts_with("#log~") => "log",
        _ if key.starts_with("*~") => "fleet",
        _ if key.ends_with("#hour") => "hour",
        _ if key.ends_with("#users") => "users",
        _ => "day",
    }
}

/// An item in Avro; `None` where an attribute has a type that DynamoDB did not have when this was written.
pub fn item_to_avro(item: &Item) -> Option<Value> {
    Some(Value::Record(vec![("attributes".to_owned(), attributes_to_avro(item)?)]))
}

/// The item that [`item_to_avro`] was given; `None` where the value is none.
pub fn item_of_avro(value: Value) -> Option<Item> {
    attributes_of_avro(field(value)?)
}

/// A record in Avro.
pub fn record_to_avro(record: &ExportedRecord) -> Value {
    let header = |(name, value): &(String, Vec<u8>)| {
        Value::Record(vec![("name".to_owned(), Value::String(name.clone())), ("value".to_owned(), Value::Bytes(value.clone()))])
    };
    Value::Record(vec![
        ("key".to_owned(), Value::Bytes(record.key.clone())),
        ("value".to_owned(), Value::Bytes(record.value.clone())),
        ("headers".to_owned(), Value::Array(record.headers.iter().map(header).collect())),
    ])
}

/// The record that [`record_to_avro`] was given; `None` where the value is none.
pub fn record_of_avro(value: Value) -> Option<ExportedRecord> {
    let Value::Record(fields) = value else { return None };
    let mut record = ExportedRecord::default();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("key", Value::Bytes(key)) => record.key = key,
            ("value", Value::Bytes(value)) => record.value = value,
            ("headers", Value::Array(headers)) => record.headers = headers.into_iter().map(header_of_avro).collect::<Option<_>>()?,
            _ => return None,
        }
    }
    Some(record)
}

fn header_of_avro(value: Value) -> Option<(String, Vec<u8>)> {
    let Value::Record(fields) = value else { return None };
    match <[_; 2]>::try_from(fields).ok()? {
        [(_, Value::String(name)), (_, Value::Bytes(value))] => Some((name, value)),
        _ => None,
    }
}

fn attributes_to_avro(attributes: &Item) -> Option<Value> {
    let one = |(name, value): (&String, &AttributeValue)| Some((name.clone(), attribute_to_avro(value)?));
    Some(Value::Map(attributes.iter().map(one).collect::<Option<_>>()?))
}

fn attributes_of_avro(value: Value) -> Option<Item> {
    let Value::Map(attributes) = value else { return None };
    attributes.into_iter().map(|(name, value)| Some((name, attribute_of_avro(value)?))).collect()
}

/// The places in the union are those of the schema.
fn attribute_to_avro(attribute: &AttributeValue) -> Option<Value> {
    let record = |name: &str, value| Value::Record(vec![(name.to_owned(), value)]);
    let strings = |strings: &[String]| Value::Array(strings.iter().cloned().map(Value::String).collect());
    let (place, value) = match attribute {
        AttributeValue::Null(_) => (0, Value::Null),
        AttributeValue::Bool(b) => (1, Value::Boolean(*b)),
        AttributeValue::S(s) => (2, Value::String(s.clone())),
        AttributeValue::B(b) => (3, Value::Bytes(b.as_ref().to_vec())),
        AttributeValue::N(n) => (4, record("decimal", Value::String(n.clone()))),
        AttributeValue::Ss(set) => (5, record("values", strings(set))),
        AttributeValue::Ns(set) => (6, record("decimals", strings(set))),
        AttributeValue::Bs(set) => (7, record("values", Value::Array(set.iter().map(|b| Value::Bytes(b.as_ref().to_vec())).collect()))),
        AttributeValue::L(list) => (8, Value::Array(list.iter().map(attribute_to_avro).collect::<Option<_>>()?)),
        AttributeValue::M(map) => (9, attributes_to_avro(map)?),
        _ => return None,
    };
    Some(record("value", Value::Union(place, Box::new(value))))
}

fn attribute_of_avro(value: Value) -> Option<AttributeValue> {
    let Value::Union(place, value) = field(value)? else { return None };
    let strings = |value| match value {
        Value::Array(list) => list.into_iter().map(|v| if let Value::String(s) = v { Some(s) } else { None }).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    Some(match (place, *value) {
        (0, Value::Null) => AttributeValue::Null(true),
        (1, Value::Boolean(b)) => AttributeValue::Bool(b),
        (2, Value::String(s)) => AttributeValue::S(s),
        (3, Value::Bytes(b)) => AttributeValue::B(Blob::new(b)),
        (4, number) => match field(number)? {
            Value::String(n) => AttributeValue::N(n),
            _ => return None,
        },
        (5, set) => AttributeValue::Ss(strings(field(set)?)?),
        (6, set) => AttributeValue::Ns(strings(field(set)?)?),
        (7, set) => {
            let Value::Array(list) = field(set)? else { return None };
            let blob = |v| if let Value::Bytes(b) = v { Some(Blob::new(b)) } else { None };
            AttributeValue::Bs(list.into_iter().map(blob).collect::<Option<_>>()?)
        }
        (8, Value::Array(list)) => AttributeValue::L(list.into_iter().map(attribute_of_avro).collect::<Option<_>>()?),
        (9, map) => AttributeValue::M(attributes_of_avro(map)?),
        _ => return None,
    })
}

/// The value of a record's only field.
fn field(value: Value) -> Option<Value> {
    let Value::Record(mut fields) = value else { return None };
    let (_, value) = fields.pop()?;
    fields.is_empty().then_some(value)
}

/// Whether two items say the same: a number may be written in several ways.
pub fn is_same(one: &Item, other: &Item) -> bool {
    one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| is_same_value(value, other)))
}

fn is_same_value(one: &AttributeValue, other: &AttributeValue) -> bool {
    match (one, other) {
        (AttributeValue::N(one), AttributeValue::N(other)) => one == other || is_same_number(one, other),
        (AttributeValue::M(one), AttributeValue::M(other)) => is_same(one, other),
        (AttributeValue::L(one), AttributeValue::L(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_value(one, other))
        }
        (AttributeValue::Ss(one), AttributeValue::Ss(other)) | (AttributeValue::Ns(one), AttributeValue::Ns(other)) => {
            one.len() == other.len() && one.iter().all(|value| other.contains(value))
        }
        _ => one == other,
    }
}

/// Whole numbers to the last digit; others as the doubles that they were made from.
fn is_same_number(one: &str, other: &str) -> bool {
    match (one.parse::<i128>(), other.parse::<i128>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.parse::<f64>().ok().zip(other.parse::<f64>().ok()).is_some_and(|(one, other)| one == other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{n, s};
    use apache_avro::{Codec, Reader, Writer};
    use std::collections::HashMap;

    fn through_a_file(schema: &Schema, value: Value) -> Value {
        let mut writer = Writer::with_codec(schema, Vec::new(), Codec::Deflate(Default::default())).expect("a writer");
        writer.append_value(value).expect("it fits the schema");
        let bytes = writer.into_inner().expect("bytes");
        Reader::new(bytes.as_slice()).expect("a file").next().expect("a value").expect("readable")
    }

    #[test]
    fn an_item_comes_back_with_every_attribute_as_it_was() {
        let inner = HashMap::from([("a'b#\"".to_owned(), AttributeValue::L(vec![s("x"), AttributeValue::Null(true), n(1)]))]);
        let item: Item = [
            (AGENT_ID, s("team/bot")),
            ("number", n("-12345678901234567890123456789012345678")),
            ("bytes", AttributeValue::B(Blob::new([0, 255, 7]))),
            ("yes", AttributeValue::Bool(true)),
            ("set", AttributeValue::Ss(vec!["a".into(), "b".into()])),
            ("numbers", AttributeValue::Ns(vec!["1".into(), "2.5".into()])),
            ("blobs", AttributeValue::Bs(vec![Blob::new([1]), Blob::new([])])),
            ("map", AttributeValue::M(inner)),
            ("empty", s("")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let back = through_a_file(&ITEMS, item_to_avro(&item).expect("known types"));
        assert_eq!(item_of_avro(back), Some(item));
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record =
            ExportedRecord { key: b"0-1-2".to_vec(), value: vec![0xC3, 1, 0], headers: vec![("a".into(), vec![1]), ("a".into(), vec![])] };
        assert_eq!(record_of_avro(through_a_file(&RECORDS, record_to_avro(&record))), Some(record));
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written_and_nothing_else_is() {
        let item = |number: &str| HashMap::from([("n".to_owned(), n(number))]);
        assert!(is_same(&item("0.0000001"), &item("1E-7")) && is_same(&item("5"), &item("5.0")));
        assert!(!is_same(&item("9007199254740993"), &item("9007199254740992")));
        assert!(!is_same(&item("5"), &item("6")) && !is_same(&item("5"), &HashMap::new()));
        assert!(!is_same(&HashMap::from([("n".to_owned(), s("5"))]), &HashMap::from([("n".to_owned(), s("5.0"))])));
    }
}
