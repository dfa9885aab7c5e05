//! `POST /api/v1/web-vitals`: how fast the dashboard loads in browsers. Becomes metrics and is not stored.

use crate::AppState;
use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use schemas::Problem;
use schemas::problem::FieldError;
use serde::Deserialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest body.
const BODY_BYTES: usize = 8 * 1024;
/// Most values of one post.
const MOST_VALUES: usize = 32;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(vitals_create)).layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// What a browser measured.
#[derive(Debug, Deserialize, ToSchema)]
struct WebVitals {
    /// At most 32.
    values: Vec<WebVital>,
}

/// One value.
#[derive(Debug, Deserialize, ToSchema)]
struct WebVital {
    /// Which.
    name: VitalName,
    /// Milliseconds; of `CLS` a plain number.
    value: f64,
}

/// What browsers measure, as Web Vitals define it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum VitalName {
    /// Cumulative layout shift.
    Cls,
    /// First contentful paint.
    Fcp,
    /// Interaction to next paint.
    Inp,
    /// Largest contentful paint.
    Lcp,
    /// Time to first byte.
    Ttfb,
}

/// Report how fast the dashboard loads
#[utoipa::path(
    post, path = "/api/v1/web-vitals", operation_id = "createWebVitals", tag = "dashboard", request_body = WebVitals,
    responses(
        (status = 204, description = "Noted"),
        (status = 422, description = "A value is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn vitals_create(body: Result<Json<WebVitals>, JsonRejection>) -> Result<StatusCode, ApiError> {
    let Json(vitals) = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("at most {BODY_BYTES} bytes")),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::unsupported_media("send application/json"),
        StatusCode::BAD_REQUEST => ApiError::bad_request("not JSON"),
        _ => refused(0, "values", "must be a list of {\"name\", \"value\"}, names CLS, FCP, INP, LCP or TTFB"),
    })?;
    if vitals.values.len() > MOST_VALUES {
        return Err(refused(MOST_VALUES, "values", "must be at most 32"));
    }
    if let Some(i) = vitals.values.iter().position(|v| !(0.0..=600_000.0).contains(&v.value)) {
        return Err(refused(i, "value", "must be a number from 0 to 600000"));
    }
    for vital in &vitals.values {
        match vital.name {
            VitalName::Cls => ::metrics::histogram!("dashboard_cumulative_layout_shift").record(vital.value),
            VitalName::Fcp => seconds("first_contentful_paint", vital.value),
            VitalName::Inp => seconds("interaction_to_next_paint", vital.value),
            VitalName::Lcp => seconds("largest_contentful_paint", vital.value),
            VitalName::Ttfb => seconds("time_to_first_byte", vital.value),
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

fn seconds(vital: &'static str, ms: f64) {
    ::metrics::histogram!("dashboard_vital_seconds", "vital" => vital).record(ms / 1e3);
}

fn refused(index: usize, field: &str, detail: &str) -> ApiError {
    ApiError::unprocessable(format!("{field} {detail}"), vec![FieldError { index, field: field.into(), detail: detail.into() }])
}
