//! The public API, asked as a client does.

use crate::deployment::Deployment;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A client of one deployment.
pub(crate) struct Api {
    pub(crate) http: reqwest::Client,
    pub(crate) gateway: String,
    pub(crate) query: String,
}

impl Api {
    pub(crate) fn new(deployment: &Deployment) -> Self {
        Self { query: deployment.query.clone(), ..Self::at(&deployment.gateway) }
    }

    /// Where one process answers everything.
    pub(crate) fn at(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build().unwrap();
        Self { http, gateway: url.to_owned(), query: url.to_owned() }
    }

    /// Status and JSON of an answer.
    pub(crate) async fn ask(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}{path}", self.query)).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The JSON of a 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Asks until `is_there` holds; for what follows the counted numbers by a moment.
    pub(crate) async fn get_until(&self, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let body = self.get(path).await;
            if is_there(&body) || Instant::now() > deadline {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Posts and returns the JSON of a 202.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.gateway)).json(body).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, 202, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until a receipt is counted.
    pub(crate) async fn await_counted(&self, answer: &Value) {
        let receipt = answer["receipt"].as_str().unwrap();
        let is_counted = |body: &Value| body["counted"] == true;
        let body = self.get_until(&format!("/api/v1/receipts/{receipt}?wait_ms=5000"), is_counted).await;
        assert!(is_counted(&body), "{body}");
    }

    /// All items of a paged path, following its cursors.
    pub(crate) async fn pages(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        for _ in 0..1_000 {
            let page = self.get(&format!("{path}{cursor}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next_key"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
        panic!("{path} never ends");
    }
}
