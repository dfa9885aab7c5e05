//! librdkafka's mock cluster with our topics, and events in them for who consumes.

use aggregator::config::AggregatorConfig;
use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use schemas::codec::{WireForm, encode_event};
use schemas::{AgentEvent, MessageType};
use std::time::Duration;

/// Characters of an event's content: with the rest an event of about 300 bytes in Avro, 490 in JSON.
const CONTENT: usize = 150;

pub(crate) async fn run(partitions: i32, events: usize, agents: usize) -> anyhow::Result<()> {
    let cluster = MockCluster::new(1)?;
    let config = AggregatorConfig::default();
    cluster.create_topic(&config.topic_events, partitions, 1)?;
    cluster.create_topic(&config.topic_metrics, 1, 1)?;
    cluster.create_topic(&config.topic_dead, 1, 1)?;
    let bootstrap = cluster.bootstrap_servers();
    let filling = (bootstrap.clone(), config.topic_events.clone());
    tokio::task::spawn_blocking(move || fill(&filling.0, &filling.1, events, agents)).await??;
    crate::announce(&bootstrap)?;
    std::future::pending().await
}

fn fill(bootstrap: &str, topic: &str, events: usize, agents: usize) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("compression.codec", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
    let now = schemas::time::now_micros();
    for n in 0..events {
        let event = event(n, agents, now);
        let value = encode_event(&event, WireForm::SingleObject);
        let mut record = BaseRecord::to(topic).key(event.agent_id.as_bytes()).payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            anyhow::ensure!(error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull), error);
            std::thread::sleep(Duration::from_millis(5));
            record = refused;
        }
    }
    producer.flush(Duration::from_secs(120)).context("the mock cluster does not take the events")
}

/// The agents take turns; each has some users.
fn event(n: usize, agents: usize, now: i64) -> AgentEvent {
    let mut event = AgentEvent::new(format!("agent-{:06}", n % agents), now + n as i64, format!("e-{n}"), MessageType::AgentResponse);
    event.content_hash = (n as u128).to_be_bytes();
    event.content = Some("a".repeat(CONTENT));
    event.response_time_ms = Some(840.0 + (n % 100) as f64);
    event.token_count = Some(312);
    event.input_tokens = Some(200);
    event.output_tokens = Some(112);
    event.model_used = Some("gpt-4o".into());
    event.user_id = Some(format!("user-{}", n / agents % 50));
    event.cost_usd = Some(0.0021);
    event
}
