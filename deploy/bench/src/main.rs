//! Measures the real thing: starts release binaries as their own processes, posts to them over HTTP, and prints
//! markdown tables with what was measured on and against which target.
//!
//! It measures and never judges: a missed target is printed as such and the run still succeeds.

mod aggregator;
mod cost;
mod counted;
mod gateway;
mod kafka;
mod latency;
mod load;
mod machine;
mod paced;
mod parts;
mod plot;
mod process;
mod processor;
mod push;
mod queries;
mod report;
mod side_by_side;
mod start;
mod throughput;
mod wrk;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use report::say;

/// Measures Agent Tally on this machine.
#[derive(Parser, Debug)]
#[command(name = "bench", version)]
struct Options {
    /// What to measure; without any: everything on standalone, and the cost table.
    what: Vec<What>,
    /// Measure on Apache Kafka and DynamoDB Local too (needs Java and Maven).
    #[arg(long)]
    kafka: bool,
    /// Seconds of the sustained load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events of the burst.
    #[arg(long, default_value_t = 200_000)]
    burst: usize,
    /// Posts whose latency is measured, at each load.
    #[arg(long, default_value_t = 500)]
    posts: usize,
    /// Agents that the load comes from.
    #[arg(long, default_value_t = 20)]
    agents: usize,
    /// Connections of the load.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Times that the sustained load and the burst are repeated, each on an empty directory; the table shows the median.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Rounds of what is measured side by side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each server's load in a round.
    #[arg(long, default_value_t = 4)]
    round_seconds: u64,
    /// Further arguments of `agent-tally serve`, in one word: --serve='--flush balanced'.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    serve: String,
    /// A document to put the tables into, the plots beside it.
    #[arg(long)]
    write: Option<std::path::PathBuf>,
    /// Where the servers' data goes (default: the temporary directory). The disk decides what an fsync costs.
    #[arg(long)]
    data: Option<std::path::PathBuf>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Time to the first accepted event, and memory at rest.
    Start,
    /// From the post to counted.
    Latency,
    /// Events per second stored and counted.
    Sustained,
    /// A burst is acknowledged and then drained.
    Burst,
    /// From the post to counted, on Kafka and DynamoDB Local.
    Kafka,
    /// DynamoDB write units and dollars, computed.
    Cost,
    /// The gateway beside axum and FastAPI, on a mock broker (needs `deploy/setup.sh bench`).
    Gateway,
    /// From the post to the push over SSE.
    Push,
    /// The query API's answers with 10,000 agents.
    Queries,
    /// The aggregator on a mock broker and an instant store.
    Aggregator,
}

impl Options {
    fn asked(&self) -> Vec<What> {
        let mut asked = self.what.clone();
        if asked.is_empty() {
            asked = vec![
                What::Start,
                What::Latency,
                What::Sustained,
                What::Burst,
                What::Cost,
                What::Push,
                What::Queries,
                What::Gateway,
                What::Aggregator,
            ];
        }
        if self.kafka && !asked.contains(&What::Kafka) {
            asked.push(What::Kafka);
        }
        asked
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(options.agents > 0 && options.connections > 0 && options.repeat > 0 && options.posts > 0, "a load needs at least one of each");
    ensure!(options.burst >= throughput::BURST_BATCH, "a burst has at least {} events", throughput::BURST_BATCH);
    let place = process::Place::new(options.data.as_deref(), &options.serve)?;
    say(&machine::describe(place.directory()).await?)?;
    for what in options.asked() {
        match what {
            What::Start => start::measure(&place).await?,
            What::Latency => latency::measure(&place, &options).await?,
            What::Sustained => throughput::sustained(&place, &options).await?,
            What::Burst => throughput::burst(&place, &options).await?,
            What::Kafka => kafka::measure(&place, &options).await?,
            What::Cost => cost::print()?,
            What::Push => push::measure(&place, &options).await?,
            What::Queries => queries::measure(&place, &options).await?,
            What::Gateway => gateway::measure(&place, &options).await?,
            What::Aggregator => aggregator::measure(&place, &options).await?,
        }
    }
    options.write.as_deref().map_or(Ok(()), report::write_into)
}
