//! What a service that is a process of its own has besides its work. What it is told: where to listen, whom to let in, and
//! where the log, the store and the registry are; the defaults of the addresses differ, so each service sets its own. And
//! what runs around it: telemetry, the signals to stop, the admin port. Must not know what a service does.

use crate::admin::{self, Readiness};
use crate::auth::Authenticator;
use crate::http::{self, HttpConfig, ListenError};
use crate::log::LogConfig;
use crate::registry::RegistryConfig;
use crate::shutdown;
use crate::store::StoreConfig;
use crate::telemetry::{self, Telemetry};
use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use axum::Router;
use clap::Args;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The surroundings of a service. `listen` and `admin_listen` need a default from whoever flattens this.
#[derive(Args, Clone, Debug)]
pub struct ServiceConfig {
    /// Where to listen.
    #[arg(long, env = "LISTEN", required = false)]
    pub listen: SocketAddr,

    /// Where health and metrics are.
    #[arg(long, env = "ADMIN_LISTEN", required = false)]
    pub admin_listen: SocketAddr,

    /// Let nobody in without an API key.
    #[arg(long, env = "REQUIRE_KEYS")]
    pub require_keys: bool,

    /// Let everybody in, on whatever address.
    #[arg(long, env = "INSECURE", conflicts_with = "require_keys")]
    pub insecure: bool,

    /// The HTTP guards.
    #[command(flatten)]
    pub http: HttpConfig,

    /// Where the log is.
    #[command(flatten)]
    pub log: LogConfig,

    /// Where the numbers and the keys are.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: RegistryConfig,
}

impl ServiceConfig {
    /// Refuses to be open to others without keys, before anything binds.
    ///
    /// # Errors
    /// Where it would be.
    pub fn validate(&self) -> Result<(), ListenError> {
        http::guard_listen(&self.listen, self.require_keys, self.insecure)
    }

    /// Whom to let in: the holders of keys where those are required, read from `store` (or a client made for it), else
    /// everybody.
    ///
    /// # Errors
    /// Where the store refuses.
    pub async fn authenticator(&self, store: Option<Client>, shutdown: CancellationToken) -> anyhow::Result<Authenticator> {
        if !self.require_keys {
            return Ok(Authenticator::open());
        }
        let store = match store {
            Some(store) => store,
            None => self.store.client().await,
        };
        Ok(Authenticator::start(store, self.store.tables(), shutdown).await?)
    }

    /// Serves the routes and the health paths of `service` behind the HTTP guards until `shutdown`; requests under way are
    /// answered first.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn serve(
        &self,
        service: &'static str,
        listener: TcpListener,
        router: Router,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        tracing::info!(service, address = %listener.local_addr()?, "the service is listening");
        let router = http::layered(router.merge(admin::router(readiness)), service, &self.http);
        http::serve(listener, router, shutdown).await.context("the listener broke")
    }
}

/// A service's process: its telemetry, its admin port, and when it is to stop.
#[derive(Debug)]
pub struct Process {
    /// Where the service says what is not ready; told on the admin port.
    pub readiness: Readiness,
    /// Cancelled by the first signal to stop.
    pub shutdown: CancellationToken,
    admin: JoinHandle<std::io::Result<()>>,
    _telemetry: Telemetry,
}

impl Process {
    /// Sets telemetry up, listens to signals and serves the admin port. The service is not ready until it says that
    /// `component` is.
    ///
    /// # Errors
    /// Where telemetry is told what it does not understand, or the port is taken.
    pub async fn start(service: &'static str, component: &'static str, admin_listen: SocketAddr) -> anyhow::Result<Self> {
        let telemetry = telemetry::init(service)?;
        let shutdown = shutdown::on_signal()?;
        let listener = listen(admin_listen).await?;
        tracing::info!(service, address = %listener.local_addr()?, "health and metrics are served");
        let readiness = Readiness::new();
        readiness.set(component, Err("starting".into()));
        let admin = tokio::spawn(admin::serve(listener, readiness.clone(), telemetry.prometheus.clone(), shutdown.clone()));
        Ok(Self { readiness, shutdown, admin, _telemetry: telemetry })
    }

    /// Does the service's work to its end, then closes the admin port.
    ///
    /// # Errors
    /// The work's own, or where the admin port broke.
    pub async fn run(self, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let outcome = work.await;
        self.shutdown.cancel();
        self.admin.await??;
        outcome
    }
}

/// Listens on an address.
///
/// # Errors
/// Where it is taken or not this machine's.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}
