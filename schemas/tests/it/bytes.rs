//! What the codec does to any event and to any bytes.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use schemas::codec::{AGENT_EVENT_SCHEMA, AGENT_TOTALS_SCHEMA, DecodeError, EVENTS, TOTALS, WireForm};
use schemas::codec::{decode_event, decode_totals, encode_event, encode_totals};
use schemas::{AgentEvent, AgentTotals, MessageType};

fn text() -> impl Strategy<Value = Option<String>> {
    of(prop_oneof![any::<String>(), "[a-z]{0,300}"])
}

fn number() -> impl Strategy<Value = Option<f64>> {
    of(prop_oneof![0.0..1e9f64, Just(0.0), Just(1e-9)])
}

fn count() -> impl Strategy<Value = Option<i64>> {
    of(prop_oneof![0..1_000_000_000_000i64, Just(0), Just(1)])
}

prop_compose! {
    fn event()(
        agent_id in any::<String>(),
        event_id in any::<String>(),
        timestamp in any::<i64>(),
        message_type in prop::sample::select(MessageType::ALL.to_vec()),
        content_hash in any::<[u8; 16]>(),
        texts in vec(text(), 12),
        numbers in vec(number(), 3),
        counts in vec(count(), 5),
        cost_estimated in any::<bool>(),
    ) -> AgentEvent {
        let (mut texts, mut numbers, mut counts) = (texts.into_iter(), numbers.into_iter(), counts.into_iter());
        let (mut text, mut number, mut count) = (|| texts.next().flatten(), || numbers.next().flatten(), || counts.next().flatten());
        AgentEvent {
            content_hash,
            content: text(),
            metadata: text(),
            error_details: text(),
            response_time_ms: number(),
            token_count: count(),
            model_used: text(),
            user_feedback: number(),
            user_id: text(),
            session_id: text(),
            conversation_id: text(),
            trace_id: text(),
            span_id: text(),
            parent_span_id: text(),
            tool_name: text(),
            error_type: text(),
            input_tokens: count(),
            output_tokens: count(),
            cached_input_tokens: count(),
            reasoning_tokens: count(),
            cost_usd: number(),
            cost_estimated,
            ..AgentEvent::new(agent_id, timestamp, event_id, message_type)
        }
    }
}

prop_compose! {
    fn totals()(agent_id in any::<String>(), day in any::<i32>(), counts in vec(any::<i64>(), 19)) -> AgentTotals {
        let mut counts = counts.into_iter();
        let mut next = || counts.next().unwrap_or(0);
        AgentTotals {
            agent_id, day, version: next(), flushed_at: next(), last_at: next(), calls: next(), messages: next(), responses: next(),
            errors: next(), tool_calls: next(), latency_us: next(), latency_n: next(), latency_max_us: next(), tokens: next(),
            input_tokens: next(), output_tokens: next(), cost_nanousd: next(), cost_n: next(), feedback_micro: next(), feedback_n: next(),
            duplicates: next(),
        }
    }
}

const ID: u32 = 41;

proptest! {
    #[test]
    fn every_event_comes_back_in_both_wire_forms(event in event()) {
        EVENTS.register(ID, AGENT_EVENT_SCHEMA).unwrap();
        let (single, confluent) = (encode_event(&event, WireForm::SingleObject), encode_event(&event, WireForm::Confluent(ID)));
        prop_assert_eq!(&single[10..], &confluent[5..], "the forms differ in their head only");
        prop_assert_eq!(decode_event(&single).unwrap(), event.clone());
        prop_assert_eq!(decode_event(&confluent).unwrap(), event);
    }

    #[test]
    fn all_totals_come_back_in_both_wire_forms(totals in totals()) {
        TOTALS.register(ID, AGENT_TOTALS_SCHEMA).unwrap();
        for form in [WireForm::SingleObject, WireForm::Confluent(ID)] {
            prop_assert_eq!(decode_totals(&encode_totals(&totals, form)).unwrap(), totals.clone());
        }
    }

    #[test]
    fn a_cut_event_is_an_error(event in event(), cut in any::<prop::sample::Index>()) {
        let bytes = encode_event(&event, WireForm::SingleObject);
        prop_assert!(decode_event(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in vec(any::<u8>(), 0..200), is_framed in any::<bool>()) {
        let head = encode_event(&AgentEvent::new("", 0, "", MessageType::Error), WireForm::SingleObject);
        let framed = if is_framed { [&head[..10], &bytes].concat() } else { bytes };
        let _outcome = decode_event(&framed);
    }
}

#[test]
fn foreign_bytes_say_what_they_are() {
    assert!(matches!(decode_event(b""), Err(DecodeError::NotAvro(_))));
    assert!(matches!(decode_event(b"{}"), Err(DecodeError::NotAvro(_))));
    assert!(matches!(decode_event(&[0xC3, 1, 2]), Err(DecodeError::NotAvro(_))));
    assert!(matches!(decode_event(&[0xC3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0]), Err(DecodeError::UnknownFingerprint(0x0807_0605_0403_0201))));
    assert!(matches!(decode_event(&[0, 0, 0, 3, 231, 0]), Err(DecodeError::UnknownSchemaId(999))));
    let totals = encode_totals(&AgentTotals::default(), WireForm::SingleObject);
    assert!(matches!(decode_event(&totals), Err(DecodeError::UnknownFingerprint(_))), "totals are no event");
}
