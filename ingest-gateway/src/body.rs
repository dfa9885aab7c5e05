//! Reads request bodies in bounded memory and time: the in-flight budget, the body's limit, and unpacking that
//! stops at its limit. Knows nothing of what a body says.

use axum::body::{Body, HttpBody as _};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use metrics::gauge;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::metrics::IN_FLIGHT_BYTES;

/// The budget's grain, bytes.
const GRAIN: usize = 1024;
/// What a request takes besides its body.
const OVERHEAD: usize = 8 * 1024;
/// What is reserved of a body before it arrives.
const FIRST_PIECE: usize = 64 * 1024;
/// How long a request may wait for its first piece of the budget.
const BUDGET_WAIT: Duration = Duration::from_millis(500);
/// The largest window that a zstd frame may ask us to keep: 2^23 = 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes unpacked between two looks at the limits.
const UNPACK_STEP: usize = 64 * 1024;

/// Why a body could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than the limit, packed or unpacked.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The client went away or broke the protocol.
    #[error("the body broke off")]
    Broken,
    /// The gateway holds as many bytes as it may.
    #[error("the gateway holds as much as it may at the moment")]
    Overloaded,
    /// The bytes are not what `Content-Encoding` says.
    #[error("the body is not valid {0}")]
    NotPacked(&'static str),
    /// An encoding that we do not know.
    #[error("content encoding must be gzip, zstd or identity")]
    UnknownEncoding,
}

/// Bytes that all requests together may hold.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
}

impl Budget {
    /// A budget of that many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new((bytes / GRAIN).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Waits shortly for room for a request with a body of about `bytes`.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, BodyError> {
        let grains = grains(bytes + OVERHEAD)?;
        let permit = timeout(BUDGET_WAIT, Arc::clone(&self.free).acquire_many_owned(grains))
            .await
            .map_err(|_| BodyError::Overloaded)?
            .map_err(|_| BodyError::Overloaded)?;
        let reservation = Reservation { free: Arc::clone(&self.free), permit };
        gauge!(IN_FLIGHT_BYTES).increment(reservation.bytes() as f64);
        Ok(reservation)
    }
}

fn grains(bytes: usize) -> Result<u32, BodyError> {
    u32::try_from(bytes.div_ceil(GRAIN)).map_err(|_| BodyError::Overloaded)
}

/// A request's part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    free: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
}

impl Reservation {
    fn bytes(&self) -> usize {
        self.permit.num_permits() * GRAIN
    }

    /// Makes the part large enough for `bytes`; never waits, since it holds what others wait for.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<(), BodyError> {
        let missing = (bytes + OVERHEAD).saturating_sub(self.bytes());
        if missing == 0 {
            return Ok(());
        }
        let more = grains(missing)?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(more).map_err(|_| BodyError::Overloaded)?;
        gauge!(IN_FLIGHT_BYTES).increment((permit.num_permits() * GRAIN) as f64);
        self.permit.merge(permit);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT_BYTES).decrement(self.bytes() as f64);
    }
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// What the headers say.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        if values.next().is_some() {
            return Err(BodyError::UnknownEncoding);
        }
        match value.to_str().map(str::trim).map(str::to_ascii_lowercase).as_deref() {
            Ok("identity" | "") => Ok(Self::Identity),
            Ok("gzip" | "x-gzip") => Ok(Self::Gzip),
            Ok("zstd") => Ok(Self::Zstd),
            _ => Err(BodyError::UnknownEncoding),
        }
    }
}

/// Reads a body to its end, in bounded memory and time. A body that is refused before its end is read on by the
/// HTTP layers.
pub(crate) async fn read(mut body: Body, limit: usize, within: Duration, budget: &Budget) -> Result<(Bytes, Reservation), BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge(limit));
    }
    let deadline = Instant::now() + within;
    // The rest is reserved as it arrives: a client that announces much and sends nothing must not hold it.
    let first = if body.size_hint().exact().is_some() { announced.min(FIRST_PIECE) } else { FIRST_PIECE };
    let mut reservation = budget.reserve(first).await?;
    let mut bytes = Vec::with_capacity(first);
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::TimedOut(within))?;
        let Some(frame) = frame.transpose().map_err(|_| BodyError::Broken)? else {
            return Ok((Bytes::from(bytes), reservation));
        };
        let Some(chunk) = frame.data_ref() else { continue };
        if bytes.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        reservation.cover(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(chunk);
    }
}

/// Unpacks a body up to `limit` bytes. What lies beyond is never unpacked.
pub(crate) fn unpack(body: Bytes, encoding: Encoding, limit: usize, reservation: &mut Reservation) -> Result<Bytes, BodyError> {
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => read_to_limit(flate2::bufread::MultiGzDecoder::new(&body[..]), "gzip", (body.len(), limit), reservation),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(|_| BodyError::NotPacked("zstd"))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| BodyError::NotPacked("zstd"))?;
            read_to_limit(decoder, "zstd", (body.len(), limit), reservation)
        }
    }
}

fn read_to_limit(
    mut reader: impl Read,
    name: &'static str,
    (packed, limit): (usize, usize),
    reservation: &mut Reservation,
) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    loop {
        let filled = out.len();
        let step = UNPACK_STEP.min(limit + 1 - filled);
        reservation.cover(packed + filled + step)?;
        out.resize(filled + step, 0);
        let read = reader.read(&mut out[filled..]).map_err(|_| BodyError::NotPacked(name))?;
        out.truncate(filled + read);
        if read == 0 {
            return Ok(Bytes::from(out));
        }
        if out.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const LIMIT: usize = 100_000;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory").into()
    }

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 19).expect("memory").into()
    }

    async fn unpacked(body: Bytes, encoding: Encoding) -> Result<Bytes, BodyError> {
        let mut reservation = Budget::new(10 * LIMIT).reserve(body.len()).await.expect("room");
        unpack(body, encoding, LIMIT, &mut reservation)
    }

    #[tokio::test]
    async fn packed_bodies_come_back_up_to_the_limit() {
        let whole = vec![b'x'; LIMIT];
        assert_eq!(unpacked(gzip(&whole), Encoding::Gzip).await, Ok(whole.clone().into()));
        assert_eq!(unpacked(zstd(&whole), Encoding::Zstd).await, Ok(whole.clone().into()));
        let two: Bytes = [gzip(b"one "), gzip(b"two")].concat().into();
        assert_eq!(unpacked(two, Encoding::Gzip).await, Ok("one two".into()));
    }

    #[tokio::test]
    async fn bombs_are_left_at_the_limit() {
        let bomb = vec![0; 50_000_000];
        assert_eq!(unpacked(gzip(&bomb), Encoding::Gzip).await, Err(BodyError::TooLarge(LIMIT)));
        assert_eq!(unpacked(zstd(&bomb), Encoding::Zstd).await, Err(BodyError::TooLarge(LIMIT)));
    }

    #[tokio::test]
    async fn broken_and_cut_bodies_are_refused() {
        let packed = gzip(&vec![b'x'; 5_000]);
        assert_eq!(unpacked(packed.slice(..packed.len() - 3), Encoding::Gzip).await, Err(BodyError::NotPacked("gzip")));
        assert_eq!(unpacked("plain".into(), Encoding::Gzip).await, Err(BodyError::NotPacked("gzip")));
        let packed = zstd(&vec![b'x'; 5_000]);
        assert_eq!(unpacked(packed.slice(..packed.len() - 3), Encoding::Zstd).await, Err(BodyError::NotPacked("zstd")));
        assert_eq!(unpacked("plain".into(), Encoding::Zstd).await, Err(BodyError::NotPacked("zstd")));
    }

    #[tokio::test]
    async fn a_frame_may_not_ask_for_a_huge_window() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(27).expect("a window");
        encoder.write_all(b"small").expect("memory");
        let packed = encoder.finish().expect("memory");
        assert_eq!(unpacked(packed.into(), Encoding::Zstd).await, Err(BodyError::NotPacked("zstd")));
    }

    #[tokio::test]
    async fn the_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(64 * 1024);
        let mut one = budget.reserve(16 * 1024).await.expect("room");
        let two = budget.reserve(16 * 1024).await.expect("room");
        assert_eq!(one.cover(64 * 1024), Err(BodyError::Overloaded));
        assert_eq!(budget.reserve(32 * 1024).await.map(|_| ()), Err(BodyError::Overloaded));
        drop(two);
        assert_eq!(one.cover(40 * 1024), Ok(()));
        drop(one);
        assert!(budget.reserve(56 * 1024).await.is_ok());
    }
}
