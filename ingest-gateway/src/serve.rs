//! The gateway as a service of its own: its settings and what it starts.

use crate::{Gateway, GatewayConfig, GatewayParts};
use anyhow::Context as _;
use clap::Args;
use event_log::Log;
use schemas::codec::AGENT_EVENT_SCHEMA;
use service_kit::admin::{self, Readiness};
use service_kit::auth::Authenticator;
use service_kit::http::{self, HttpConfig};
use service_kit::log::LogConfig;
use service_kit::registry::{self, RegistryConfig};
use service_kit::store::StoreConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything that can be set.
#[derive(Args, Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8010")]
    pub listen: SocketAddr,

    /// Where health and metrics are.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9010")]
    pub admin_listen: SocketAddr,

    /// Let nobody in without an API key.
    #[arg(long, env = "REQUIRE_KEYS")]
    pub require_keys: bool,

    /// Let everybody in, on whatever address.
    #[arg(long, env = "INSECURE", conflicts_with = "require_keys")]
    pub insecure: bool,

    /// How events are taken in.
    #[command(flatten)]
    pub gateway: GatewayConfig,

    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: RegistryConfig,

    /// The HTTP guards.
    #[command(flatten)]
    pub http: HttpConfig,

    /// Where the log is.
    #[command(flatten)]
    pub log: LogConfig,

    /// Where the keys are.
    #[command(flatten)]
    pub store: StoreConfig,
}

impl ServeConfig {
    /// Refuses settings that cannot work, before anything binds.
    ///
    /// # Errors
    /// Where one of them cannot.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.gateway.validate()?;
        http::guard_listen(&self.listen, self.require_keys, self.insecure)?;
        Ok(())
    }

    fn gateway_config(&self) -> GatewayConfig {
        GatewayConfig { topic: self.log.topics().events, epoch: self.log.log_epoch, ..self.gateway.clone() }
    }
}

/// Serves events on `listener` until `shutdown`; requests under way are answered first.
///
/// # Errors
/// Where a setting cannot work, the registry or the store refuses, or the listener breaks.
pub async fn serve(
    config: ServeConfig,
    log: Arc<dyn Log>,
    readiness: Readiness,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.validate()?;
    let auth = if config.require_keys {
        let store = config.store.client().await;
        Authenticator::start(store, config.store.tables(), shutdown.clone()).await?
    } else {
        Authenticator::open()
    };
    let gateway_config = config.gateway_config();
    let form = registry::register(&config.registry, &gateway_config.topic, "agent_tally.AgentEvent", AGENT_EVENT_SCHEMA).await?;
    let gateway = Gateway::with_wire_form(gateway_config, GatewayParts { log, auth, readiness: readiness.clone() }, form)?;
    let router = gateway.router().merge(admin::router(readiness));
    let watch = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { gateway.watch(shutdown).await }
    });
    tracing::info!(address = %listener.local_addr()?, "ingest gateway is listening");
    http::serve(listener, http::layered(router, "ingest-gateway", &config.http), shutdown).await.context("the listener broke")?;
    watch.await.context("the watch on the log ended badly")
}
