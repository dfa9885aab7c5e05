//! An aggregator on a real log and a real store, started and stopped by a test.

use aggregator::checkpoint::Checkpoints;
use aggregator::{AggregatorConfig, AggregatorParts, Cadence, TableOptions, create_tables};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, Record, TopicSpec};
use schemas::codec::{WireForm, encode_event};
use schemas::item::{MetricKey, Period, Subject, TableNames};
use schemas::rollup::Rollup;
use schemas::time::DAY_US;
use schemas::{AgentEvent, MessageType};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The day of which [`Pipeline::post`] posts.
const DAY: i32 = 20_000;

/// An aggregator on a local log with one partition and on a store of its own.
pub(crate) struct Pipeline {
    pub(crate) engine: engines::dynoxide::Dynoxide,
    pub(crate) local: Arc<LocalLog>,
    pub(crate) config: AggregatorConfig,
    _directory: tempfile::TempDir,
}

impl Pipeline {
    pub(crate) async fn new() -> Self {
        let (engine, directory) = (engines::dynoxide::Dynoxide::start().unwrap(), tempfile::tempdir().unwrap());
        create_tables(&engine.client(), &TableNames::default(), TableOptions::default()).await.unwrap();
        let local = Arc::new(LocalLog::open(directory.path().join("log"), LocalOptions::default()).unwrap());
        let config = AggregatorConfig { flush_cadence: Cadence::Fresh, ..AggregatorConfig::default() };
        let pipeline = Self { engine, local, config, _directory: directory };
        pipeline.create_topics().await;
        pipeline
    }

    async fn create_topics(&self) {
        let AggregatorConfig { topic_events, topic_metrics, topic_dead, .. } = &self.config;
        for (name, is_compacted) in [(topic_events, false), (topic_metrics, true), (topic_dead, false)] {
            let spec = TopicSpec { name: name.clone(), partitions: 1, retention: None, retention_bytes: None, is_compacted };
            self.local.create_topic(&spec).await.unwrap();
        }
    }

    /// Puts another, empty log in the place of the one that was.
    pub(crate) async fn begin_log_anew(&mut self, directory: &std::path::Path) {
        self.local = Arc::new(LocalLog::open(directory.join("log"), LocalOptions::default()).unwrap());
        self.create_topics().await;
    }

    pub(crate) async fn post(&self, id: u32, form: WireForm) {
        let event = AgentEvent::new("bot", i64::from(DAY) * DAY_US + i64::from(id), format!("e{id}"), MessageType::UserMessage);
        self.append("bot", encode_event(&event, form)).await;
    }

    /// Appends a record; its position.
    pub(crate) async fn append(&self, key: &str, value: Vec<u8>) -> (u32, u64) {
        let record = Record { key: key.to_owned().into(), value: value.into(), headers: vec![] };
        self.local.append(&self.config.topic_events, record).unwrap().await.unwrap()
    }

    /// Runs the aggregator on `log` until so many records are committed, then stops it in order.
    pub(crate) async fn run_until(&self, log: Arc<dyn Log>, committed: u64) {
        let counted = async {
            while self.local.committed(&self.config.group, &self.config.topic_events).await.unwrap() != [Some(committed)] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        self.run_through(log, counted).await;
    }

    /// Runs the aggregator on `log` until `enough` is over, then stops it in order.
    pub(crate) async fn run_through(&self, log: Arc<dyn Log>, enough: impl Future<Output = ()>) {
        let readiness = service_kit::admin::Readiness::new();
        let parts = AggregatorParts { log, store: self.engine.client(), tables: TableNames::default(), readiness, barrier: None };
        let shutdown = CancellationToken::new();
        let mut running = tokio::spawn(aggregator::run(self.config.clone(), parts, shutdown.clone()));
        tokio::select! {
            ended = &mut running => panic!("the aggregator ended: {ended:?}"),
            enough = tokio::time::timeout(Duration::from_secs(300), enough) => enough.expect("in time"),
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }

    pub(crate) fn checkpoints(&self) -> Checkpoints {
        Checkpoints { store: self.engine.client(), tables: TableNames::default(), topic: self.config.topic_events.clone() }
    }

    pub(crate) async fn calls(&self) -> i64 {
        let key = MetricKey { subject: Subject::Agent("bot".into()), period: Period::Day(DAY) };
        let (store, table) = (self.engine.client(), TableNames::default().metrics);
        let answer = store.get_item().table_name(table).set_key(Some(key.key())).consistent_read(true).send().await.unwrap();
        Rollup::from_item(&answer.item.unwrap()).calls
    }
}
