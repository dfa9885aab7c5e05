//! Bytes and schemas of other releases and other implementations.
//!
//! `golden/*.bin` holds bytes that a release wrote. They are never rewritten: a changed schema gets new files
//! beside the old ones, and its predecessor goes to the codec's former schemas. To write the files of a new
//! schema, run these tests once with `BLESS=1`; existing files are left alone.

use apache_avro::Schema;
use apache_avro::headers::{HeaderBuilder as _, RabinFingerprintHeader};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use schemas::codec::{AGENT_EVENT_SCHEMA, AGENT_TOTALS_SCHEMA, EVENTS, TOTALS, WireForm};
use schemas::codec::{decode_event, decode_totals, encode_event, encode_totals};
use schemas::{AgentEvent, AgentTotals, examples};
use std::path::PathBuf;

/// The registry's id in the committed Confluent bytes.
const GOLDEN_ID: u32 = 7;

/// Bytes of the single-object head.
const HEAD: usize = 10;

fn golden(name: &str, bytes_now: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        std::fs::write(&path, bytes_now()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn golden_totals() -> AgentTotals {
    AgentTotals {
        agent_id: "support-bot".into(),
        day: 20_460,
        version: 3,
        flushed_at: 1_767_781_800_123_456,
        last_at: 1_767_781_800_000_001,
        calls: 25,
        messages: 10,
        responses: 9,
        errors: 2,
        tool_calls: 4,
        latency_us: 12_345_678,
        latency_n: 9,
        latency_max_us: 3_000_000,
        tokens: 9_450,
        input_tokens: 9_000,
        output_tokens: 450,
        cost_nanousd: 19_800_000,
        cost_n: 9,
        feedback_micro: 4_500_000,
        feedback_n: 1,
        duplicates: 5,
    }
}

fn avro(schema: &str) -> Schema {
    Schema::parse_str(schema).unwrap()
}

#[test]
fn committed_events_decode_and_encode_to_the_same_bytes() {
    EVENTS.register(GOLDEN_ID, AGENT_EVENT_SCHEMA).unwrap();
    for example in examples::all() {
        let single = golden(&format!("agent_event.1.{}.bin", example.name), || encode_event(&example.event, WireForm::SingleObject));
        assert_eq!(decode_event(&single).unwrap(), example.event, "{}", example.name);
        assert_eq!(single, encode_event(&example.event, WireForm::SingleObject), "{}", example.name);
    }
    let example = examples::all().into_iter().find(|e| e.name == "agent_response").unwrap();
    let confluent = golden("agent_event.1.confluent.bin", || encode_event(&example.event, WireForm::Confluent(GOLDEN_ID)));
    assert_eq!(decode_event(&confluent).unwrap(), example.event);
    assert_eq!(confluent, encode_event(&example.event, WireForm::Confluent(GOLDEN_ID)));
}

#[test]
fn committed_totals_decode_and_encode_to_the_same_bytes() {
    TOTALS.register(GOLDEN_ID, AGENT_TOTALS_SCHEMA).unwrap();
    for (name, form) in [("agent_totals.1.bin", WireForm::SingleObject), ("agent_totals.1.confluent.bin", WireForm::Confluent(GOLDEN_ID))] {
        let bytes = golden(name, || encode_totals(&golden_totals(), form));
        assert_eq!(decode_totals(&bytes).unwrap(), golden_totals());
        assert_eq!(bytes, encode_totals(&golden_totals(), form));
    }
    assert!(golden("agent_totals.1.bin", Vec::new).len() <= 300, "live records stay small");
}

#[test]
fn schemas_can_read_themselves() {
    for schema in [AGENT_EVENT_SCHEMA, AGENT_TOTALS_SCHEMA].map(avro) {
        assert_eq!(SchemaCompatibility::mutual_read(&schema, &schema).unwrap(), Compatibility::Full);
    }
}

/// The schema with a change to its fields.
fn changed(schema: &str, change: impl FnOnce(&mut Vec<serde_json::Value>)) -> String {
    let mut json: serde_json::Value = serde_json::from_str(schema).unwrap();
    change(json["fields"].as_array_mut().unwrap());
    json.to_string()
}

#[test]
fn bytes_of_an_older_writer_get_the_defaults() {
    let older = changed(AGENT_EVENT_SCHEMA, |fields| fields.truncate(fields.len() - 6));
    SchemaCompatibility::can_read(&avro(&older), &avro(AGENT_EVENT_SCHEMA)).unwrap();
    EVENTS.register(101, &older).unwrap();
    let event = examples::all().into_iter().find(|e| e.name == "agent_response").unwrap().event;
    let datum = GenericDatumWriter::builder(&avro(&older)).build().unwrap().write_value_to_vec(as_value(&event, &older)).unwrap();
    let read = decode_event(&[&[0, 0, 0, 0, 101], datum.as_slice()].concat()).unwrap();
    let want = AgentEvent {
        input_tokens: event.input_tokens,
        output_tokens: None,
        cached_input_tokens: None,
        reasoning_tokens: None,
        cost_usd: None,
        cost_estimated: false,
        ..event
    };
    assert_eq!(AgentEvent { input_tokens: None, ..read }, AgentEvent { input_tokens: None, ..want });
}

#[test]
fn bytes_of_a_newer_writer_are_read_without_what_is_new() {
    let newer = changed(AGENT_EVENT_SCHEMA, |fields| {
        fields.push(serde_json::json!({"name": "shiny", "type": ["null", {"type": "array", "items": "string"}], "default": null}));
    });
    SchemaCompatibility::can_read(&avro(&newer), &avro(AGENT_EVENT_SCHEMA)).unwrap();
    EVENTS.register(102, &newer).unwrap();
    let event = examples::all().remove(0).event;
    let Value::Record(mut fields) = as_value(&event, AGENT_EVENT_SCHEMA) else { panic!("an event is a record") };
    fields.push(("shiny".into(), Value::Union(1, Box::new(Value::Array(vec![Value::String("new".into())])))));
    let datum = GenericDatumWriter::builder(&avro(&newer)).build().unwrap().write_value_to_vec(Value::Record(fields)).unwrap();
    assert_eq!(decode_event(&[&[0, 0, 0, 0, 102], datum.as_slice()].concat()).unwrap(), event);
}

#[test]
fn apache_avro_reads_our_bytes_and_writes_the_same() {
    let schema = avro(AGENT_EVENT_SCHEMA);
    let (reader, writer) = (GenericDatumReader::builder(&schema).build().unwrap(), GenericDatumWriter::builder(&schema).build().unwrap());
    for example in examples::all() {
        let ours = encode_event(&example.event, WireForm::SingleObject);
        let value = reader.read_value(&mut &ours[HEAD..]).unwrap();
        assert_eq!(value, as_value(&example.event, AGENT_EVENT_SCHEMA), "{}", example.name);
        assert_eq!(writer.write_value_to_vec(value).unwrap(), ours[HEAD..], "{}", example.name);
    }
}

#[test]
fn apache_avro_reads_our_totals() {
    let schema = avro(AGENT_TOTALS_SCHEMA);
    let bytes = encode_totals(&golden_totals(), WireForm::SingleObject);
    let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &bytes[HEAD..]).unwrap();
    let Value::Record(fields) = value else { panic!("totals are a record") };
    assert!(fields.contains(&("agent_id".into(), Value::String("support-bot".into()))));
    assert!(fields.contains(&("day".into(), Value::Date(20_460))));
    assert!(fields.contains(&("duplicates".into(), Value::Long(5))));
}

#[test]
fn fingerprints_are_those_of_the_canonical_form() {
    let heads = [
        (AGENT_EVENT_SCHEMA, encode_event(&examples::all()[0].event, WireForm::SingleObject)),
        (AGENT_TOTALS_SCHEMA, encode_totals(&golden_totals(), WireForm::SingleObject)),
    ];
    for (schema, bytes) in heads {
        // The canonical form has no logical types. apache-avro 0.22 leaves them in, so they are taken out for it.
        let plain = changed(schema, |fields| {
            for field in fields {
                field["type"] = without_logical_types(field["type"].take());
            }
        });
        assert_eq!(bytes[..HEAD], RabinFingerprintHeader::from_schema(&avro(&plain)).build_header());
    }
}

fn without_logical_types(schema: serde_json::Value) -> serde_json::Value {
    if schema.get("logicalType").is_some() { schema["type"].clone() } else { schema }
}

/// The event as apache-avro's value, with the fields that the schema has. Spelled out, not derived, so that it
/// shares nothing with the codec under test.
fn as_value(event: &AgentEvent, schema: &str) -> Value {
    let text = |v: &Option<String>| optional(v.clone().map(Value::String));
    let double = |v: Option<f64>| optional(v.map(Value::Double));
    let long = |v: Option<i64>| optional(v.map(Value::Long));
    let all = [
        ("agent_id", Value::String(event.agent_id.clone())),
        ("event_id", Value::String(event.event_id.clone())),
        ("timestamp", Value::TimestampMicros(event.timestamp)),
        ("message_type", Value::String(event.message_type.name().into())),
        ("content_hash", Value::Fixed(16, event.content_hash.to_vec())),
        ("content", text(&event.content)),
        ("metadata", text(&event.metadata)),
        ("error_details", text(&event.error_details)),
        ("response_time_ms", double(event.response_time_ms)),
        ("token_count", long(event.token_count)),
        ("model_used", text(&event.model_used)),
        ("user_feedback", double(event.user_feedback)),
        ("user_id", text(&event.user_id)),
        ("session_id", text(&event.session_id)),
        ("conversation_id", text(&event.conversation_id)),
        ("trace_id", text(&event.trace_id)),
        ("span_id", text(&event.span_id)),
        ("parent_span_id", text(&event.parent_span_id)),
        ("tool_name", text(&event.tool_name)),
        ("error_type", text(&event.error_type)),
        ("input_tokens", long(event.input_tokens)),
        ("output_tokens", long(event.output_tokens)),
        ("cached_input_tokens", long(event.cached_input_tokens)),
        ("reasoning_tokens", long(event.reasoning_tokens)),
        ("cost_usd", double(event.cost_usd)),
        ("cost_estimated", Value::Boolean(event.cost_estimated)),
    ];
    let json: serde_json::Value = serde_json::from_str(schema).unwrap();
    let names: Vec<&str> = json["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    Value::Record(all.into_iter().filter(|(name, _)| names.contains(name)).map(|(name, value)| (name.to_owned(), value)).collect())
}

fn optional(value: Option<Value>) -> Value {
    value.map_or_else(|| Value::Union(0, Box::new(Value::Null)), |value| Value::Union(1, Box::new(value)))
}
