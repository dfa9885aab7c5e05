//! The golden examples are worth their name.

use schemas::MessageType;
use schemas::codec::{WireForm, decode_event, encode_event};
use schemas::identity::content_hash;
use std::collections::BTreeSet;

#[test]
fn every_message_type_has_an_example() {
    let seen: BTreeSet<_> = schemas::examples::all().iter().map(|e| e.event.message_type).collect();
    assert_eq!(seen, MessageType::ALL.into_iter().collect());
}

#[test]
fn every_file_is_an_example() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let files = std::fs::read_dir(folder).unwrap().filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count();
    assert_eq!(files, schemas::examples::all().len());
}

#[test]
fn examples_pass_through_the_codec() {
    for example in schemas::examples::all() {
        assert_eq!(decode_event(&encode_event(&example.event, WireForm::SingleObject)).unwrap(), example.event, "{}", example.name);
    }
}

#[test]
fn examples_carry_the_hash_of_their_request() {
    for example in schemas::examples::all() {
        assert_eq!(content_hash(&serde_json::from_str(&example.request).unwrap()), example.event.content_hash, "{}", example.name);
    }
}
