//! A running server as the commands around it ask it, over HTTP. Whatever goes wrong is told in a sentence for a person.

use crate::silence::{Silence, find_host};
use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url};
use schemas::Problem;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// How long a connection may take to come about, and a request to be answered: redriving many takes half a minute.
const ANSWER_WITHIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(90));

/// Where a server is and how to get in.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Where the server is: `agent-tally serve`, or the proxy before the separate services.
    #[arg(long, env = "AGENT_TALLY_URL", default_value = "http://127.0.0.1:8001")]
    pub(crate) url: String,
    /// API key, where keys are required.
    #[arg(long, env = "AGENT_TALLY_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client,
    base: Url,
}

impl Server {
    /// The server that is meant.
    ///
    /// # Errors
    /// Where the URL is none, there is no such host, or the key is no text for a header.
    pub(crate) async fn of(args: &ServerArgs) -> anyhow::Result<Self> {
        let base = Url::parse(&args.url).with_context(|| format!("{:?} is no URL", args.url))?;
        ensure!(matches!(base.scheme(), "http" | "https"), "{:?} is neither http nor https", args.url);
        find_host(&base).await?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &args.key {
            headers.insert(AUTHORIZATION, bearer(key)?);
        }
        let (connected, answered) = ANSWER_WITHIN;
        let client = Client::builder().default_headers(headers).connect_timeout(connected).timeout(answered).no_proxy().build();
        Ok(Self { client: client.context("cannot make an HTTP client")?, base })
    }

    /// The JSON that a path answers; `segments` and `query` may hold anything.
    ///
    /// # Errors
    /// Where it does not answer, or with a refusal.
    pub(crate) async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.send(self.client.get(self.at(segments, query))).await
    }

    /// The JSON that a path answers to `body`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn post(&self, segments: &[&str], query: &[(&str, String)], body: &impl Serialize) -> anyhow::Result<Value> {
        self.send(self.client.post(self.at(segments, query)).json(body)).await
    }

    fn at(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let url = self.base.as_str().trim_end_matches('/');
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => match Silence::of(&self.client, url, &error).await {
                Silence::Passing(reason) | Silence::ForGood(reason) => bail!(reason),
            },
        };
        if !response.status().is_success() {
            bail!("{url} refused: {}", describe(response).await);
        }
        response.json().await.with_context(|| format!("the answer of {url} is none of Agent Tally's"))
    }
}

/// A key as a header's value.
///
/// # Errors
/// Where it is no text for one.
pub(crate) fn bearer(key: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).context("the key is no text for a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a refusing answer says, in a line.
pub(crate) async fn describe(response: Response) -> String {
    let status = response.status();
    let Ok(problem) = response.json::<Problem>().await else { return status.to_string() };
    let first = problem.errors.first().map(|e| format!(" ({}: {})", e.field, e.detail)).unwrap_or_default();
    format!("{status}: {}{first}", problem.detail)
}
