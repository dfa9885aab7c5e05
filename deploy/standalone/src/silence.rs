//! Why a server gave no answer, in a sentence for a person, and whether trying again can ever help.

use anyhow::Context as _;
use reqwest::{Client, Url};
use std::error::Error;
use std::io::{self, ErrorKind};

/// A request without an answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// The server may come back.
    Passing(String),
    /// It will never be otherwise.
    ForGood(String),
}

impl Silence {
    /// What became of a request to `url`.
    pub(crate) async fn of(client: &Client, url: &str, error: &reqwest::Error) -> Self {
        let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(innermost_kind);
        let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
        match kind {
            Some(ErrorKind::ConnectionRefused) => {
                Self::Passing(format!("nothing listens at {url} (is `agent-tally serve` running there?)"))
            }
            // What the other side says in the handshake is no TLS, or its certificate is not to be trusted.
            Some(ErrorKind::InvalidData) if error.is_connect() && url.starts_with("https:") => {
                let plain = url.replacen("https:", "http:", 1);
                if client.get(format!("{plain}/health")).send().await.is_ok() {
                    return Self::ForGood(format!("{url} speaks no TLS; use {plain}"));
                }
                Self::ForGood(format!("no secure connection to {url}: {cause}"))
            }
            _ if error.is_timeout() => Self::Passing(format!("{url} does not answer")),
            _ if error.is_connect() => Self::Passing(format!("cannot reach {url}: {cause}")),
            _ => Self::Passing(format!("{url} gave no answer: {cause}")),
        }
    }
}

/// Refuses a host that nobody knows.
///
/// # Errors
/// Where it is none, or its address cannot be found out.
pub(crate) async fn find_host(url: &Url) -> anyhow::Result<()> {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    // The brackets of an IPv6 address are the URL's.
    let address = host.trim_matches(['[', ']']);
    tokio::net::lookup_host((address, port)).await.map(drop).with_context(|| format!("cannot find the host {host}"))
}

/// Connectors wrap one I/O error into another.
fn innermost_kind(error: &io::Error) -> ErrorKind {
    error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()).map_or(error.kind(), innermost_kind)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |cause: &&(dyn Error + 'static)| (*cause).source())
}
