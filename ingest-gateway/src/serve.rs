//! The gateway as a service of its own: its settings and what it starts.

use crate::{Gateway, GatewayConfig, GatewayParts};
use anyhow::Context as _;
use clap::Args;
use event_log::Log;
use schemas::codec::AGENT_EVENT_SCHEMA;
use service_kit::admin::Readiness;
use service_kit::imported::{self, ImportedError};
use service_kit::registry;
use service_kit::service::ServiceConfig;
use service_kit::store::StoreConfig;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything that can be set.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("listen", |listen| listen.default_value("127.0.0.1:8010")),
    mut_arg("admin_listen", |listen| listen.default_value("127.0.0.1:9010"))
)]
pub struct ServeConfig {
    /// What surrounds it.
    #[command(flatten)]
    pub service: ServiceConfig,

    /// How events are taken in.
    #[command(flatten)]
    pub gateway: GatewayConfig,
}

impl ServeConfig {
    /// Refuses settings that cannot work, before anything binds.
    ///
    /// # Errors
    /// Where one of them cannot.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.gateway.validate()?;
        Ok(self.service.validate()?)
    }

    fn gateway_config(&self) -> GatewayConfig {
        let topics = self.service.log.topics();
        GatewayConfig {
            topic: topics.events,
            topic_metrics: topics.metrics,
            topic_dead: topics.dead,
            epoch: self.service.log.log_epoch,
            registry: self.service.registry.clone(),
            ..self.gateway.clone()
        }
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
    let auth = config.service.authenticator(None, shutdown.clone()).await?;
    let gateway_config = config.gateway_config();
    if auth.is_required() {
        check_epoch(&config.service.store, gateway_config.epoch).await?;
    }
    let form = registry::register(&config.service.registry, &gateway_config.topic, "agent_tally.AgentEvent", AGENT_EVENT_SCHEMA).await?;
    let gateway = Gateway::with_wire_form(gateway_config, GatewayParts { log, auth, readiness: readiness.clone() }, form)?;
    let router = gateway.router();
    let watch = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { gateway.watch(shutdown).await }
    });
    config.service.serve("ingest-gateway", listener, router, readiness, shutdown).await?;
    watch.await.context("the watch on the log ended badly")
}

/// Refuses to stamp events with an epoch that the aggregators refuse. Only a gateway with keys has a store to ask; one
/// that does not answer is not waited for, since the log takes events without it.
async fn check_epoch(store: &StoreConfig, epoch: u32) -> anyhow::Result<()> {
    match imported::check(&store.client().await, &store.tables(), epoch).await {
        Err(error @ ImportedError::EpochTooLow { .. }) => Err(error.into()),
        Err(error @ ImportedError::Store(_)) => {
            tracing::warn!(%error, "the log's epoch was not compared with the tables'");
            Ok(())
        }
        // What is accepted meanwhile is counted when the import is done.
        Err(ImportedError::UnderWay { .. }) | Ok(()) => Ok(()),
    }
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
        assert_eq!((service.listen.to_string(), service.admin_listen.to_string()), ("127.0.0.1:8010".into(), "127.0.0.1:9010".into()));
        assert!(parsed(&[]).validate().is_ok());
        assert!(parsed(&["--listen", "0.0.0.0:80"]).validate().is_err());
        assert!(parsed(&["--listen", "0.0.0.0:80", "--require-keys"]).validate().is_ok());
    }
}
