//! Sends traces over OTLP where an endpoint is configured.

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

/// The provider; `None` where no endpoint is configured.
pub(super) fn provider(service: &'static str) -> anyhow::Result<Option<SdkTracerProvider>> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(None);
    }
    let runtime = Handle::try_current().context("traces are sent from a tokio runtime")?;
    let client = OnRuntime { runtime, client: reqwest::Client::builder().build()? };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build().context("cannot set up the export of traces")?;
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.name", service_name(service)))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

fn service_name(service: &'static str) -> String {
    std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| service.to_owned())
}

/// The exporter works on a thread of its own, where the asynchronous client has no reactor; so its requests run on
/// the process's runtime.
#[derive(Debug)]
struct OnRuntime {
    runtime: Handle,
    client: reqwest::Client,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: axum::http::Request<Bytes>) -> Result<axum::http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}
