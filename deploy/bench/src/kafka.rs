//! The separate services on Apache Kafka and DynamoDB Local: from the post to counted with `balanced` flushes.
//!
//! Both engines share the machine's cores with the services and hold everything in memory, so this says what the
//! services add, not what AWS does.

use crate::Options;
use crate::latency::{Probe, Targets, Urls, table};
use crate::parts::free_address;
use crate::process::{Place, Server};
use anyhow::ensure;
use engines::dynamodb::DynamoDbLocal;
use engines::kafka::Kafka;
use std::path::PathBuf;
use std::time::Duration;

/// Events per second beside the measured ones; more is more than DynamoDB Local takes on two cores.
const BACKGROUND: u64 = 100;

pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    ensure!(engines::java_or_skip(), "SKIP_REAL_ENGINES=1 leaves nothing to measure on");
    let (kafka, dynamodb) = tokio::task::spawn_blocking(|| anyhow::Ok((Kafka::start()?, DynamoDbLocal::start()?))).await??;
    let services = Services::start(place, &kafka, &dynamodb).await?;
    let urls = Urls { gateway: services.gateway.url(), query: services.query.url() };
    let targets = Targets { median: Duration::from_secs(1), p99: Duration::from_millis(2_500) };
    let mut table = table("Kafka and DynamoDB Local, FLUSH_CADENCE=balanced: from the post to counted");
    for background in [0, BACKGROUND] {
        let probe = Probe { urls, posts: options.posts, background, agents: options.agents };
        probe.run().await?.row(&mut table, background, targets);
    }
    for service in [services.gateway, services.query, services.aggregator] {
        service.stop()?;
    }
    table.print()
}

#[derive(Debug)]
struct Services {
    gateway: Server,
    query: Server,
    aggregator: Server,
}

impl Services {
    async fn start(place: &Place, kafka: &Kafka, dynamodb: &DynamoDbLocal) -> anyhow::Result<Self> {
        let environment = [
            ("KAFKA_BROKERS", kafka.bootstrap()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("ADMIN_LISTEN", "127.0.0.1:0".into()),
            ("FLUSH_CADENCE", "balanced".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let log = |name: &str| -> PathBuf { place.directory().join(format!("{name}.log")) };
        let aggregator = Server::start("aggregator", &["--create-tables".into()], &environment, &log("aggregator"))?;
        let listening = async |name: &str| {
            // The services say where they listen in their logs only, so they are told.
            let address = free_address()?;
            let arguments = ["--listen".to_owned(), address.to_string()];
            let mut server = Server::start(name, &arguments, &environment, &log(name))?;
            server.await_listening(address).await?;
            anyhow::Ok(server)
        };
        let (gateway, query) = (listening("ingest-gateway").await?, listening("query-api").await?);
        Ok(Self { gateway, query, aggregator })
    }
}
