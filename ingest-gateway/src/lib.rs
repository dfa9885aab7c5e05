//! HTTP in: authenticates, validates, encodes and publishes events, and answers with success only when the log
//! has them durably.
//!
//! An event passes through the files in this order: `events` takes the request, `body` reads and unpacks it,
//! `split` finds the events in it, `validate` (with `fields` and `metadata`) judges each, `identify`
//! gives the ids that follow from the content, `publish` hands it to the log. What could not be counted afterwards is
//! published once more by `redrive`, which finds it through `dead_letters`.
//!
//! The gateway keeps nothing: it knows no table but the keys' (through [`service_kit::auth`]) and no event after
//! its answer.

mod body;
mod config;
mod dead_letters;
mod events;
mod fields;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod identify;
mod metadata;
mod metrics;
mod prepare;
mod publish;
mod redrive;
mod serve;
mod split;
mod tally;
mod validate;

pub use config::GatewayConfig;
pub use publish::{EPOCH_HEADER, Held, REQUEST_ID_HEADER, TRACEPARENT_HEADER};
pub use serve::{ServeConfig, serve};
pub use split::MAX_EVENTS;

use axum::Router;
use body::Budget;
use dead_letters::DeadLetters;
use event_log::Log;
use publish::Publisher;
use schemas::codec::WireForm;
use schemas::price::PriceTable;
use service_kit::admin::Readiness;
use service_kit::auth::Authenticator;
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How often readiness looks at the log.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long the log may take to say how it is.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// What a gateway works with.
#[derive(Clone, Debug)]
pub struct GatewayParts {
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// Who may send them.
    pub auth: Authenticator,
    /// Where the gateway says whether the log takes events (component `log`) and keys can be checked (`keys`).
    pub readiness: Readiness,
}

/// The gateway, ready to be routed to.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    readiness: Readiness,
}

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Shared {
    publisher: Publisher,
    dead_letters: DeadLetters,
    auth: Authenticator,
    prices: Arc<PriceTable>,
    retention_days: Option<u32>,
    body_timeout: Duration,
    budget: Budget,
    cores: Arc<Semaphore>,
    form: WireForm,
    tally: Tally,
    log: Arc<dyn Log>,
    topic_metrics: String,
}

impl Gateway {
    /// A gateway that frames records without a registry; see [`Gateway::with_wire_form`].
    ///
    /// # Errors
    /// Where a setting cannot work or the price table cannot be read.
    pub fn new(config: GatewayConfig, parts: GatewayParts) -> anyhow::Result<Self> {
        Self::with_wire_form(config, parts, WireForm::SingleObject)
    }

    /// A gateway that frames records in that form; see [`service_kit::registry::register`].
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn with_wire_form(config: GatewayConfig, parts: GatewayParts, form: WireForm) -> anyhow::Result<Self> {
        config.validate()?;
        metrics::describe();
        let GatewayParts { log, auth, readiness } = parts;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            prices: config.prices()?,
            retention_days: config.retention_days(),
            body_timeout: config.body_timeout(),
            budget: Budget::new(config.max_in_flight_bytes),
            cores: Arc::new(Semaphore::new(cores)),
            log: Arc::clone(&log),
            topic_metrics: config.topic_metrics.clone(),
            tally: Tally::new(),
            dead_letters: DeadLetters::new(Arc::clone(&log), &config)?,
            publisher: Publisher::new(log, config.topic.clone(), config.epoch, config.publish_timeout()),
            auth,
            form,
        };
        Ok(Self { shared: Arc::new(shared), readiness })
    }

    /// The ways in, without layers and without health.
    pub fn router(&self) -> Router {
        events::router().merge(redrive::router()).with_state(Arc::clone(&self.shared))
    }

    /// Takes no events, and says so with `503`, until what it returns is dropped; requests that publish already are
    /// waited for.
    pub async fn hold(&self) -> Held {
        self.shared.publisher.hold().await
    }

    /// Says again and again whether the log takes events and keys can be checked, and how many it took, until `shutdown`.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let Shared { tally, log, topic_metrics, .. } = &*self.shared;
        // Totals need no registry to be read: the live table knows this form too.
        let telling = tally.tell(log, topic_metrics, WireForm::SingleObject, &shutdown);
        tokio::join!(telling, self.check(&shutdown));
    }

    async fn check(&self, shutdown: &CancellationToken) {
        loop {
            let state = match tokio::time::timeout(CHECK_WITHIN, self.shared.publisher.check()).await {
                Ok(state) => state,
                Err(_) => Err("the log does not answer".to_owned()),
            };
            self.readiness.set("log", state);
            if self.shared.auth.is_required() {
                let keys = if self.shared.auth.is_ready() { Ok(()) } else { Err("the keys could not be read yet".to_owned()) };
                self.readiness.set("keys", keys);
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
        }
    }
}
