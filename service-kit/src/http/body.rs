//! Request bodies: read within bounds, and read on where a request is refused before its body was, so that the client
//! gets to see the answer instead of a reset connection.

use crate::problem::ApiError;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

/// A refused body is read on this far, counted from its beginning.
const READ_ON_BYTES: u64 = 16 * 1024 * 1024;
/// A refused body is read on this long.
const READ_ON_TIME: Duration = Duration::from_secs(5);

/// Reads a body of at most `max_bytes` within that time.
///
/// # Errors
/// 413 where it is larger, 408 where it takes longer, 400 where it breaks off.
pub async fn read_body(body: Body, max_bytes: usize, within: Duration) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("the body is larger than {max_bytes} bytes"));
    let announced = body.size_hint().lower();
    if announced > max_bytes as u64 {
        return Err(too_large());
    }
    let deadline = Instant::now() + within;
    let mut body = body;
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await;
        let Some(frame) = frame.map_err(|_| ApiError::timed_out(format!("the body did not arrive within {} s", within.as_secs_f64())))?
        else {
            return Ok(bytes.freeze());
        };
        let frame = frame.map_err(|_| ApiError::bad_request("the body broke off"))?;
        let Some(chunk) = frame.data_ref() else { continue };
        if bytes.len() + chunk.len() > max_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(chunk);
    }
}

/// Makes a body read itself on in the background, within bounds, where it is dropped before its end.
pub(super) fn read_on_when_refused(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    // Such a client sends nothing before the first read asks it to; unread, nothing is on its way.
    let is_held_back = request.headers().get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    request.map(|body| Body::new(ReadOn { body: Some(body), read: 0, is_held_back }))
}

struct ReadOn {
    /// `None` after its end.
    body: Option<Body>,
    read: u64,
    is_held_back: bool,
}

impl HttpBody for ReadOn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.read += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => self.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.is_held_back && !body.is_end_stream()) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(READ_ON_TIME, read_on(body, self.read)));
        }
    }
}

async fn read_on(mut body: Body, mut read: u64) {
    while read <= READ_ON_BYTES {
        let Some(Ok(frame)) = body.frame().await else { return };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}
