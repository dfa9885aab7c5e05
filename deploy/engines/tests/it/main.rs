//! The engines start, answer, and never outlive the process that started them.

use engines::dynamodb::DynamoDbLocal;
use engines::dynoxide::Dynoxide;
use engines::kafka::{Kafka, KafkaOptions};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_broker_that_was_killed_starts_again_under_its_address() -> anyhow::Result<()> {
    if !engines::java_or_skip() {
        return Ok(());
    }
    let kafka = Kafka::start()?;
    let address = kafka.bootstrap();
    assert!(TcpStream::connect(&address).is_ok());
    kafka.kill(0);
    assert!(TcpStream::connect(&address).is_err());
    kafka.restart(0)?;
    assert!(TcpStream::connect(&address).is_ok());
    assert_eq!(kafka.bootstrap(), address);
    Ok(())
}

#[test]
fn a_cluster_has_an_address_per_broker() -> anyhow::Result<()> {
    if !engines::java_or_skip() {
        return Ok(());
    }
    let kafka = Kafka::start_with(&KafkaOptions { brokers: 3, ..KafkaOptions::default() })?;
    for address in kafka.bootstrap().split(',') {
        assert!(TcpStream::connect(address).is_ok(), "{address}");
    }
    Ok(())
}

#[tokio::test]
async fn dynamodb_local_answers_the_sdk() -> anyhow::Result<()> {
    if !engines::java_or_skip() {
        return Ok(());
    }
    let tables = engines::dynamodb::shared().client().list_tables().send().await?;
    assert!(tables.table_names().is_empty());
    Ok(())
}

#[tokio::test]
async fn dynoxide_answers_the_sdk() -> anyhow::Result<()> {
    let dynoxide = Dynoxide::start()?;
    let tables = dynoxide.client().list_tables().send().await?;
    assert!(tables.table_names().is_empty());
    Ok(())
}

#[test]
fn an_engine_ends_with_the_process_that_started_it() -> anyhow::Result<()> {
    if !engines::java_or_skip() {
        return Ok(());
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "--ignored", "--nocapture", "child_that_starts_an_engine_and_aborts"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no stdout"))?;
    let endpoint = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("endpoint http://").map(|(_, address)| address.to_owned()))
        .ok_or_else(|| anyhow::anyhow!("the child named no endpoint"))?;
    assert!(!child.wait()?.success());
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&endpoint).is_ok() {
        assert!(Instant::now() < deadline, "the engine is still there");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
#[ignore = "run by an_engine_ends_with_the_process_that_started_it"]
fn child_that_starts_an_engine_and_aborts() -> anyhow::Result<()> {
    use std::io::Write as _;
    let engine = DynamoDbLocal::start()?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "endpoint {}", engine.endpoint())?;
    stdout.flush()?;
    std::process::abort();
}
