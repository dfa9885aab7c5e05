//! Configuration of the query API. Flags win over environment variables; both win over defaults.

use crate::dashboard::Files;
use anyhow::ensure;
use clap::Args;
use schemas::MessageType;
use service_kit::registry::RegistryConfig;
use std::path::PathBuf;

/// What the query API is told.
#[derive(Args, Clone, Debug)]
pub struct QueryConfig {
    /// Topic of the accepted events.
    #[arg(skip = String::from("agent-events"))]
    pub topic_events: String,
    /// Topic of the live totals.
    #[arg(skip = String::from("agent-metrics"))]
    pub topic_metrics: String,
    /// Topic of the dead letters.
    #[arg(skip = String::from("agent-events-dead"))]
    pub topic_dead: String,
    /// The aggregators' consumer group: its committed offsets say what is counted.
    #[arg(skip = String::from("agent-tally-aggregator"))]
    pub group: String,
    /// Epoch of the log.
    #[arg(skip)]
    pub epoch: u32,
    /// Days, today included, that the live table holds in memory (the log's `LIVE_DAYS`); the compacted topic keeps
    /// one more.
    #[arg(skip = 35_u32)]
    pub live_days: u32,
    /// Where schemas are that records name by a registry's id.
    #[arg(skip)]
    pub registry: RegistryConfig,
    /// Types that `MessageTypeIndex` holds; the same as the aggregator's.
    #[arg(long, env = "INDEXED_MESSAGE_TYPES", value_delimiter = ',', value_parser = parse_message_type, default_value = "error,feedback")]
    pub indexed_message_types: Vec<MessageType>,
    /// Errors that one answer reads at most to group them.
    #[arg(skip = 20_000_usize)]
    pub most_errors: usize,
    /// Directory of the built dashboard; where absent, the one that this binary was built with is served, if any.
    #[arg(long, env = "DASHBOARD_DIR")]
    pub dashboard_dir: Option<PathBuf>,
    /// Whether the dashboard in this binary is served.
    #[arg(skip = true)]
    pub serves_embedded: bool,
    /// Requests to the store under way at once, over all requests to this process.
    #[arg(long, env = "QUERY_STORE_REQUESTS", default_value_t = 64)]
    pub store_requests: usize,
    /// Open streams (SSE and WebSocket) at once.
    #[arg(long, env = "QUERY_STREAMS", default_value_t = 1_000)]
    pub streams: usize,
    /// Seconds between two heartbeats of a stream.
    #[arg(long, env = "QUERY_STREAM_HEARTBEAT_S", default_value_t = 15)]
    pub stream_heartbeat_s: u64,
    /// Minutes without an event after which an agent counts as silent.
    #[arg(long, env = "AGENT_SILENT_MINUTES", default_value_t = 60)]
    pub agent_silent_minutes: u32,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            topic_events: "agent-events".into(),
            topic_metrics: "agent-metrics".into(),
            topic_dead: "agent-events-dead".into(),
            group: "agent-tally-aggregator".into(),
            epoch: 0,
            live_days: 35,
            registry: RegistryConfig::default(),
            indexed_message_types: vec![MessageType::Error, MessageType::Feedback],
            most_errors: 20_000,
            dashboard_dir: None,
            serves_embedded: true,
            store_requests: 64,
            streams: 1_000,
            stream_heartbeat_s: 15,
            agent_silent_minutes: 60,
        }
    }
}

impl QueryConfig {
    /// Refuses values that cannot work.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!((2..=400).contains(&self.live_days), "LIVE_DAYS must be 2 to 400");
        ensure!((1..=4_096).contains(&self.store_requests), "QUERY_STORE_REQUESTS must be 1 to 4096");
        ensure!((1..=100_000).contains(&self.streams), "QUERY_STREAMS must be 1 to 100000");
        ensure!((1..=60).contains(&self.stream_heartbeat_s), "QUERY_STREAM_HEARTBEAT_S must be 1 to 60");
        ensure!((1..=44_640).contains(&self.agent_silent_minutes), "AGENT_SILENT_MINUTES must be 1 to 44640");
        if let Some(directory) = &self.dashboard_dir {
            ensure!(directory.join("index.html").is_file(), "DASHBOARD_DIR has no index.html: {}", directory.display());
        }
        Ok(())
    }
}

impl QueryConfig {
    /// The dashboard to serve, if there is one.
    pub(crate) fn dashboard(&self) -> Option<Files> {
        match &self.dashboard_dir {
            Some(directory) => Some(Files::Directory(directory.clone())),
            None => Files::embedded().filter(|_| self.serves_embedded),
        }
    }

    /// Whether there is a dashboard to serve.
    pub fn has_dashboard(&self) -> bool {
        self.dashboard().is_some()
    }
}

fn parse_message_type(name: &str) -> Result<MessageType, String> {
    MessageType::parse(name).ok_or_else(|| format!("unknown message type {name:?}"))
}
