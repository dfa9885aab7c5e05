//! The two ways to run everything, behind one face: `agent-tally serve`, and the services on Kafka and DynamoDB Local.

use engines::dynamodb::DynamoDbLocal;
use engines::kafka::Kafka;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use torture::process::Process;

const PATIENCE: Duration = Duration::from_secs(30);

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
}

impl Deployment {
    /// Everything in one process, on an empty data directory.
    pub(crate) fn standalone() -> Self {
        Self::started(Parts::Standalone(None))
    }

    /// Three processes on a broker and a database of their own.
    pub(crate) fn on_real_engines() -> Self {
        let (kafka, dynamodb) = (Kafka::start().unwrap(), DynamoDbLocal::start().unwrap());
        Self::started(Parts::Services(Box::new(Services { kafka, dynamodb, gateway: None, query: None, aggregator: None })))
    }

    fn started(parts: Parts) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut deployment = Self { gateway: String::new(), query: String::new(), parts, directory };
        deployment.start();
        deployment
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
        self.stop_gateway();
        if let Parts::Services(services) = &mut self.parts {
            let rest = [services.query.take(), services.aggregator.take()];
            rest.into_iter().flatten().for_each(|process| process.stop(PATIENCE).unwrap());
        }
        self.start();
    }
}

impl Services {
    fn environment(&self) -> Vec<(String, String)> {
        let (brokers, endpoint) = (self.kafka.bootstrap(), self.dynamodb.endpoint());
        let all = [
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_PARTITIONS", "3"),
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
