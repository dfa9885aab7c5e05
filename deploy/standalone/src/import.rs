//! `agent-tally import`: brings what `agent-tally export` wrote into an empty place, another data directory or the
//! separate services' Kafka and DynamoDB, without losing or doubling a count.
//!
//! Rollups and events keep the positions of the log that they were counted from, so retries of events of before are still
//! recognised; the log beside them is another one and therefore needs a higher epoch, which the import notes and the
//! services hold to. An import that was interrupted is run again; until it is done nobody counts into its tables.

mod fill;
mod record;

use crate::archive::{Archive, Manifest};
use crate::data_dir::DataDir;
use crate::engine::Engine;
use crate::serve::{LogShape, open_log};
use aggregator::TableOptions;
use anyhow::{Context, anyhow, ensure};
use aws_sdk_dynamodb::Client;
use clap::Args;
use event_log::Log;
use fill::Target;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use record::ImportRecord;
use schemas::codec::AGENT_TOTALS_SCHEMA;
use schemas::item::TableNames;
use schemas::time::{day_of, now_micros};
use service_kit::log::{LogConfig, Topics};
use service_kit::metrics_tables;
use service_kit::registry::{self, RegistryConfig};
use service_kit::store::StoreConfig;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What to import and where to.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The folder that `agent-tally export` wrote.
    #[arg(long)]
    from: PathBuf,
    /// Into a data directory of `agent-tally serve` that is empty or not there yet.
    #[arg(long, required_unless_present = "services", conflicts_with = "services")]
    data_dir: Option<PathBuf>,
    /// Into the separate services' Kafka and DynamoDB, which the variables of the services name; what is missing there is
    /// created.
    #[arg(long)]
    services: bool,
    /// Whether the tables get an index of conversations; as on the services where it is not said: with --data-dir yes,
    /// with --services no.
    #[arg(long, env = "INDEX_CONVERSATIONS")]
    index_conversations: Option<bool>,
    #[command(flatten)]
    log: LogConfig,
    #[command(flatten)]
    store: StoreConfig,
    #[command(flatten)]
    registry: RegistryConfig,
}

/// Imports, shows how far it is, and tells what became of it.
pub async fn run(args: ImportArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let imported = stop.run_until_cancelled(Box::pin(import(&args))).await;
    imported.unwrap_or_else(|| Err(anyhow!("stopped; run the same command again to go on")))
}

async fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let archive = checked(&args.from).await?;
    let place = match &args.data_dir {
        Some(dir) => {
            Box::pin(into_files(args, dir, &archive)).await?;
            format!("into {0}; `agent-tally serve --data-dir {0}` goes on from here", dir.display())
        }
        None => {
            Box::pin(into_services(args, &archive)).await?;
            let tables = args.store.tables();
            format!(
                "into the tables {}, {} and {}; the gateways, the aggregators and the query APIs need LOG_EPOCH={} or higher",
                tables.events,
                tables.metrics,
                tables.control,
                least_epoch(&archive.manifest)
            )
        }
    };
    let count = |kind: &str| archive.manifest.counts.get(kind).copied().unwrap_or(0);
    let events = HumanCount(count("events"));
    let rollups = HumanCount(["day", "hour", "users", "fleet"].map(count).iter().sum());
    writeln!(std::io::stdout().lock(), "imported {events} events and {rollups} rollups {place}").context("cannot write to stdout")
}

/// The folder, if every file in it is as it was written.
async fn checked(from: &Path) -> anyhow::Result<Archive> {
    let from = from.to_owned();
    tokio::task::spawn_blocking(move || {
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template("  check   {spinner} {binary_bytes}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        let archive = Archive::open(&from, |bytes| bar.inc(bytes));
        bar.finish_and_clear();
        archive
    })
    .await
    .context("the check panicked")?
    .map_err(anyhow::Error::from)
}

/// The lowest epoch of a log whose positions none of the export's can be taken for.
fn least_epoch(manifest: &Manifest) -> u32 {
    let counted = manifest.partitions.iter().map(|partition| partition.epoch).max().unwrap_or(0);
    counted.max(manifest.epoch) + 1
}

async fn into_files(args: &ImportArgs, dir: &Path, archive: &Archive) -> anyhow::Result<()> {
    let dir = DataDir::open(dir)?;
    let engine = Engine::open(&dir.store())?;
    let (store, tables) = (engine.client(), TableNames::default());
    set_up(&store, &tables, args, true).await?;
    // Before the log is opened: one that is in use would get our retention, and be trimmed by it.
    let is_begun = record_in((&store, &tables), archive).progress().await?.is_some();
    ensure!(is_begun || !dir.log().exists(), "{} holds a log; import into a directory that is empty", dir.path().display());
    let log = open_log(&dir, &LogShape { live_days: args.log.live_days, ..LogShape::default() }).await?;
    let target = Target {
        store,
        tables,
        log: Arc::clone(&log) as Arc<dyn Log>,
        topics: Topics::default(),
        form: schemas::codec::WireForm::default(),
        live_since: live_since(args),
    };
    let barrier = engine.barrier(None);
    let imported = async {
        fill(&target, archive).await?;
        // Done is said only of what a power cut leaves.
        barrier().await.context("the store's file cannot be synced")?;
        record_of(&target, archive).finish().await?;
        barrier().await.context("the store's file cannot be synced")
    }
    .await;
    drop((target, log));
    tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the store")?;
    imported
}

async fn into_services(args: &ImportArgs, archive: &Archive) -> anyhow::Result<()> {
    let topics = args.log.topics();
    let log = args.log.connect()?;
    log.check().await.with_context(|| format!("Kafka at {} cannot be used", args.log.kafka_brokers))?;
    for spec in args.log.topic_specs() {
        log.create_topic(&spec).await.with_context(|| format!("cannot create the topic {}", spec.name))?;
    }
    let form = registry::register(&args.registry, &topics.metrics, "agent_tally.AgentTotals", AGENT_TOTALS_SCHEMA).await?;
    let target = Target { store: args.store.client().await, tables: args.store.tables(), log, topics, form, live_since: live_since(args) };
    set_up(&target.store, &target.tables, args, false).await?;
    fill(&target, archive).await?;
    record_of(&target, archive).finish().await
}

/// The first day of the live table.
fn live_since(args: &ImportArgs) -> i32 {
    day_of(now_micros()) - i32::try_from(args.log.live_days).unwrap_or(i32::MAX) + 1
}

fn record_of<'a>(target: &'a Target, archive: &'a Archive) -> ImportRecord<'a> {
    record_in((&target.store, &target.tables), archive)
}

fn record_in<'a>((store, tables): (&'a Client, &'a TableNames), archive: &'a Archive) -> ImportRecord<'a> {
    ImportRecord { store, tables, export: &archive.manifest.id, least_epoch: least_epoch(&archive.manifest) }
}

/// Creates the tables that are missing.
async fn set_up(store: &Client, tables: &TableNames, args: &ImportArgs, indexes_conversations: bool) -> anyhow::Result<()> {
    let index_conversations = args.index_conversations.unwrap_or(indexes_conversations);
    let options = TableOptions { index_conversations, expire_events: false };
    aggregator::create_tables(store, tables, options).await.context("cannot set up the tables")?;
    let served = metrics_tables::served(store, tables).await?;
    ensure!(served.metrics == tables.metrics, "{} was rebuilt as {}; import into tables that are new", tables.metrics, served.metrics);
    Ok(())
}

/// Everything but the note that it is done.
async fn fill(target: &Target, archive: &Archive) -> anyhow::Result<()> {
    target.check_nobody_counted().await?;
    let record = record_of(target, archive);
    let done = record.begin().await?;
    let files = &archive.manifest.files;
    let rows = |is_done: bool| files.iter().filter(|f| done.contains(&f.name) == is_done).map(|f| f.rows).sum::<u64>();
    let bar = ProgressBar::new(rows(false) + rows(true));
    bar.set_style(ProgressStyle::with_template("  import  {bar:32.cyan/dim}  {human_pos} of {human_len} items  {per_sec}")?);
    bar.set_position(rows(true));
    for file in files.iter().filter(|f| !done.contains(&f.name)) {
        target.fill(archive, file, |rows| bar.inc(rows)).await.with_context(|| {
            let bytes = HumanBytes(file.bytes);
            format!("{} ({bytes}) was not imported to its end; run the same command again to go on", file.name)
        })?;
        record.note(&file.name).await?;
    }
    bar.finish_and_clear();
    target.check_nobody_counted().await
}

impl Target {
    /// An aggregator that was started before the import began knows nothing of it.
    async fn check_nobody_counted(&self) -> anyhow::Result<()> {
        let committed = self.log.committed(aggregator::GROUP, &self.topics.events).await.context("cannot ask the log")?;
        ensure!(
            committed.into_iter().flatten().all(|next| next == 0),
            "aggregators have counted the topic {} already; stop them, and import into tables and topics that are new",
            self.topics.events
        );
        Ok(())
    }
}
