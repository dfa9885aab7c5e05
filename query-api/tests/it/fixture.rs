//! The query API over real HTTP, on dynoxide and a local log, filled through the schemas' own items.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};
use bytes::Bytes;
use engines::dynoxide::Dynoxide;
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, Record, TopicSpec};
use query_api::{QueryApi, QueryConfig, QueryParts};
use reqwest::StatusCode;
use schemas::codec::{WireForm, encode_totals};
use schemas::event::AgentEvent;
use schemas::item::{
    AGENT_ID, CONVERSATION_ID, CONVERSATION_INDEX, DATE, EventItemOptions, FIRST_SEEN, ID, KIND, MESSAGE_TYPE_INDEX, MetricKey, Period,
    Subject, TIMESTAMP, TYPE_KEY, TableNames, USER_SET, directory_partition, event_attributes, n, s,
};
use schemas::rollup::Rollup;
use schemas::users::{UserSet, user_hash};
use schemas::{AgentTotals, MessageType};
use serde_json::Value;
use service_kit::admin::{self, Readiness};
use service_kit::auth::Authenticator;
use service_kit::http::HttpConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A running query API. Ends when dropped.
pub(crate) struct Fixture {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) store: Client,
    pub(crate) tables: TableNames,
    pub(crate) log: Arc<dyn Log>,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
    engine: Option<Dynoxide>,
}

/// How a fixture is to be.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) index_conversations: bool,
    pub(crate) has_keys: bool,
    pub(crate) config: QueryConfig,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(Options { index_conversations: true, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let engine = Dynoxide::start().expect("dynoxide starts");
        let (store, tables) = (engine.client(), TableNames::default());
        create_tables(&store, &tables, options.index_conversations).await;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log.sqlite3");
        let log: Arc<dyn Log> = Arc::new(LocalLog::open(path, LocalOptions::default()).expect("the log opens"));
        for (name, partitions, is_compacted) in [("agent-events", 2, false), ("agent-metrics", 1, true), ("agent-events-dead", 1, false)] {
            let spec = TopicSpec { name: name.into(), partitions, retention: None, retention_bytes: None, is_compacted };
            log.create_topic(&spec).await.expect("the topic is made");
        }
        let shutdown = CancellationToken::new();
        let auth = if options.has_keys {
            Authenticator::start(store.clone(), tables.clone(), shutdown.clone()).await.expect("keys can be read")
        } else {
            Authenticator::open()
        };
        let readiness = Readiness::new();
        let parts = QueryParts {
            log: Arc::clone(&log),
            store: store.clone(),
            tables: tables.clone(),
            auth,
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
        };
        // Whether this machine has built the dashboard must make no difference.
        let config = QueryConfig { serves_embedded: false, ..options.config };
        let api = QueryApi::start(config, parts).await.expect("the query API starts");
        let router = api.router().merge(admin::router(readiness));
        let router = service_kit::http::layered(router, "query-api", &HttpConfig::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(service_kit::http::serve(listener, router, shutdown.clone()));
        Self { base, http: reqwest::Client::new(), store, tables, log, shutdown, _directory: directory, engine: Some(engine) }
    }

    /// The status and the JSON body.
    pub(crate) async fn ask(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer");
        let status = answer.status();
        (status, answer.json().await.expect("JSON"))
    }

    /// The JSON body of a 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Asserts a problem of that status.
    pub(crate) async fn refused(&self, path: &str, status: u16) -> Value {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["status"], status, "{path}");
        assert!(body["detail"].as_str().is_some_and(|d| !d.is_empty()) && body["request_id"].is_string(), "{path}: {body}");
        body
    }

    /// Asks until `is_so`, for at most ten seconds.
    pub(crate) async fn eventually(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let body = self.get(path).await;
            if is_so(&body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} stays {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes the store away.
    pub(crate) fn stop_store(&mut self) {
        self.engine = None;
    }

    /// Stores raw events.
    pub(crate) async fn put_events(&self, events: &[AgentEvent]) {
        let options = EventItemOptions { indexed_types: vec![MessageType::Error, MessageType::Feedback], ttl: None };
        for (i, event) in events.iter().enumerate() {
            let item = event_attributes(event, &event.agent_id, &format!("0:1:{i}"), &options);
            let item = item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            self.store.put_item().table_name(&self.tables.events).set_item(Some(item)).send().await.expect("the event is put");
        }
    }

    /// Stores a rollup.
    pub(crate) async fn put_rollup(&self, subject: Subject, period: Period, rollup: &Rollup) {
        let mut item = MetricKey { subject, period }.key();
        item.extend(rollup.counters().into_iter().chain(rollup.maxima()).map(|(name, value)| (name, n(value))));
        self.put_metric(item).await;
    }

    /// Stores the users of a day.
    pub(crate) async fn put_users(&self, subject: Subject, day: i32, users: &[&str]) {
        let mut set = UserSet::default();
        users.iter().for_each(|user| {
            set.insert(user_hash(user));
        });
        let mut item = MetricKey { subject, period: Period::Users(day) }.key();
        item.insert(USER_SET.into(), AttributeValue::B(Blob::new(set.to_bytes())));
        self.put_metric(item).await;
    }

    /// Notes agents in the directory.
    pub(crate) async fn register(&self, agents: &[&str]) {
        for agent in agents {
            let key = [(AGENT_ID.to_owned(), s(directory_partition(agent))), (DATE.to_owned(), s(*agent))];
            self.put_metric(key.into_iter().chain([(FIRST_SEEN.to_owned(), n(1_767_225_600_000_000_i64))]).collect()).await;
        }
    }

    async fn put_metric(&self, item: std::collections::HashMap<String, AttributeValue>) {
        self.store.put_item().table_name(&self.tables.metrics).set_item(Some(item)).send().await.expect("the item is put");
    }

    /// Announces totals in the live topic.
    pub(crate) async fn announce(&self, totals: &AgentTotals) {
        let value = Bytes::from(encode_totals(totals, WireForm::default()));
        let record = Record { key: Bytes::from(totals.key()), value, headers: Vec::new() };
        self.log.append("agent-metrics", record).expect("room").await.expect("the record is durable");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn agent(id: &str) -> Subject {
    Subject::Agent(id.into())
}

async fn create_tables(store: &Client, tables: &TableNames, index_conversations: bool) {
    let mut indexes = vec![(MESSAGE_TYPE_INDEX, TYPE_KEY)];
    if index_conversations {
        indexes.push((CONVERSATION_INDEX, CONVERSATION_ID));
    }
    create_table(store, &tables.control, (KIND, ID), &[]).await;
    create_table(store, &tables.metrics, (AGENT_ID, DATE), &[]).await;
    create_table(store, &tables.events, (AGENT_ID, TIMESTAMP), &indexes).await;
}

async fn create_table(store: &Client, name: &str, (hash, range): (&str, &str), indexes: &[(&str, &str)]) {
    let keys = |hash: &str| {
        let of = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key");
        Some(vec![of(hash, KeyType::Hash), of(range, KeyType::Range)])
    };
    let attributes = [hash, range].into_iter().chain(indexes.iter().map(|(_, attribute)| *attribute)).map(|name| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().expect("an attribute")
    });
    let indexes = indexes.iter().map(|(index, attribute)| {
        let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = GlobalSecondaryIndex::builder().index_name(*index).set_key_schema(keys(attribute)).projection(projection);
        index.build().expect("an index")
    });
    let indexes: Vec<_> = indexes.collect();
    store
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes.collect()))
        .set_key_schema(keys(hash))
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .send()
        .await
        .expect("the table is made");
}
