//! Avro bytes in and out.
//!
//! Two wire forms, told apart by the first byte: Avro single-object encoding (`C3 01`, the schema's 64-bit
//! fingerprint in little endian, the datum) and the Confluent form (`00`, the registry's schema id in big
//! endian, the datum). Every schema ever released stays in `avro/`, so that old bytes decode.

use crate::event::AgentEvent;
use crate::totals::AgentTotals;
use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;
use serde_avro_fast::ser::SerializerConfig;
use std::collections::HashMap;
use std::sync::LazyLock;

/// JSON of the current event schema.
pub const AGENT_EVENT_SCHEMA: &str = include_str!("../avro/agent_event.avsc");
/// JSON of the current totals schema.
pub const AGENT_TOTALS_SCHEMA: &str = include_str!("../avro/agent_totals.avsc");

/// Released event schemas that are no longer written but still read.
const FORMER_EVENT_SCHEMAS: &[&str] = &[];
/// Released totals schemas that are no longer written but still read.
const FORMER_TOTALS_SCHEMAS: &[&str] = &[];

const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
const CONFLUENT: u8 = 0;

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Neither wire form.
    #[error("not an avro record: {0}")]
    NotAvro(&'static str),
    /// Single-object encoding of a schema that this build does not know.
    #[error("unknown schema fingerprint {0:016x}")]
    UnknownFingerprint(u64),
    /// Confluent form of a schema that was not registered with this codec yet: look it up, call
    /// [`Codec::register`], try again.
    #[error("unknown schema id {0}")]
    UnknownSchemaId(u32),
    /// The datum does not fit its schema.
    #[error("broken avro datum: {0}")]
    Datum(String),
}

/// How a writer frames its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireForm {
    /// Avro single-object encoding; needs no registry.
    #[default]
    SingleObject,
    /// Confluent's form with the registry's id of the current schema.
    Confluent(u32),
}

/// Encodes and decodes one kind of record.
#[derive(Debug)]
pub struct Codec {
    current: Schema,
    fingerprint: [u8; 8],
    by_fingerprint: HashMap<u64, Schema>,
    by_id: std::sync::RwLock<HashMap<u32, std::sync::Arc<Schema>>>,
}

/// The codec of `agent-events`.
pub static EVENTS: LazyLock<Codec> = LazyLock::new(|| Codec::new(AGENT_EVENT_SCHEMA, FORMER_EVENT_SCHEMAS));
/// The codec of `agent-metrics`.
pub static TOTALS: LazyLock<Codec> = LazyLock::new(|| Codec::new(AGENT_TOTALS_SCHEMA, FORMER_TOTALS_SCHEMAS));

/// Encodes an event.
pub fn encode_event(event: &AgentEvent, form: WireForm) -> Vec<u8> {
    let size = 256 + event.content.as_ref().map_or(0, String::len) + event.metadata.as_ref().map_or(0, String::len);
    EVENTS.encode(event, form, size)
}

/// Decodes an event.
pub fn decode_event(bytes: &[u8]) -> Result<AgentEvent, DecodeError> {
    EVENTS.decode(bytes)
}

/// Encodes live totals.
pub fn encode_totals(totals: &AgentTotals, form: WireForm) -> Vec<u8> {
    TOTALS.encode(totals, form, 256)
}

/// Decodes live totals.
pub fn decode_totals(bytes: &[u8]) -> Result<AgentTotals, DecodeError> {
    TOTALS.decode(bytes)
}

impl Codec {
    fn new(current: &str, former: &[&str]) -> Self {
        let parse = |json: &str| json.parse::<Schema>().expect("committed schemas parse");
        let current_schema = parse(current);
        let fingerprint = *current_schema.rabin_fingerprint();
        let by_fingerprint = std::iter::once(&current)
            .chain(former)
            .map(|json| parse(json))
            .map(|schema| (u64::from_le_bytes(*schema.rabin_fingerprint()), schema))
            .collect();
        Self { current: current_schema, fingerprint, by_fingerprint, by_id: std::sync::RwLock::default() }
    }

    /// Makes the writer's schema that a registry knows as `id` readable.
    pub fn register(&self, id: u32, schema_json: &str) -> Result<(), DecodeError> {
        let schema = schema_json.parse::<Schema>().map_err(|e| DecodeError::Datum(e.to_string()))?;
        self.by_id.write().expect("no panic while held").insert(id, std::sync::Arc::new(schema));
        Ok(())
    }

    fn encode<T: Serialize>(&self, record: &T, form: WireForm, size_hint: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size_hint);
        match form {
            WireForm::SingleObject => {
                out.extend_from_slice(&SINGLE_OBJECT);
                out.extend_from_slice(&self.fingerprint);
            }
            WireForm::Confluent(id) => {
                out.push(CONFLUENT);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        let mut config = SerializerConfig::new(&self.current);
        serde_avro_fast::to_datum(record, out, &mut config).expect("the record's type fits its schema")
    }

    fn decode<'a, T: Deserialize<'a>>(&self, bytes: &'a [u8]) -> Result<T, DecodeError> {
        let datum = |schema: &Schema, rest: &'a [u8]| {
            serde_avro_fast::from_datum_slice::<T>(rest, schema).map_err(|e| DecodeError::Datum(e.to_string()))
        };
        match bytes {
            [0xC3, 0x01, f0, f1, f2, f3, f4, f5, f6, f7, rest @ ..] => {
                let fingerprint = u64::from_le_bytes([*f0, *f1, *f2, *f3, *f4, *f5, *f6, *f7]);
                let schema = self.by_fingerprint.get(&fingerprint).ok_or(DecodeError::UnknownFingerprint(fingerprint))?;
                datum(schema, rest)
            }
            [CONFLUENT, i0, i1, i2, i3, rest @ ..] => {
                let id = u32::from_be_bytes([*i0, *i1, *i2, *i3]);
                let schema = self.by_id.read().expect("no panic while held").get(&id).cloned();
                datum(&*schema.ok_or(DecodeError::UnknownSchemaId(id))?, rest)
            }
            [] => Err(DecodeError::NotAvro("empty value")),
            _ => Err(DecodeError::NotAvro("starts with neither C3 01 nor 00")),
        }
    }
}
