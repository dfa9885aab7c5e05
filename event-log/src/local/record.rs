//! A record's bytes in its row, the checksum over them, and the partition that its key belongs to. Owns these forms; they
//! never change.

use crate::{LogRecord, Record};
use bytes::Bytes;
use rusqlite::Row;

/// Columns of a record's row, in the order in which [`from_row`] reads them.
pub(super) const COLUMNS: &str = "offset, appended_at_ms, key, headers, value, checksum";

/// Bytes that a record takes in the file besides its key, headers and value.
const ROW_OVERHEAD: usize = 32;

/// Bytes of a record in the file, about.
pub(super) fn stored_bytes(record: &Record) -> usize {
    ROW_OVERHEAD + record.key.len() + record.value.len() + record.headers.iter().map(|(n, v)| 8 + n.len() + v.len()).sum::<usize>()
}

/// The SQL expression of [`stored_bytes`]; reads no content.
pub(super) const STORED_BYTES: &str = "32 + length(key) + length(headers) + length(value)";

/// Writes headers as lengths (u32, little endian) and bytes, name before value.
pub(super) fn write_headers(headers: &[(String, Bytes)], into: &mut Vec<u8>) {
    into.clear();
    for (name, value) in headers {
        for part in [name.as_bytes(), value] {
            // A record is far smaller than 4 GiB.
            into.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            into.extend_from_slice(part);
        }
    }
}

fn read_headers(bytes: &[u8]) -> Option<Vec<(String, Bytes)>> {
    let mut rest = bytes;
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let name = String::from_utf8(take_part(&mut rest)?.to_vec()).ok()?;
        headers.push((name, Bytes::copy_from_slice(take_part(&mut rest)?)));
    }
    Some(headers)
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (part, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    Some(part)
}

/// What stands in place of a checksum in rows that were written before there were any.
pub(super) const NO_CHECKSUM: i64 = -1;

/// Where a row is, and which rows of that place may have [`NO_CHECKSUM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowsOf {
    pub(super) topic: i64,
    pub(super) partition: u32,
    /// Rows from this offset on have a checksum.
    pub(super) unchecked_until: u64,
}

/// A row's bytes as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) offset: u64,
    pub(super) appended_at_ms: i64,
    pub(super) key: &'a [u8],
    pub(super) headers: &'a [u8],
    pub(super) value: &'a [u8],
}

/// CRC-32 (as in gzip) over the row's place and everything in it: SQLite notices damage to its trees, but not to what they
/// hold, and a changed byte would be counted.
pub(super) fn checksum(topic: i64, partition: u32, row: Stored<'_>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&topic.to_le_bytes());
    hasher.update(&partition.to_le_bytes());
    hasher.update(&row.offset.to_le_bytes());
    hasher.update(&row.appended_at_ms.to_le_bytes());
    for part in [row.key, row.headers, row.value] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// The record of a row of [`COLUMNS`]; an error where it is not as it was written.
pub(super) fn from_row(rows: RowsOf, row: &Row<'_>) -> rusqlite::Result<LogRecord> {
    let stored = Stored {
        offset: row.get(0)?,
        appended_at_ms: row.get(1)?,
        key: row.get_ref(2)?.as_blob()?,
        headers: row.get_ref(3)?.as_blob()?,
        value: row.get_ref(4)?.as_blob()?,
    };
    let (found, offset) = (row.get::<_, i64>(5)?, stored.offset);
    let is_unchecked = found == NO_CHECKSUM && offset < rows.unchecked_until;
    if !is_unchecked && found != i64::from(checksum(rows.topic, rows.partition, stored)) {
        return Err(damaged(5, format!("record {offset} of partition {} is not as it was written", rows.partition)));
    }
    let headers = read_headers(stored.headers).ok_or_else(|| damaged(3, format!("record {offset} has broken headers")))?;
    Ok(LogRecord {
        partition: rows.partition,
        offset,
        appended_at_ms: stored.appended_at_ms,
        key: Bytes::copy_from_slice(stored.key),
        value: Bytes::copy_from_slice(stored.value),
        headers,
    })
}

/// What SQLite cannot know.
pub(super) fn damaged(column: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, what.into())
}

/// The partition of a key, as Kafka's default partitioner places it (`Utils.toPositive(Utils.murmur2(key)) % partitions`
/// in Apache Kafka's clients), so that both logs place keys equally.
pub(super) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Java's lengths are 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "a record is far smaller than 4 GiB")]
    let mut h = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From Apache Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_in_kafka() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn broken_headers_are_noticed() {
        let mut bytes = Vec::new();
        write_headers(&[("name".into(), Bytes::from_static(b"value"))], &mut bytes);
        for length in 1..bytes.len() {
            assert_eq!(read_headers(&bytes[..length]), None, "cut to {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn headers_come_back_as_written(headers in proptest::collection::vec((".{0,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..5)) {
            let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
            let mut bytes = Vec::new();
            write_headers(&headers, &mut bytes);
            prop_assert_eq!(read_headers(&bytes), Some(headers));
        }
    }
}
