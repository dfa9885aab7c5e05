//! What a client gets when the log cannot take its events, and that nothing is promised that is not kept.

use crate::server::{DEADLINE, Server, TOPIC, answer};
use event_log::{Acknowledgement, AppendError, Bounds, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record, TopicSpec};
use futures::future::BoxFuture;
use ingest_gateway::GatewayConfig;
use schemas::AgentEvent;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

const EVENT: &str = r#"{"agent_id":"a","timestamp":"2026-01-07T10:30:00.123Z","message_type":"user_message","content":"hi"}"#;

/// How a log fails.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Takes the records and never says so.
    Silent,
    /// Says so only as far as there are permits.
    Held(Arc<Semaphore>),
    /// Takes that many records, then has a full buffer.
    FullAfter(usize),
    /// Has no room.
    NoRoom,
    /// Takes the records and then says that it failed, from the given one on.
    LostFrom(usize),
    /// Does not answer at all.
    Down,
}

/// A real log with a fault.
#[derive(Debug)]
struct FaultyLog {
    inner: Arc<dyn Log>,
    fault: Fault,
    appended: AtomicUsize,
}

pub(crate) fn faulty(fault: Fault) -> impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log> {
    |inner| Arc::new(FaultyLog { inner, fault, appended: AtomicUsize::new(0) })
}

impl Log for FaultyLog {
    fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        let turn = self.appended.fetch_add(1, Ordering::SeqCst);
        match &self.fault {
            Fault::Silent => {
                drop(self.inner.append(topic, record)?);
                Ok(Acknowledgement::new(std::future::pending()))
            }
            Fault::Held(permits) => {
                let (acknowledgement, permits) = (self.inner.append(topic, record)?, Arc::clone(permits));
                Ok(Acknowledgement::new(async move {
                    permits.acquire().await.map_err(|e| AppendError::NotAcknowledged(e.to_string()))?.forget();
                    acknowledgement.await
                }))
            }
            Fault::FullAfter(records) if turn >= *records => Err(AppendError::BufferFull),
            Fault::NoRoom => Err(AppendError::NoRoom),
            Fault::LostFrom(first) if turn >= *first => {
                Ok(Acknowledgement::new(async { Err(AppendError::NotAcknowledged("secret-broker:9092 timed out".into())) }))
            }
            Fault::Down => Ok(Acknowledgement::new(async { Err(AppendError::NotAcknowledged("down".into())) })),
            Fault::FullAfter(_) | Fault::LostFrom(_) => self.inner.append(topic, record),
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        match self.fault {
            Fault::Down => Box::pin(async { Err(LogError::Unavailable("no broker".into())) }),
            _ => self.inner.check(),
        }
    }

    fn id(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.inner.id()
    }

    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>> {
        self.inner.create_topic(spec)
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>> {
        self.inner.partitions(topic)
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>> {
        self.inner.bounds(topic, partition)
    }

    fn committed<'a>(&'a self, group: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>> {
        self.inner.committed(group, topic)
    }

    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>> {
        self.inner.record_at(topic, partition, offset)
    }

    fn join(self: Arc<Self>, group: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError> {
        Arc::clone(&self.inner).join(group, topic)
    }

    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>> {
        Arc::clone(&self.inner).read(topic, from)
    }
}

fn impatient() -> GatewayConfig {
    GatewayConfig { publish_timeout_ms: 200, ..GatewayConfig::default() }
}

/// Posts and expects a 503 that a client can act on: the ids given.
async fn refused_with_ids(server: &Server, path: &str, body: &str) -> Vec<String> {
    let response = tokio::time::timeout(DEADLINE, server.post(path).body(body.to_owned()).send()).await.expect("bounded").unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert!(!problem.to_string().contains("secret-broker"), "nothing of the inside is told: {problem}");
    problem["event_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_silent_log_is_a_503_in_bounded_time() {
    let server = Server::start_with(impatient(), faulty(Fault::Silent)).await;
    assert_eq!(refused_with_ids(&server, "/api/v1/agents/a/events", EVENT).await.len(), 1);
    assert_eq!(refused_with_ids(&server, "/api/v1/events", &format!("[{EVENT},{EVENT}]")).await.len(), 2);
}

#[tokio::test]
async fn every_kind_of_refusal_is_a_503_with_ids() {
    for fault in [Fault::FullAfter(0), Fault::FullAfter(1), Fault::NoRoom, Fault::LostFrom(0), Fault::LostFrom(1), Fault::Down] {
        let server = Server::start_with(impatient(), faulty(fault.clone())).await;
        let ids = refused_with_ids(&server, "/api/v1/events", &format!("[{EVENT},{EVENT},{EVENT}]")).await;
        assert_eq!(ids.len(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_retry_with_the_ids_given_is_the_same_event() {
    let identity = |e: &AgentEvent| (e.agent_id.clone(), e.timestamp, e.event_id.clone(), e.content_hash);
    let server = Server::start_with(impatient(), faulty(Fault::LostFrom(2))).await;
    // Without an id; with a coarse time; without a time: in no case could the content alone tell.
    let bodies = [
        EVENT.to_owned(),
        r#"{"agent_id":"a","timestamp":"2026-01-07T10:30:00Z","message_type":"error"}"#.to_owned(),
        r#"{"agent_id":"a","message_type":"feedback","user_feedback":5}"#.to_owned(),
    ];
    let ids = refused_with_ids(&server, "/api/v1/events", &format!("[{}]", bodies.join(","))).await;
    let first: Vec<_> = server.events().await.iter().map(identity).collect();
    assert_eq!(first.len(), 2, "some of it is in the log");

    let healthy = Server::start().await;
    let again: Vec<_> = bodies.iter().zip(&ids).map(|(body, id)| body.replacen('{', &format!("{{\"event_id\":\"{id}\","), 1)).collect();
    assert_eq!(healthy.post_batch(&format!("[{}]", again.join(","))).await.0, 202);
    let second: Vec<_> = healthy.events().await.iter().map(identity).collect();
    assert_eq!(second[..2], first);
    assert_eq!(second[2].2, ids[2]);
}

#[tokio::test]
async fn lenient_ids_stay_at_their_index() {
    let server = Server::start_with(impatient(), faulty(Fault::Down)).await;
    let request = server.post("/api/v1/events").header("prefer", "handling=lenient").body(format!("[{{}},{EVENT}]"));
    let (status, problem) = answer(request).await;
    assert_eq!((status, &problem["event_ids"][0]), (503, &json!("")));
    assert!(problem["event_ids"][1].as_str().unwrap().starts_with("d1."));
}

#[tokio::test]
async fn no_success_is_told_before_the_log_acknowledged() {
    let permits = Arc::new(Semaphore::new(1));
    let server = Server::start_with(GatewayConfig::default(), faulty(Fault::Held(Arc::clone(&permits)))).await;
    let request = tokio::spawn(answer(server.post("/api/v1/events").body(format!("[{EVENT},{EVENT}]"))));
    let one_acknowledged = async {
        while permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, one_acknowledged).await.expect("the first acknowledgement is taken");
    assert!(!request.is_finished(), "one of two is not enough");
    permits.add_permits(1);
    assert_eq!(request.await.unwrap().0, 202);
}

#[tokio::test]
async fn a_stopping_gateway_answers_what_it_accepted() {
    let permits = Arc::new(Semaphore::new(0));
    let server = Server::start_with(GatewayConfig::default(), faulty(Fault::Held(Arc::clone(&permits)))).await;
    let request = tokio::spawn(answer(server.post("/api/v1/agents/a/events").body(EVENT)));
    let published = async {
        while server.records().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, published).await.expect("the event reaches the log");
    server.shutdown.cancel();
    let is_closed = async {
        while tokio::net::TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, is_closed).await.expect("no new connections");
    permits.add_permits(1);
    assert_eq!(request.await.unwrap().0, 202);
}

#[tokio::test]
async fn more_than_the_budget_is_refused_while_the_log_is_slow() {
    let permits = Arc::new(Semaphore::new(0));
    let config = GatewayConfig { max_in_flight_bytes: 32 * 1024 * 1024, ..GatewayConfig::default() };
    let server = Server::start_with(config, faulty(Fault::Held(Arc::clone(&permits)))).await;
    let event = EVENT.replace("hi", &"x".repeat(200_000));
    let batch = format!("[{}]", vec![event; 20].join(","));
    let post = || answer(server.post("/api/v1/events").body(batch.clone()));
    // 4 MB take 16 MB of the budget while they wait: two fit. They have all of it once their events are in the log; two that
    // are still being read could refuse each other.
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(post())).collect();
    let are_appended = async {
        loop {
            let bounds = futures::future::try_join_all((0..4).map(|partition| server.log.bounds(TOPIC, partition))).await.unwrap();
            if bounds.iter().map(|b| b.end).sum::<u64>() == 40 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, are_appended).await.expect("two fit");
    for _ in 0..4 {
        let (status, problem) = post().await;
        assert_eq!(status, 503, "{problem}");
    }
    permits.add_permits(1_000);
    for request in waiting {
        assert_eq!(request.await.unwrap().0, 202);
    }
    assert_eq!(server.post_event(EVENT).await.0, 202, "the budget came back");
}

#[tokio::test]
async fn readiness_tells_that_the_log_is_down() {
    let server = Server::start_with(impatient(), faulty(Fault::Down)).await;
    let not_ready = async {
        loop {
            let (status, body) = answer(server.client.get(server.url("/health/ready"))).await;
            if status == 503 {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    let body = tokio::time::timeout(DEADLINE, not_ready).await.expect("not ready");
    assert!(body.to_string().contains("log"), "{body}");
    assert_eq!(answer(server.client.get(server.url("/health"))).await.0, 200, "alive all the same");
}
