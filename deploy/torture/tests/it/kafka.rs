//! The separate services on a real broker and DynamoDB Local behind a proxy that loses, delays and throttles.

use engines::dynamodb::DynamoDbLocal;
use engines::kafka::Kafka;
use event_log::Log;
use event_log::kafka::{KafkaConfig, KafkaLog};
use schemas::item::TableNames;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torture::audit::{audit, audit_log};
use torture::client::{Load, Progress, await_counted};
use torture::fault_proxy::{FaultProxy, Faults};
use torture::ledger::Dice;
use torture::process::Process;

/// Engines, proxy and services of one test.
struct Deployment {
    kafka: Kafka,
    dynamodb: DynamoDbLocal,
    proxy: FaultProxy,
    directory: tempfile::TempDir,
    partitions: u32,
}

impl Deployment {
    async fn start(partitions: u32) -> Self {
        let kafka = Kafka::start().unwrap();
        let dynamodb = DynamoDbLocal::start().unwrap();
        let proxy = FaultProxy::start(&dynamodb.endpoint(), 5, Faults::default()).await.unwrap();
        Self { kafka, dynamodb, proxy, directory: tempfile::tempdir().unwrap(), partitions }
    }

    fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let endpoint = self.proxy.endpoint();
        let (brokers, partitions) = (self.kafka.bootstrap(), self.partitions.to_string());
        let mut all = vec![
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_PARTITIONS", &partitions),
            ("AWS_ENDPOINT_URL_DYNAMODB", &endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("DYNAMODB_ATTEMPT_TIMEOUT_MS", "1500"),
        ];
        all.extend(more);
        all.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    fn aggregator(&self, name: &str, more: &[(&str, &str)]) -> Process {
        Process::start("aggregator", &["--create-tables".into()], &self.environment(more), &self.log_file(name)).unwrap()
    }

    /// A service with a port of its own, and its URL.
    fn serve(&self, binary: &str) -> (Process, String) {
        let arguments = ["--listen", "127.0.0.1:0"].map(String::from);
        let mut process = Process::start(binary, &arguments, &self.environment(&[]), &self.log_file(binary)).unwrap();
        let url = process.await_address(&self.log_file(binary)).unwrap();
        (process, url)
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::new(KafkaConfig::new(self.kafka.bootstrap())).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_zombies_lost_answers_and_throttling_lose_and_double_nothing_on_kafka() {
    if !engines::java_or_skip() {
        return;
    }
    let deployment = Deployment::start(4).await;
    let mut aggregators = vec![deployment.aggregator("aggregator-0", &[])];
    let (_gateway, gateway_url) = deployment.serve("ingest-gateway");
    let (_query, query_url) = deployment.serve("query-api");
    aggregators.push(deployment.aggregator("aggregator-1", &[]));
    aggregators.push(deployment.aggregator("aggregator-2", &[]));
    let load = Load {
        gateways: vec![gateway_url],
        seed: 3,
        run: "kafka".into(),
        agents: 10,
        events: 15_000,
        batch: 25,
        concurrency: 4,
        twice_per_cent: 20,
        patience: Duration::from_secs(120),
    };
    let progress = Arc::new(Progress::default());
    let sending = tokio::spawn({
        let progress = Arc::clone(&progress);
        async move { load.send(progress).await }
    });
    let faults = Faults {
        lost_answers: 20,
        lost_requests: 10,
        late: 5,
        delay: Duration::from_secs(4),
        throttled: 20,
        throttled_statements: 20,
        failed: 5,
        throttled_key: None,
    };
    deployment.proxy.set(faults.clone());
    let mut dice = Dice(13);
    let failpoints = "after_insert=0.003,after_update=0.003,after_announce=0.003,before_commit=0.005,after_commit=0.005";
    for round in 0..25 {
        let until = progress.accepted.load(Ordering::Relaxed) + 50 + dice.roll(600);
        while progress.accepted.load(Ordering::Relaxed) < until && !sending.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let i = dice.roll(3) as usize;
        let more = if round % 3 == 0 { vec![("AGENT_TALLY_FAILPOINTS", failpoints)] } else { vec![] };
        let fresh = deployment.aggregator(&format!("aggregator-{i}"), &more);
        std::mem::replace(&mut aggregators[i], fresh).kill().unwrap();
        if round % 8 == 3 {
            // A zombie: silent past the session time-out of 6 s while others take its partitions over, then awake.
            aggregators[(i + 1) % 3].signal("STOP").unwrap();
            tokio::time::sleep(Duration::from_secs(8)).await;
            aggregators[(i + 1) % 3].signal("CONT").unwrap();
        }
        if round == 12 {
            let spec = event_log::TopicSpec {
                name: "agent-events".into(),
                partitions: 6,
                retention: None,
                retention_bytes: None,
                is_compacted: false,
            };
            deployment.log().create_topic(&spec).await.unwrap();
        }
        // One agent is throttled for a while: it holds back only itself.
        let throttled_key = (round % 5 == 2).then(|| "agent-7".to_owned());
        deployment.proxy.set(Faults { throttled_key, ..faults.clone() });
    }
    let ledger = sending.await.unwrap().unwrap();
    deployment.proxy.set(Faults::default());
    for (i, aggregator) in aggregators.iter_mut().enumerate() {
        *aggregator = deployment.aggregator(&format!("aggregator-{i}"), &[]);
    }
    let receipts = progress.receipts.lock().unwrap().clone();
    await_counted(&query_url, &receipts, Duration::from_secs(120)).await.unwrap();
    for aggregator in aggregators {
        aggregator.stop(Duration::from_secs(30)).unwrap();
    }
    let found = audit(&deployment.dynamodb.client(), &TableNames::default(), &ledger).await.unwrap();
    audit_log(&*deployment.log(), "agent-events", found, 0).await.unwrap();
}
