//! The way to DynamoDB: names of the tables and a client with short patience. Whoever uses it retries by its own
//! rules, since only it knows what a repeat does.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use clap::Args;
use schemas::item::TableNames;
use std::time::Duration;

/// Where the store is. Region, credentials and endpoint come from the AWS SDK's own variables and files:
/// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_DYNAMODB` and so on.
#[derive(Args, Clone, Debug)]
pub struct StoreConfig {
    /// Table of the raw events.
    #[arg(long, env = "DYNAMODB_TABLE_EVENTS", default_value = "ai-agent-events")]
    pub dynamodb_table_events: String,
    /// Table of the rollups, users and the directory.
    #[arg(long, env = "DYNAMODB_TABLE_METRICS", default_value = "ai-agent-metrics")]
    pub dynamodb_table_metrics: String,
    /// Table of checkpoints, API keys and our own records.
    #[arg(long, env = "DYNAMODB_TABLE_CONTROL", default_value = "ai-agent-control")]
    pub dynamodb_table_control: String,
    /// How often the SDK sends a request before it gives up; 1 never repeats.
    #[arg(long, env = "DYNAMODB_ATTEMPTS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub dynamodb_attempts: u32,
    /// Longest wait for one attempt, ms.
    #[arg(long, env = "DYNAMODB_ATTEMPT_TIMEOUT_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub dynamodb_attempt_timeout_ms: u64,
    /// Longest wait for an operation with all its attempts, ms.
    #[arg(long, env = "DYNAMODB_TIMEOUT_MS", default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(10..=120_000))]
    pub dynamodb_timeout_ms: u64,
}

/// Tries of one request of a patient client: with the pauses between them about half a minute.
const PATIENT_ATTEMPTS: u32 = 15;
/// Longest wait of a patient client for one operation with all its attempts.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The same client for what a start needs, and nobody else tries again: a store that is throttled, slow or restarting is
/// waited for, since a service that gives up is started again to ask the same. Only for requests that may be repeated.
pub fn patient(store: &Client) -> Client {
    let retries = RetryConfig::standard()
        .with_max_attempts(PATIENT_ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(50))
        .with_max_backoff(Duration::from_secs(5));
    // The SDK's own allowance is shared by all clients of a process: many requests that wait for a slow store use it up, and
    // then each fails at its first attempt.
    let patience = RetryPartition::custom("patient").token_bucket(TokenBucket::unlimited()).build();
    let config = store.config().to_builder().retry_config(retries).retry_partition(patience);
    let timeouts = store.config().timeout_config().map(TimeoutConfig::to_builder).unwrap_or_default();
    Client::from_conf(config.timeout_config(timeouts.operation_timeout(PATIENT_TIMEOUT).build()).build())
}

impl Default for StoreConfig {
    fn default() -> Self {
        let names = TableNames::default();
        Self {
            dynamodb_table_events: names.events,
            dynamodb_table_metrics: names.metrics,
            dynamodb_table_control: names.control,
            dynamodb_attempts: 2,
            dynamodb_attempt_timeout_ms: 3_000,
            dynamodb_timeout_ms: 8_000,
        }
    }
}

impl StoreConfig {
    /// Names of the tables.
    pub fn tables(&self) -> TableNames {
        TableNames {
            events: self.dynamodb_table_events.clone(),
            metrics: self.dynamodb_table_metrics.clone(),
            control: self.dynamodb_table_control.clone(),
        }
    }

    /// A client; nothing is sent yet.
    pub async fn client(&self) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_millis(self.dynamodb_attempt_timeout_ms))
            .operation_timeout(Duration::from_millis(self.dynamodb_timeout_ms))
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(self.dynamodb_attempts)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_secs(1));
        let aws = aws_config::from_env().retry_config(retries).timeout_config(timeouts).load().await;
        Client::new(&aws)
    }
}
