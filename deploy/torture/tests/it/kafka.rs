//! The separate services on a real broker and DynamoDB Local behind a proxy that loses, delays and throttles.

use crate::PATIENCE;
use engines::dynamodb::DynamoDbLocal;
use engines::kafka::Kafka;
use event_log::Log;
use event_log::kafka::{KafkaConfig, KafkaLog};
use schemas::item::TableNames;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use torture::audit::{audit, audit_log};
use torture::client::{Load, Progress, await_counted};
use torture::fault_proxy::{FaultProxy, Faults};
use torture::ledger::Dice;
use torture::process::Process;

/// Engines, proxy and services of one test.
pub(crate) struct Deployment {
    kafka: Kafka,
    pub(crate) dynamodb: DynamoDbLocal,
    pub(crate) proxy: FaultProxy,
    directory: tempfile::TempDir,
    partitions: u32,
    aggregators: AtomicU32,
}

/// A running aggregator with a log of its own.
pub(crate) struct Aggregator {
    pub(crate) process: Process,
    log_file: PathBuf,
    /// It may end by itself: it has failpoints, or was away for longer than its session lasts.
    is_fragile: bool,
}

impl Deployment {
    pub(crate) async fn start(partitions: u32) -> Self {
        let kafka = Kafka::start().unwrap();
        let dynamodb = DynamoDbLocal::start().unwrap();
        let proxy = FaultProxy::start(&dynamodb.endpoint(), 5, Faults::default()).await.unwrap();
        Self { kafka, dynamodb, proxy, directory: tempfile::tempdir().unwrap(), partitions, aggregators: AtomicU32::new(0) }
    }

    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
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

    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    pub(crate) fn aggregator(&self, failpoints: Option<&str>) -> Aggregator {
        let log_file = self.log_file(&format!("aggregator-{}", self.aggregators.fetch_add(1, Ordering::Relaxed)));
        let more: Vec<_> = failpoints.into_iter().map(|f| ("AGENT_TALLY_FAILPOINTS", f)).collect();
        let process = Process::start("aggregator", &["--create-tables".into()], &self.environment(&more), &log_file).unwrap();
        Aggregator { process, log_file, is_fragile: failpoints.is_some() }
    }

    /// A service with a port of its own, and its URL.
    pub(crate) fn serve(&self, binary: &str) -> (Process, String) {
        let arguments = ["--listen", "127.0.0.1:0"].map(String::from);
        let mut process = Process::start(binary, &arguments, &self.environment(&[]), &self.log_file(binary)).unwrap();
        let url = process.await_address(&self.log_file(binary)).unwrap();
        (process, url)
    }

    pub(crate) fn log(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::new(KafkaConfig::new(self.kafka.bootstrap())).unwrap())
    }
}

impl Aggregator {
    /// Leaves in order: finishes and commits what it began.
    pub(crate) async fn leave(mut self) {
        let ready = format!("{}/health/ready", self.process.await_admin(&self.log_file).unwrap());
        eventually(
            "a member of the group",
            async || reqwest::get(&ready).await.map(|answer| answer.status().as_u16()),
            |status| status.as_ref().is_ok_and(|status| *status == 200),
        )
        .await;
        if let Err(error) = self.process.stop(Duration::from_secs(30)) {
            let log = std::fs::read_to_string(&self.log_file).unwrap();
            let last = log.lines().rev().filter(|l| !l.starts_with(' ')).take(8).collect::<Vec<_>>();
            panic!("{error:#}; its last words, the latest first: {last:#?}");
        }
    }

    /// The lag of each partition as its metrics tell it.
    async fn lags(&mut self) -> Vec<f64> {
        let admin = self.process.await_admin(&self.log_file).unwrap();
        let metrics = reqwest::get(format!("{admin}/metrics")).await.unwrap().text().await.unwrap();
        metrics
            .lines()
            .filter(|l| l.starts_with("aggregator_lag_records{"))
            .map(|l| l.rsplit(' ').next().unwrap().parse().unwrap())
            .collect()
    }
}

/// Asks until it is so.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> T, is_so: impl Fn(&T) -> bool)
where
    T: std::fmt::Debug,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if is_so(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{what} stays {answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Rounds of the load; in each an aggregator dies or leaves, and another joins.
const ROUNDS: usize = 35;
/// In two of seven rounds it leaves in order: so 25 are killed, and 10 leave.
const LEAVES: [usize; 2] = [2, 5];

#[tokio::test(flavor = "multi_thread")]
async fn kills_leaves_zombies_lost_answers_and_throttling_lose_and_double_nothing_on_kafka() {
    let Some(_turn) = crate::real_engines().await else { return };
    let deployment = Deployment::start(4).await;
    let mut aggregators = vec![deployment.aggregator(None)];
    let (_gateway, gateway_url) = deployment.serve("ingest-gateway");
    let (_query, query_url) = deployment.serve("query-api");
    aggregators.extend([deployment.aggregator(None), deployment.aggregator(None)]);
    let load = Load {
        gateways: vec![gateway_url],
        seed: 3,
        run: "kafka".into(),
        agents: 10,
        events: 15_000,
        batch: 25,
        concurrency: 4,
        twice_per_cent: 20,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let progress = Arc::new(Progress::default());
    let plan = load.plan();
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
    let parts = plan.batches.chunks(plan.batches.len().div_ceil(ROUNDS));
    assert_eq!(parts.len(), ROUNDS);
    for (round, part) in parts.enumerate() {
        // Each round has a load of its own, and what happens happens in the midst of it.
        let before = progress.accepted.load(Ordering::Relaxed);
        let until = before + dice.roll(part.iter().map(|batch| batch.len() as u64).sum::<u64>() * 3 / 4);
        let posting = tokio::spawn({
            let (load, part, progress) = (load.clone(), part.to_vec(), Arc::clone(&progress));
            async move { load.post(part, progress).await }
        });
        while progress.accepted.load(Ordering::Relaxed) < until {
            assert!(!posting.is_finished(), "the load ended early: {:?}", posting.await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if LEAVES.contains(&(round % 7)) {
            let i = aggregators.iter().position(|a| !a.is_fragile).expect("one is always sound");
            let fresh = deployment.aggregator(None);
            std::mem::replace(&mut aggregators[i], fresh).leave().await;
        } else {
            let i = dice.roll(3) as usize;
            let others = [(i + 1) % 3, (i + 2) % 3];
            // One is always sound, so that it can leave in order.
            let has_failpoints = round % 3 == 0 && others.iter().any(|j| !aggregators[*j].is_fragile);
            let fresh = deployment.aggregator(has_failpoints.then_some(failpoints));
            std::mem::replace(&mut aggregators[i], fresh).process.kill().unwrap();
            if round % 8 == 3 {
                // A zombie: silent past the session time-out of 6 s while others take its partitions over, then awake.
                let j = others.into_iter().find(|j| aggregators[*j].is_fragile).unwrap_or(others[0]);
                aggregators[j].process.signal("STOP").unwrap();
                tokio::time::sleep(Duration::from_secs(8)).await;
                aggregators[j].process.signal("CONT").unwrap();
                aggregators[j].is_fragile = true;
            }
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
        posting.await.unwrap().unwrap();
    }
    deployment.proxy.set(Faults::default());
    for aggregator in &mut aggregators {
        *aggregator = deployment.aggregator(None);
    }
    let receipts = progress.receipts.lock().unwrap().clone();
    await_counted(&query_url, &receipts, PATIENCE).await.unwrap();
    let pipeline = || async { reqwest::get(format!("{query_url}/api/v1/pipeline")).await.unwrap().json::<Value>().await.unwrap() };
    eventually("the pipeline's lag", pipeline, |answer| answer["lag_records"] == 0 && answer["partitions"].as_array().unwrap().len() == 6)
        .await;
    for aggregator in &mut aggregators {
        eventually("an aggregator's lag", async || aggregator.lags().await, |lags| *lags == [0.0; 6]).await;
    }
    for aggregator in aggregators {
        aggregator.leave().await;
    }
    let found = audit(&deployment.dynamodb.client(), &TableNames::default(), &plan.ledger).await.unwrap();
    audit_log(&*deployment.log(), "agent-events", found, 0).await.unwrap();
}
