use crate::server::{Server, agent_tally, run};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

/// Posts a small fleet's history and a little live traffic; returns its ledger.
async fn demo(server: &Server, ledger: &Path, duration: &str) -> Value {
    let mut command = agent_tally();
    command
        .args(["demo", "--url", &server.url, "--agents", "3", "--days", "3", "--rate", "50", "--duration", duration, "--ledger"])
        .arg(ledger);
    let output = run(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("all counted"), "{said}");
    serde_json::from_slice(&std::fs::read(ledger).unwrap()).unwrap()
}

#[tokio::test]
async fn a_history_that_is_posted_twice_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &["--partitions", "3"]).await;
    let first = demo(&server, &dir.path().join("first.json"), "0s").await;
    let again = demo(&server, &dir.path().join("again.json"), "0s").await;
    assert!(first["events"].as_u64().unwrap() > 500, "{first}");
    // The second run's ledger has what happened in between, too.
    for (agent, days) in again["agents"].as_object().unwrap() {
        for (day, want) in days.as_object().unwrap() {
            let (status, got) = server.get(&format!("/api/v1/agents/{agent}/metrics?start_date={day}&end_date={day}")).await;
            assert_eq!(status, 200, "{got}");
            let got = &got["metrics"];
            let by_type = |name: &str| want["by_type"][name].as_i64().unwrap_or(0);
            let counts = [
                ("total_messages", by_type("user_message")),
                ("total_responses", by_type("agent_response")),
                ("total_errors", by_type("error")),
            ];
            for (name, want) in counts {
                assert_eq!(got[name].as_i64(), Some(want), "{agent} {day} {name}");
            }
            assert_eq!(got["total_tokens_used"], want["total_tokens"], "{agent} {day}");
            assert_eq!(got["unique_users"], want["unique_users"], "{agent} {day}");
            let mean_ms = want["response_time_us"].as_f64().unwrap() / want["response_times"].as_f64().unwrap().max(1.0) / 1e3;
            assert!((got["average_response_time"].as_f64().unwrap() - mean_ms).abs() < 0.01, "{agent} {day}");
        }
    }
}

#[tokio::test]
async fn live_traffic_keeps_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]).await;
    let mut command = agent_tally();
    let ledger = dir.path().join("ledger.json");
    command.args(["demo", "--url", &server.url, "--days", "0", "--rate", "50", "--duration", "2s", "--ledger"]).arg(&ledger);
    assert!(run(command).await.status.success());
    let ledger: Value = serde_json::from_slice(&std::fs::read(&ledger).unwrap()).unwrap();
    let events = ledger["events"].as_u64().unwrap();
    assert!((50..=100).contains(&events), "{events}");
}

#[tokio::test]
async fn what_can_never_work_is_told_in_a_sentence_and_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]).await;
    let secure = server.url.replacen("http://", "https://", 1);
    let plain = format!("{secure} speaks no TLS; use {}", server.url);
    for (url, says) in [("http://no-such-host.invalid", "cannot find the host no-such-host.invalid"), (secure.as_str(), plain.as_str())] {
        let mut command = agent_tally();
        command.args(["demo", "--url", url, "--days", "1"]);
        let output = run(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(says), "{said}");
        assert!(!said.contains("trying again") && output.stdout.is_empty(), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_told_at_once_and_tried_again() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = agent_tally();
    command.args(["demo", "--url", &format!("http://{address}"), "--days", "1", "--agents", "1", "--duration", "0s"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = tokio::task::spawn_blocking(move || lines.next()).await.unwrap().unwrap().unwrap();
    assert!(first.contains(&format!("nothing listens at http://{address}")) && first.contains("trying again"), "{first}");
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(&dir.path().join("data"), &["--listen", &address.to_string()]).await;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("all counted"), "{said}");
}
