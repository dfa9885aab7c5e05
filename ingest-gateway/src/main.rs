//! The ingest gateway as a process of its own, on Kafka.

use anyhow::Context as _;
use clap::Parser;
use ingest_gateway::{ServeConfig, serve};
use service_kit::admin::{self, Readiness};
use tokio::net::TcpListener;

/// Takes agents' events in over HTTP and hands them to the log.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: ServeConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { config } = Cli::parse();
    config.validate()?;
    let telemetry = service_kit::telemetry::init("ingest-gateway")?;
    let shutdown = service_kit::shutdown::on_signal()?;
    let bind = async |address| TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"));
    let (listener, admin) = (bind(config.service.listen).await?, bind(config.service.admin_listen).await?);
    let readiness = Readiness::new();
    readiness.set("log", Err("starting".into()));
    let admin = tokio::spawn(admin::serve(admin, readiness.clone(), telemetry.prometheus.clone(), shutdown.clone()));
    let log = config.service.log.connect()?;
    let outcome = serve(config, log, readiness, listener, shutdown.clone()).await;
    shutdown.cancel();
    admin.await??;
    outcome
}
