//! The gateway's settings. Flags win over the environment, the environment over the defaults.

use anyhow::{Context as _, ensure};
use clap::Args;
use schemas::price::PriceTable;
use service_kit::registry::RegistryConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::prepare::MAX_BATCH_BYTES;

/// How the gateway takes events in.
#[derive(Args, Clone, Debug)]
pub struct GatewayConfig {
    /// Bytes that all requests together may hold in memory; beyond it they are answered with 503.
    #[arg(long, env = "MAX_IN_FLIGHT_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub max_in_flight_bytes: usize,

    /// Milliseconds that the log has to acknowledge a request's events before the answer is 503.
    #[arg(long, env = "PUBLISH_TIMEOUT_MS", default_value_t = 10_000)]
    pub publish_timeout_ms: u64,

    /// Milliseconds that a request's body has to arrive.
    #[arg(long, env = "BODY_TIMEOUT_MS", default_value_t = 30_000)]
    pub body_timeout_ms: u64,

    /// Days after which raw events expire; 0 keeps them. Events older than one day less are refused.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    pub event_retention_days: u32,

    /// A JSON file of prices that go before the built-in ones: `{"date","source","models":{"<name>":{"input","output","cached_input"}}}`,
    /// US dollars per token.
    #[arg(long, env = "PRICE_TABLE")]
    pub price_table: Option<PathBuf>,

    /// Topic of the events; set from the log's settings.
    #[arg(skip = String::from("agent-events"))]
    pub topic: String,

    /// Topic of the live totals; set from the log's settings.
    #[arg(skip = String::from("agent-metrics"))]
    pub topic_metrics: String,

    /// Topic of the dead letters; set from the log's settings.
    #[arg(skip = String::from("agent-events-dead"))]
    pub topic_dead: String,

    /// The log's epoch, stamped into each record; set from the log's settings.
    #[arg(skip)]
    pub epoch: u32,
    /// Where schemas are that dead letters name by a registry's id; set from the service's settings.
    #[arg(skip)]
    pub registry: RegistryConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_in_flight_bytes: 64 * 1024 * 1024,
            publish_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            event_retention_days: 0,
            price_table: None,
            topic: "agent-events".to_owned(),
            topic_metrics: "agent-metrics".to_owned(),
            topic_dead: "agent-events-dead".to_owned(),
            epoch: 0,
            registry: RegistryConfig::default(),
        }
    }
}

impl GatewayConfig {
    /// Refuses settings that cannot work.
    pub fn validate(&self) -> anyhow::Result<()> {
        let least = 4 * MAX_BATCH_BYTES;
        ensure!(self.max_in_flight_bytes >= least, "MAX_IN_FLIGHT_BYTES must be at least {least}, or the largest batch never fits");
        ensure!((100..=300_000).contains(&self.publish_timeout_ms), "PUBLISH_TIMEOUT_MS must be from 100 to 300000");
        ensure!((100..=600_000).contains(&self.body_timeout_ms), "BODY_TIMEOUT_MS must be from 100 to 600000");
        ensure!(matches!(self.event_retention_days, 0 | 2..=36_500), "EVENT_RETENTION_DAYS must be 0 (keep) or from 2 to 36500");
        ensure!(!self.topic.is_empty() && !self.topic_dead.is_empty(), "the topics must have names");
        Ok(())
    }

    /// The price table: the built-in one, with the operator's prices before it.
    pub fn prices(&self) -> anyhow::Result<Arc<PriceTable>> {
        let builtin = PriceTable::builtin();
        let Some(path) = &self.price_table else { return Ok(Arc::new(builtin.clone())) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read PRICE_TABLE {}", path.display()))?;
        let own = PriceTable::from_json(&text).with_context(|| format!("PRICE_TABLE {} is not a price table", path.display()))?;
        Ok(Arc::new(builtin.overridden_by(&own)))
    }

    pub(crate) fn retention_days(&self) -> Option<u32> {
        (self.event_retention_days > 0).then_some(self.event_retention_days)
    }

    pub(crate) fn publish_timeout(&self) -> Duration {
        Duration::from_millis(self.publish_timeout_ms)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(GatewayConfig::default().validate().is_ok());
        for broken in [
            GatewayConfig { max_in_flight_bytes: 1_000_000, ..GatewayConfig::default() },
            GatewayConfig { publish_timeout_ms: 0, ..GatewayConfig::default() },
            GatewayConfig { body_timeout_ms: 0, ..GatewayConfig::default() },
            GatewayConfig { event_retention_days: 1, ..GatewayConfig::default() },
            GatewayConfig { topic: String::new(), ..GatewayConfig::default() },
        ] {
            assert!(broken.validate().is_err(), "{broken:?}");
        }
    }

    #[test]
    fn the_operators_prices_go_first() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), r#"{"date":"2026-11-01","source":"contract","models":{"gpt-4o":{"input":1.0,"output":0.0}}}"#)
            .expect("written");
        let config = GatewayConfig { price_table: Some(file.path().to_owned()), ..GatewayConfig::default() };
        assert_eq!(config.prices().expect("a table").cost_usd("gpt-4o", Some(2), None, None), Some(2.0));
        std::fs::write(file.path(), "{}").expect("written");
        assert!(config.prices().is_err());
    }
}
