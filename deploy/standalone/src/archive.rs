//! The folder that `agent-tally export` writes and `agent-tally import` reads: a manifest, files of Avro (object container
//! files) of bounded size, and the SHA-256 of each. Knows no store and no log.
//!
//! A folder appears under its name only when it is whole, and nothing is read from one whose files are not those that
//! were written.

mod read;
mod write;

pub use read::{Archive, ArchivedRows, DamagedError};
pub use write::{ArchiveWriter, Head, Rows};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// The form of folders that this version writes and reads.
pub const FORMAT: u32 = 1;
/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of hashes, in the form of sha256sum.
pub const HASHES: &str = "SHA256SUMS";

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of its writer.
    pub format: u32,
    /// The export's id.
    pub id: String,
    /// When the export was made.
    pub created_at: String,
    /// What wrote it.
    pub created_by: String,
    /// Epoch of the log that was counted.
    pub epoch: u32,
    /// The log's id.
    pub log_id: String,
    /// How far its partitions were counted: exactly that is in the folder.
    pub partitions: Vec<CountedPartition>,
    /// Items by kind.
    pub counts: BTreeMap<String, u64>,
    /// Every file but this one and the hashes.
    pub files: Vec<FileEntry>,
}

/// How far one partition of the log was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedPartition {
    /// Its number.
    pub partition: u32,
    /// Epoch of the log that it was of.
    pub epoch: u32,
    /// The last counted offset.
    pub offset: u64,
    /// When that record was appended, ms since the epoch.
    pub appended_at_ms: i64,
}

/// One file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// What its rows are.
    pub content: Content,
    /// Number of rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// What a file's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Items of the events table.
    Events,
    /// Items of the metrics table.
    Metrics,
    /// Items of the control table: API keys (hashed), shard plans, accepted losses, checkpoints.
    Control,
    /// Records of the dead-letter topic.
    DeadLetters,
}

impl Content {
    /// What files of it are called.
    fn stem(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Control => "control",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// SHA-256 in hex and size of what can be read.
fn hash(mut from: impl Read) -> std::io::Result<(String, u64)> {
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((hex::encode(digest.finalize()), bytes)),
            n => {
                digest.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}
