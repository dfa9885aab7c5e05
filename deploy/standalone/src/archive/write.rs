//! Writes the folder: beside its place under another name, moved there when everything is on the disk.

use super::{Content, CountedPartition, FORMAT, FileEntry, HASHES, MANIFEST, Manifest, hash};
use anyhow::{Context, ensure};
use apache_avro::types::Value;
use apache_avro::{Codec, DeflateSettings, Schema, Writer};
use schemas::export::{ITEMS, RECORDS};
use schemas::time::{format_micros, now_micros};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Bytes of a file's blocks before they are packed: what a reader holds at once.
const BLOCK_BYTES: usize = 256 << 10;

/// What the manifest says besides the files.
#[derive(Clone, Debug)]
pub struct Head {
    /// Epoch of the log that was counted.
    pub epoch: u32,
    /// The log's id.
    pub log_id: String,
    /// How far its partitions were counted.
    pub partitions: Vec<CountedPartition>,
}

/// A folder that is being written. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct ArchiveWriter {
    /// Where it shall be.
    to: PathBuf,
    /// Where it is until then.
    folder: PathBuf,
    file_bytes: u64,
    files: Vec<FileEntry>,
    counts: BTreeMap<String, u64>,
    is_finished: bool,
}

impl ArchiveWriter {
    /// Begins a folder whose files have about `file_bytes` each. What it holds is as secret as the data directory, so it
    /// is its owner's alone.
    pub fn begin(to: &Path, file_bytes: u64) -> anyhow::Result<Self> {
        make_free(to)?;
        let name = to.file_name().with_context(|| format!("{} is no name for a folder", to.display()))?;
        let parent = parent(to);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let folder = parent.join(format!(".{}.unfinished-{}", name.to_string_lossy(), uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { to: to.to_owned(), folder, file_bytes, files: Vec::new(), counts: BTreeMap::new(), is_finished: false })
    }

    /// Rows of that content, to be written one by one.
    pub fn rows(&mut self, content: Content) -> Rows<'_> {
        Rows { archive: self, content, open: None, files: 0 }
    }

    /// Writes the manifest and the hashes, makes everything durable and moves the folder to its place.
    pub fn finish(mut self, head: Head) -> anyhow::Result<Manifest> {
        let manifest = Manifest {
            format: FORMAT,
            id: uuid::Uuid::now_v7().to_string(),
            created_at: format_micros(now_micros()),
            created_by: format!("agent-tally {}", env!("CARGO_PKG_VERSION")),
            epoch: head.epoch,
            log_id: head.log_id,
            partitions: head.partitions,
            counts: std::mem::take(&mut self.counts),
            files: std::mem::take(&mut self.files),
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        let (of_manifest, _) = hash(text.as_slice())?;
        let hashes = manifest.files.iter().map(|f| (f.sha256.as_str(), f.name.as_str())).chain([(of_manifest.as_str(), MANIFEST)]);
        let hashes: String = hashes.map(|(hash, name)| format!("{hash}  {name}\n")).collect();
        self.write_small(MANIFEST, &text)?;
        self.write_small(HASHES, hashes.as_bytes())?;
        sync_directory(&self.folder)?;
        make_free(&self.to)?;
        std::fs::rename(&self.folder, &self.to).with_context(|| format!("cannot move the export to {}", self.to.display()))?;
        self.is_finished = true;
        sync_directory(parent(&self.to))?;
        Ok(manifest)
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(%error, folder = %self.folder.display(), "an unfinished export cannot be removed");
        }
    }
}

/// Rows of one content, over as many files as they need.
#[derive(Debug)]
pub struct Rows<'a> {
    archive: &'a mut ArchiveWriter,
    content: Content,
    open: Option<OpenFile>,
    files: usize,
}

impl Rows<'_> {
    /// Writes a row that is counted as `kind`.
    pub fn push(&mut self, kind: &str, row: Value) -> anyhow::Result<()> {
        let open = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let name = format!("{}-{:05}.avro", self.content.stem(), self.files);
                self.files += 1;
                self.open.insert(OpenFile::create(&self.archive.folder, name, self.content)?)
            }
        };
        open.writer.append_value(row).context("cannot write a row")?;
        open.rows += 1;
        match self.archive.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.archive.counts.insert(kind.to_owned(), 1)),
        }
        if open.writer.get_ref().bytes >= self.archive.file_bytes {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the last file.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.close()
    }

    fn close(&mut self) -> anyhow::Result<()> {
        if let Some(open) = self.open.take() {
            self.archive.files.push(open.close(self.content)?);
        }
        Ok(())
    }
}

struct OpenFile {
    writer: Writer<'static, HashedFile>,
    name: String,
    rows: u64,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("name", &self.name).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl OpenFile {
    fn create(folder: &Path, name: String, content: Content) -> anyhow::Result<Self> {
        let path = folder.join(&name);
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let schema: &'static Schema = if content == Content::DeadLetters { &RECORDS } else { &ITEMS };
        let writer = Writer::builder()
            .schema(schema)
            .writer(HashedFile { file: BufWriter::new(file), digest: Sha256::new(), bytes: 0 })
            .codec(Codec::Deflate(DeflateSettings::default()))
            .block_size(BLOCK_BYTES)
            .build()?;
        Ok(Self { writer, name, rows: 0 })
    }

    fn close(self, content: Content) -> anyhow::Result<FileEntry> {
        let end = || {
            let file = self.writer.into_inner()?;
            file.file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
            Ok::<_, anyhow::Error>((file.digest, file.bytes))
        };
        let (digest, bytes) = end().with_context(|| format!("cannot write {}", self.name))?;
        Ok(FileEntry { name: self.name, content, rows: self.rows, bytes, sha256: hex::encode(digest.finalize()) })
    }
}

/// A file whose hash is known when it is written.
struct HashedFile {
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for HashedFile {
    /// Takes all of it: the Avro writer does not look at how much was taken.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty folder is replaced. One that cannot be, such as a mounted volume, is refused before anything is written.
fn make_free(to: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(to) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{} is not empty; name another folder, or empty it", to.display());
            std::fs::remove_dir(to).with_context(|| format!("{0} cannot be replaced; name a folder in it: {0}/export", to.display()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("cannot use {}", to.display())),
    }
}

fn sync_directory(path: &Path) -> anyhow::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).with_context(|| format!("cannot sync {}", path.display()))
}
