//! The way to the event log: names of the topics and the configuration of Kafka.

use clap::Args;
use event_log::kafka::{KafkaConfig, KafkaLog};
use event_log::{Log, LogError, TopicSpec};
use std::sync::Arc;
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
    /// Compression of the records: none, gzip, lz4 or zstd.
    #[arg(long, env = "KAFKA_COMPRESSION", default_value = "lz4", value_parser = ["none", "gzip", "lz4", "zstd"])]
    pub kafka_compression: String,
    /// An append is acknowledged or fails within this time, ms.
    #[arg(long, env = "KAFKA_DELIVERY_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=300_000))]
    pub kafka_delivery_timeout_ms: u32,
    /// How the brokers' logs and quotas name this process.
    #[arg(long, env = "KAFKA_CLIENT_ID", default_value = "agent-tally")]
    pub kafka_client_id: String,
    /// Makes an aggregator a static member of its group, so that a quick restart moves no partition. Must be unique.
    #[arg(long, env = "KAFKA_GROUP_INSTANCE_ID")]
    pub kafka_group_instance_id: Option<String>,
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

    /// The log on Kafka. Connects in the background; [`Log::check`] tells whether it works.
    ///
    /// # Errors
    /// Where the options are none of librdkafka's or do not hold together.
    pub fn connect(&self) -> Result<Arc<dyn Log>, LogError> {
        Ok(Arc::new(KafkaLog::new(self.kafka())?))
    }

    fn kafka(&self) -> KafkaConfig {
        let options = self.kafka_options.iter().filter(|option| !option.name.is_empty());
        KafkaConfig {
            extra: options.map(|option| (option.name.clone(), option.value.clone())).collect(),
            client_id: self.kafka_client_id.clone(),
            group_instance_id: self.kafka_group_instance_id.clone().filter(|id| !id.is_empty()),
            delivery_timeout_ms: self.kafka_delivery_timeout_ms,
            compression: self.kafka_compression.clone(),
            ..KafkaConfig::new(&self.kafka_brokers)
        }
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
    // An empty variable, and a comma at the end, say nothing; `connect` leaves them out.
    if text.trim().is_empty() {
        return Ok(KafkaOption { name: String::new(), value: String::new() });
    }
    let (name, value) = text.split_once('=').ok_or("must be name=value")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_') {
        return Err("the name must be one of librdkafka's, as in security.protocol".into());
    }
    Ok(KafkaOption { name: name.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        log: LogConfig,
    }

    fn parsed(arguments: &[&str]) -> Result<LogConfig, clap::Error> {
        Line::try_parse_from([&["test"], arguments].concat()).map(|line| line.log)
    }

    #[test]
    fn options_reach_librdkafka_and_are_not_shown() {
        let log = parsed(&["--kafka-options", "security.protocol=SASL_SSL,sasl.password=a=b,", "--kafka-brokers", "one:9092,two:9092"])
            .expect("a configuration");
        let kafka = log.kafka();
        assert_eq!(kafka.extra, [("security.protocol".into(), "SASL_SSL".into()), ("sasl.password".into(), "a=b".into())]);
        assert_eq!((kafka.brokers.as_str(), kafka.client_id.as_str()), ("one:9092,two:9092", "agent-tally"));
        assert!(!format!("{log:?}").contains("a=b"));
    }

    #[test]
    fn broken_options_are_refused_without_an_echo() {
        for broken in ["sasl.password", "SASL=x", "=x", "a b=c"] {
            assert!(parsed(&["--kafka-options", broken]).is_err(), "{broken}");
        }
        assert!(parse_option("hunter2").is_err_and(|complaint| !complaint.contains("hunter2")));
    }

    #[test]
    fn dead_letters_never_expire_and_live_totals_are_compacted() {
        let [events, metrics, dead] = parsed(&[]).expect("defaults").topic_specs();
        assert_eq!((events.name.as_str(), events.partitions, events.is_compacted), ("agent-events", 12, false));
        assert_eq!((metrics.name.as_str(), metrics.is_compacted), ("agent-metrics", true));
        assert_eq!((dead.name.as_str(), dead.retention), ("agent-events-dead", None));
    }
}
