//! The identity of an event: (`agent_id`, `timestamp`, `event_id`).
//!
//! Where the client gives no `event_id`, it is derived from what the client sent, so that posting the same
//! body again is recognised. The algorithm is frozen: `golden/identity.json` holds vectors that every
//! release must reproduce. Version 1:
//!
//! ```text
//! fields       = the event's top-level fields as received, without agent_id and event_id,
//!                without fields that are null
//! canonical    = the RFC 8785 form of fields, but integers (no fraction, no exponent) from -2^63 to 2^64-1
//!                with all their digits
//! content_hash = SHA-256("agent-tally/event/1\n" ‖ canonical)[0..16]
//! event_id     = "d1." ‖ base64url(SHA-256(content_hash ‖ ordinal as u32 big endian)[0..16])
//! ```
//!
//! The RFC alone rounds integers beyond 2^53 to doubles: two events that differ only in such an id (snowflakes are that
//! long) would get one identity, and one of them would be lost as a repeat of the other.
//!
//! The ordinal counts equal events (same agent, same content hash) of one request from 0.

use crate::canonical::{Member, write_members};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"agent-tally/event/1\n";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The hash of an event's fields as received. Ignores `agent_id`, `event_id` and nulls.
pub fn content_hash(fields: &Map<String, Value>) -> [u8; 16] {
    let there = fields.iter().filter(|(_, value)| !value.is_null());
    content_hash_of(there.map(|(name, value)| (name.as_str(), Member::Tree(value))).collect())
}

/// The same of fields one by one, without nulls. Ignores `agent_id` and `event_id`.
pub fn content_hash_of(mut fields: Vec<(&str, Member<'_>)>) -> [u8; 16] {
    fields.retain(|(name, _)| !matches!(*name, "agent_id" | "event_id"));
    let mut canonical = Vec::with_capacity(512);
    write_members(&mut canonical, &mut fields);
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(&canonical);
    first_half(&hasher.finalize())
}

/// The derived event id of the `ordinal`-th event with that hash in its request.
pub fn derived_event_id(content_hash: &[u8; 16], ordinal: u32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(content_hash);
    hasher.update(ordinal.to_be_bytes());
    let bytes = first_half(&hasher.finalize());
    let bits = u128::from_be_bytes(bytes);
    let mut id = String::with_capacity(25);
    id.push_str("d1.");
    for i in 0..22 {
        // 128 bits as 21 groups of six and a last one of two, padded on the right as base64 does.
        let shift = 122i32 - 6 * i;
        let six = if shift >= 0 { bits >> shift } else { bits << -shift };
        id.push(char::from(BASE64URL[(six & 63) as usize]));
    }
    id
}

/// Whether a client's event id fits `[A-Za-z0-9._:-]{1,64}`.
pub fn is_valid_event_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

fn first_half(digest: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        fields: Map<String, Value>,
        content_hash: String,
        event_ids: Vec<String>,
    }

    #[test]
    fn golden_vectors_hold() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../golden/identity.json")).expect("vectors");
        assert!(vectors.len() >= 6);
        for v in vectors {
            let hash = content_hash(&v.fields);
            assert_eq!(hex::encode(hash), v.content_hash, "{:?}", v.fields);
            for (ordinal, id) in v.event_ids.iter().enumerate() {
                assert_eq!(&derived_event_id(&hash, ordinal as u32), id);
                assert!(is_valid_event_id(id));
            }
        }
    }

    #[test]
    fn writing_of_the_same_json_does_not_matter() {
        let a: Map<String, Value> = serde_json::from_str(r#"{"b":1.0,"a":"\u0041","c":null,"agent_id":"x"}"#).expect("json");
        let b: Map<String, Value> = serde_json::from_str(r#"{"a":"A","b":1}"#).expect("json");
        assert_eq!(content_hash(&a), content_hash(&b));
    }
}
