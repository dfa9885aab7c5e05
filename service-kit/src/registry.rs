//! The way to a Confluent schema registry: makes the schemas that we write known there, and looks up those that records
//! name. Keeps no schema itself: the codecs do.

use clap::Args;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use schemas::codec::{Codec, DecodeError, WireForm};
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the schema registry is. Without one, records use Avro's single-object encoding.
#[derive(Args, Clone, Default)]
pub struct RegistryConfig {
    /// URL of a Confluent schema registry; records then use its wire form.
    #[arg(long, env = "SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<String>,

    /// User for the registry (Confluent Cloud: the API key).
    #[arg(long, env = "SCHEMA_REGISTRY_USER")]
    pub schema_registry_user: Option<String>,

    /// Password for the registry (Confluent Cloud: the API secret).
    #[arg(long, env = "SCHEMA_REGISTRY_PASSWORD", hide_env_values = true)]
    pub schema_registry_password: Option<String>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig").field("schema_registry_url", &self.schema_registry_url).finish_non_exhaustive()
    }
}

/// Why the registry was of no use.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No client could be made of the settings.
    #[error("the schema registry's settings cannot be used")]
    Settings(#[source] SRCError),
    /// A schema could not be registered.
    #[error("the schema registry did not take the schema of {subject}")]
    Register {
        /// Under which it should have been.
        subject: String,
        /// What the registry said.
        source: SRCError,
    },
    /// The registry has no schema with that id.
    #[error("the schema registry does not know schema id {0}")]
    UnknownId(u32),
    /// The registry's schema is not one that records can be read with.
    #[error("the schema registry's schema id {id} cannot be used")]
    Unusable {
        /// Its id.
        id: u32,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The registry does not answer, or not about the schema: it may be down, or want another password.
    #[error("the schema registry does not answer")]
    Unavailable(#[source] SRCError),
}

impl RegistryError {
    /// Whether the same question may be answered later: the record that names the schema may be fine.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Registers a schema under `<topic>-value` and answers how to frame that topic's records.
///
/// # Errors
/// Where a registry is configured that does not take the schema.
pub async fn register(config: &RegistryConfig, topic: &str, name: &str, schema: &str) -> Result<WireForm, RegistryError> {
    let Some(registry) = Registry::new(config)? else { return Ok(WireForm::SingleObject) };
    let subject = format!("{topic}-value");
    let supplied = SuppliedSchema::new(Some(name.to_owned()), SchemaType::Avro, schema.to_owned());
    match post_schema(&registry.settings, subject.clone(), supplied).await {
        Ok(registered) => {
            tracing::info!(schema_id = registered.id, subject, "schema registered");
            Ok(WireForm::Confluent(registered.id))
        }
        Err(source) => Err(RegistryError::Register { subject, source }),
    }
}

/// A registry that can be asked for schemas.
#[derive(Clone, Debug)]
pub struct Registry {
    settings: SrSettings,
}

impl Registry {
    /// The configured registry; nothing is sent yet.
    ///
    /// # Errors
    /// Where the settings cannot be used.
    pub fn new(config: &RegistryConfig) -> Result<Option<Self>, RegistryError> {
        let Some(url) = config.schema_registry_url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        let mut builder = SrSettings::new_builder(url.trim_end_matches('/').to_owned());
        builder.set_timeout(TIMEOUT);
        if let Some(user) = config.schema_registry_user.as_deref().filter(|user| !user.is_empty()) {
            builder.set_basic_authorization(user, config.schema_registry_password.as_deref());
        }
        Ok(Some(Self { settings: builder.build().map_err(RegistryError::Settings)? }))
    }

    /// Looks the writer's schema with that id up and makes it readable for `codec`.
    ///
    /// # Errors
    /// Where there is none, or no answer for now ([`RegistryError::is_retryable`]).
    pub async fn teach(&self, codec: &Codec, id: u32) -> Result<(), RegistryError> {
        match get_schema_by_id(id, &self.settings).await {
            Ok(found) => codec.register(id, &found.schema).map_err(|source| RegistryError::Unusable { id, source }),
            Err(error) if says_not_found(&error) => Err(RegistryError::UnknownId(id)),
            Err(error) => Err(RegistryError::Unavailable(error)),
        }
    }
}

/// Whether the registry itself says so (`404`, `40403` in its answer). Any other refusal, such as a wrong password or a
/// proxy's page, tells nothing about the schema.
fn says_not_found(error: &SRCError) -> bool {
    let code = error.source().and_then(|source| source.downcast_ref::<RawError>()).map(|raw| raw.error_code);
    code.is_some_and(|code| code == 404 || code / 100 == 404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Path;
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use schemas::codec::{AGENT_TOTALS_SCHEMA, TOTALS};
    use serde_json::{Value, json};

    fn is_let_in(headers: &HeaderMap) -> bool {
        // "user:secret"
        headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic dXNlcjpzZWNyZXQ=")
    }

    async fn schema(headers: HeaderMap, Path(id): Path<u32>) -> Response {
        let refusal = |status: StatusCode, code: u32| (status, Json(json!({"error_code": code, "message": "no"}))).into_response();
        match id {
            _ if !is_let_in(&headers) => refusal(StatusCode::UNAUTHORIZED, 40101),
            72_001 => Json(json!({"schema": AGENT_TOTALS_SCHEMA})).into_response(),
            72_002 => Json(json!({"schema": "no schema"})).into_response(),
            72_003 => StatusCode::NOT_FOUND.into_response(),
            72_004 => refusal(StatusCode::INTERNAL_SERVER_ERROR, 50001),
            _ => refusal(StatusCode::NOT_FOUND, 40403),
        }
    }

    async fn subject(headers: HeaderMap, Path(subject): Path<String>) -> Result<Json<Value>, StatusCode> {
        if is_let_in(&headers) && subject == "t-value" { Ok(Json(json!({"id": 72_001}))) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    async fn config(password: &str) -> RegistryConfig {
        let router = Router::new().route("/schemas/ids/{id}", get(schema)).route("/subjects/{subject}/versions", post(subject));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        RegistryConfig {
            schema_registry_url: Some(url),
            schema_registry_user: Some("user".into()),
            schema_registry_password: Some(password.into()),
        }
    }

    #[tokio::test]
    async fn user_and_password_are_sent_and_not_shown() {
        let config = config("secret").await;
        assert_eq!(register(&config, "t", "n", "{}").await.expect("taken"), WireForm::Confluent(72_001));
        let registry = Registry::new(&config).expect("settings").expect("a registry");
        registry.teach(&TOTALS, 72_001).await.expect("a schema");
        assert!(!format!("{config:?} {registry:?}").contains("secret"));
    }

    #[tokio::test]
    async fn only_the_registrys_own_word_makes_an_id_unknown() {
        let registry = Registry::new(&config("secret").await).expect("settings").expect("a registry");
        assert!(matches!(registry.teach(&TOTALS, 72_000).await, Err(RegistryError::UnknownId(72_000))));
        assert!(matches!(registry.teach(&TOTALS, 72_002).await, Err(RegistryError::Unusable { id: 72_002, .. })));
        for id in [72_003, 72_004] {
            assert!(registry.teach(&TOTALS, id).await.is_err_and(|error| error.is_retryable()), "{id}");
        }
    }

    #[tokio::test]
    async fn a_wrong_password_condemns_no_record() {
        let config = config("wrong").await;
        assert!(register(&config, "t", "n", "{}").await.is_err());
        let registry = Registry::new(&config).expect("settings").expect("a registry");
        assert!(registry.teach(&TOTALS, 72_001).await.is_err_and(|error| error.is_retryable()));
    }

    #[tokio::test]
    async fn an_empty_variable_means_no_registry() {
        let config = RegistryConfig { schema_registry_url: Some(String::new()), ..RegistryConfig::default() };
        assert!(Registry::new(&config).expect("settings").is_none());
        assert_eq!(register(&config, "t", "n", "{}").await.expect("nothing to ask"), WireForm::SingleObject);
    }
}
