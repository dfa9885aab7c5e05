//! Who asks, and whether they may: API keys and sessions, checked against a copy of the keys that is refreshed every
//! five seconds. The last known keys keep working while the store does not answer.

use crate::keys::{self, KeyError, KeyRecord};
use crate::limit::{Exceeded, Limits};
use crate::problem::ApiError;
use crate::sessions::{self, Session};
use aws_sdk_dynamodb::Client;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use metrics::{counter, gauge};
use schemas::item::TableNames;
use schemas::time::now_micros;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use crate::keys::Scope;

/// How old the copy of the keys, and of a session, gets: half of what a revocation may take.
const REFRESH: Duration = Duration::from_secs(5);
/// Longest read of all keys.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(4);
/// Sessions kept in memory.
const SESSIONS: u64 = 10_000;
/// Sessions looked up at once; more wait.
const LOOKUPS: usize = 8;
/// Longest wait for a session's lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_AFTER_S: u64 = 2;
/// One sentence for every key that does not open: which of the reasons it is, is nobody's business.
const NOT_GOOD: &str = "the API key is not valid";

/// Checks keys and sessions.
#[derive(Clone)]
pub struct Authenticator {
    keyring: Option<Arc<Keyring>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("is_required", &self.is_required()).finish_non_exhaustive()
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's id; `None` where no key is needed.
    pub key_id: Option<String>,
    /// Whether a browser's session asks in the key's place.
    pub is_session: bool,
    limits: Option<Arc<Limits>>,
}

/// The keys could not be read, and waiting would not help.
#[derive(Debug, thiserror::Error)]
#[error("the api keys cannot be read")]
pub struct AuthStartError(#[source] pub KeyError);

struct Keyring {
    store: Client,
    tables: TableNames,
    keys: RwLock<Keys>,
    sessions: moka::sync::Cache<String, KnownSession>,
    lookups: Semaphore,
}

struct Keys {
    by_id: HashMap<String, Key>,
    /// When the store was last read; `None` before the first time.
    read_at: Option<Instant>,
    is_failing: bool,
}

#[derive(Clone)]
struct Key {
    record: Arc<KeyRecord>,
    limits: Option<Arc<Limits>>,
}

#[derive(Clone)]
struct KnownSession {
    session: Option<Session>,
    read_at: Instant,
}

impl Authenticator {
    /// Needs no key: for loopback and `--insecure`.
    pub fn open() -> Self {
        Self { keyring: None }
    }

    /// Needs keys. Reads them once and then every five seconds until `shutdown`. Where the store does not answer
    /// yet, it starts all the same and answers 503 until it does.
    ///
    /// # Errors
    /// Where the store refuses for good, as for missing rights.
    pub async fn start(store: Client, tables: TableNames, shutdown: CancellationToken) -> Result<Self, AuthStartError> {
        let keyring = Arc::new(Keyring {
            store,
            tables,
            keys: RwLock::new(Keys { by_id: HashMap::new(), read_at: None, is_failing: false }),
            sessions: moka::sync::Cache::builder().max_capacity(SESSIONS).time_to_idle(Duration::from_secs(3_600)).build(),
            lookups: Semaphore::new(LOOKUPS),
        });
        if let Err(error) = keyring.refresh().await
            && !error.is_retryable()
        {
            return Err(AuthStartError(error));
        }
        tokio::spawn(keep_fresh(Arc::clone(&keyring), shutdown));
        Ok(Self { keyring: Some(keyring) })
    }

    /// Whether a key is needed.
    pub fn is_required(&self) -> bool {
        self.keyring.is_some()
    }

    /// Whether keys can be checked: the store was read once, or no key is needed.
    pub fn is_ready(&self) -> bool {
        self.keyring.as_ref().is_none_or(|keyring| keyring.read(|keys| keys.read_at.is_some()))
    }

    /// Reads the keys now instead of at the next turn.
    ///
    /// # Errors
    /// Where the store does not answer; the last known keys stay.
    pub async fn refresh(&self) -> Result<(), KeyError> {
        match &self.keyring {
            Some(keyring) => keyring.refresh().await,
            None => Ok(()),
        }
    }

    /// Checks a request's key (`Authorization: Bearer`, else `X-API-Key`) or, for reading, the session that
    /// [`Self::authenticate_browser`] looked up before.
    ///
    /// # Errors
    /// 401 without a good key, 403 without the scope, 503 while the keys were never read.
    pub fn authenticate(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, ApiError> {
        let Some(keyring) = &self.keyring else {
            return Ok(Caller { key_id: None, is_session: false, limits: None });
        };
        match credential(headers, scope)? {
            Credential::Key(text) => keyring.check_key(text, scope),
            Credential::Session(token) => keyring.check_session(&sessions::hash(token), scope),
        }
    }

    /// As [`Self::authenticate`], but looks a browser's session up in the store where it is not known or its copy is
    /// older than five seconds.
    ///
    /// # Errors
    /// As there.
    pub async fn authenticate_browser(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, ApiError> {
        let Some(keyring) = &self.keyring else { return self.authenticate(headers, scope) };
        if let Credential::Session(token) = credential(headers, scope)? {
            keyring.look_up(&sessions::hash(token)).await?;
        }
        self.authenticate(headers, scope)
    }

    /// Forgets a session at once in this process; for signing out.
    pub fn forget_session(&self, token: &str) {
        if let Some(keyring) = &self.keyring {
            keyring.sessions.invalidate(&sessions::hash(token));
        }
    }

    /// Charges what a request carries to its key's limits.
    ///
    /// # Errors
    /// 429 with `Retry-After`; then nothing is charged.
    pub fn charge(&self, caller: &Caller, events: u32, bytes: u32) -> Result<(), ApiError> {
        let Some(limits) = &caller.limits else { return Ok(()) };
        limits.take(events, bytes, Instant::now()).map_err(|Exceeded { measure, per_second, retry_after_s }| {
            counter!("auth_limited_total", "measure" => measure).increment(1);
            ApiError::too_many(format!("this key may send {per_second} {measure} per second"), retry_after_s)
        })
    }
}

enum Credential<'a> {
    Key(&'a str),
    Session(&'a str),
}

fn credential(headers: &HeaderMap, scope: Scope) -> Result<Credential<'_>, ApiError> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok().and_then(|value| value.trim().split_once(' ')).ok_or_else(not_good)?;
        return if scheme.eq_ignore_ascii_case("bearer") { Ok(Credential::Key(key.trim())) } else { Err(not_good()) };
    }
    if let Some(value) = headers.get("x-api-key") {
        return Ok(Credential::Key(value.to_str().map_err(|_| not_good())?.trim()));
    }
    match sessions::token_of(headers) {
        Some(token) if scope != Scope::Ingest => Ok(Credential::Session(token)),
        _ => Err(refused("missing", "an API key is needed: Authorization: Bearer at_… or X-API-Key")),
    }
}

fn not_good() -> ApiError {
    refused("not_good", NOT_GOOD)
}

fn refused(reason: &'static str, detail: &'static str) -> ApiError {
    counter!("auth_refused_total", "reason" => reason).increment(1);
    ApiError::unauthorized(detail)
}

impl Keyring {
    fn read<T>(&self, look: impl FnOnce(&Keys) -> T) -> T {
        look(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn check_key(&self, text: &str, scope: Scope) -> Result<Caller, ApiError> {
        self.must_be_read()?;
        let (id, secret) = keys::parse(text).ok_or_else(not_good)?;
        let given: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let key = self.read(|keys| keys.by_id.get(id).cloned());
        // An unknown id takes the same way as a wrong secret.
        let known = key.as_ref().map_or([0; 32], |key| key.record.hash);
        let is_same = bool::from(given.ct_eq(&known));
        let key = key.filter(|key| is_same && key.record.is_good(now_micros())).ok_or_else(not_good)?;
        key.caller(scope, false)
    }

    fn check_session(&self, hash: &str, scope: Scope) -> Result<Caller, ApiError> {
        self.must_be_read()?;
        let over = || refused("session_over", "the session is over: sign in again");
        let session = self.sessions.get(hash).and_then(|known| known.session).ok_or_else(over)?;
        let now = now_micros();
        let key = self.read(|keys| keys.by_id.get(&session.key_id).cloned());
        let key = key.filter(|key| now < session.expires_at && key.record.is_good(now)).ok_or_else(over)?;
        key.caller(scope, true)
    }

    fn must_be_read(&self) -> Result<(), ApiError> {
        if self.read(|keys| keys.read_at.is_some()) {
            return Ok(());
        }
        Err(ApiError::unavailable("API keys cannot be checked at the moment", RETRY_AFTER_S))
    }

    /// Makes sure that what is known of a session is fresh, or as fresh as the store allows.
    async fn look_up(&self, hash: &str) -> Result<(), ApiError> {
        let fresh = |known: &KnownSession| known.read_at.elapsed() < REFRESH;
        let known = self.sessions.get(hash);
        if known.as_ref().is_some_and(fresh) {
            return Ok(());
        }
        let read = async {
            let permit = self.lookups.acquire().await;
            // Whoever waited here beside us may have read it by now.
            if self.sessions.get(hash).as_ref().is_some_and(fresh) {
                return Ok(());
            }
            let read_at = Instant::now();
            let session = sessions::lookup(&self.store, &self.tables, hash).await?;
            self.sessions.insert(hash.to_owned(), KnownSession { session, read_at });
            drop(permit);
            Ok::<_, KeyError>(())
        };
        let failure = match tokio::time::timeout(LOOKUP_TIMEOUT, read).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(_) => anyhow::anyhow!("reading the session took too long"),
        };
        if known.is_some_and(|known| known.session.is_some()) {
            return Ok(());
        }
        Err(ApiError::unavailable("sessions cannot be checked at the moment", RETRY_AFTER_S).caused_by(failure))
    }

    async fn refresh(&self) -> Result<(), KeyError> {
        let started = Instant::now();
        let listed = match tokio::time::timeout(REFRESH_TIMEOUT, keys::list(&self.store, &self.tables)).await {
            Ok(listed) => listed,
            Err(_) => Err(KeyError::Store { doing: "read the keys", reason: "it took too long".into(), is_retryable: true }),
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        match listed {
            Ok(records) => {
                let mut before = std::mem::take(&mut keys.by_id);
                keys.by_id = records.into_iter().map(|record| (record.id.clone(), Key::new(record, &mut before, started))).collect();
                keys.read_at = Some(started);
                if std::mem::take(&mut keys.is_failing) {
                    tracing::info!("api keys can be read again");
                }
                Ok(())
            }
            Err(error) => {
                counter!("auth_refresh_failures_total").increment(1);
                if !std::mem::replace(&mut keys.is_failing, true) {
                    tracing::warn!(%error, known = keys.by_id.len(), "api keys cannot be read, the last known ones stay");
                }
                Err(error)
            }
        }
    }

    fn measure(&self) {
        let (age, count) = self.read(|keys| (keys.read_at.map(|at| at.elapsed()), keys.by_id.len()));
        if let Some(age) = age {
            gauge!("auth_cache_age_seconds").set(age.as_secs_f64());
        }
        gauge!("auth_keys").set(count as f64);
    }
}

impl Key {
    /// Keeps the buckets of an earlier copy, so that a refresh does not fill them.
    fn new(record: KeyRecord, before: &mut HashMap<String, Self>, now: Instant) -> Self {
        let has_limits = record.events_per_second.is_some() || record.bytes_per_second.is_some();
        let same = before.remove(&record.id).filter(|key| {
            key.record.events_per_second == record.events_per_second && key.record.bytes_per_second == record.bytes_per_second
        });
        let limits = match same {
            Some(key) => key.limits,
            None => has_limits.then(|| Arc::new(Limits::new(record.events_per_second, record.bytes_per_second, now))),
        };
        Self { record: Arc::new(record), limits }
    }

    fn caller(self, scope: Scope, is_session: bool) -> Result<Caller, ApiError> {
        if !self.record.scopes.contains(&scope) {
            counter!("auth_refused_total", "reason" => "scope").increment(1);
            return Err(ApiError::forbidden(format!("this needs a key with the scope {}", scope.name())));
        }
        Ok(Caller { key_id: Some(self.record.id.clone()), is_session, limits: self.limits })
    }
}

async fn keep_fresh(keyring: Arc<Keyring>, shutdown: CancellationToken) {
    let mut turns = tokio::time::interval(REFRESH);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    turns.tick().await;
    loop {
        keyring.measure();
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = turns.tick() => {}
        }
        // Logged and counted where it happens; the next turn tries again.
        drop(keyring.refresh().await);
    }
}
