//! Makes what the store has taken durable: an fsync of SQLite's write-ahead log.
//!
//! What is not in that file any more was moved to the database file, which SQLite fsyncs before it starts the
//! log anew. The log is opened anew each time, and only the log: closing the database or its `-shm` file
//! outside of SQLite would drop SQLite's locks.

use futures::future::BoxFuture;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Errors of Linux and its kin for "no descriptors left": in this process, on this machine.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];
/// Wait before the log is opened again where there are none.
const OPEN_AGAIN: Duration = Duration::from_millis(50);
/// Bytes of the log's header.
const HEADER_BYTES: usize = 32;
/// Bytes of a frame's header.
const FRAME_BYTES: usize = 24;

/// The write-ahead log of the database file `path`.
pub(super) fn write_ahead_log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Each call is an fsync of its own; the aggregator shares one among those who wait.
pub(super) fn barrier(log: PathBuf, record: Option<PathBuf>) -> Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<()>> + Send + Sync> {
    Arc::new(move || {
        let (log, record) = (log.clone(), record.clone());
        Box::pin(async move {
            let synced = tokio::task::spawn_blocking(move || sync(&log, record.as_deref())).await;
            // An error here means that the runtime ends: nothing was synced, and nothing is claimed.
            let synced = synced.map_err(std::io::Error::other)?;
            synced.map_err(|error| stop_the_process(&error))
        })
    })
}

/// After a failed fsync nobody knows what is on the disk, and a second one may claim success: only a restart,
/// which replays from the last commit, is right. No destructor runs: none may write to these files now.
fn stop_the_process(error: &std::io::Error) -> ! {
    tracing::error!(%error, "fsync of the store failed; stopping, a restart replays from the last commit");
    std::process::exit(74);
}

fn sync(log: &Path, record: Option<&Path>) -> std::io::Result<()> {
    // Nothing was written since the store was opened or since SQLite closed it in order.
    let Some(file) = open(log)? else { return Ok(()) };
    let Some(record) = record else { return file.sync_all() };
    // Read first: what is there before the fsync is durable after it.
    let state = LogState::read(&file)?;
    file.sync_all()?;
    let text = serde_json::to_vec(&state)?;
    let fresh = record.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, record)
}

/// Opens the log, if there is one. Too many connections may have taken all descriptors: nothing was synced yet, so nothing
/// is in doubt, and whoever waits for the barrier waits until some are closed.
fn open(log: &Path) -> std::io::Result<Option<File>> {
    let mut is_told = false;
    loop {
        match File::open(log) {
            Ok(file) => return Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code)) => {
                if !is_told {
                    tracing::warn!(error = %e, "the store's log cannot be opened for its fsync; counting waits");
                }
                is_told = true;
                std::thread::sleep(OPEN_AGAIN);
            }
            Err(e) => return Err(e),
        }
    }
}

/// What a power cut leaves of the write-ahead log: frames up to `length`, if its header still has these salts;
/// else only the header, since everything older was moved to the database file and fsynced there.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct LogState {
    salts: [u32; 2],
    length: u64,
}

impl LogState {
    fn read(mut file: &File) -> std::io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(0))?;
        if let Err(e) = file.read_exact(&mut header) {
            return if e.kind() == ErrorKind::UnexpectedEof { Ok(Self { salts: [0; 2], length: 0 }) } else { Err(e) };
        }
        let page_bytes = u64::from(word(&header, 8));
        let salts = [word(&header, 16), word(&header, 20)];
        let end = file.metadata()?.len();
        // Frames of an earlier round stay in the file behind the current ones; their salts differ.
        let mut length = HEADER_BYTES as u64;
        while length + FRAME_BYTES as u64 + page_bytes <= end {
            let mut frame = [0; FRAME_BYTES];
            file.seek(SeekFrom::Start(length))?;
            file.read_exact(&mut frame)?;
            if [word(&frame, 8), word(&frame, 12)] != salts {
                break;
            }
            length += FRAME_BYTES as u64 + page_bytes;
        }
        Ok(Self { salts, length })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}
