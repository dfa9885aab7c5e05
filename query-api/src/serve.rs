//! The query API as a service of its own: its settings and what runs around it. Must not answer anything itself.

use crate::{QueryApi, QueryConfig, QueryParts};
use anyhow::Context as _;
use clap::Args;
use event_log::Log;
use service_kit::admin::{self, Readiness};
use service_kit::auth::Authenticator;
use service_kit::http::{self, HttpConfig};
use service_kit::log::LogConfig;
use service_kit::registry::RegistryConfig;
use service_kit::store::StoreConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Settings of the query API as a process of its own.
#[derive(Args, Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8011")]
    pub listen: SocketAddr,

    /// Where health and metrics are.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9011")]
    pub admin_listen: SocketAddr,

    /// Let nobody in without an API key.
    #[arg(long, env = "REQUIRE_KEYS")]
    pub require_keys: bool,

    /// Let everybody in, on whatever address.
    #[arg(long, env = "INSECURE", conflicts_with = "require_keys")]
    pub insecure: bool,

    /// How questions are answered.
    #[command(flatten)]
    pub query: QueryConfig,

    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: RegistryConfig,

    /// The HTTP guards.
    #[command(flatten)]
    pub http: HttpConfig,

    /// Where the log is.
    #[command(flatten)]
    pub log: LogConfig,

    /// Where the numbers and the keys are.
    #[command(flatten)]
    pub store: StoreConfig,
}

impl ServeConfig {
    /// Refuses settings that cannot work, before anything binds.
    ///
    /// # Errors
    /// Where one of them cannot.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.query_config().validate()?;
        http::guard_listen(&self.listen, self.require_keys, self.insecure)?;
        Ok(())
    }

    fn query_config(&self) -> QueryConfig {
        let topics = self.log.topics();
        QueryConfig {
            topic_events: topics.events,
            topic_metrics: topics.metrics,
            topic_dead: topics.dead,
            epoch: self.log.log_epoch,
            live_days: u32::try_from(self.log.live_days).unwrap_or(u32::MAX),
            registry: self.registry.clone(),
            ..self.query.clone()
        }
    }
}

/// Serves the API and its health on `listener` until `shutdown`; requests under way are answered first.
///
/// # Errors
/// Where a setting cannot work, the store refuses, or the listener breaks.
pub async fn serve(
    config: ServeConfig,
    log: Arc<dyn Log>,
    readiness: Readiness,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.validate()?;
    let (store, tables) = (config.store.client().await, config.store.tables());
    let auth = if config.require_keys {
        Authenticator::start(store.clone(), tables.clone(), shutdown.clone()).await?
    } else {
        Authenticator::open()
    };
    let parts = QueryParts { log, store, tables, auth, readiness: readiness.clone(), shutdown: shutdown.clone() };
    let api = QueryApi::start(config.query_config(), parts).await?;
    let router = api.router().merge(admin::router(readiness));
    tracing::info!(address = %listener.local_addr()?, "query api is listening");
    http::serve(listener, http::layered(router, "query-api", &config.http), shutdown).await.context("the listener broke")
}
