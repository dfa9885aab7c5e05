//! Records to and from librdkafka's form.

use crate::LogRecord;
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) fn from_message(message: &BorrowedMessage<'_>) -> LogRecord {
    LogRecord {
        // The brokers number both from 0.
        partition: u32::try_from(message.partition()).unwrap_or_default(),
        offset: u64::try_from(message.offset()).unwrap_or_default(),
        appended_at_ms: message.timestamp().to_millis().unwrap_or_default(),
        key: copy(message.key()),
        value: copy(message.payload()),
        headers: headers_of(message),
    }
}

fn headers_of(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    // rdkafka panics on a header name that is not UTF-8. One such record from a foreign producer must not end the
    // consumer: it goes on without headers.
    catch_unwind(AssertUnwindSafe(|| headers.iter().map(|header| (header.key.to_owned(), copy(header.value))).collect())).unwrap_or_else(
        |_| {
            tracing::warn!(partition = message.partition(), offset = message.offset(), "record headers are not utf-8");
            Vec::new()
        },
    )
}

pub(super) fn to_headers(headers: &[(String, Bytes)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
        owned.insert(Header { key, value: Some(value.as_ref()) })
    })
}

fn copy(bytes: Option<&[u8]>) -> Bytes {
    bytes.map(Bytes::copy_from_slice).unwrap_or_default()
}
