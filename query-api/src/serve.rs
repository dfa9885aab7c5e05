//! The query API as a service of its own: its settings and what runs around it. Must not answer anything itself.

use crate::{QueryApi, QueryConfig, QueryParts};
use clap::Args;
use event_log::Log;
use service_kit::admin::Readiness;
use service_kit::service::ServiceConfig;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Settings of the query API as a process of its own.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("listen", |listen| listen.default_value("127.0.0.1:8011")),
    mut_arg("admin_listen", |listen| listen.default_value("127.0.0.1:9011"))
)]
pub struct ServeConfig {
    /// What surrounds it.
    #[command(flatten)]
    pub service: ServiceConfig,

    /// How questions are answered.
    #[command(flatten)]
    pub query: QueryConfig,
}

impl ServeConfig {
    /// Refuses settings that cannot work, before anything binds.
    ///
    /// # Errors
    /// Where one of them cannot.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.query_config().validate()?;
        Ok(self.service.validate()?)
    }

    fn query_config(&self) -> QueryConfig {
        let topics = self.service.log.topics();
        QueryConfig {
            topic_events: topics.events,
            topic_metrics: topics.metrics,
            topic_dead: topics.dead,
            epoch: self.service.log.log_epoch,
            live_days: u32::try_from(self.service.log.live_days).unwrap_or(u32::MAX),
            registry: self.service.registry.clone(),
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
    let (store, tables) = (config.service.store.client().await, config.service.store.tables());
    let auth = config.service.authenticator(Some(store.clone()), shutdown.clone()).await?;
    let parts = QueryParts { log, store, tables, auth, readiness: readiness.clone(), shutdown: shutdown.clone() };
    let api = QueryApi::start(config.query_config(), parts).await?;
    config.service.serve("query-api", listener, api.router(), readiness, shutdown).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        config: ServeConfig,
    }

    #[test]
    fn it_listens_on_loopback_unless_told_otherwise() {
        let parsed = |arguments: &[&str]| Line::try_parse_from([&["test"], arguments].concat()).expect("arguments").config;
        let service = parsed(&[]).service;
        assert_eq!((service.listen.to_string(), service.admin_listen.to_string()), ("127.0.0.1:8011".into(), "127.0.0.1:9011".into()));
        assert!(parsed(&[]).validate().is_ok());
        assert!(parsed(&["--listen", "0.0.0.0:80"]).validate().is_err());
        assert!(parsed(&["--listen", "0.0.0.0:80", "--require-keys"]).validate().is_ok());
    }
}
