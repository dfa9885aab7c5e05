//! Exports while the server goes on: holds ingest until the last events are counted, keeps that moment of the store, lets
//! ingest go on, and exports from a copy of the moment.

use super::counted::Counting;
use super::{ExportWish, Exported, Source, dead_letters, write};
use crate::archive::ArchiveWriter;
use crate::engine::{Engine, Moment};
use anyhow::{Context, bail};
use aws_sdk_dynamodb::Client;
use event_log::Log;
use ingest_gateway::Gateway;
use schemas::item::TableNames;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Between two looks at whether everything is counted.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longest hold: an agent's numbers are written after a minute at most.
const HOLD_AT_MOST: Duration = Duration::from_secs(90);

/// What a running server exports from.
#[derive(Clone, Debug)]
pub struct ExportHost {
    gateway: Gateway,
    counting: Counting,
    /// The store's file.
    store: PathBuf,
    /// Held by the export that is under way.
    turn: Arc<Mutex<()>>,
}

impl ExportHost {
    /// Of a server on that store.
    pub fn new(gateway: Gateway, log: Arc<dyn Log>, (store, tables): (Client, TableNames), file: PathBuf, epoch: u32) -> Self {
        drop(CopyFile::beside(&file));
        Self { gateway, counting: Counting::of(log, store, tables, epoch), store: file, turn: Arc::default() }
    }

    /// Exports to a folder.
    pub async fn export(&self, wish: &ExportWish) -> anyhow::Result<Exported> {
        let Ok(_turn) = self.turn.try_lock() else { bail!("another export of this directory is under way") };
        let archive = ArchiveWriter::begin(&wish.to, wish.file_mib << 20)?;
        let copy = CopyFile::beside(&self.store);
        let began = Instant::now();
        let held = self.gateway.hold().await;
        let found = tokio::time::timeout(HOLD_AT_MOST, self.counted_moment()).await;
        drop(held);
        let held_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (moment, dead_ends) = found.with_context(|| {
            let seconds = HOLD_AT_MOST.as_secs();
            format!("the log was not counted to its end within {seconds} s; events are taken again; stop the server and export then")
        })??;
        // Dropped with this future: where the client is gone or the server stops, nobody shall wait for a copy.
        let (path, wanted) = (copy.path.clone(), Arc::new(()));
        let still_wanted = Arc::downgrade(&wanted);
        let copying = tokio::task::spawn_blocking(move || moment.copy_to(&path, || still_wanted.strong_count() > 0));
        copying.await.context("the copy panicked")??;
        drop(wanted);
        let engine = Engine::open(&copy.path)?;
        let store = engine.client();
        let Counting { log, checkpoints, epoch } = &self.counting;
        let source = Source { store: &store, tables: &checkpoints.tables, log, epoch: *epoch, dead_ends };
        let manifest = write(archive, &source).await;
        tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the copy of the store")?;
        Ok(Exported { manifest: manifest?, counted_first: 0, held_ms: Some(held_ms) })
    }

    /// The store at a moment at which all that the log had was counted. A record whose client has long gone may still come
    /// into the log, so the log's end is looked at again when the moment is kept.
    async fn counted_moment(&self) -> anyhow::Result<(Moment, Vec<u64>)> {
        loop {
            if let Some(ends) = self.counting.ends().await? {
                let dead_ends = dead_letters::ends(&self.counting.log).await?;
                let moment = Moment::of(&self.store)?;
                if self.counting.ends().await?.as_ref() == Some(&ends) {
                    return Ok((moment, dead_ends));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The copy of the store, gone when this is dropped.
struct CopyFile {
    path: PathBuf,
}

impl CopyFile {
    /// Removes what a server that was killed may have left there.
    fn beside(store: &Path) -> Self {
        let copy = Self { path: store.with_file_name("export-copy.sqlite3") };
        copy.remove();
        copy
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %Path::new(&path).display(), "a copy of the store cannot be removed");
                }
                _ => {}
            }
        }
    }
}

impl Drop for CopyFile {
    fn drop(&mut self) {
        self.remove();
    }
}
