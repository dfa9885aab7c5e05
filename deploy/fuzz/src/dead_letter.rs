//! Records of the dead-letter topic, and originals that have headers called as a dead letter's own.
//!
//! An input is a sequence of parts, each with a length (u16, big endian) in front: the record's key and value, then names and values of
//! its headers.
//!
//! What must hold: a dead letter gives its original back, whatever that was; the list keeps short texts of it only.

use crate::local_log::Input;
use aggregator::dead_letter::dead_letter;
use aggregator::partition::DeadReason;
use bytes::Bytes;
use event_log::{LogRecord, Position};
use schemas::dead_letter::{DeadLetter, header};

/// See the module.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut part = || Bytes::copy_from_slice(input.part());
    let (key, value) = (part(), part());
    let mut headers = Vec::new();
    while headers.len() < 64 {
        let (name, value) = (part(), part());
        if name.is_empty() {
            break;
        }
        headers.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    let record = LogRecord { partition: 3, offset: 7, appended_at_ms: 1_000, key, value, headers };
    check_listed(&record);

    let reason = DeadReason { reason: "invalid", stage: "admit", detail: "why".to_owned() };
    let dead = dead_letter(&record, 2, &reason);
    let letter = DeadLetter::of(&dead.headers);
    assert_eq!(letter.original, record.headers.as_slice());
    assert_eq!((letter.value(header::KEY), &dead.value), (Some(&record.key), &record.value));
    assert_eq!((letter.text(header::REASON), letter.text(header::STAGE)), (Some("invalid"), Some("admit")));
    assert_eq!((letter.whole_bytes(), letter.redriven()), (None, None));
    assert!(letter.died_at().is_some());
    let position = std::str::from_utf8(&dead.key).ok().and_then(|text| text.parse().ok());
    assert_eq!(position, Some(Position { epoch: 2, partition: 3, offset: 7 }));
    let dead = LogRecord { key: dead.key, value: dead.value, headers: dead.headers, ..record };
    check_listed(&dead);
}

fn check_listed(record: &LogRecord) {
    let letter = DeadLetter::of(&record.headers);
    assert_eq!([letter.original, letter.ours].concat(), record.headers);
    query_api::fuzz::dead_letter(record, Position { epoch: 0, partition: 0, offset: 0 });
}
