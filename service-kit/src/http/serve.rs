//! Serves connections: HTTP/1 and, by prior knowledge, HTTP/2, with bounds on how many there are, how long they may be
//! silent, and how long they may take to end.

use super::stall::Impatient;
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
/// Descriptors that are kept from connections, for files and for what the service asks of others; half of them where the
/// process may have fewer than twice as many.
const DESCRIPTORS_KEPT: usize = 256;
const PATIENCE: Patience = Patience {
    first_head: Duration::from_secs(10),
    next_head: Duration::from_secs(75),
    write: Duration::from_secs(60),
    drain: Duration::from_secs(10),
};
/// Wait after the machine could not give a connection (out of file descriptors).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
const STREAMS_PER_CONNECTION: u32 = 200;
const HEAD_BYTES: u32 = 32 * 1024;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// How long to wait for whom.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// A connection must have sent its first request's head by then.
    first_head: Duration,
    /// A connection that waits for its next request's head is closed after that; longer than proxies keep theirs.
    next_head: Duration,
    /// A connection that takes nothing of its answer for that long is closed.
    write: Duration,
    /// Requests under way have that long to be answered when the service stops.
    drain: Duration,
}

/// Serves until `shutdown`; then takes no more connections, lets requests under way end (at most ten seconds) and
/// closes. Long answers (streams) should end by themselves at the same token.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    serve_with(PATIENCE, listener, router, shutdown).await
}

async fn serve_with(patience: Patience, listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let room = Arc::new(Semaphore::new(connections_allowed(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default())));
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
            serve_connection(patience, stream, router, shutdown).await;
            gauge!("http_connections").decrement(1);
            drop(permit);
        });
    }
    drop(listener);
    let drained = timeout(patience.drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
    Ok(())
}

/// As many connections as the process has descriptors for, so that clients cannot take those that its work needs. `limits`
/// is what Linux tells of a process.
fn connections_allowed(limits: &str) -> usize {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    // "unlimited" is no number either.
    let Some(descriptors) = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()) else { return CONNECTIONS };
    (descriptors - DESCRIPTORS_KEPT.min(descriptors / 2)).clamp(1, CONNECTIONS)
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

async fn serve_connection(patience: Patience, stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    let pulse = Arc::new(Pulse::new(patience));
    let service = Watched { router, pulse: Arc::clone(&pulse) };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.next_head).max_buf_size(READ_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        // Without the extended CONNECT: clients open web sockets over HTTP/1, where they get a connection of their own.
        .max_header_list_size(HEAD_BYTES);
    let mut connection = pin!(
        builder.serve_connection_with_upgrades(TokioIo::new(Impatient::new(stream, patience.write)), TowerToHyperService::new(service))
    );
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
    next_head: Duration,
}

#[derive(Debug)]
struct Beat {
    under_way: usize,
    /// When the connection is closed if nothing is under way.
    silent_at: Instant,
}

impl Pulse {
    fn new(patience: Patience) -> Self {
        let silent_at = Instant::now() + patience.first_head;
        Self { beat: Mutex::new(Beat { under_way: 0, silent_at }), next_head: patience.next_head }
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
            sleep_until(if under_way == 0 { silent_at } else { now + self.next_head }).await;
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
        beat.silent_at = Instant::now() + self.0.next_head;
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    const SHORT: Patience = Patience {
        first_head: Duration::from_secs(1),
        next_head: Duration::from_millis(200),
        write: Duration::from_millis(200),
        drain: Duration::from_millis(300),
    };
    const LONG: Duration = Duration::from_secs(20);

    async fn start(patience: Patience, router: Router) -> (SocketAddr, CancellationToken, JoinHandle<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, shutdown) = (listener.local_addr().expect("an address"), CancellationToken::new());
        (address, shutdown.clone(), tokio::spawn(serve_with(patience, listener, router, shutdown)))
    }

    /// What the server says until it closes the connection.
    async fn heard(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset is a close, too.
        drop(timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the server closes"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn said(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(bytes).await.expect("sent");
        stream
    }

    #[test]
    fn connections_leave_descriptors_for_the_work() {
        let limits =
            |soft: &str| format!("Limit     Soft Limit   Hard Limit   Units\nMax open files            {soft}      20000    files\n");
        for (soft, allowed) in [("1024", 768), ("512", 256), ("200", 100), ("1", 1), ("0", 1), ("20000", 10_000), ("unlimited", 10_000)] {
            assert_eq!(connections_allowed(&limits(soft)), allowed, "{soft}");
        }
        assert_eq!(connections_allowed(""), 10_000);
    }

    #[tokio::test]
    async fn silent_and_slow_clients_are_let_go() {
        let (address, _shutdown, _server) = start(SHORT, Router::new().route("/", get(|| async { "hello" }))).await;
        let heads = ["", "GET", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
        let answers = heads.map(|head| async move { heard(said(address, head.as_bytes()).await).await });
        for (head, answer) in heads.iter().zip(futures::future::join_all(answers).await) {
            assert!(!answer.contains("hello"), "{head}: {answer}");
        }
        let answer = heard(said(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT").await).await;
        assert!(answer.contains("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_long_answer_is_not_silence() {
        let router = Router::new().route(
            "/",
            get(|| async {
                let pieces = futures::stream::unfold(0, |i| async move {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    (i < 10).then(|| (Ok::<_, Infallible>(format!("piece {i} ")), i + 1))
                });
                Body::from_stream(pieces)
            }),
        );
        let (address, _shutdown, _server) = start(SHORT, router).await;
        let answer = heard(said(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await).await;
        assert!(answer.contains("piece 9"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        struct TellsEnd(Arc<Notify>);
        impl Drop for TellsEnd {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let ended = Arc::new(Notify::new());
        let end = Arc::clone(&ended);
        let handler = move || async move {
            let end = TellsEnd(end);
            Body::from_stream(futures::stream::repeat_with(move || {
                let _held = &end;
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 65_536]))
            }))
        };
        let router = Router::new().route("/", get(handler));
        let (address, _shutdown, _server) = start(SHORT, router).await;
        let stream = said(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        timeout(LONG, ended.notified()).await.expect("the answer is given up");
        drop(stream);
    }

    #[tokio::test]
    async fn requests_under_way_are_answered_when_the_service_stops() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = (Arc::clone(&begun), Arc::clone(&go_on));
        let handler = move || async move {
            waits.0.notify_one();
            waits.1.notified().await;
            "finished"
        };
        let (address, shutdown, server) = start(PATIENCE, Router::new().route("/", post(handler))).await;
        let stream = said(address, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
        begun.notified().await;
        shutdown.cancel();
        go_on.notify_one();
        let answer = heard(stream).await;
        assert!(answer.contains("finished"), "{answer}");
        timeout(LONG, server).await.expect("in time").expect("no panic").expect("no error");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_hold_the_service() {
        let begun = Arc::new(Notify::new());
        let waits = Arc::clone(&begun);
        let handler = move || async move {
            waits.notify_one();
            std::future::pending::<&'static str>().await
        };
        let (address, shutdown, server) = start(SHORT, Router::new().route("/", get(handler))).await;
        let stream = said(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        begun.notified().await;
        shutdown.cancel();
        timeout(LONG, server).await.expect("in time").expect("no panic").expect("no error");
        assert_eq!(heard(stream).await, "");
    }
}
