//! What stands around a service that is measured, each as a process of its own so that its processor time is not the
//! service's: a broker and a store that answer at once, and the ceiling for one event per request.

mod body_only;
mod dynamodb;
mod kafka;
mod put_and_update;

use clap::{Parser, Subcommand};
use std::io::Write as _;

/// One part; it prints its address and runs until it is killed.
#[derive(Parser, Debug)]
#[command(name = "bench-part", version)]
struct Options {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// librdkafka's mock cluster: prints its bootstrap servers.
    Kafka {
        /// Partitions of the topic of the events.
        #[arg(long, default_value_t = 6)]
        partitions: i32,
        /// Events that the topic already holds.
        #[arg(long, default_value_t = 0)]
        events: usize,
        /// Agents that they come from, in turns.
        #[arg(long, default_value_t = 1)]
        agents: usize,
    },
    /// A DynamoDB that stores nothing but the control table and says yes at once.
    Dynamodb,
    /// A put and an update per event: prints events per second of processor time, and ends.
    PutAndUpdate {
        /// Where the store is.
        #[arg(long)]
        store: String,
        /// How many events.
        #[arg(long)]
        events: usize,
    },
    /// axum that reads the body and answers JSON.
    BodyOnly,
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    match Options::parse().part {
        Part::Kafka { partitions, events, agents } => kafka::run(partitions, events, agents).await,
        Part::Dynamodb => dynamodb::run().await,
        Part::PutAndUpdate { store, events } => put_and_update::run(&store, events).await,
        Part::BodyOnly => body_only::run().await,
    }
}

/// Says where the part is.
fn announce(address: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}
