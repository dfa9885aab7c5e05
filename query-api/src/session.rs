//! `/api/v1/session`: the dashboard's sign-in. An API key comes in once; an `HttpOnly` cookie goes out.

use crate::AppState;
use aws_sdk_dynamodb::Client;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemas::Problem;
use schemas::item::TableNames;
use serde::{Deserialize, Serialize};
use service_kit::auth::Scope;
use service_kit::keys::KeyError;
use service_kit::problem::ApiError;
use service_kit::sessions::{SESSION_TIME, clear_cookie, create_session, revoke_session, token_of};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    pub(crate) store: Client,
    pub(crate) tables: TableNames,
}

pub(crate) fn router(sessions: Sessions) -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(session_read, session_create, session_delete)).layer(Extension(sessions))
}

/// What signs in.
#[derive(Deserialize, ToSchema)]
struct SignIn {
    /// An API key with the scope `read`.
    key: String,
}

/// Whether somebody is signed in.
#[derive(Debug, Serialize, ToSchema)]
struct SessionAnswer {
    /// Whether reading needs a key at all.
    is_required: bool,
    /// Whether this browser (or key) may read.
    is_signed_in: bool,
    /// How long a new session lasts, seconds.
    session_time_s: u64,
}

/// Whether this browser is signed in
#[utoipa::path(get, path = "/api/v1/session", operation_id = "getSession", tag = "session", responses((status = 200, body = SessionAnswer)))]
async fn session_read(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    let is_signed_in = state.auth.authenticate_browser(&headers, Scope::Read).await.is_ok();
    answer(&state, is_signed_in)
}

fn answer(state: &AppState, is_signed_in: bool) -> Response {
    let body = SessionAnswer { is_required: state.auth.is_required(), is_signed_in, session_time_s: SESSION_TIME.as_secs() };
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Sign in with a key
#[utoipa::path(
    post, path = "/api/v1/session", operation_id = "createSession", tag = "session", request_body = SignIn,
    responses(
        (status = 200, body = SessionAnswer, description = "Signed in; the cookie is in `Set-Cookie`"),
        (status = 400, description = "Not the JSON asked for", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No such key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key may not read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn session_create(
    State(state): State<Arc<AppState>>,
    Extension(sessions): Extension<Sessions>,
    headers: HeaderMap,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(sign_in) = body.map_err(|rejection| match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::unsupported_media("send application/json"),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("the body is too large"),
        _ => ApiError::bad_request("send {\"key\": \"...\"}"),
    })?;
    let not_a_key = || ApiError::unauthorized("this is not a key that may sign in");
    let mut bearer = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {}", sign_in.key.trim())).map_err(|_| not_a_key())?;
    bearer.insert(AUTHORIZATION, value);
    let caller = state.auth.authenticate(&bearer, Scope::Read)?;
    let mut response = answer(&state, true);
    if let Some(key_id) = caller.key_id {
        let token = create_session(&sessions.store, &sessions.tables, &key_id).await.map_err(refused)?;
        set_cookie(&mut response, &token.set_cookie(is_secure(&headers)))?;
    }
    Ok(response)
}

/// Sign out
#[utoipa::path(
    delete, path = "/api/v1/session", operation_id = "deleteSession", tag = "session",
    responses((status = 204, description = "Signed out, on every replica within seconds")),
)]
async fn session_delete(
    State(state): State<Arc<AppState>>,
    Extension(sessions): Extension<Sessions>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(token) = token_of(&headers) {
        revoke_session(&sessions.store, &sessions.tables, token).await.map_err(refused)?;
        state.auth.forget_session(token);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, &clear_cookie(is_secure(&headers)))?;
    Ok(response)
}

fn set_cookie(response: &mut Response, cookie: &str) -> Result<(), ApiError> {
    let value = HeaderValue::from_str(cookie).map_err(ApiError::internal)?;
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(())
}

fn refused(error: KeyError) -> ApiError {
    if error.is_retryable() {
        return ApiError::unavailable("sessions cannot be written at the moment; try again", 2).caused_by(error);
    }
    ApiError::internal(error)
}

/// Browsers keep a `Secure` cookie on plain HTTP only from loopback, and not all of them do: there it is left out.
fn is_secure(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let is_forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    is_forwarded || !matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_loopback_goes_without_secure_cookies() {
        let headers = |host: &'static str| HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        for host in ["localhost", "localhost:8001", "127.0.0.1:8001", "[::1]:8001", "[::1]"] {
            assert!(!is_secure(&headers(host)), "{host}");
        }
        for host in ["tally.example.com", "localhost.example.com:8001", "10.0.0.1"] {
            assert!(is_secure(&headers(host)), "{host}");
        }
    }
}
