//! A power cut, made on copies of the files: what was fsynced is there, what was only written is gone.
//!
//! The process is stopped at a random moment and its files are copied. On the copy, the store's write-ahead log is cut
//! to what the last barrier made durable. The log's own file is left as it is: it fsyncs before it acknowledges, so
//! what it holds beyond that may be there after a cut or not. Then a server starts on the copy, and the copy's log is
//! the truth.

use crate::PATIENCE;
use agent_tally::engine::Engine;
use anyhow::{Context, ensure};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, Position, ReadFrom, Receipt};
use schemas::item::TableNames;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torture::audit::{audit, audit_log};
use torture::client::{Load, Plan, Progress, await_counted};
use torture::ledger::{Dice, Ledger};
use torture::process::Process;

const TOPIC: &str = "agent-events";
/// The store's log: its header, and the header of a frame.
const HEADER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 24;

type Key = (String, i64, String);

/// A copy of the files and what had been answered with 202 when it was made.
struct Cut {
    data_dir: PathBuf,
    answered: BTreeSet<Key>,
    /// Frames of the store's write-ahead log that the cut took away.
    lost_frames: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_and_doubles_nothing_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (plan, cuts) = cut_under_load(directory.path(), 8).await;
    assert!(cuts.iter().any(|cut| cut.lost_frames > 0), "no cut took anything away: the test shows nothing");
    for cut in &cuts {
        recover(&plan.ledger, cut).await.with_context(|| format!("{}", cut.data_dir.display())).unwrap();
    }
}

/// Runs a server under load and makes copies of its files at random moments.
async fn cut_under_load(directory: &Path, count: usize) -> (Plan, Vec<Cut>) {
    let (data_dir, barriers) = (directory.join("data"), directory.join("barriers"));
    let (mut process, url) = serve(&data_dir, &["--record-barriers", barriers.to_str().unwrap()]);
    let load = Load {
        gateways: vec![url],
        seed: 17,
        run: "cuts".into(),
        agents: 10,
        events: 8_000,
        batch: 20,
        concurrency: 4,
        twice_per_cent: 20,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let plan = load.plan();
    let progress = Arc::new(Progress::default());
    let sending = tokio::spawn({
        let (progress, batches) = (Arc::clone(&progress), plan.batches.clone());
        async move { load.post(batches, progress).await }
    });
    let mut dice = Dice(19);
    let mut cuts = Vec::new();
    for n in 0..count {
        let until = progress.accepted.load(Ordering::Relaxed) + 100 + dice.roll(900);
        while progress.accepted.load(Ordering::Relaxed) < until && !sending.is_finished() {
            assert!(!process.has_ended().unwrap(), "the server ended by itself");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!sending.is_finished(), "the load was over before the last cut");
        process.signal("STOP").unwrap();
        process.await_stopped().unwrap();
        let answered: Vec<usize> = progress.answered.lock().unwrap().clone();
        let copy = directory.join(format!("cut-{n}"));
        let lost_frames = copy_and_cut(&data_dir, &copy, &barriers).unwrap();
        process.signal("CONT").unwrap();
        let events = answered.iter().flat_map(|i| &plan.batches[*i]);
        let answered = events.map(|e| (e.agent.clone(), e.timestamp, e.id.clone())).collect();
        cuts.push(Cut { data_dir: copy, answered, lost_frames });
    }
    sending.await.unwrap().unwrap();
    process.kill().unwrap();
    (plan, cuts)
}

fn serve(data_dir: &Path, more: &[&str]) -> (Process, String) {
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--partitions", "3", "--data-dir", data_dir.to_str().unwrap()];
    arguments.extend(more);
    crate::deployment::serve("agent-tally", &arguments, &[], data_dir.parent().unwrap())
}

/// Copies the files of a stopped process and takes away what a power cut would. Returns how many frames that were.
fn copy_and_cut(from: &Path, to: &Path, barriers: &Path) -> anyhow::Result<usize> {
    std::fs::create_dir(to)?;
    for name in ["log.sqlite3", "log.sqlite3-wal", "store.sqlite3", "store.sqlite3-wal"] {
        let source = from.join(name);
        if source.exists() {
            std::fs::copy(source, to.join(name))?;
        }
    }
    let wal = to.join("store.sqlite3-wal");
    if !wal.exists() {
        return Ok(0);
    }
    let bytes = std::fs::read(&wal)?;
    let durable = durable_length(&bytes, &from.join("store.sqlite3-shm"), barriers)?;
    std::fs::OpenOptions::new().write(true).open(&wal)?.set_len(durable.min(bytes.len() as u64))?;
    // Frames of an earlier round, which lie behind the current ones, do not count: their salts differ.
    let frame = (FRAME_BYTES + u64::from(word(&bytes, 8))) as usize;
    let gone = bytes.get(durable as usize..).unwrap_or_default().chunks_exact(frame);
    Ok(gone.take_while(|f| [word(f, 8), word(f, 12)] == [word(&bytes, 16), word(&bytes, 20)]).count())
}

/// How much of the store's write-ahead log is surely on the disk.
fn durable_length(wal: &[u8], index: &Path, barriers: &Path) -> anyhow::Result<u64> {
    if (wal.len() as u64) < HEADER_BYTES {
        return Ok(wal.len() as u64);
    }
    // Started anew since the last barrier: everything older is in the database file, fsynced there by SQLite.
    let mut length = HEADER_BYTES;
    if let Ok(text) = std::fs::read(barriers) {
        let last: serde_json::Value = serde_json::from_slice(&text).context("a barrier's record")?;
        if last["salts"] == serde_json::json!([word(wal, 16), word(wal, 20)]) {
            length = length.max(last["length"].as_u64().context("a length")?);
        }
    }
    // SQLite fsyncs the log itself before it moves frames to the database file. Those that it has begun to move are
    // durable, and taking them away would mix a newer database with an older log, which no power cut does.
    let index = std::fs::read(index).context("the log's index")?;
    let attempted = index.get(128..132).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).context("an index has a header")?;
    let frame = FRAME_BYTES + u64::from(word(wal, 8));
    Ok(length.max(HEADER_BYTES + u64::from(attempted) * frame))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Starts a server on a copy, lets it count what its log holds, and compares.
async fn recover(all: &Ledger, cut: &Cut) -> anyhow::Result<()> {
    let (ledger, receipt) = read_log(&cut.data_dir, all).await?;
    if let Some(lost) = cut.answered.iter().find(|key| !ledger.events().contains_key(*key)) {
        anyhow::bail!("{lost:?} was answered with 202 but is not in the log");
    }
    let (process, url) = serve(&cut.data_dir, &[]);
    await_counted(&url, &[receipt.to_string()], PATIENCE).await?;
    process.stop(Duration::from_secs(20))?;
    let engine = Engine::open(&cut.data_dir.join("store.sqlite3"))?;
    let found = audit(&engine.client(), &TableNames::default(), &ledger).await;
    engine.close();
    let log = open_log(&cut.data_dir)?;
    audit_log(&*log, TOPIC, found?, 0).await
}

/// What the copy's log holds, and the receipt of its end.
async fn read_log(data_dir: &Path, all: &Ledger) -> anyhow::Result<(Ledger, Receipt)> {
    let log = open_log(data_dir)?;
    let mut reader = Arc::clone(&log).read(TOPIC, ReadFrom::Start).await?;
    let mut ledger = Ledger::default();
    let mut ends = Vec::new();
    while !reader.is_caught_up() {
        for record in reader.next().await? {
            let event = schemas::codec::decode_event(&record.value)?;
            let key = (event.agent_id, event.timestamp, event.event_id);
            ledger.accept(all.events().get(&key).with_context(|| format!("{key:?} was never sent"))?.clone());
            ends.push(Position { epoch: 0, partition: record.partition, offset: record.offset });
        }
    }
    ensure!(!ledger.events().is_empty(), "the log is empty");
    Ok((ledger, Receipt::of(ends).context("a receipt")?))
}

fn open_log(data_dir: &Path) -> anyhow::Result<Arc<dyn Log>> {
    Ok(Arc::new(LocalLog::open(data_dir.join("log.sqlite3"), LocalOptions::default())?))
}
