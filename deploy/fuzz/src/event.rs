//! Records of the events and live topics, in both wire forms, from whoever may write to them.
//!
//! An input is a record's value. One that begins with `{` or `[` is a schema from a registry up to its first NUL, and a datum
//! of it behind that.
//!
//! What must hold: what decodes, encodes to the same again. What the aggregator admits comes back from its item as it was,
//! in bounded size, and adds up.

use aggregator::fold::{add, fold};
use aggregator::partition::check_values;
use schemas::codec::{AGENT_EVENT_SCHEMA, AGENT_TOTALS_SCHEMA, EVENTS, TOTALS, WireForm};
use schemas::codec::{decode_event, decode_totals, encode_event, encode_totals};
use schemas::item::{EventItemOptions, Item, StoredEvent, event_attributes, event_of_item, event_sort_key, parse_event_sort_key};
use schemas::rollup::Rollup;
use schemas::{AgentEvent, MessageType};
use std::sync::Once;

/// The registry's ids of the current schemas, and of the one that an input brings.
const KNOWN: u32 = 7;
const BROUGHT: u32 = 8;

/// See the module.
pub fn check(bytes: &[u8]) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        EVENTS.register(KNOWN, AGENT_EVENT_SCHEMA).expect("our schema");
        TOTALS.register(KNOWN, AGENT_TOTALS_SCHEMA).expect("our schema");
    });
    if matches!(bytes.first(), Some(b'{' | b'[')) {
        return check_schema(bytes);
    }
    check_event(bytes);
    check_totals(bytes);
}

fn check_schema(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (schema, datum) = bytes.split_at(end);
    let Ok(schema) = std::str::from_utf8(schema) else { return };
    if EVENTS.register(BROUGHT, schema).is_ok() {
        let mut value = vec![0];
        value.extend_from_slice(&BROUGHT.to_be_bytes());
        value.extend_from_slice(datum.get(1..).unwrap_or_default());
        check_event(&value);
    }
}

fn check_event(bytes: &[u8]) {
    let Ok(event) = decode_event(bytes) else { return };
    for form in [WireForm::SingleObject, WireForm::Confluent(KNOWN)] {
        let encoded = encode_event(&event, form);
        let again = decode_event(&encoded).expect("what was written can be read");
        // By bytes: a number from another producer may be none, which equals nothing.
        assert_eq!(encode_event(&again, form), encoded);
    }
    check_admitted(&event);
}

fn check_totals(bytes: &[u8]) {
    let Ok(totals) = decode_totals(bytes) else { return };
    for form in [WireForm::SingleObject, WireForm::Confluent(KNOWN)] {
        assert_eq!(decode_totals(&encode_totals(&totals, form)).expect("what was written can be read"), totals);
    }
    assert!(!totals.key().is_empty());
}

/// Whether the aggregator takes it; panics where what it makes of it is wrong.
pub(crate) fn check_admitted(event: &AgentEvent) -> bool {
    if check_values(event).is_err() {
        return false;
    }
    let key = event_sort_key(event.timestamp, &event.event_id);
    assert_eq!(parse_event_sort_key(&key), Some((event.timestamp, event.event_id.as_str())));
    let options = EventItemOptions { indexed_types: MessageType::ALL.to_vec(), ttl: Some(1) };
    let attributes = event_attributes(event, &format!("{}~3", event.agent_id), "0:1:2", &options);
    let item: Item = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut stored = event.clone();
    if event.event_id.starts_with("d1.") {
        // Such an id says the same.
        stored.content_hash = [0; 16];
    }
    assert_eq!(event_of_item(&item), Some(StoredEvent { event: stored, src: Some("0:1:2".to_owned()) }));

    let (mut once, mut twice) = (Rollup::default(), Rollup::default());
    add(&mut once, &fold(event), true);
    add(&mut twice, &fold(event), true);
    add(&mut twice, &fold(event), true);
    let mut doubled = once.clone();
    doubled.add(&once);
    assert_eq!((once.calls, &doubled), (1, &twice), "grouping does not matter");
    true
}
