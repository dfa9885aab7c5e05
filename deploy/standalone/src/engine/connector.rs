//! The HTTP client that the SDK is given: it answers requests from the engine in this process. It must not
//! open sockets, and it adds nothing to what the engine answers.

use super::Lanes;
use super::operations::Answer;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use std::sync::Arc;

/// What every target of the DynamoDB protocol begins with.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// Gives the SDK the one connector there is.
#[derive(Clone, Debug)]
pub(super) struct EngineClient(SharedHttpConnector);

impl EngineClient {
    pub(super) fn new(lanes: Arc<Lanes>) -> Self {
        Self(SharedHttpConnector::new(EngineConnector(lanes)))
    }
}

impl HttpClient for EngineClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.0.clone()
    }
}

#[derive(Debug)]
struct EngineConnector(Arc<Lanes>);

impl HttpConnector for EngineConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let lanes = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let (operation, body) = read_request(request)?;
            let answer = lanes.call(operation, body).await.map_err(|e| ConnectorError::io(e.into()))?;
            write_response(answer)
        })
    }
}

fn read_request(mut request: HttpRequest) -> Result<(String, Bytes), ConnectorError> {
    let target = request.headers().get("x-amz-target").and_then(|t| t.strip_prefix(TARGET_PREFIX)).map(str::to_owned);
    let operation = target.ok_or_else(|| ConnectorError::user("the request names no DynamoDB operation".into()))?;
    let body = request.take_body();
    let body = body.bytes().map(Bytes::copy_from_slice);
    Ok((operation, body.ok_or_else(|| ConnectorError::user("the request's body is a stream".into()))?))
}

fn write_response(answer: Answer) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(answer.status).map_err(|e| ConnectorError::other(e.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.json));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}
