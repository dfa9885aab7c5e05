//! Configuration of the aggregator. Flags win over environment variables; both win over defaults.

use anyhow::ensure;
use clap::{Args, ValueEnum};
use schemas::MessageType;
use service_kit::registry::RegistryConfig;
use std::time::Duration;

/// What the aggregator is told.
#[derive(Args, Clone, Debug)]
pub struct AggregatorConfig {
    /// Topic of the accepted events.
    #[arg(skip = String::from("agent-events"))]
    pub topic_events: String,
    /// Topic of the live totals.
    #[arg(skip = String::from("agent-metrics"))]
    pub topic_metrics: String,
    /// Topic of the dead letters.
    #[arg(skip = String::from("agent-events-dead"))]
    pub topic_dead: String,
    /// Consumer group.
    #[arg(skip = String::from(GROUP))]
    pub group: String,
    /// Epoch of the log; raised by hand when a topic is created anew.
    #[arg(skip)]
    pub epoch: u32,
    /// How often totals are written: the knob between cost and freshness.
    #[arg(long, env = "FLUSH_CADENCE", value_enum, default_value_t = Cadence::Balanced)]
    pub flush_cadence: Cadence,
    /// Types that `MessageTypeIndex` holds; each costs one more write unit per event.
    #[arg(long, env = "INDEXED_MESSAGE_TYPES", value_delimiter = ',', value_parser = parse_message_type, default_value = "error,feedback")]
    pub indexed_message_types: Vec<MessageType>,
    /// Days after which raw events expire; 0 keeps them. Events older than one day less are dead letters (`too_old`).
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    pub event_retention_days: u32,
    /// Memory for events and additions that are not finished, in MiB, over all partitions.
    #[arg(long, env = "AGGREGATOR_MEMORY_MIB", default_value_t = 128)]
    pub memory_mib: usize,
    /// Insert requests (of up to 25 events) under way at once per partition.
    #[arg(long, env = "AGGREGATOR_INSERTS_IN_FLIGHT", default_value_t = 8)]
    pub inserts_in_flight: usize,
    /// Go on where events were trimmed from the log before they were counted, and record how many.
    #[arg(long, env = "ACCEPT_LOSS", default_value_t = false)]
    pub accept_loss: bool,
    /// Dead letters within a minute beyond which a partition stops where they are most of what it has to count; 0 buries
    /// them whatever their number.
    #[arg(long, env = "DEAD_LETTER_LIMIT", default_value_t = DEAD_LETTER_LIMIT)]
    pub dead_letter_limit: u64,
    /// Seconds that an orderly stop or a revocation may take to finish what was begun.
    #[arg(long, env = "AGGREGATOR_DRAIN_SECONDS", default_value_t = 8)]
    pub drain_seconds: u64,
    /// For tests: `point=probability,…`; the process aborts there.
    #[arg(long, env = "AGENT_TALLY_FAILPOINTS", hide = true)]
    pub failpoints: Option<String>,
    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: RegistryConfig,
}

/// Dead letters within a minute that never stop a partition.
pub const DEAD_LETTER_LIMIT: u64 = 1_000;

/// Name of the aggregators' consumer group; the receipts ask for its committed offsets.
pub const GROUP: &str = "agent-tally-aggregator";

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            topic_events: "agent-events".into(),
            topic_metrics: "agent-metrics".into(),
            topic_dead: "agent-events-dead".into(),
            group: GROUP.into(),
            epoch: 0,
            flush_cadence: Cadence::Balanced,
            indexed_message_types: vec![MessageType::Error, MessageType::Feedback],
            event_retention_days: 0,
            memory_mib: 128,
            inserts_in_flight: 8,
            accept_loss: false,
            dead_letter_limit: DEAD_LETTER_LIMIT,
            drain_seconds: 8,
            failpoints: None,
            registry: RegistryConfig::default(),
        }
    }
}

impl AggregatorConfig {
    /// Refuses values that cannot work.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.memory_mib >= 8, "AGGREGATOR_MEMORY_MIB must be at least 8");
        ensure!((1..=256).contains(&self.inserts_in_flight), "AGGREGATOR_INSERTS_IN_FLIGHT must be 1 to 256");
        ensure!(self.event_retention_days == 0 || self.event_retention_days >= 2, "EVENT_RETENTION_DAYS must be 0 (keep) or at least 2");
        ensure!((1..=120).contains(&self.drain_seconds), "AGGREGATOR_DRAIN_SECONDS must be 1 to 120");
        crate::failpoint::Failpoints::parse(self.failpoints.as_deref().unwrap_or_default())?;
        Ok(())
    }

    /// How long raw events are kept; `None` for ever.
    pub fn event_retention(&self) -> Option<Duration> {
        (self.event_retention_days > 0).then(|| Duration::from_secs(u64::from(self.event_retention_days) * 86_400))
    }
}

fn parse_message_type(name: &str) -> Result<MessageType, String> {
    MessageType::parse(name).ok_or_else(|| format!("unknown message type {name:?}"))
}

/// When the additions of an item are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cadence {
    /// At once, but at most every 100 ms per item.
    Fresh,
    /// After 25 events or 800 ms.
    Balanced,
    /// After 25 events or 60 s; fleet items every 2 s.
    Cheap,
}

impl Cadence {
    /// Longest wait of an agent's item, ms.
    pub fn agent_ms(self) -> u64 {
        match self {
            Self::Fresh => 100,
            Self::Balanced => 800,
            Self::Cheap => 60_000,
        }
    }

    /// Wait of a fleet item, ms.
    pub fn fleet_ms(self) -> u64 {
        match self {
            Self::Fresh => 100,
            Self::Balanced => 800,
            Self::Cheap => 2_000,
        }
    }

    /// Number of events after which an agent's item is written whatever the time.
    pub fn events(self) -> usize {
        match self {
            Self::Fresh => usize::MAX,
            Self::Balanced | Self::Cheap => 25,
        }
    }
}
