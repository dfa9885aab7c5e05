//! `agent-tally export`: writes everything that a data directory holds and has counted to a folder, as a backup or for
//! `agent-tally import` into another place. Must not change a number: what the log has and nobody counted yet is counted
//! first, by the aggregator itself.
//!
//! An event is in the store with its counts, or in neither, exactly when the log is counted to its end. So the tables are
//! read at such a moment: with no server on the directory it is any moment after that, else `running` makes one.

mod counted;
mod dead_letters;
mod running;
mod tail;

pub use running::ExportHost;

use crate::archive::{ArchiveWriter, Content, CountedPartition, Head, Manifest};
use crate::control::ControlClient;
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::Engine;
use anyhow::{Context, anyhow, ensure};
use aws_sdk_dynamodb::Client;
use clap::Args;
use event_log::Log;
use event_log::local::{LocalLog, LocalOptions};
use indicatif::{HumanBytes, HumanCount};
use schemas::MessageType;
use schemas::export::{item_to_avro, metric_kind};
use schemas::item::{DELETED, ID, Item, KIND, TableNames, kind};
use serde::{Deserialize, Serialize};
use service_kit::deletions;
use service_kit::imported;
use service_kit::log::Topics;
use service_kit::metrics_tables;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What to export and where to.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The data directory of `agent-tally serve`. A server may be running on it: it takes no events for the moment that
    /// its last ones need to be counted.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// The folder to write; it must be empty or not there yet.
    #[arg(long)]
    to: PathBuf,
    /// About how large a file may become, MiB.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    file_mib: u64,
    #[command(flatten)]
    counting: CountingArgs,
}

/// How to count what a stopped server left uncounted: as it would have.
#[derive(Args, Clone, Debug)]
pub struct CountingArgs {
    /// The log's epoch, where the server was told one.
    #[arg(long, env = "LOG_EPOCH")]
    log_epoch: Option<u32>,
    /// Days after which raw events expire, as the server was told.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    event_retention_days: u32,
    /// Types that can be listed across all agents, as the server was told.
    #[arg(long, env = "INDEXED_MESSAGE_TYPES", value_delimiter = ',', value_parser = crate::serve::parse_message_type, default_value = "error,feedback")]
    indexed_message_types: Vec<MessageType>,
}

/// What a running server is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportWish {
    /// The folder to write, absolute.
    pub to: PathBuf,
    /// About how large a file may become, MiB.
    pub file_mib: u64,
}

/// What was exported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exported {
    /// The folder's manifest.
    pub manifest: Manifest,
    /// Records of the log that had to be counted first.
    pub counted_first: u64,
    /// How long a running server took no events, ms.
    pub held_ms: Option<u64>,
}

/// Where the items and records come from.
struct Source<'a> {
    store: &'a Client,
    tables: &'a TableNames,
    log: &'a Arc<dyn Log>,
    epoch: u32,
    /// One beyond the newest dead letter to be exported, by partition.
    dead_ends: Vec<u64>,
}

/// Exports and tells about it.
pub async fn run(args: ExportArgs, stop: CancellationToken) -> anyhow::Result<()> {
    // What is dropped half way removes what it wrote, on a running server too: that one sees that nobody waits.
    let exported = stop.run_until_cancelled(Box::pin(export(&args))).await;
    exported.unwrap_or_else(|| Err(anyhow!("stopped; nothing was exported")))
}

async fn export(args: &ExportArgs) -> anyhow::Result<()> {
    ensure!(args.data_dir.is_dir(), "there is no data directory {}", args.data_dir.display());
    let to = std::path::absolute(&args.to).with_context(|| format!("cannot use {}", args.to.display()))?;
    let exported = match DataDir::open(&args.data_dir) {
        Ok(dir) => Box::pin(of_files(&dir, &to, args)).await?,
        Err(DataDirError::InUse { .. }) => {
            let wish = ExportWish { to: to.clone(), file_mib: args.file_mib };
            ControlClient::new(&args.data_dir)?.export(&wish).await?
        }
        Err(e) => return Err(e.into()),
    };
    write!(std::io::stdout().lock(), "{}", told(&exported, &args.to)).context("cannot write to stdout")
}

/// Of files that nobody else works on.
async fn of_files(dir: &DataDir, to: &Path, args: &ExportArgs) -> anyhow::Result<Exported> {
    let is_served = dir.store().is_file() && dir.log().is_file();
    ensure!(is_served, "{} holds nothing: no `agent-tally serve` has worked on it", dir.path().display());
    // Refused before anything is counted.
    let archive = ArchiveWriter::begin(to, args.file_mib << 20)?;
    let engine = Engine::open(&dir.store())?;
    let log: Arc<dyn Log> = Arc::new(LocalLog::open(dir.log(), LocalOptions::default()).context("cannot open the log")?);
    let exported = async {
        let (store, tables) = (engine.client(), TableNames::default());
        crate::serve::create_tables(&store, &tables).await?;
        let least = imported::least_epoch(&store, &tables).await?;
        let epoch = match args.counting.log_epoch {
            Some(epoch) => epoch,
            None => counted::newest_epoch(&store, &tables).await?.max(least),
        };
        let counted_first = tail::count(&args.counting, epoch, &log, &engine).await?;
        let dead_ends = dead_letters::ends(&log).await?;
        let manifest = write(archive, &Source { store: &store, tables: &tables, log: &log, epoch, dead_ends }).await?;
        anyhow::Ok(Exported { manifest, counted_first, held_ms: None })
    }
    .await;
    drop(log);
    tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the store")?;
    exported
}

/// Writes all of it. The tables must not change meanwhile.
async fn write(mut archive: ArchiveWriter, source: &Source<'_>) -> anyhow::Result<Manifest> {
    let Source { store, .. } = *source;
    // Half of one would not move.
    deletions::read_done(store, source.tables).await?;
    // What a rebuild made is the metrics table of wherever this goes.
    let tables = &metrics_tables::served(store, source.tables).await?;
    let mut partitions = Vec::new();
    write_table(&mut archive, (store, tables.events.as_str()), Content::Events, |item| {
        Some(if item.contains_key(DELETED) { "deleted" } else { "events" })
    })
    .await?;
    write_table(&mut archive, (store, tables.metrics.as_str()), Content::Metrics, |item| Some(metric_kind(item))).await?;
    write_table(&mut archive, (store, tables.control.as_str()), Content::Control, |item| {
        partitions.extend(counted_partition(item));
        moving_kind(item)
    })
    .await?;
    dead_letters::write(&mut archive, source.log, &source.dead_ends).await?;
    partitions.sort_by_key(|p: &CountedPartition| p.partition);
    archive.finish(Head { epoch: source.epoch, log_id: source.log.id().await?, partitions })
}

/// Writes the items of a table that have a kind.
async fn write_table(
    archive: &mut ArchiveWriter,
    (store, table): (&Client, &str),
    content: Content,
    mut kind_of: impl FnMut(&Item) -> Option<&'static str>,
) -> anyhow::Result<()> {
    let mut rows = archive.rows(content);
    let mut pages = store.scan().table_name(table).consistent_read(true).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("cannot read table {table}"))?;
        // Packing keeps a core busy and blocks on the disk.
        tokio::task::block_in_place(|| {
            for item in page.items() {
                if let Some(kind) = kind_of(item) {
                    rows.push(kind, item_to_avro(item).context("an item has an attribute of a type that an export cannot hold")?)?;
                }
            }
            anyhow::Ok(())
        })?;
    }
    rows.finish()
}

/// The kind of a control item that moves along. Sessions end with their server, and tables are claimed where they are.
fn moving_kind(item: &Item) -> Option<&'static str> {
    let of = item.get(KIND)?.as_s().ok()?;
    [kind::CHECKPOINT, kind::API_KEY, kind::SHARD_PLAN, kind::ACCEPTED_LOSS, kind::DELETION, kind::CORRECTION]
        .into_iter()
        .find(|kind| kind == of)
}

fn counted_partition(item: &Item) -> Option<CountedPartition> {
    let id = item.get(ID)?.as_s().ok().filter(|_| moving_kind(item) == Some(kind::CHECKPOINT))?;
    let partition = id.strip_prefix(&Topics::default().events)?.strip_prefix(':')?.parse().ok()?;
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    Some(CountedPartition {
        partition,
        epoch: u32::try_from(number("epoch")?).ok()?,
        offset: u64::try_from(number("offset")?).ok()?,
        appended_at_ms: number("appended_at_ms")?,
    })
}

fn told(exported: &Exported, to: &Path) -> String {
    let Exported { manifest, counted_first, held_ms } = exported;
    let count = |kind: &str| manifest.counts.get(kind).copied().unwrap_or(0);
    let rollups = ["day", "hour", "users", "fleet"].map(count).iter().sum();
    let bytes = manifest.files.iter().map(|f| f.bytes).sum();
    let mut text = format!(
        "exported {} events, {} rollups, {} agents, {} dead letters and {} keys to {} ({} files, {})\n",
        HumanCount(count("events")),
        HumanCount(rollups),
        HumanCount(count("directory")),
        HumanCount(count("dead_letters")),
        HumanCount(count(kind::API_KEY)),
        to.display(),
        manifest.files.len(),
        HumanBytes(bytes),
    );
    if *counted_first > 0 {
        text += &format!("{} events of the log were counted first\n", HumanCount(*counted_first));
    }
    if let Some(ms) = held_ms {
        text += &format!("the server took no events for {ms} ms; those that it takes from now on are not in the export\n");
    }
    text + &format!("`agent-tally import --from {}` brings it into another place\n", to.display())
}
