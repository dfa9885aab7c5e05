//! How the log reaches Kafka, and librdkafka's settings made of it.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use std::fmt;

/// librdkafka's numbers end here.
const NATIVE_MAX: u32 = i32::MAX.unsigned_abs();

/// How the log reaches Kafka.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, joined by commas.
    pub brokers: String,
    /// Further options of librdkafka (`security.protocol`, `sasl.*`, `ssl.*`, …); they win over all others.
    pub extra: Vec<(String, String)>,
    /// Names this process to the brokers.
    pub client_id: String,
    /// Makes the consumer a static member: a restart within the session time-out moves no partition. Must be unique in the group.
    pub group_instance_id: Option<String>,
    /// A consumer that is silent for so long loses its partitions.
    pub session_timeout_ms: u32,
    /// Upper bound of a handover; also bounds how long the consuming thread may stand still.
    pub max_poll_interval_ms: u32,
    /// How long a handover waits for [`crate::Revocation::done`]. Shorter than `max_poll_interval_ms`.
    pub revoke_wait_ms: u32,
    /// An append is acknowledged or fails within this time.
    pub delivery_timeout_ms: u32,
    /// How long a record may wait for others to share its batch.
    pub linger_ms: u32,
    /// `none`, `lz4`, `zstd` or `gzip`.
    pub compression: String,
    /// Records that may wait for their acknowledgement.
    pub append_buffer_records: u32,
    /// KiB of records that may wait for their acknowledgement. A record larger than this is never taken.
    pub append_buffer_kib: u32,
    /// Bytes of records that a consumer holds for its user; fetching stops above it.
    pub consume_buffer_bytes: usize,
    /// Upper bound for a request about the cluster.
    pub request_timeout_ms: u32,
    /// How soon added partitions are seen.
    pub metadata_refresh_ms: u32,
}

impl KafkaConfig {
    /// The defaults for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            extra: Vec::new(),
            client_id: "agent-tally".into(),
            group_instance_id: None,
            session_timeout_ms: 6_000,
            max_poll_interval_ms: 300_000,
            revoke_wait_ms: 20_000,
            delivery_timeout_ms: 10_000,
            linger_ms: 5,
            compression: "lz4".into(),
            append_buffer_records: 100_000,
            append_buffer_kib: 65_536,
            consume_buffer_bytes: 8 << 20,
            request_timeout_ms: 5_000,
            metadata_refresh_ms: 10_000,
        }
    }

    pub(super) fn request_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::from(self.request_timeout_ms))
    }

    /// Librdkafka would take the partitions away from a thread that waits for longer.
    pub(super) fn revoke_wait(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::from(self.revoke_wait_ms.min(self.max_poll_interval_ms / 2)))
    }

    /// For requests about the cluster.
    pub(super) fn admin(&self) -> ClientConfig {
        self.finish(self.base())
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.codec", &self.compression)
            .set("linger.ms", self.linger_ms.to_string())
            // The Java clients' default, so that other producers' records of an agent land in the same partition.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.delivery_timeout_ms.to_string())
            // Wider than the buffer that is kept track of, see the producer.
            .set("queue.buffering.max.messages", self.append_buffer_records.saturating_mul(2).min(NATIVE_MAX).to_string())
            .set("queue.buffering.max.kbytes", self.append_buffer_kib.saturating_mul(2).clamp(1_024, NATIVE_MAX).to_string());
        self.finish(config)
    }

    /// For reading without a group. librdkafka wants a group's name all the same; nothing joins or commits under it.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer(&format!("{}-reader", self.client_id));
        config.set("enable.partition.eof", "true");
        self.finish(config)
    }

    /// For asking what a group has committed, without joining it.
    pub(super) fn group_observer(&self, group: &str) -> ClientConfig {
        self.finish(self.consumer(group))
    }

    pub(super) fn group_member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config
            // Eager: the cooperative protocol with commits by hand has a long record of defects.
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (self.session_timeout_ms / 4).clamp(1, 3_000).to_string())
            .set("max.poll.interval.ms", self.max_poll_interval_ms.max(self.session_timeout_ms).to_string());
        if let Some(id) = &self.group_instance_id {
            config.set("group.instance.id", id);
        }
        self.finish(config)
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where the log does not have what was asked for, the user must hear of it.
            .set("auto.offset.reset", "error")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "4096")
            // The default of a second starves a consumer with a small queue.
            .set("fetch.queue.backoff.ms", "5")
            // A partition that starts or resumes waits for the fetch that is under way.
            .set("fetch.wait.max.ms", "100");
        config
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Warning)
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("topic.metadata.refresh.interval.ms", self.metadata_refresh_ms.to_string())
            .set("socket.timeout.ms", self.request_timeout_ms.max(10_000).to_string())
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            .set("log.connection.close", "false");
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The further options may hold secrets: only their names are shown.
        let extra: Vec<&str> = self.extra.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("group_instance_id", &self.group_instance_id)
            .field("extra", &extra)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_options_win_and_stay_secret() {
        let mut config = KafkaConfig::new("broker:9092");
        config.extra = vec![("linger.ms".into(), "50".into()), ("sasl.password".into(), "hunter2".into())];
        assert_eq!(config.producer().get("linger.ms"), Some("50"));
        assert_eq!(config.group_member("group").get("sasl.password"), Some("hunter2"));
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
