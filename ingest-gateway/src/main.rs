//! The ingest gateway as a process of its own, on Kafka.

use clap::Parser;
use ingest_gateway::{ServeConfig, serve};
use service_kit::service::{Process, listen};

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
    let process = Process::start("ingest-gateway", "log", config.service.admin_listen).await?;
    let listener = listen(config.service.listen).await?;
    let log = config.service.log.connect()?;
    let work = serve(config, log, process.readiness.clone(), listener, process.shutdown.clone());
    process.run(Box::pin(work)).await
}
