//! Makes the event schema known to a Confluent schema registry, where one is configured.

use anyhow::Context as _;
use clap::Args;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use schemas::codec::{AGENT_EVENT_SCHEMA, WireForm};
use std::fmt;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the schema registry is. Without one, records use Avro's single-object encoding.
#[derive(Args, Clone, Default)]
pub struct RegistryConfig {
    /// URL of a Confluent schema registry; records then use its wire form.
    #[arg(long, env = "SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<String>,

    /// User for the registry (Confluent Cloud: the API key).
    #[arg(long, env = "SCHEMA_REGISTRY_USER")]
    pub schema_registry_user: Option<String>,

    /// Password for the registry (Confluent Cloud: the API secret).
    #[arg(long, env = "SCHEMA_REGISTRY_PASSWORD", hide_env_values = true)]
    pub schema_registry_password: Option<String>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig").field("schema_registry_url", &self.schema_registry_url).finish_non_exhaustive()
    }
}

/// Registers the event schema under `<topic>-value` and answers how to frame records.
pub async fn wire_form(config: &RegistryConfig, topic: &str) -> anyhow::Result<WireForm> {
    let Some(url) = &config.schema_registry_url else { return Ok(WireForm::SingleObject) };
    let mut builder = SrSettings::new_builder(url.trim_end_matches('/').to_owned());
    builder.set_timeout(TIMEOUT);
    if let Some(user) = &config.schema_registry_user {
        builder.set_basic_authorization(user, config.schema_registry_password.as_deref());
    }
    let settings = builder.build().context("the schema registry's settings cannot be used")?;
    let schema = SuppliedSchema::new(Some("agent_tally.AgentEvent".to_owned()), SchemaType::Avro, AGENT_EVENT_SCHEMA.to_owned());
    let registered =
        post_schema(&settings, format!("{topic}-value"), schema).await.context("the schema registry did not take the event schema")?;
    tracing::info!(schema_id = registered.id, "event schema registered");
    Ok(WireForm::Confluent(registered.id))
}
