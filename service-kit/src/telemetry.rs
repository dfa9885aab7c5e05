//! Logs, traces and metrics of a process. Logs never hold content, keys or user ids: whoever logs keeps to ids and
//! counts.

mod export;
mod fields;
mod trace;

pub use trace::{continue_trace, traceparent};
pub(crate) use trace::{is_exporting, stamp};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Upper bounds of the buckets of everything measured in seconds.
const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of the buckets of everything counted (events per batch and so on).
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0];
/// Upper bounds of the buckets of everything measured in bytes.
const BYTES: &[f64] = &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// How often the recorder moves what it collected into its buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's telemetry. Traces that are still here are sent when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    /// Renders the metrics.
    pub prometheus: PrometheusHandle,
    tracer: Option<SdkTracerProvider>,
}

/// Sets up telemetry, once per process, inside its Tokio runtime.
///
/// - `RUST_LOG`: which records are logged; default `info`.
/// - `LOG_FORMAT`: `json` (default) or `text`; `auto` is text on a terminal.
/// - `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`): where traces go, as OTLP over HTTP
///   with protobuf; without it none are made. The usual `OTEL_*` variables (headers, time-out, sampler, resource
///   attributes) apply.
///
/// # Errors
/// Where a variable cannot be understood, or telemetry was set up before.
pub fn init(service: &'static str) -> anyhow::Result<Telemetry> {
    init_with(service, "json", tracing::Level::INFO)
}

/// As [`init`], with other defaults of `LOG_FORMAT` and `RUST_LOG`.
///
/// # Errors
/// As there.
pub fn init_with(service: &'static str, format: &str, level: tracing::Level) -> anyhow::Result<Telemetry> {
    let prometheus = record_metrics()?;
    let tracer = export::provider(service)?;
    let directives = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(level.into()).parse(directives)?;
    let format = std::env::var("LOG_FORMAT").unwrap_or_else(|_| format.to_owned());
    let is_text = match format.as_str() {
        "json" => false,
        "text" => true,
        "auto" => std::io::stderr().is_terminal(),
        _ => anyhow::bail!("LOG_FORMAT must be json, text or auto"),
    };
    let lines = if is_text {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .fmt_fields(fields::JsonFields)
            .with_writer(std::io::stderr)
            .boxed()
    };
    let traces = tracer.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces.with_filter(spans_of_ours())).try_init()?;
    trace::install(tracer.is_some());
    log_panics();
    Ok(Telemetry { prometheus, tracer })
}

/// A recorder for tests and for processes that show metrics without the rest. Installed once per process.
///
/// # Errors
/// Where one was installed before.
pub fn record_metrics() -> anyhow::Result<PrometheusHandle> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), COUNTS)?
        .install_recorder()?;
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let handle = prometheus.clone();
        runtime.spawn(async move {
            let mut turns = tokio::time::interval(UPKEEP);
            loop {
                turns.tick().await;
                handle.run_upkeep();
            }
        });
    }
    Ok(prometheus)
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take()
            && let Err(error) = tracer.shutdown_with_timeout(Duration::from_secs(3))
        {
            tracing::warn!(%error, "traces were not all sent");
        }
    }
}

/// Traces hold our own spans, not those of the libraries (whose export would make spans itself).
fn spans_of_ours() -> tracing_subscriber::filter::Targets {
    let ours = ["service_kit", "event_log", "ingest_gateway", "aggregator", "query_api", "standalone", "agent_tally"];
    tracing_subscriber::filter::Targets::new().with_targets(ours.map(|name| (name, tracing::Level::INFO)))
}

/// Panics become log records. A formatted message may quote data, so only literal ones are told; with
/// `RUST_BACKTRACE` set everything is printed as Rust does.
fn log_panics() {
    let default = std::panic::take_hook();
    let is_verbose = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(see RUST_BACKTRACE=1)");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, message, "panicked");
        if is_verbose {
            default(panic);
        }
    }));
}
