//! Tests with real HTTP and a real store (dynoxide).

mod admin;
mod auth;
mod http;
mod telemetry;

use axum::Router;
use service_kit::http::{HttpConfig, layered, serve};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A router on a free port until it is dropped.
struct Server {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Server {
    async fn start(router: Router, config: &HttpConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, layered(router, "test", config), shutdown.clone()));
        Self { address, _stop: shutdown.drop_guard() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}
