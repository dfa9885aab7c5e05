//! Reads a folder, after every file was compared with what was written.

use super::{FORMAT, FileEntry, HASHES, MANIFEST, Manifest, hash};
use apache_avro::Reader;
use apache_avro::types::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Largest manifest that is read, and list of hashes: a file has about 128 MB and an entry some 200 bytes.
const MANIFEST_BYTES: u64 = 64 << 20;

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DamagedError {
    /// It is no export, or a part of one.
    #[error("{} is no export: it has no {HASHES}", .0.display())]
    NoExport(PathBuf),
    /// A file is not there.
    #[error("{0} is missing from the export; nothing was imported")]
    Missing(String),
    /// A file is not as it was written.
    #[error("{name} is damaged: {why}; nothing was imported")]
    Damaged {
        /// The file.
        name: String,
        /// In what way.
        why: String,
    },
    /// A later version wrote it.
    #[error("the export has format {0}, which this version of agent-tally does not know (it knows {FORMAT}); use a newer one")]
    Format(u32),
    /// The disk says no.
    #[error("cannot read {name}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A folder whose files are as they were written.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

impl Archive {
    /// Opens a folder and compares every file with its hash. Blocks for the time of reading everything once.
    pub fn open(folder: &Path, mut progress: impl FnMut(u64)) -> Result<Self, DamagedError> {
        let hashes = folder.join(HASHES);
        if !hashes.is_file() {
            return Err(DamagedError::NoExport(folder.to_owned()));
        }
        let hashes = read_small(&hashes, HASHES)?;
        let hashes = String::from_utf8(hashes).map_err(|_| damaged(HASHES, "it is no text"))?;
        if !hashes.ends_with('\n') {
            return Err(damaged(HASHES, "its end is missing"));
        }
        let hashes: BTreeMap<&str, &str> = hashes
            .lines()
            .map(|line| line.split_once("  ").map(|(hash, name)| (name, hash)).ok_or_else(|| damaged(HASHES, "a line names no file")))
            .collect::<Result<_, _>>()?;
        let text = read_small(&folder.join(MANIFEST), MANIFEST)?;
        compare(MANIFEST, hashes.get(MANIFEST).copied(), hash(text.as_slice()).map_err(|e| io(MANIFEST, e))?.0)?;
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(_) => return Err(unreadable(&text)),
        };
        if manifest.format != FORMAT {
            return Err(DamagedError::Format(manifest.format));
        }
        for entry in &manifest.files {
            let name = entry.name.as_str();
            // A folder that somebody else made must not have other files read, nor ones without an end.
            if Path::new(name).file_name() != Some(name.as_ref()) {
                return Err(damaged(MANIFEST, format!("it names {name:?}, which is no file of this folder")));
            }
            let (hash, bytes) = hash(open(&folder.join(name), name)?).map_err(|e| io(name, e))?;
            if bytes != entry.bytes {
                return Err(damaged(name, format!("it has {bytes} bytes, not {}", entry.bytes)));
            }
            compare(name, hashes.get(name).copied(), hash.clone())?;
            compare(name, Some(&entry.sha256), hash)?;
            progress(bytes);
        }
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// The rows of a file.
    pub fn rows(&self, file: &FileEntry) -> Result<ArchivedRows, DamagedError> {
        let source = BufReader::new(open(&self.folder.join(&file.name), &file.name)?);
        let reader = Reader::new(source).map_err(|e| damaged(&file.name, e.to_string()))?;
        Ok(ArchivedRows { reader, name: file.name.clone() })
    }
}

/// The rows of a file, read as they are taken.
pub struct ArchivedRows {
    reader: Reader<'static, BufReader<File>>,
    name: String,
}

impl std::fmt::Debug for ArchivedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchivedRows").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Iterator for ArchivedRows {
    type Item = Result<Value, DamagedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.next().map(|row| row.map_err(|e| damaged(&self.name, e.to_string())))
    }
}

fn open(path: &Path, name: &str) -> Result<File, DamagedError> {
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(damaged(name, "it is no file"));
    }
    File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => DamagedError::Missing(name.to_owned()),
        _ => io(name, e),
    })
}

fn read_small(path: &Path, name: &str) -> Result<Vec<u8>, DamagedError> {
    use std::io::Read as _;
    let (mut text, file) = (Vec::new(), open(path, name)?);
    file.take(MANIFEST_BYTES + 1).read_to_end(&mut text).map_err(|e| io(name, e))?;
    if text.len() as u64 > MANIFEST_BYTES {
        return Err(damaged(name, "it is far too large"));
    }
    Ok(text)
}

fn compare(name: &str, wanted: Option<&str>, has: String) -> Result<(), DamagedError> {
    match wanted {
        None => Err(damaged(HASHES, format!("it does not name {name}"))),
        Some(wanted) if wanted != has => Err(damaged(name, "its SHA-256 is not the one that was noted when it was written")),
        Some(_) => Ok(()),
    }
}

/// A manifest that is as it was written but has another form is a later version's.
fn unreadable(text: &[u8]) -> DamagedError {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice::<Format>(text) {
        Ok(Format { format }) if format != FORMAT => DamagedError::Format(format),
        _ => damaged(MANIFEST, "it cannot be read"),
    }
}

fn damaged(name: &str, why: impl Into<String>) -> DamagedError {
    DamagedError::Damaged { name: name.to_owned(), why: why.into() }
}

fn io(name: &str, source: std::io::Error) -> DamagedError {
    DamagedError::Io { name: name.to_owned(), source }
}
