//! What counting costs without any of our design: a `PutItem` and an `UpdateItem` per event, with the same SDK.

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{AGENT_ID, DATE, TIMESTAMP, n, s};

/// Events under way at once.
const AT_ONCE: usize = 64;

/// Events per second of this process's processor time.
pub(crate) async fn run(store: &str, events: usize) -> anyhow::Result<()> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(store)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .build();
    let client = Client::from_conf(config);
    let before = processor_seconds()?;
    let counting = (0..events).map(|i| count(&client, i));
    stream::iter(counting).map(anyhow::Ok).try_for_each_concurrent(AT_ONCE, |counted| counted).await?;
    crate::announce(&format!("{:.1}", events as f64 / (processor_seconds()? - before)))?;
    Ok(())
}

async fn count(client: &Client, i: usize) -> anyhow::Result<()> {
    let (agent, day) = (format!("agent-{:06}", i % 100), "2026-11-27");
    client
        .put_item()
        .table_name("ai-agent-events")
        .item(AGENT_ID, s(&agent))
        .item(TIMESTAMP, s(format!("{day}T10:30:00.000000Z#e-{i}")))
        .item("message_type", s("agent_response"))
        .item("content", s("a".repeat(150)))
        .item("response_time_ms", n(840))
        .item("token_count", n(312))
        .item("input_tokens", n(200))
        .item("output_tokens", n(112))
        .item("model_used", s("gpt-4o"))
        .item("user_id", s(format!("user-{}", i % 50)))
        .item("cost_usd", n(0.0021))
        .send()
        .await?;
    client
        .update_item()
        .table_name("ai-agent-metrics")
        .key(AGENT_ID, s(agent))
        .key(DATE, s(day))
        .update_expression("ADD total_responses :one, total_tokens_used :tokens, response_time_sum :time, cost :cost")
        .expression_attribute_values(":one", n(1))
        .expression_attribute_values(":tokens", n(312))
        .expression_attribute_values(":time", n(840))
        .expression_attribute_values(":cost", n(0.0021))
        .send()
        .await?;
    Ok(())
}

fn processor_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("a name")?.1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|w| w.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}
