//! API keys: their form, and their items in the control table. A key's secret is shown once, when it is created;
//! the store has only its hash.
//!
//! A key is `at_<id>_<secret><checksum>`: the id finds the item, the secret is 256 random bits in base64url, and the
//! checksum lets a mistyped key (or a scanner for leaked ones) be told without the store.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::item::{ID, KIND, TableNames, kind, n, s};
use schemas::time::{format_micros, now_micros, parse_micros};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

const PREFIX: &str = "at_";
const ID_CHARS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const ID_LEN: usize = 12;
/// 256 bits in base64url.
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const NAME_MAX: usize = 128;

/// What a key may do. Each stands for itself: `admin` does not include the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Post events.
    Ingest,
    /// Read everything the query API has.
    Read,
    /// Change settings, read metrics of the services.
    Admin,
}

impl Scope {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Ingest, Self::Read, Self::Admin].into_iter().find(|scope| scope.name() == name)
    }
}

/// What a new key shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// For whom or what, for the list.
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Vec<Scope>,
    /// When it ends, µs since the epoch; `None` for never.
    pub expires_at: Option<i64>,
    /// Events it may post per second; `None` for no limit.
    pub events_per_second: Option<u32>,
    /// Bytes it may post per second; `None` for no limit.
    pub bytes_per_second: Option<u32>,
}

/// A key as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Its id, which is not secret.
    pub id: String,
    /// For whom or what.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was created, µs since the epoch.
    pub created_at: i64,
    /// When it ends, µs since the epoch.
    pub expires_at: Option<i64>,
    /// When it was revoked, µs since the epoch.
    pub revoked_at: Option<i64>,
    /// Events it may post per second.
    pub events_per_second: Option<u32>,
    /// Bytes it may post per second.
    pub bytes_per_second: Option<u32>,
    /// SHA-256 of the secret: with 256 random bits there is nothing to guess, so nothing slower is needed.
    #[serde(skip)]
    pub(crate) hash: [u8; 32],
}

impl KeyRecord {
    /// Whether it opens anything at that time (µs since the epoch).
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key's text, to be shown once. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

/// Why a key could not be created, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The wishes for a new key do not hold together.
    #[error("{0}")]
    Invalid(&'static str),
    /// There is no such key.
    #[error("there is no key with the id {0}")]
    Unknown(String),
    /// The store did not answer or refused.
    #[error("cannot {doing}: {reason}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        reason: String,
        /// Whether trying again later can help.
        is_retryable: bool,
    },
}

impl KeyError {
    /// Whether trying again later can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { is_retryable: true, .. })
    }
}

/// Creates a key. Its text cannot be had again.
///
/// # Errors
/// [`KeyError::Invalid`] or [`KeyError::Store`].
pub async fn create(store: &Client, tables: &TableNames, new: NewKey) -> Result<(KeyText, KeyRecord), KeyError> {
    let now = now_micros();
    let new = checked(new, now)?;
    let (id, secret) = (random_id(), random_token());
    let record = KeyRecord {
        id,
        name: new.name,
        scopes: new.scopes,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
        events_per_second: new.events_per_second,
        bytes_per_second: new.bytes_per_second,
        hash: Sha256::digest(secret.as_bytes()).into(),
    };
    store
        .put_item()
        .table_name(&tables.control)
        .set_item(Some(to_item(&record)))
        .condition_expression("attribute_not_exists(#id)")
        .expression_attribute_names("#id", ID)
        .send()
        .await
        .map_err(|error| store_error("write the key", &error))?;
    let text = format!("{PREFIX}{}_{secret}{}", record.id, checksum(&record.id, &secret));
    Ok((KeyText(text), record))
}

/// All keys, the revoked and expired too, by id.
///
/// # Errors
/// [`KeyError::Store`].
pub async fn list(store: &Client, tables: &TableNames) -> Result<Vec<KeyRecord>, KeyError> {
    let mut keys = Vec::new();
    let mut from = None;
    loop {
        let page = store
            .query()
            .table_name(&tables.control)
            .key_condition_expression("#kind = :kind")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_values(":kind", s(kind::API_KEY))
            .consistent_read(true)
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(|error| store_error("read the keys", &error))?;
        for item in page.items.unwrap_or_default() {
            match from_item(&item) {
                Some(record) => keys.push(record),
                // Refusing all keys for one broken item would be an outage of its own.
                None => tracing::error!("an api key's item in the control table cannot be read"),
            }
        }
        from = page.last_evaluated_key;
        if from.is_none() {
            return Ok(keys);
        }
    }
}

/// Revokes a key for good. Services notice within ten seconds. Revoking it again changes nothing.
///
/// # Errors
/// [`KeyError::Unknown`] or [`KeyError::Store`].
pub async fn revoke(store: &Client, tables: &TableNames, id: &str) -> Result<(), KeyError> {
    let updated = store
        .update_item()
        .table_name(&tables.control)
        .key(KIND, s(kind::API_KEY))
        .key(ID, s(id))
        .update_expression("SET revoked_at = if_not_exists(revoked_at, :now)")
        .condition_expression("attribute_exists(#id)")
        .expression_attribute_names("#id", ID)
        .expression_attribute_values(":now", s(format_micros(now_micros())))
        .send()
        .await;
    match updated {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
            Err(KeyError::Unknown(id.to_owned()))
        }
        Err(error) => Err(store_error("revoke the key", &error)),
    }
}

/// A key's text taken apart; `None` where it cannot be a key.
pub(crate) fn parse(text: &str) -> Option<(&str, &str)> {
    let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
    if !(8..=32).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    if rest.len() != SECRET_LEN + CHECKSUM_LEN || !rest.is_ascii() {
        return None;
    }
    let (secret, given) = rest.split_at(SECRET_LEN);
    (checksum(id, secret) == given).then_some((id, secret))
}

/// 256 random bits in base64url.
pub(crate) fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

pub(crate) fn store_error<E>(doing: &'static str, error: &SdkError<E>) -> KeyError
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(|e| e.code());
    let is_retryable = !matches!(
        code,
        Some("AccessDeniedException" | "ValidationException" | "UnrecognizedClientException" | "MissingAuthenticationTokenException")
    );
    // Some engines repeat the whole request in an error, so only its head is kept.
    let reason = DisplayErrorContext(error).to_string().chars().take(300).collect();
    KeyError::Store { doing, reason, is_retryable }
}

fn checked(new: NewKey, now: i64) -> Result<NewKey, KeyError> {
    let mut scopes = new.scopes;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(KeyError::Invalid("a key needs at least one scope"));
    }
    if new.name.chars().count() > NAME_MAX || new.name.chars().any(char::is_control) {
        return Err(KeyError::Invalid("a key's name has at most 128 characters and no control characters"));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(KeyError::Invalid("a key must expire in the future"));
    }
    if new.events_per_second == Some(0) || new.bytes_per_second == Some(0) {
        return Err(KeyError::Invalid("a limit is at least 1 per second"));
    }
    Ok(NewKey { scopes, ..new })
}

fn random_id() -> String {
    rand::random::<[u8; ID_LEN]>().iter().map(|b| char::from(ID_CHARS[usize::from(b % 32)])).collect()
}

fn checksum(id: &str, secret: &str) -> String {
    let digest = Sha256::new().chain_update(b"agent-tally-key:").chain_update(id).chain_update(b"_").chain_update(secret).finalize();
    let mut text = URL_SAFE_NO_PAD.encode(digest);
    text.truncate(CHECKSUM_LEN);
    text
}

fn to_item(record: &KeyRecord) -> HashMap<String, AttributeValue> {
    let scopes = record.scopes.iter().map(|scope| s(scope.name())).collect();
    let mut item = HashMap::from([
        (KIND.to_owned(), s(kind::API_KEY)),
        (ID.to_owned(), s(&record.id)),
        ("name".to_owned(), s(&record.name)),
        ("scopes".to_owned(), AttributeValue::L(scopes)),
        ("created_at".to_owned(), s(format_micros(record.created_at))),
        ("hash".to_owned(), s(hex::encode(record.hash))),
    ]);
    let mut add = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    add("expires_at", record.expires_at.map(|at| s(format_micros(at))));
    add("revoked_at", record.revoked_at.map(|at| s(format_micros(at))));
    add("events_per_second", record.events_per_second.map(n));
    add("bytes_per_second", record.bytes_per_second.map(n));
    item
}

/// `None` where anything is missing or not understood: such a key opens nothing.
fn from_item(item: &HashMap<String, AttributeValue>) -> Option<KeyRecord> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    let time = |name: &str| match item.get(name) {
        None => Some(None),
        Some(value) => parse_micros(value.as_s().ok()?).map(Some),
    };
    let limit = |name: &str| match item.get(name) {
        None => Some(None),
        Some(value) => value.as_n().ok()?.parse::<u32>().ok().map(Some),
    };
    let mut hash = [0; 32];
    hex::decode_to_slice(text("hash")?, &mut hash).ok()?;
    Some(KeyRecord {
        id: text(ID)?.clone(),
        name: text("name")?.clone(),
        // A scope of a later version grants nothing here.
        scopes: item.get("scopes")?.as_l().ok()?.iter().filter_map(|scope| Scope::parse(scope.as_s().ok()?)).collect(),
        created_at: parse_micros(text("created_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        events_per_second: limit("events_per_second")?,
        bytes_per_second: limit("bytes_per_second")?,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> (String, String, String) {
        let (id, secret) = (random_id(), random_token());
        let text = format!("{PREFIX}{id}_{secret}{}", checksum(&id, &secret));
        (id, secret, text)
    }

    #[test]
    fn a_keys_text_is_taken_apart_again() {
        for _ in 0..200 {
            let (id, secret, text) = text();
            assert_eq!(text.len(), 3 + 12 + 1 + 43 + 6);
            assert_eq!(parse(&text), Some((id.as_str(), secret.as_str())), "{text}");
        }
    }

    #[test]
    fn a_mistyped_key_is_told_by_its_checksum() {
        let (_, _, text) = text();
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&wrong).expect("ascii")), None, "{at}");
        }
        assert_eq!(parse(&text[..text.len() - 1]), None);
        assert_eq!(parse(&format!("{text}x")), None);
        for wrong in
            ["", "at_", "at__", "at_abc_", "at_abcdefgh", "Bearer", "at_abcdefgh_\u{e9}", &format!("at_abcdefgh_{}", "\u{e9}".repeat(25))]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_comes_back_from_its_item() {
        let record = KeyRecord {
            id: random_id(),
            name: "ci".into(),
            scopes: vec![Scope::Ingest, Scope::Admin],
            created_at: 1_767_781_800_123_456,
            expires_at: Some(1_867_781_800_123_456),
            revoked_at: None,
            events_per_second: Some(100),
            bytes_per_second: None,
            hash: [7; 32],
        };
        let mut item = to_item(&record);
        assert_eq!(from_item(&item), Some(record));
        item.insert("expires_at".into(), s("tomorrow"));
        assert_eq!(from_item(&item), None, "a time that is not understood must not mean for ever");
    }

    #[test]
    fn wishes_are_checked() {
        let new = NewKey {
            name: "ci".into(),
            scopes: vec![Scope::Read, Scope::Read],
            expires_at: None,
            events_per_second: None,
            bytes_per_second: None,
        };
        assert_eq!(checked(new.clone(), 0).expect("good").scopes, [Scope::Read]);
        for wrong in [
            NewKey { scopes: vec![], ..new.clone() },
            NewKey { name: "a\nb".into(), ..new.clone() },
            NewKey { name: "a".repeat(129), ..new.clone() },
            NewKey { expires_at: Some(5), ..new.clone() },
            NewKey { events_per_second: Some(0), ..new.clone() },
        ] {
            assert!(checked(wrong.clone(), 10).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        assert_eq!(format!("{:?}", KeyText("at_secret".into())), "KeyText(…)");
    }
}
