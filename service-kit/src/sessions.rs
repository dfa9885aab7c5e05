//! Sign-in sessions of browsers, in the control table: a random token in a cookie, its hash in the store, bound to
//! the API key that it was given for. It ends with its time, its revocation or its key.

use crate::keys::{KeyError, random_token, store_error};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use schemas::item::{ID, KIND, TableNames, kind, s};
use schemas::time::{format_micros, now_micros, parse_micros};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// Name of the cookie.
pub const COOKIE_NAME: &str = "agent_tally_session";
/// How long a session lasts.
pub const SESSION_TIME: Duration = Duration::from_secs(7 * 86_400);
/// Expired sessions that a sign-in clears away.
const SWEEP: i32 = 25;

/// A session's token, to be put into the cookie. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of `Set-Cookie`. `is_secure` is false only where the service is served on plain loopback.
    pub fn set_cookie(&self, is_secure: bool) -> String {
        cookie(&self.0, SESSION_TIME.as_secs(), is_secure)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// The value of `Set-Cookie` that ends the session in the browser.
pub fn clear_cookie(is_secure: bool) -> String {
    cookie("", 0, is_secure)
}

fn cookie(value: &str, max_age_s: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}")
}

/// A session as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The key that it was given for.
    pub key_id: String,
    /// When it ends, µs since the epoch.
    pub expires_at: i64,
}

/// Begins a session for a key and clears away some that are over.
///
/// # Errors
/// [`KeyError::Store`].
pub async fn create_session(store: &Client, tables: &TableNames, key_id: &str) -> Result<SessionToken, KeyError> {
    let now = now_micros();
    let token = random_token();
    let expires_at = now + i64::try_from(SESSION_TIME.as_micros()).unwrap_or(i64::MAX - now);
    store
        .put_item()
        .table_name(&tables.control)
        .item(KIND, s(kind::SESSION))
        .item(ID, s(hash(&token)))
        .item("key_id", s(key_id))
        .item("created_at", s(format_micros(now)))
        .item("expires_at", s(format_micros(expires_at)))
        .send()
        .await
        .map_err(|error| store_error("write the session", &error))?;
    if let Err(error) = sweep(store, tables, now).await {
        tracing::warn!(%error, "expired sessions were not cleared away");
    }
    Ok(SessionToken(token))
}

/// Reads a session by its token's hash; `None` where there is none or it is over.
pub(crate) async fn lookup(store: &Client, tables: &TableNames, hash: &str) -> Result<Option<Session>, KeyError> {
    let got = store
        .get_item()
        .table_name(&tables.control)
        .key(KIND, s(kind::SESSION))
        .key(ID, s(hash))
        .consistent_read(true)
        .send()
        .await
        .map_err(|error| store_error("read the session", &error))?;
    Ok(got.item.as_ref().and_then(from_item).filter(|session| now_micros() < session.expires_at))
}

/// Ends a session. Services notice within ten seconds; ending it again changes nothing.
///
/// # Errors
/// [`KeyError::Store`].
pub async fn revoke_session(store: &Client, tables: &TableNames, token: &str) -> Result<(), KeyError> {
    delete(store, tables, &hash(token)).await
}

/// The session's token of a request's cookies.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut values = cookies.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    values.next().filter(|token| token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

/// What the store knows a token by.
pub(crate) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

async fn sweep(store: &Client, tables: &TableNames, now: i64) -> Result<(), KeyError> {
    let page = store
        .query()
        .table_name(&tables.control)
        // From a random point on, so that repeated sweeps get everywhere.
        .key_condition_expression("#kind = :kind AND #id > :from")
        .filter_expression("expires_at < :now")
        .expression_attribute_names("#kind", KIND)
        .expression_attribute_names("#id", ID)
        .expression_attribute_values(":from", s(hex::encode(rand::random::<[u8; 4]>())))
        .expression_attribute_values(":kind", s(kind::SESSION))
        .expression_attribute_values(":now", s(format_micros(now)))
        .limit(SWEEP)
        .send()
        .await
        .map_err(|error| store_error("read the sessions", &error))?;
    for item in page.items() {
        if let Some(id) = item.get(ID).and_then(|id| id.as_s().ok()) {
            delete(store, tables, id).await?;
        }
    }
    Ok(())
}

async fn delete(store: &Client, tables: &TableNames, hash: &str) -> Result<(), KeyError> {
    let request = store.delete_item().table_name(&tables.control).key(KIND, s(kind::SESSION)).key(ID, s(hash));
    request.send().await.map(|_| ()).map_err(|error| store_error("delete the session", &error))
}

fn from_item(item: &HashMap<String, AttributeValue>) -> Option<Session> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    Some(Session { key_id: text("key_id")?.clone(), expires_at: parse_micros(text("expires_at")?)? })
}
