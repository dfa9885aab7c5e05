//! The two ways to run everything, behind one face: `agent-tally serve`, and the services on Kafka and DynamoDB Local.

use crate::PATIENCE;
use engines::dynamodb::DynamoDbLocal;
use engines::kafka::Kafka;
use event_log::kafka::{KafkaConfig, KafkaLog};
use event_log::local::{LocalLog, LocalOptions};
use event_log::{AppendError, Log, Record};
use rdkafka::admin::{AdminClient, AdminOptions};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use torture::process::Process;

/// Running services and where they are.
pub(crate) struct Deployment {
    /// Base URL to post to.
    pub(crate) gateway: String,
    /// Base URL to read from.
    pub(crate) query: String,
    parts: Parts,
    directory: TempDir,
}

enum Parts {
    /// One process, or none while it is stopped.
    Standalone(Option<Process>),
    Services(Box<Services>),
}

struct Services {
    kafka: Kafka,
    dynamodb: DynamoDbLocal,
    gateway: Option<Process>,
    query: Option<Process>,
    aggregator: Option<Process>,
    log_epoch: u32,
}

impl Deployment {
    /// Everything in one process, on an empty data directory.
    pub(crate) fn standalone() -> Self {
        Self::standalone_on(tempfile::tempdir().unwrap())
    }

    /// Three processes on a broker and a database of their own.
    pub(crate) fn on_real_engines() -> Self {
        let mut deployment = Self::real_engines_alone();
        deployment.start();
        deployment
    }

    /// A broker and a database, and services that are yet to be started.
    pub(crate) fn real_engines_alone() -> Self {
        let (kafka, dynamodb) = (Kafka::start().unwrap(), DynamoDbLocal::start().unwrap());
        let services = Services { kafka, dynamodb, gateway: None, query: None, aggregator: None, log_epoch: 0 };
        Self::of(Parts::Services(Box::new(services)), tempfile::tempdir().unwrap())
    }

    /// One process on a data directory that may hold something: `data` in `directory`.
    pub(crate) fn standalone_on(directory: TempDir) -> Self {
        let mut deployment = Self::of(Parts::Standalone(None), directory);
        deployment.start();
        deployment
    }

    fn of(parts: Parts, directory: TempDir) -> Self {
        Self { gateway: String::new(), query: String::new(), parts, directory }
    }

    /// What the services' environment says.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        match &self.parts {
            Parts::Standalone(_) => Vec::new(),
            Parts::Services(services) => services.environment(),
        }
    }

    /// Deletes the events' topic on the brokers, with every service stopped. Standalone has none.
    pub(crate) async fn delete_topic(&mut self) {
        self.stop();
        if let Parts::Services(services) = &self.parts {
            let mut config = rdkafka::ClientConfig::new();
            config.set("bootstrap.servers", services.kafka.bootstrap());
            let admin: AdminClient<_> = config.create().unwrap();
            let deleted = admin.delete_topics(&["agent-events"], &AdminOptions::new()).await.unwrap();
            assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        }
    }

    /// Says `LOG_EPOCH` to the services that are started from now on.
    pub(crate) fn raise_epoch(&mut self, epoch: u32) {
        if let Parts::Services(services) = &mut self.parts {
            services.log_epoch = epoch;
        }
    }

    /// Starts what is stopped.
    pub(crate) fn start(&mut self) {
        let directory = self.directory.path();
        match &mut self.parts {
            Parts::Standalone(process) => {
                if process.is_none() {
                    let data_dir = directory.join("data");
                    let arguments = ["serve", "--listen", "127.0.0.1:0", "--partitions", "3", "--data-dir", data_dir.to_str().unwrap()];
                    let (started, url) = serve("agent-tally", &arguments, &[], directory);
                    *process = Some(started);
                    (self.gateway, self.query) = (url.clone(), url);
                }
            }
            Parts::Services(services) => {
                let environment = services.environment();
                if services.aggregator.is_none() {
                    let log = directory.join("aggregator.log");
                    services.aggregator = Some(Process::start("aggregator", &["--create-tables".into()], &environment, &log).unwrap());
                }
                let listen = ["--listen", "127.0.0.1:0"];
                if services.gateway.is_none() {
                    let (started, url) = serve("ingest-gateway", &listen, &environment, directory);
                    (services.gateway, self.gateway) = (Some(started), url);
                }
                if services.query.is_none() {
                    let (started, url) = serve("query-api", &listen, &environment, directory);
                    (services.query, self.query) = (Some(started), url);
                }
            }
        }
    }

    /// Appends records to the log past the gateway, and waits until they are durable; a value that is too large is shortened
    /// until the log just takes it. Their positions and the values' bytes. The local log is one process's, so standalone is
    /// stopped for it.
    pub(crate) async fn append(&mut self, records: Vec<(&str, Record)>) -> Vec<(String, usize)> {
        self.stop_standalone();
        let log: Arc<dyn Log> = match &self.parts {
            Parts::Standalone(_) => {
                Arc::new(LocalLog::open(self.directory.path().join("data/log.sqlite3"), LocalOptions::default()).unwrap())
            }
            Parts::Services(services) => Arc::new(KafkaLog::new(KafkaConfig::new(services.kafka.bootstrap())).unwrap()),
        };
        let mut appended = Vec::new();
        for (topic, mut record) in records {
            let (partition, offset) = loop {
                let outcome = match log.append(topic, record.clone()) {
                    Ok(acknowledgement) => acknowledgement.await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(place) => break place,
                    Err(AppendError::TooLarge(_)) => record.value = record.value.slice(..record.value.len() - 64),
                    Err(error) => panic!("{error}"),
                }
            };
            appended.push((format!("0-{partition}-{offset}"), record.value.len()));
        }
        drop(log);
        self.start();
        appended
    }

    fn stop_standalone(&mut self) {
        if let Parts::Standalone(process) = &mut self.parts {
            process.take().into_iter().for_each(|process| process.stop(PATIENCE).unwrap());
        }
    }

    /// Stops in order whatever takes events in.
    pub(crate) fn stop_gateway(&mut self) {
        let gateway = match &mut self.parts {
            Parts::Standalone(process) => process.take(),
            Parts::Services(services) => services.gateway.take(),
        };
        gateway.into_iter().for_each(|process| process.stop(PATIENCE).unwrap());
    }

    /// Stops every service in order and starts all of them anew on what they left behind.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn stop(&mut self) {
        self.stop_gateway();
        if let Parts::Services(services) = &mut self.parts {
            let rest = [services.query.take(), services.aggregator.take()];
            rest.into_iter().flatten().for_each(|process| process.stop(PATIENCE).unwrap());
        }
    }
}

impl Services {
    fn environment(&self) -> Vec<(String, String)> {
        let (brokers, endpoint, epoch) = (self.kafka.bootstrap(), self.dynamodb.endpoint(), self.log_epoch.to_string());
        let all = [
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_PARTITIONS", "3"),
            ("LOG_EPOCH", &epoch),
            ("AWS_ENDPOINT_URL_DYNAMODB", &endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
        ];
        all.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
    }
}

/// Starts a service with a port of its own; returns its URL.
pub(crate) fn serve(binary: &str, arguments: &[&str], environment: &[(String, String)], directory: &Path) -> (Process, String) {
    let arguments: Vec<String> = arguments.iter().copied().map(String::from).collect();
    // A log of its own, since the address is found there.
    let log_file = (1..).map(|n| directory.join(format!("{binary}-{n}.log"))).find(|path| !path.exists()).unwrap();
    let mut process = Process::start(binary, &arguments, environment, &log_file).unwrap();
    if binary != "agent-tally" {
        let url = process.await_address(&log_file).unwrap();
        return (process, url);
    }
    let line = process.await_line("http://").unwrap();
    let url = line.split_whitespace().find(|w| w.starts_with("http://")).unwrap().trim_end_matches('/').to_owned();
    (process, url)
}
