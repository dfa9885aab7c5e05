//! Starts a gateway on port 0 and looks into its log.

use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log, LogRecord, TopicSpec};
use ingest_gateway::{Gateway, GatewayConfig, GatewayParts};
use schemas::AgentEvent;
use schemas::codec::{WireForm, decode_event};
use serde_json::Value;
use service_kit::admin::{self, Readiness};
use service_kit::auth::Authenticator;
use service_kit::http::{self, HttpConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) const TOPIC: &str = "agent-events";
pub(crate) const TOPIC_DEAD: &str = "agent-events-dead";
/// Nothing in these tests takes that long unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

/// A local log with the topics of events and dead letters, in a directory of its own.
async fn open_log() -> (Arc<dyn Log>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(LocalLog::open(directory.path().join("log.sqlite3"), LocalOptions::default()).unwrap());
    for (name, partitions) in [(TOPIC, 4), (TOPIC_DEAD, 1)] {
        let topic = TopicSpec { name: name.into(), partitions, retention: None, retention_bytes: None, is_compacted: false };
        log.create_topic(&topic).await.unwrap();
    }
    (log, directory)
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(GatewayConfig::default(), |log| log).await
    }

    /// Starts with those settings, on the log that `wrap` makes of a real one.
    pub(crate) async fn start_with(config: GatewayConfig, wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>) -> Self {
        Self::launch(config, wrap, WireForm::SingleObject, Authenticator::open()).await
    }

    /// Starts with records framed like that.
    pub(crate) async fn start_framed(form: WireForm) -> Self {
        Self::launch(GatewayConfig::default(), |log| log, form, Authenticator::open()).await
    }

    /// Starts with keys.
    pub(crate) async fn start_guarded(auth: Authenticator) -> Self {
        Self::launch(GatewayConfig::default(), |log| log, WireForm::SingleObject, auth).await
    }

    async fn launch(config: GatewayConfig, wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>, form: WireForm, auth: Authenticator) -> Self {
        let (log, directory) = open_log().await;
        let (shutdown, readiness) = (CancellationToken::new(), Readiness::new());
        let parts = GatewayParts { log: wrap(Arc::clone(&log)), auth, readiness: readiness.clone() };
        let gateway = Gateway::with_wire_form(config, parts, form).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = http::layered(gateway.router().merge(admin::router(readiness)), "ingest-gateway", &HttpConfig::default());
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move { gateway.watch(shutdown).await }
        });
        tokio::spawn(http::serve(listener, router, shutdown.clone()));
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        Self { address, client, log, shutdown, _directory: directory }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json")
    }

    /// Posts one event of agent `a`.
    pub(crate) async fn post_event(&self, body: &str) -> (u16, Value) {
        answer(self.post("/api/v1/agents/a/events").body(body.to_owned())).await
    }

    /// Posts a batch.
    pub(crate) async fn post_batch(&self, body: &str) -> (u16, Value) {
        answer(self.post("/api/v1/events").body(body.to_owned())).await
    }

    /// Everything in the log, partition by partition.
    pub(crate) async fn records(&self) -> Vec<LogRecord> {
        let mut records = Vec::new();
        for partition in 0..self.log.partitions(TOPIC).await.unwrap() {
            let bounds = self.log.bounds(TOPIC, partition).await.unwrap();
            for offset in bounds.start..bounds.end {
                records.push(self.log.record_at(TOPIC, partition, offset).await.unwrap().unwrap());
            }
        }
        records
    }

    pub(crate) async fn events(&self) -> Vec<AgentEvent> {
        self.records().await.iter().map(|record| decode_event(&record.value).unwrap()).collect()
    }

    /// Sends bytes as they are and reads the answer; the connection is closed behind it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything.
        let _sent = stream.write_all(bytes).await;
        read_answer(&mut stream).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Reads one answer with a `content-length`.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
                let length =
                    head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
                if status >= 200 && body.len() >= length.unwrap_or(0) {
                    return (status, body.to_owned());
                }
            }
            let read = stream.read_buf(&mut bytes).await.unwrap();
            assert!(read > 0, "closed without an answer: {:?}", String::from_utf8_lossy(&bytes));
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("hangs")
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{status}: {e}: {bytes:?}")))
}
