//! `agent-tally serve`: all services in one process on one port, on the local log and the embedded store.
//!
//! Order of an orderly stop: no new requests, answer those under way, then the aggregator finishes and commits
//! what it began, then the store closes its files.

use crate::control::{self, Control, ControlSocket};
use crate::data_dir::DataDir;
use crate::engine::Engine;
use crate::first_page;
use aggregator::{AggregatorConfig, AggregatorParts, Cadence, TableOptions};
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
    /// Which log this is: raised by hand when the log had to be begun anew beside a store that has counted.
    #[arg(long, env = "LOG_EPOCH", default_value_t = 0)]
    log_epoch: u32,
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
    #[command(flatten)]
    http: HttpConfig,
    /// For tests: `point=probability,…`; the process aborts there.
    #[arg(long, env = "AGENT_TALLY_FAILPOINTS", hide = true)]
    failpoints: Option<String>,
    /// For tests: writes what a power cut would leave of the store's write-ahead log, at each barrier.
    #[arg(long, hide = true)]
    record_barriers: Option<PathBuf>,
}

fn parse_message_type(name: &str) -> Result<MessageType, String> {
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
    let log = open_log(&args, &dir).await?;
    // Ends HTTP and what reads along with it; the aggregator ends after that.
    let stop = shutdown.child_token();
    let stop_aggregator = CancellationToken::new();
    let services = Services::start(&args, keys_required, &engine, Arc::clone(&log) as Arc<dyn Log>, &stop).await?;
    let mut counting = tokio::spawn(aggregator::run(services.aggregator_config, services.aggregator_parts, stop_aggregator.clone()));
    let control = Control { store: engine.client(), tables: TableNames::default(), auth: services.auth.clone(), url: url.clone() };
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
        let auth = authenticator(args, keys_required, &store, &tables, stop).await?;
        let readiness = Readiness::new();
        let gateway =
            Gateway::new(args.gateway(), GatewayParts { log: Arc::clone(&log), auth: auth.clone(), readiness: readiness.clone() })?;
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
        let api = QueryApi::start(args.query(), parts).await.context("cannot start the query API")?;
        let mut router = gateway.router().merge(api.router()).merge(admin::router(readiness.clone()));
        if !args.query().has_dashboard() {
            router = router.merge(first_page::router(keys_required));
        }
        let barrier = Some(engine.barrier(args.record_barriers.clone()));
        let aggregator_parts = AggregatorParts { log, store, tables, readiness, barrier };
        Ok(Self { router, auth, aggregator_config: args.aggregator(), aggregator_parts })
    }
}

async fn open_log(args: &ServeArgs, dir: &DataDir) -> anyhow::Result<Arc<LocalLog>> {
    let options = LocalOptions { max_bytes: Some(args.log_max_mib * MIB), ..LocalOptions::default() };
    let log = LocalLog::open(dir.log(), options).context("cannot open the log")?;
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let topics = Topics::default();
    let events = TopicSpec {
        name: topics.events,
        partitions: args.partitions,
        retention: hours(args.log_retention_hours),
        retention_bytes: None,
        is_compacted: false,
    };
    let metrics = TopicSpec {
        name: topics.metrics,
        partitions: 1,
        retention: hours(u64::from(args.live_days + 1) * 24),
        retention_bytes: None,
        is_compacted: true,
    };
    // Nothing accepted is dropped silently, so dead letters stay until somebody has looked at them.
    let dead = TopicSpec { name: topics.dead, partitions: 1, retention: None, retention_bytes: None, is_compacted: false };
    for topic in [events, metrics, dead] {
        log.create_topic(&topic).await.with_context(|| format!("cannot create the topic {}", topic.name))?;
    }
    Ok(Arc::new(log))
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
    fn gateway(&self) -> GatewayConfig {
        GatewayConfig {
            epoch: self.log_epoch,
            event_retention_days: self.event_retention_days,
            price_table: self.price_table.clone(),
            ..GatewayConfig::default()
        }
    }

    fn query(&self) -> QueryConfig {
        QueryConfig {
            epoch: self.log_epoch,
            live_days: self.live_days,
            indexed_message_types: self.indexed_message_types.clone(),
            dashboard_dir: self.dashboard_dir.clone(),
            serves_embedded: !self.no_dashboard,
            ..QueryConfig::default()
        }
    }

    fn aggregator(&self) -> AggregatorConfig {
        AggregatorConfig {
            epoch: self.log_epoch,
            flush_cadence: self.flush,
            indexed_message_types: self.indexed_message_types.clone(),
            event_retention_days: self.event_retention_days,
            accept_loss: self.accept_loss,
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
