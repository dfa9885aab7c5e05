//! Serves connections: HTTP/1 and, by prior knowledge, HTTP/2, with bounds on how many there are, how long they may be
//! silent, and how long they may take to end.

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics::gauge;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 10_000;
/// A connection must have sent its first request's head by then.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// A connection that waits for its next request's head is closed after that; longer than proxies keep theirs.
const NEXT_HEAD: Duration = Duration::from_secs(75);
/// Requests under way have that long to be answered when the service stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Wait after the machine could not give a connection (out of file descriptors).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
const STREAMS_PER_CONNECTION: u32 = 200;
const HEAD_BYTES: u32 = 32 * 1024;

/// Serves until `shutdown`; then takes no more connections, lets requests under way end (at most ten seconds) and
/// closes. Long answers (streams) should end by themselves at the same token.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted? else { continue };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            gauge!("http_connections").increment(1);
            serve_connection(stream, router, shutdown).await;
            gauge!("http_connections").decrement(1);
            drop(permit);
        });
    }
    drop(listener);
    let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
    Ok(())
}

/// `None` where this one failed but the next may not.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> std::io::Result<Option<(TcpStream, OwnedSemaphorePermit)>> {
    // The semaphore is never closed.
    let Ok(permit) = Arc::clone(room).acquire_owned().await else { return Ok(None) };
    match listener.accept().await {
        Ok((stream, _)) => Ok(Some((stream, permit))),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(error),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept connections for now");
            tokio::time::sleep(ACCEPT_AGAIN).await;
            Ok(None)
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    let pulse = Arc::new(Pulse::new());
    let service = Watched { router, pulse: Arc::clone(&pulse) };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_HEAD).half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_header_list_size(HEAD_BYTES)
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection failed");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = pulse.silent() => {
                tracing::debug!("connection closed after silence");
                return;
            }
        }
    }
}

/// Whether anything happens on a connection. Covers what hyper's own time-outs leave open: a client that connects and
/// sends nothing, or never finishes HTTP/2's preface.
#[derive(Debug)]
struct Pulse {
    beat: Mutex<Beat>,
}

#[derive(Debug)]
struct Beat {
    under_way: usize,
    /// When the connection is closed if nothing is under way.
    silent_at: Instant,
}

impl Pulse {
    fn new() -> Self {
        Self { beat: Mutex::new(Beat { under_way: 0, silent_at: Instant::now() + FIRST_HEAD }) }
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).under_way += 1;
        UnderWay(Arc::clone(self))
    }

    /// Resolves when nothing was under way for too long.
    async fn silent(&self) {
        loop {
            let (under_way, silent_at) = {
                let beat = self.beat.lock().unwrap_or_else(PoisonError::into_inner);
                (beat.under_way, beat.silent_at)
            };
            let now = Instant::now();
            if under_way == 0 && silent_at <= now {
                return;
            }
            // While something is under way, a look now and then is enough.
            sleep_until(if under_way == 0 { silent_at } else { now + NEXT_HEAD }).await;
        }
    }
}

/// A request, from its head to the end of its answer.
#[derive(Debug)]
struct UnderWay(Arc<Pulse>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut beat = self.0.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.under_way -= 1;
        beat.silent_at = Instant::now() + NEXT_HEAD;
    }
}

/// The routes, with each request noted while it is under way.
#[derive(Clone)]
struct Watched {
    router: Router,
    pulse: Arc<Pulse>,
}

impl Service<axum::http::Request<hyper::body::Incoming>> for Watched {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<hyper::body::Incoming>) -> Self::Future {
        let under_way = self.pulse.begin();
        let answer = self.router.clone().oneshot(request.map(Body::new));
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Answering { body, _under_way: under_way }))) })
    }
}

/// An answer's body that is under way until it is dropped.
struct Answering {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
