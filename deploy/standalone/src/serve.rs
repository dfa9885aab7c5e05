//! `agent-tally serve`: all services in one process on one port, on the local log and the embedded store.
//!
//! Order of an orderly stop: no new requests, answer those under way, then the aggregator finishes and commits
//! what it began, then the store closes its files.

use crate::control::{self, Control, ControlSocket};
use crate::data_dir::DataDir;
use crate::delete;
use crate::engine::Engine;
use crate::export::ExportHost;
use crate::first_page;
use crate::rebuild;
use crate::verify;
use aggregator::delete::DeleteOptions;
use aggregator::rebuild::RebuildOptions;
use aggregator::verify::VerifyOptions;
use aggregator::{AggregatorConfig, AggregatorParts, Cadence, DEAD_LETTER_LIMIT, TableOptions};
use anyhow::{Context, anyhow, bail, ensure};
use aws_sdk_dynamodb::Client;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use clap::{ArgAction, Args};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, TopicSpec};
use ingest_gateway::{Gateway, GatewayConfig, GatewayParts};
use query_api::{QueryApi, QueryConfig, QueryParts};
use schemas::MessageType;
use schemas::item::TableNames;
use service_kit::admin::{self, Readiness};
use service_kit::auth::{Authenticator, Scope};
use service_kit::http::{self, HttpConfig};
use service_kit::imported;
use service_kit::log::Topics;
use service_kit::telemetry::Telemetry;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Requests under way have that long to be answered before the aggregator begins to finish; what the log took
/// meanwhile is counted after the next start.
const HTTP_DRAIN: Duration = Duration::from_secs(4);
/// Seconds that the aggregator then has.
const AGGREGATOR_DRAIN_SECONDS: u64 = 4;
/// MiB of events and additions that are not finished: the whole process shall stay below 300 MB under load.
const AGGREGATOR_MEMORY_MIB: usize = 48;
/// How often expired events are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
const MIB: u64 = 1024 * 1024;
/// Dead letters get this part of the log where nothing else is said.
const DEAD_LETTER_SHARE: u64 = 8;

/// What the server is told.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address and port; port 0 takes a free one. Anything but loopback needs API keys, or --insecure.
    #[arg(long, env = "AGENT_TALLY_LISTEN", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Where everything is kept; created where it is missing.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Partitions of the log; can be raised later, not lowered.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    partitions: u32,
    /// When totals are written: fresh within 100 ms, balanced within 800 ms, cheap within a minute.
    #[arg(long, env = "FLUSH_CADENCE", value_enum, default_value_t = Cadence::Fresh)]
    flush: Cadence,
    /// Ask for API keys on loopback too.
    #[arg(long, env = "REQUIRE_KEYS", conflicts_with = "insecure")]
    require_keys: bool,
    /// Let everybody in who can reach the address.
    #[arg(long)]
    insecure: bool,
    /// Directory of the built dashboard, in place of the one in this binary; without either `/` shows how to begin.
    #[arg(long, env = "DASHBOARD_DIR")]
    dashboard_dir: Option<PathBuf>,
    /// Serve the API alone; `/` shows how to begin.
    #[arg(long, conflicts_with = "dashboard_dir")]
    no_dashboard: bool,
    /// Days after which raw events expire; 0 keeps them. Numbers are kept.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    event_retention_days: u32,
    /// Hours after which counted events may leave the log.
    #[arg(long, env = "LOG_RETENTION_HOURS", default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=87_600))]
    log_retention_hours: u64,
    /// MiB that the log may use: counted events leave it sooner then, and where none may go, new ones are refused (503).
    #[arg(long, env = "LOG_MAX_MIB", default_value_t = 8_192, value_parser = clap::value_parser!(u64).range(16..=16_777_216))]
    log_max_mib: u64,
    /// Days after which dead letters go; 0 keeps them.
    #[arg(long, env = "DEAD_LETTER_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(0..=36_500))]
    dead_letter_days: u64,
    /// MiB that dead letters may use: beyond it the oldest go; an eighth of --log-max-mib where absent.
    #[arg(long, env = "DEAD_LETTER_MAX_MIB", value_parser = clap::value_parser!(u64).range(1..=16_777_216))]
    dead_letter_max_mib: Option<u64>,
    /// Which log this is: raised by hand when the log had to be begun anew beside a store that has counted. Where it is not
    /// said, 0, or what an import into this directory needs.
    #[arg(long, env = "LOG_EPOCH")]
    log_epoch: Option<u32>,
    /// Days, today included, whose totals are held in memory.
    #[arg(long, env = "LIVE_DAYS", default_value_t = 35, value_parser = clap::value_parser!(u32).range(2..=400))]
    live_days: u32,
    /// Keep an index of conversations.
    #[arg(long, env = "INDEX_CONVERSATIONS", default_value_t = true, action = ArgAction::Set)]
    index_conversations: bool,
    /// Types that can be listed across all agents.
    #[arg(long, env = "INDEXED_MESSAGE_TYPES", value_delimiter = ',', value_parser = parse_message_type, default_value = "error,feedback")]
    indexed_message_types: Vec<MessageType>,
    /// A JSON file of prices that go before the built-in ones.
    #[arg(long, env = "PRICE_TABLE")]
    price_table: Option<PathBuf>,
    /// Go on where events were trimmed from the log before they were counted, and record how many.
    #[arg(long, env = "ACCEPT_LOSS")]
    accept_loss: bool,
    /// Dead letters within a minute beyond which counting stops where they are most of the records; 0 buries them whatever
    /// their number.
    #[arg(long, env = "DEAD_LETTER_LIMIT", default_value_t = DEAD_LETTER_LIMIT)]
    dead_letter_limit: u64,
    #[command(flatten)]
    http: HttpConfig,
    /// For tests: `point=probability,…`; the process aborts there.
    #[arg(long, env = "AGENT_TALLY_FAILPOINTS", hide = true)]
    failpoints: Option<String>,
    /// For tests: writes what a power cut would leave of the store's write-ahead log, at each barrier.
    #[arg(long, hide = true)]
    record_barriers: Option<PathBuf>,
}

pub(crate) fn parse_message_type(name: &str) -> Result<MessageType, String> {
    MessageType::parse(name).ok_or_else(|| format!("unknown message type {name:?}"))
}

/// Serves until `shutdown`.
pub async fn run(args: ServeArgs, telemetry: &Telemetry, shutdown: CancellationToken) -> anyhow::Result<()> {
    let keys_required = args.require_keys || !(args.insecure || args.listen.ip().to_canonical().is_loopback());
    http::guard_listen(&args.listen, keys_required, args.insecure)?;
    let dir = DataDir::open(&args.data_dir)?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let url = format!("http://{}", listener.local_addr()?);
    let engine = Engine::open(&dir.store())?;
    let log = open_log(&dir, &args.log_shape()?).await?;
    // Ends HTTP and what reads along with it; the aggregator ends after that.
    let stop = shutdown.child_token();
    let stop_aggregator = CancellationToken::new();
    let services = Services::start(&args, keys_required, &engine, Arc::clone(&log) as Arc<dyn Log>, &stop).await?;
    let epoch = services.aggregator_config.epoch;
    let mut counting = tokio::spawn(aggregator::run(services.aggregator_config, services.aggregator_parts, stop_aggregator.clone()));
    let verifier = verify::verifier(&engine, Arc::clone(&log) as Arc<dyn Log>, args.verification());
    let rebuilder = rebuild::rebuilder(&engine, Arc::clone(&log) as Arc<dyn Log>, args.rebuilding());
    let (store, tables) = (engine.client(), TableNames::default());
    let deleter = delete::deleter(&engine, Arc::clone(&log) as Arc<dyn Log>, args.deleting());
    let export = ExportHost::new(services.gateway, Arc::clone(&log) as Arc<dyn Log>, (store.clone(), tables.clone()), dir.store(), epoch);
    let control = Control { store, tables, auth: services.auth.clone(), url: url.clone(), verifier, rebuilder, deleter, export };
    let listening_for_commands = spawn_control(ControlSocket::open(dir.path())?, control, &stop);
    let sweeping = (args.event_retention_days > 0).then(|| spawn_sweeper(&engine, &stop));
    let router = http::layered(services.router.merge(metrics_router(telemetry, services.auth)), "agent-tally", &args.http);
    let mut serving = tokio::spawn(http::serve(listener, router, stop.clone()));

    writeln!(std::io::stdout().lock(), "agent-tally is ready on {url}").context("cannot write to stdout")?;

    // Whichever ends first says why; none ends by itself unless something is wrong.
    let ended = tokio::select! {
        served = &mut serving => Some(served.context("the server panicked").and_then(|s| s.context("the server failed"))),
        counted = &mut counting => Some(counted.context("the aggregator panicked").and_then(|c| c.context("the aggregator stopped"))),
        reason = log.failed() => Some(Err(anyhow!("the log failed: {reason}"))),
        () = stop.cancelled() => None,
    };
    stop.cancel();
    if !serving.is_finished() && tokio::time::timeout(HTTP_DRAIN, &mut serving).await.is_err() {
        tracing::warn!("requests did not end in time and are cut");
        serving.abort();
    }
    stop_aggregator.cancel();
    let counted = if counting.is_finished() { Ok(()) } else { counting.await.context("the aggregator panicked").and_then(|c| c) };
    drop(sweeping);
    drop(listening_for_commands);
    drop(log);
    tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the store")?;
    match ended {
        Some(Ok(())) if !shutdown.is_cancelled() => bail!("a service ended without being told to"),
        Some(Err(e)) => Err(e),
        _ => counted,
    }
}

/// The services, ready to be run.
struct Services {
    router: Router,
    gateway: Gateway,
    auth: Authenticator,
    aggregator_config: AggregatorConfig,
    aggregator_parts: AggregatorParts,
}

impl Services {
    async fn start(
        args: &ServeArgs,
        keys_required: bool,
        engine: &Engine,
        log: Arc<dyn Log>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let (store, tables) = (engine.client(), TableNames::default());
        let options = TableOptions { index_conversations: args.index_conversations, expire_events: args.event_retention_days > 0 };
        aggregator::create_tables(&store, &tables, options).await.context("cannot set up the store")?;
        let epoch = epoch(args, &store, &tables).await?;
        let auth = authenticator(args, keys_required, &store, &tables, stop).await?;
        let readiness = Readiness::new();
        let gateway =
            Gateway::new(args.gateway(epoch), GatewayParts { log: Arc::clone(&log), auth: auth.clone(), readiness: readiness.clone() })?;
        let watched = gateway.clone();
        let stopped = stop.clone();
        tokio::spawn(async move { watched.watch(stopped).await });
        let parts = QueryParts {
            log: Arc::clone(&log),
            store: store.clone(),
            tables: tables.clone(),
            auth: auth.clone(),
            readiness: readiness.clone(),
            shutdown: stop.clone(),
        };
        let api = QueryApi::start(args.query(epoch), parts).await.context("cannot start the query API")?;
        let mut router = gateway.router().merge(api.router()).merge(admin::router(readiness.clone()));
        if !args.query(epoch).has_dashboard() {
            router = router.merge(first_page::router(keys_required));
        }
        let barrier = Some(engine.barrier(args.record_barriers.clone()));
        let aggregator_parts = AggregatorParts { log, store, tables, readiness, barrier };
        Ok(Self { router, gateway, auth, aggregator_config: args.aggregator(epoch), aggregator_parts })
    }
}

/// How the local log is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogShape {
    /// Partitions of the events' topic.
    pub(crate) partitions: u32,
    /// Hours after which counted events may leave.
    pub(crate) retention_hours: u64,
    /// MiB that it may use.
    pub(crate) max_mib: u64,
    /// Days whose totals are kept.
    pub(crate) live_days: u64,
    /// Days after which dead letters go; 0 keeps them.
    pub(crate) dead_letter_days: u64,
    /// MiB that dead letters may use.
    pub(crate) dead_letter_mib: u64,
}

impl Default for LogShape {
    fn default() -> Self {
        Self {
            partitions: 1,
            retention_hours: 168,
            max_mib: 8_192,
            live_days: 35,
            dead_letter_days: 90,
            dead_letter_mib: 8_192 / DEAD_LETTER_SHARE,
        }
    }
}

/// Opens the directory's log and makes sure of its topics.
pub(crate) async fn open_log(dir: &DataDir, shape: &LogShape) -> anyhow::Result<Arc<LocalLog>> {
    let options = LocalOptions { max_bytes: Some(shape.max_mib * MIB), ..LocalOptions::default() };
    let log = LocalLog::open(dir.log(), options).context("cannot open the log")?;
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let topics = Topics::default();
    let events = TopicSpec {
        name: topics.events,
        partitions: shape.partitions,
        retention: hours(shape.retention_hours),
        retention_bytes: None,
        is_compacted: false,
    };
    let metrics = TopicSpec {
        name: topics.metrics,
        partitions: 1,
        retention: hours((shape.live_days + 1) * 24),
        retention_bytes: None,
        is_compacted: true,
    };
    // Somebody has to have the time to look at them, but a flood of them must not take the room that events need.
    let dead = TopicSpec {
        name: topics.dead,
        partitions: 1,
        retention: hours(shape.dead_letter_days * 24).filter(|age| !age.is_zero()),
        retention_bytes: Some(shape.dead_letter_mib * MIB),
        is_compacted: false,
    };
    for topic in [events, metrics, dead] {
        log.create_topic(&topic).await.with_context(|| format!("cannot create the topic {}", topic.name))?;
    }
    Ok(Arc::new(log))
}

/// The log's epoch. Half an import is refused before anything is taken, and so is an epoch that would make positions of
/// this log be taken for those of the log that was imported from.
async fn epoch(args: &ServeArgs, store: &Client, tables: &TableNames) -> anyhow::Result<u32> {
    match args.log_epoch {
        None => Ok(imported::least_epoch(store, tables).await?),
        Some(epoch) => {
            imported::check(store, tables, epoch).await?;
            Ok(epoch)
        }
    }
}

/// Who may ask. Where keys are required by the address, there must be one: otherwise nobody could get in, and the
/// operator should hear of it now.
async fn authenticator(
    args: &ServeArgs,
    keys_required: bool,
    store: &Client,
    tables: &TableNames,
    stop: &CancellationToken,
) -> anyhow::Result<Authenticator> {
    if !keys_required {
        return Ok(Authenticator::open());
    }
    let keys = control::list_keys(store, tables).await?;
    let is_loopback = args.listen.ip().to_canonical().is_loopback();
    ensure!(
        is_loopback || keys.iter().any(|key| key.is_good),
        "{} is not a loopback address, so API keys are required, and there is none yet: create one with \
         `agent-tally keys create --scope ingest,read --name … --data-dir {}`, or say --insecure to let everybody in",
        args.listen,
        args.data_dir.display()
    );
    Ok(Authenticator::start(store.clone(), tables.clone(), stop.clone()).await?)
}

impl ServeArgs {
    /// MiB that dead letters may use; never so many that events have none.
    fn dead_letter_mib(&self) -> anyhow::Result<u64> {
        let mib = self.dead_letter_max_mib.unwrap_or(self.log_max_mib / DEAD_LETTER_SHARE);
        ensure!(mib <= self.log_max_mib / 2, "DEAD_LETTER_MAX_MIB must be at most half of LOG_MAX_MIB, which is {}", self.log_max_mib);
        Ok(mib)
    }

    fn log_shape(&self) -> anyhow::Result<LogShape> {
        Ok(LogShape {
            partitions: self.partitions,
            retention_hours: self.log_retention_hours,
            max_mib: self.log_max_mib,
            live_days: u64::from(self.live_days),
            dead_letter_days: self.dead_letter_days,
            dead_letter_mib: self.dead_letter_mib()?,
        })
    }

    fn gateway(&self, epoch: u32) -> GatewayConfig {
        GatewayConfig {
            epoch,
            event_retention_days: self.event_retention_days,
            price_table: self.price_table.clone(),
            ..GatewayConfig::default()
        }
    }

    fn query(&self, epoch: u32) -> QueryConfig {
        QueryConfig {
            epoch,
            live_days: self.live_days,
            indexed_message_types: self.indexed_message_types.clone(),
            dashboard_dir: self.dashboard_dir.clone(),
            serves_embedded: !self.no_dashboard,
            ..QueryConfig::default()
        }
    }

    fn verification(&self) -> VerifyOptions {
        let days = u64::from(self.event_retention_days);
        VerifyOptions { retention: (days > 0).then(|| Duration::from_secs(days * 86_400)), ..VerifyOptions::default() }
    }

    fn rebuilding(&self) -> RebuildOptions {
        RebuildOptions { retention: self.verification().retention, live_days: self.live_days, ..RebuildOptions::default() }
    }

    fn deleting(&self) -> DeleteOptions {
        DeleteOptions { retention: self.verification().retention, live_days: self.live_days, ..DeleteOptions::default() }
    }

    fn aggregator(&self, epoch: u32) -> AggregatorConfig {
        AggregatorConfig {
            epoch,
            flush_cadence: self.flush,
            indexed_message_types: self.indexed_message_types.clone(),
            event_retention_days: self.event_retention_days,
            accept_loss: self.accept_loss,
            dead_letter_limit: self.dead_letter_limit,
            drain_seconds: AGGREGATOR_DRAIN_SECONDS,
            memory_mib: AGGREGATOR_MEMORY_MIB,
            failpoints: self.failpoints.clone(),
            ..AggregatorConfig::default()
        }
    }
}

/// `/metrics`, for whoever needs no key or has one with the scope `admin`.
fn metrics_router(telemetry: &Telemetry, auth: Authenticator) -> Router {
    admin::metrics(telemetry.prometheus.clone()).route_layer(from_fn_with_state(auth, metrics_guard))
}

async fn metrics_guard(State(auth): State<Authenticator>, headers: HeaderMap, request: Request, next: Next) -> Response {
    match auth.authenticate(&headers, Scope::Admin) {
        Ok(_) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

fn spawn_control(socket: ControlSocket, control: Control, stop: &CancellationToken) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = socket.serve(control, stop).await {
            tracing::error!(error = format!("{error:#}"), "other commands cannot speak to this server any more");
        }
    })
}

fn spawn_sweeper(engine: &Engine, stop: &CancellationToken) -> JoinHandle<()> {
    let (sweeper, stop) = (engine.sweeper(), stop.clone());
    tokio::spawn(async move {
        let mut turns = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            match sweeper.sweep().await {
                Ok(events) => tracing::info!(events, "expired events deleted"),
                Err(error) => tracing::error!(error, "expired events cannot be deleted"),
            }
        }
    })
}

/// Creates the embedded store's tables.
pub(crate) async fn create_tables(store: &Client, tables: &TableNames) -> anyhow::Result<()> {
    aggregator::create_tables(store, tables, TableOptions { index_conversations: true, expire_events: false }).await
}
