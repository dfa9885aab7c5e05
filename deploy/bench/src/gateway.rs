//! The gateway beside the ceiling (axum that only reads the body) and beside the design that most would write first
//! (FastAPI, boto), all with the same events over the same connections.

use crate::Options;
use crate::paced;
use crate::parts::{MEASURED, OnParts, REST, free_address, part};
use crate::plot::{self, Bar};
use crate::process::{Place, Server, beside};
use crate::report::{Table, say, thousands, verdict};
use crate::side_by_side::{self, Contender, median};
use crate::wrk::Request;
use anyhow::{Context as _, ensure};
use service_kit::keys::{self, NewKey, Scope};
use service_kit::store::StoreConfig;
use std::path::{Path, PathBuf};

const ONE: &str = "/api/v1/agents/support-bot/events";
const MANY: &str = "/api/v1/events";
const BATCH: usize = 100;
const CONNECTIONS: usize = 512;
/// More bodies of batches at once are more than the gateway holds (`MAX_IN_FLIGHT_BYTES`): it would refuse some.
const BATCH_CONNECTIONS: usize = 64;
/// Seconds of the load at half the saturation.
const HALF_S: u64 = 10;

pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    let python = python()?;
    let (kafka, store) = (part(place, REST, &["kafka"])?, part(place, REST, &["dynamodb"])?);
    let body_only = part(place, MEASURED, &["body-only"])?;
    let on_parts = OnParts { place, kafka: &kafka, store: &store };
    let fastapi = fastapi(&on_parts, &python).await?;
    let gateway = gateway(&on_parts, &[]).await?;
    let guarded = gateway_with(&on_parts, "true").await?;
    let key = key(&store).await?;

    let directory = place.directory();
    let contender = |name: &str, server, events: usize, key: Option<&str>| {
        let body = if events == 1 { event(0) } else { batch(events) };
        let path = if events == 1 { ONE } else { MANY };
        let connections = if events == 1 { CONNECTIONS } else { BATCH_CONNECTIONS };
        let request = Request::post(directory, &name.replace([' ', ','], "-"), &body, key, connections)?;
        anyhow::Ok(Contender { name: name.to_owned(), server, path, request, events: events as u64 })
    };
    let contenders = [
        contender("axum, body only", &body_only, 1, None)?,
        contender("FastAPI, a put and an update", &fastapi, 1, None)?,
        contender("gateway", &gateway, 1, None)?,
        contender("gateway, keys required", &guarded, 1, Some(&key))?,
        contender("gateway, batches of 100", &gateway, BATCH, None)?,
        contender("gateway, batches of 100, keys required", &guarded, BATCH, Some(&key))?,
    ];
    let all = tokio::task::block_in_place(|| side_by_side::measure(&contenders, options.rounds, options.round_seconds))?;
    let heading = format!(
        "Gateway side by side: medians of {} rounds of {} s, {CONNECTIONS} connections, of batches {BATCH_CONNECTIONS}",
        options.rounds, options.round_seconds
    );
    side_by_side::table(&heading, &all, (&all[0], &all[1]))?;
    if let Some(document) = &options.write {
        let bars: Vec<Bar> =
            all.iter().enumerate().map(|(n, f)| Bar { name: f.name.clone(), value: median(&f.per_core), is_ours: n > 1 }).collect();
        say(&plot::bars(document, "gateway", "Gateway: events per core and second", &bars)?)?;
    }

    let mut table = Table::new("Gateway: targets", &["what", "measured", "target", ""]);
    let full = &all[3];
    let peer = full.ratio(&all[1]);
    table.row(&[
        "one event per request with keys, taken by the log, of FastAPI's per core",
        &format!("{peer:.0} ×"),
        "≥ 100 ×",
        verdict(peer >= 100.0),
    ]);
    let ceiling = full.ratio(&all[0]) * 100.0;
    table.row(&["the same, of the body-only rate", &format!("{ceiling:.0} %"), "≥ 65 % (stretch)", verdict(ceiling >= 65.0)]);
    let batched = median(&all[5].per_core);
    table.row(&["batches of 100 with keys, events per core and second", &thousands(batched), "≥ 300,000", verdict(batched >= 300_000.0)]);
    let gain = all[5].ratio(full);
    table.row(&["batches of 100, of its own single rate", &format!("{gain:.1} ×"), "≥ 6 ×", verdict(gain >= 6.0)]);
    // The load of this is made here, and must not take the measured core.
    pin_this_process()?;
    let memory = guarded.watch_memory();
    let half = median(&full.rate) / 2.0;
    let load = paced::Load { url: format!("{}{ONE}", guarded.url()), key: Some(key), body: event(0), per_second: half, connections: 256 };
    let latencies = load.run(HALF_S).await?;
    let p99 = latencies.quantile_ms(0.99);
    table.row(&[
        &format!("p99 at half its saturation ({} events/s)", thousands(half)),
        &format!("{p99:.1} ms"),
        "≤ 15 ms",
        verdict(p99 <= 15.0),
    ]);
    let resident = memory.highest() * 1.048_576;
    table.row(&["highest resident memory then", &format!("{resident:.0} MB"), "≤ 64 MB", verdict(resident <= 64.0)]);
    table.print()
}

fn pin_this_process() -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let pinned =
        std::process::Command::new("taskset").args(["-acp", &REST.to_string(), &pid]).stdout(std::process::Stdio::null()).status()?;
    ensure!(pinned.success(), "taskset failed");
    Ok(())
}

/// An event of 488 bytes in JSON.
fn event(n: usize) -> Vec<u8> {
    let body = format!(
        r#"{{"agent_id":"support-bot","event_id":"e-{n:08}","timestamp":"2026-01-07T10:30:00.{:06}Z","message_type":"agent_response","content":"CONTENT","response_time_ms":840.5,"token_count":312,"input_tokens":200,"output_tokens":112,"model_used":"gpt-4o","user_id":"user-0042","session_id":"session-00042","conversation_id":"conversation-00042","metadata":{{"region":"eu-central-1","source":"bench"}}}}"#,
        n % 1_000_000
    );
    let content = 488 - (body.len() - "CONTENT".len());
    body.replace("CONTENT", &"Thanks for your patience. ".repeat(20)[..content]).into_bytes()
}

fn batch(events: usize) -> Vec<u8> {
    let mut body = vec![b'['];
    for n in 0..events {
        if n > 0 {
            body.push(b',');
        }
        body.extend(event(n));
    }
    body.push(b']');
    body
}

async fn gateway(on_parts: &OnParts<'_>, more: &[(&str, String)]) -> anyhow::Result<Server> {
    let address = free_address()?;
    on_parts.service(&beside("ingest-gateway")?, &["--listen".into(), address.to_string()], more, address).await
}

async fn gateway_with(on_parts: &OnParts<'_>, require_keys: &str) -> anyhow::Result<Server> {
    gateway(on_parts, &[("REQUIRE_KEYS", require_keys.to_owned())]).await
}

async fn fastapi(on_parts: &OnParts<'_>, python: &Path) -> anyhow::Result<Server> {
    let address = free_address()?;
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/fastapi");
    let arguments =
        ["-m", "uvicorn", "app:app", "--app-dir", app, "--no-access-log", "--log-level", "warning", "--host", "127.0.0.1", "--port"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(address.port().to_string());
    on_parts.service(python, &arguments, &[("AWS_DEFAULT_REGION", "us-east-1".to_owned())], address).await
}

/// The interpreter with the packages of `fastapi/requirements.txt`.
fn python() -> anyhow::Result<PathBuf> {
    let tools = std::env::var("AGENT_TALLY_TOOLS").context("AGENT_TALLY_TOOLS is not set; `make bench` sets it")?;
    let python = Path::new(&tools).join("bench-python/bin/python3");
    ensure!(python.exists(), "{} is missing: `deploy/setup.sh bench` makes it", python.display());
    Ok(python)
}

/// A key that may post without limit, in the store.
async fn key(store: &Server) -> anyhow::Result<String> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .endpoint_url(store.url())
        .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "bench"))
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let new = NewKey {
        name: "bench".into(),
        scopes: vec![Scope::Ingest],
        expires_at: None,
        events_per_second: Some(u32::MAX),
        bytes_per_second: Some(u32::MAX),
    };
    let (text, _) = keys::create(&client, &StoreConfig::default().tables(), new).await?;
    Ok(text.reveal().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_that_the_baselines_were_measured_with() {
        assert_eq!((event(0).len(), event(99_999).len()), (488, 488));
        assert_eq!(batch(3).len(), 3 * 488 + 4);
    }
}
