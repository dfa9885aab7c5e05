//! A proxy in front of DynamoDB that loses answers, delays, throttles and fails: what engines for tests never do.

use crate::ledger::Dice;
use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong, in per mille of the requests (or statements).
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The request is applied, the connection closed without an answer.
    pub lost_answers: u64,
    /// The request never arrives.
    pub lost_requests: u64,
    /// The request is applied late: after `delay`, long after its sender has given up.
    pub late: u64,
    /// How late.
    pub delay: Duration,
    /// Answered with a throttling error.
    pub throttled: u64,
    /// Single statements of a batch are answered with a throttling error inside a 200.
    pub throttled_statements: u64,
    /// Every write whose text contains this is throttled.
    pub throttled_key: Option<String>,
    /// Answered with 500.
    pub failed: u64,
}

/// A running proxy.
#[derive(Debug)]
pub struct FaultProxy {
    address: std::net::SocketAddr,
    faults: Arc<Mutex<Faults>>,
    late: Arc<AtomicUsize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port and forwards to `upstream` (`http://host:port`).
    pub async fn start(upstream: &str, seed: u64, faults: Faults) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Mutex::new(faults));
        let late = Arc::<AtomicUsize>::default();
        let proxy = Proxy {
            late: Arc::clone(&late),
            upstream: upstream.to_owned(),
            client: reqwest::Client::builder().build().context("an HTTP client")?,
            faults: Arc::clone(&faults),
            dice: Arc::new(Mutex::new(Dice(seed))),
        };
        let accepting = tokio::spawn(async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        crate::link::refused(&error).await;
                        continue;
                    }
                };
                let proxy = proxy.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let proxy = proxy.clone();
                        async move { proxy.pass(request).await }
                    });
                    // An error is the fault that was asked for: the connection closes.
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self { address, faults, late, accepting })
    }

    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens: `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Requests that were taken and are yet to be applied.
    pub fn late(&self) -> usize {
        self.late.load(Ordering::Acquire)
    }

    /// From now on these faults.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock().expect("no panic while held") = faults;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Proxy {
    late: Arc<AtomicUsize>,
    upstream: String,
    client: reqwest::Client,
    faults: Arc<Mutex<Faults>>,
    dice: Arc<Mutex<Dice>>,
}

impl Proxy {
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let faults = self.faults.lock().expect("no panic while held").clone();
        let target = head.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
        let is_data =
            ["GetItem", "PutItem", "UpdateItem", "BatchExecuteStatement", "BatchGetItem", "Query"].iter().any(|o| target.ends_with(o));
        if !is_data {
            return self.forward(&head, body).await;
        }
        let hit = |per_mille: u64| self.dice.lock().expect("no panic while held").roll(1_000) < per_mille;
        if hit(faults.lost_requests) {
            return Err(io::Error::other("request lost"));
        }
        if hit(faults.failed) {
            return Ok(answer(500, &json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "internal"})));
        }
        if hit(faults.late) {
            let (proxy, delay) = (self.clone(), faults.delay);
            self.late.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                drop(proxy.forward(&head, body).await);
                proxy.late.fetch_sub(1, Ordering::AcqRel);
            });
            return Err(io::Error::other("request late"));
        }
        let is_write = !target.ends_with("GetItem") && !target.ends_with("Query");
        let is_hot = |text: &str| is_write && faults.throttled_key.as_ref().is_some_and(|k| text.contains(k.as_str()));
        if target.ends_with("BatchExecuteStatement") {
            return self.batch(&head, &body, |statement| is_hot(&statement.to_string()) || hit(faults.throttled_statements)).await;
        }
        if hit(faults.throttled) || is_hot(&String::from_utf8_lossy(&body)) {
            return Ok(answer(400, &json!({"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow down"})));
        }
        let forwarded = self.forward(&head, body).await?;
        if hit(faults.lost_answers) {
            return Err(io::Error::other("answer lost"));
        }
        Ok(forwarded)
    }

    /// Leaves out the throttled statements, and answers for them as DynamoDB does: inside a 200.
    async fn batch(
        &self,
        head: &hyper::http::request::Parts,
        body: &Bytes,
        is_throttled: impl Fn(&Value) -> bool,
    ) -> io::Result<Response<Full<Bytes>>> {
        let faults = self.faults.lock().expect("no panic while held").clone();
        let mut request: Value = serde_json::from_slice(body)?;
        let statements = request["Statements"].as_array().cloned().unwrap_or_default();
        let throttled: Vec<bool> = statements.iter().map(is_throttled).collect();
        let kept: Vec<Value> = statements.iter().zip(&throttled).filter(|(_, t)| !**t).map(|(s, _)| s.clone()).collect();
        let mut responses = Vec::new();
        let mut capacity = Value::Null;
        if !kept.is_empty() {
            request["Statements"] = kept.into();
            let forwarded = self.forward(head, serde_json::to_vec(&request)?.into()).await?;
            if forwarded.status() != 200 {
                return Ok(forwarded);
            }
            let text = forwarded.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            let mut body: Value = serde_json::from_slice(&text)?;
            capacity = body["ConsumedCapacity"].take();
            responses = body["Responses"].as_array().cloned().unwrap_or_default();
        }
        if self.dice.lock().expect("no panic while held").roll(1_000) < faults.lost_answers {
            return Err(io::Error::other("answer lost"));
        }
        let mut kept = responses.into_iter();
        let merged: Vec<Value> =
            throttled
                .iter()
                .map(|t| {
                    if *t {
                        json!({"Error": {"Code": "ThrottlingError", "Message": "slow down"}})
                    } else {
                        kept.next().unwrap_or(json!({}))
                    }
                })
                .collect();
        Ok(answer(200, &json!({"Responses": merged, "ConsumedCapacity": capacity})))
    }

    async fn forward(&self, head: &hyper::http::request::Parts, body: Bytes) -> io::Result<Response<Full<Bytes>>> {
        let mut request = self.client.request(head.method.clone(), format!("{}{}", self.upstream, head.uri.path())).body(body);
        for (name, value) in &head.headers {
            if name != "host" && name != "content-length" && name != "accept-encoding" {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.map_err(io::Error::other)?;
        let mut out = Response::builder().status(response.status());
        for (name, value) in response.headers() {
            if name != "content-length" && name != "transfer-encoding" && name != "connection" {
                out = out.header(name, value);
            }
        }
        let body = response.bytes().await.map_err(io::Error::other)?;
        out.body(Full::new(body)).map_err(io::Error::other)
    }
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}
