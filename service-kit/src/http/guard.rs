//! Who may ask from where: the Host check against rebound names, the Origin check against foreign pages, and where a
//! service may listen without keys.

use super::HttpConfig;
use crate::problem::ApiError;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN, UPGRADE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use std::net::SocketAddr;

/// Hosts that always mean this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A service would be open to others without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a loopback address: require API keys (--require-keys), or say --insecure to let everybody in")]
pub struct ListenError(SocketAddr);

/// Whether a service may listen at that address: on loopback always, elsewhere only with keys or where it is
/// insisted on.
///
/// # Errors
/// Where it may not.
pub fn guard_listen(address: &SocketAddr, keys_required: bool, insecure: bool) -> Result<(), ListenError> {
    if keys_required || insecure || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(ListenError(*address))
}

/// What the hosts and origins of requests must be.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    allows_all_hosts: bool,
}

impl Guard {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let lower =
            |texts: &[String]| texts.iter().filter(|text| !text.is_empty()).map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>();
        let hosts = lower(&config.allowed_hosts);
        Self { allows_all_hosts: hosts.iter().any(|host| host == "*"), hosts, origins: lower(&config.cors_origins) }
    }

    /// 400 or 403 where a request comes for a foreign name or from a foreign page.
    pub(super) fn check(&self, request: &Request) -> Result<(), ApiError> {
        let host = host_of(request)?;
        if !self.allows_host(&host) {
            return Err(ApiError::forbidden(
                "this service does not answer under that host name; its operator can allow it with ALLOWED_HOSTS",
            ));
        }
        if needs_origin_check(request.method(), request.headers()) && !self.allows_origin(request.headers(), &host) {
            return Err(ApiError::forbidden(
                "this service does not take that from a page of another origin; its operator can allow it with CORS_ORIGINS",
            ));
        }
        Ok(())
    }

    fn allows_host(&self, host: &Authority) -> bool {
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        if self.allows_all_hosts || LOOPBACK.contains(&name.as_str()) {
            return true;
        }
        let with_port = host.port_u16().map(|port| format!("{name}:{port}"));
        self.hosts.iter().any(|allowed| *allowed == name || with_port.as_ref() == Some(allowed))
    }

    /// A request without `Origin` comes from no page. With it, the page must be from here or from a configured origin.
    /// Behind a proxy the scheme is not known here, so "here" is host and port.
    fn allows_origin(&self, headers: &HeaderMap, host: &Authority) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        let Some(origin) = origin.to_str().ok().filter(|_| origins.next().is_none()).map(str::to_ascii_lowercase) else { return false };
        if self.origins.contains(&origin) {
            return true;
        }
        let Some((scheme, from)) = origin.split_once("://") else { return false };
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let Some(from) = parse_authority(from) else { return false };
        let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
        from.host().eq_ignore_ascii_case(host.host()) && port(&from) == port(host)
    }
}

/// Pages of other origins may send such requests without asking first, or, for web sockets, without asking at all.
fn needs_origin_check(method: &Method, headers: &HeaderMap) -> bool {
    let is_reading = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !is_reading || headers.contains_key(UPGRADE)
}

/// The host that a request is for. All places that name one must agree, since what lies before or behind might look
/// at another of them.
fn host_of(request: &Request) -> Result<Authority, ApiError> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(host), None) => {
            Some(host.to_str().ok().and_then(parse_authority).ok_or_else(|| ApiError::bad_request("the Host header cannot be read"))?)
        }
        (Some(_), Some(_)) => return Err(ApiError::bad_request("there is more than one Host header")),
    };
    match (request.uri().authority(), header) {
        (Some(target), _) if !is_plain(target) => Err(ApiError::bad_request("the request's host cannot be read")),
        (Some(target), Some(header)) if *target != header => Err(ApiError::bad_request("the request names two different hosts")),
        (Some(target), _) => Ok(target.clone()),
        (None, Some(header)) => Ok(header),
        (None, None) => Err(ApiError::bad_request("the request names no host")),
    }
}

fn parse_authority(text: &str) -> Option<Authority> {
    text.parse::<Authority>().ok().filter(is_plain)
}

/// A host and, where there is a colon, a port: no user, no port that is none.
fn is_plain(authority: &Authority) -> bool {
    let has_port = authority.as_str().len() > authority.host().len();
    !authority.host().is_empty() && !authority.as_str().contains('@') && has_port == authority.port_u16().is_some()
}

/// For the command line: `name`, `name:port`, an address, or `*`. An empty variable says nothing.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_host = matches!(text, "" | "*") || parse_authority(text).is_some();
    if is_host { Ok(text.to_ascii_lowercase()) } else { Err("must be a host name, with or without a port, or *".into()) }
}

/// For the command line: `https://name` with or without a port.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.and_then(parse_authority) {
        Some(authority) if Some(authority.as_str()) == rest => Ok(text.to_ascii_lowercase()),
        _ => Err("must be an origin as in https://tally.example.com".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn guard() -> Guard {
        let (allowed_hosts, cors_origins) =
            (vec!["tally.example.com".into(), "10.0.0.5:8010".into()], vec!["https://pages.example.com".into()]);
        Guard::new(&HttpConfig { allowed_hosts, cors_origins })
    }

    fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let request =
            headers.iter().fold(Request::builder().method(method).uri(uri), |request, (name, value)| request.header(*name, *value));
        guard().check(&request.body(Body::empty()).expect("a request")).map_or_else(|refusal| refusal.problem.status, |()| 200)
    }

    #[test]
    fn only_own_names_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:8001",
            "127.0.0.1:1",
            "[::1]:8001",
            "[::1]",
            "localhost.",
            "tally.example.com",
            "Tally.Example.com:443",
            "10.0.0.5:8010",
        ] {
            assert_eq!(status("GET", "/", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "10.0.0.5",
            "10.0.0.5:80",
            "xtally.example.com",
        ] {
            assert_eq!(status("GET", "/", &[("host", host)]), 403, "{host}");
        }
    }

    #[test]
    fn unclear_hosts_are_refused() {
        for host in [
            "",
            "localhost@evil.example",
            "evil.example@localhost",
            "a b",
            "localhost/",
            "localhost:",
            "localhost:99999",
            "localhost:x",
            "loc\u{e4}lhost",
        ] {
            assert_eq!(status("GET", "/", &[("host", host)]), 400, "{host}");
        }
        assert_eq!(status("GET", "/", &[]), 400);
        assert_eq!(status("GET", "/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(status("GET", "http://evil.example/", &[("host", "localhost")]), 400);
        assert_eq!(status("GET", "http://evil.example/", &[]), 403);
        assert_eq!(status("GET", "http://localhost:8001/", &[]), 200);
    }

    #[test]
    fn foreign_pages_may_not_write_or_open_sockets() {
        let from = |method: &str, host: &str, origin: &str| status(method, "/", &[("host", host), ("origin", origin)]);
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            assert_eq!(from(method, "localhost:8001", "http://evil.example"), 403, "{method}");
            assert_eq!(from(method, "localhost:8001", "null"), 403, "{method}");
            assert_eq!(from(method, "localhost:8001", "http://localhost:8001"), 200, "{method}");
            assert_eq!(from(method, "localhost:8001", "https://pages.example.com"), 200, "{method}");
        }
        assert_eq!(from("GET", "localhost:8001", "http://evil.example"), 200);
        let socket = |origin: &str| status("GET", "/", &[("host", "localhost:8001"), ("upgrade", "websocket"), ("origin", origin)]);
        assert_eq!(socket("http://evil.example"), 403);
        assert_eq!(socket("http://localhost:3000"), 403);
        assert_eq!(socket("http://localhost:8001"), 200);
    }

    #[test]
    fn default_ports_may_be_left_out() {
        let post = |host: &str, origin: &str| status("POST", "/", &[("host", host), ("origin", origin)]);
        assert_eq!(post("tally.example.com", "https://tally.example.com"), 200);
        assert_eq!(post("tally.example.com:443", "https://tally.example.com"), 200);
        assert_eq!(post("tally.example.com", "https://tally.example.com:8443"), 403);
        assert_eq!(post("tally.example.com", "ftp://tally.example.com"), 403);
    }

    #[test]
    fn open_addresses_need_keys_or_insistence() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(guard_listen(&address("127.0.0.1:8001"), false, false), Ok(()));
        assert_eq!(guard_listen(&address("[::1]:8001"), false, false), Ok(()));
        assert_eq!(guard_listen(&address("[::ffff:127.0.0.1]:8001"), false, false), Ok(()));
        assert!(guard_listen(&address("0.0.0.0:8001"), false, false).is_err());
        assert!(guard_listen(&address("[::]:8001"), false, false).is_err());
        assert_eq!(guard_listen(&address("0.0.0.0:8001"), true, false), Ok(()));
        assert_eq!(guard_listen(&address("0.0.0.0:8001"), false, true), Ok(()));
    }

    #[test]
    fn configured_names_are_checked_before_anything_binds() {
        assert_eq!(parse_host(" Tally.Example.com "), Ok("tally.example.com".into()));
        assert_eq!(parse_host("*"), Ok("*".into()));
        for host in ["a b", "https://tally.example.com", "a@b", "a:99999"] {
            assert!(parse_host(host).is_err(), "{host}");
        }
        assert_eq!(parse_origin("https://Pages.example.com/"), Ok("https://pages.example.com".into()));
        for origin in ["*", "pages.example.com", "ftp://a", "https://a/b", "https://u@a", "https://"] {
            assert!(parse_origin(origin).is_err(), "{origin}");
        }
    }
}
