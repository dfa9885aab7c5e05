//! The way to the event log: names of the topics and the configuration of Kafka.

use clap::Args;
use event_log::TopicSpec;
use std::time::Duration;

/// Names of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Accepted events.
    pub events: String,
    /// Live totals, compacted.
    pub metrics: String,
    /// Events that could not be counted.
    pub dead: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self { events: "agent-events".into(), metrics: "agent-metrics".into(), dead: "agent-events-dead".into() }
    }
}

/// Where the log is and how its topics are.
#[derive(Args, Clone, Debug)]
pub struct LogConfig {
    /// Kafka's bootstrap servers, comma separated.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    pub kafka_brokers: String,
    /// Topic of the accepted events.
    #[arg(long, env = "KAFKA_TOPIC_EVENTS", default_value = "agent-events")]
    pub kafka_topic_events: String,
    /// Topic of the live totals.
    #[arg(long, env = "KAFKA_TOPIC_METRICS", default_value = "agent-metrics")]
    pub kafka_topic_metrics: String,
    /// Topic of the dead letters.
    #[arg(long, env = "KAFKA_TOPIC_DEAD", default_value = "agent-events-dead")]
    pub kafka_topic_dead: String,
    /// Further options of librdkafka as `name=value`, comma separated: `security.protocol`, `sasl.*`, `ssl.*` and
    /// so on. May hold secrets: rather set it in the environment than on the command line.
    #[arg(long, env = "KAFKA_OPTIONS", value_delimiter = ',', value_parser = parse_option, hide_env_values = true)]
    pub kafka_options: Vec<KafkaOption>,
    /// Partitions of the events topic where it is created; an existing topic with fewer is grown.
    #[arg(long, env = "KAFKA_PARTITIONS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub kafka_partitions: u32,
    /// Hours after which events may leave the log (never before they are counted).
    #[arg(long, env = "LOG_RETENTION_HOURS", default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=87_600))]
    pub log_retention_hours: u64,
    /// Days of the live table; its topic keeps one more.
    #[arg(long, env = "LIVE_DAYS", default_value_t = 35, value_parser = clap::value_parser!(u64).range(2..=400))]
    pub live_days: u64,
    /// Raised by hand when a topic is created anew; a differing epoch stops the aggregator.
    #[arg(long, env = "LOG_EPOCH", default_value_t = 0)]
    pub log_epoch: u32,
}

/// One option of librdkafka. Its value is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOption {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl std::fmt::Debug for KafkaOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl LogConfig {
    /// Names of the topics.
    pub fn topics(&self) -> Topics {
        Topics { events: self.kafka_topic_events.clone(), metrics: self.kafka_topic_metrics.clone(), dead: self.kafka_topic_dead.clone() }
    }

    /// How the topics are created: events, metrics, dead letters.
    pub fn topic_specs(&self) -> [TopicSpec; 3] {
        let spec = |name: &str, partitions, hours: Option<u64>, is_compacted| TopicSpec {
            name: name.to_owned(),
            partitions,
            retention: hours.map(|hours| Duration::from_secs(hours * 3_600)),
            retention_bytes: None,
            is_compacted,
        };
        [
            spec(&self.kafka_topic_events, self.kafka_partitions, Some(self.log_retention_hours), false),
            spec(&self.kafka_topic_metrics, self.kafka_partitions, Some((self.live_days + 1) * 24), true),
            // Nothing accepted is dropped silently, so dead letters stay until somebody has looked at them.
            spec(&self.kafka_topic_dead, 1, None, false),
        ]
    }
}

fn parse_option(text: &str) -> Result<KafkaOption, String> {
    // The text may hold a secret: the complaint must not repeat it.
    let (name, value) = text.split_once('=').ok_or("must be name=value")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_') {
        return Err("the name must be one of librdkafka's, as in security.protocol".into());
    }
    Ok(KafkaOption { name: name.to_owned(), value: value.to_owned() })
}
