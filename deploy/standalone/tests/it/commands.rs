use crate::server::{Server, agent_tally, run};
use serde_json::json;

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused_and_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path(), &[]).await;
    let refused = Server::try_start(dir.path(), &[]).await.err().unwrap();
    assert!(refused.contains("in use by another agent-tally"), "{refused}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(one.path(), &[]).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let refused = Server::try_start(other.path(), &["--listen", address]).await.err().unwrap();
    assert!(refused.contains(&format!("cannot listen on {address}")), "{refused}");
}

#[tokio::test]
async fn the_help_names_every_command() {
    let mut command = agent_tally();
    command.arg("--help");
    let text = String::from_utf8(run(command).await.stdout).unwrap();
    for name in ["serve", "demo", "export", "import", "verify", "keys", "dead-letters"] {
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn mistyped_arguments_are_refused_at_once_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let typo = dir.path().join("typo");
    let typo = typo.to_str().unwrap();
    let refused: [(&[&str], &str); 5] = [
        (&["keys", "list", "--data-dir", typo], "there is no data directory"),
        (&["keys", "revoke", "abc", "--data-dir", typo], "there is no data directory"),
        (&["keys", "create", "--scope", "read", "--name", "", "--data-dir", typo], "--name"),
        (&["demo", "--url", "foo"], "is no URL"),
        (&["demo", "--url", "ftp://127.0.0.1"], "neither http nor https"),
    ];
    for (arguments, says) in refused {
        let mut command = agent_tally();
        command.args(arguments).env("RUST_BACKTRACE", "1");
        let output = run(command).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says) && !text.contains("backtrace"), "{arguments:?}: {text}");
    }
    assert!(!dir.path().join("typo").exists());
}

#[tokio::test]
async fn commands_reach_a_server_whose_directory_has_a_long_name() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120));
    let _server = Server::start(&long, &[]).await;
    let mut command = agent_tally();
    command.args(["keys", "list", "--data-dir"]).arg(&long);
    let output = run(command).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no keys\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_open_stream_does_not_keep_a_server_from_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let mut stream = server.http.get(server.at("/api/v1/stream")).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    assert_eq!(server.stop().await.code(), Some(0));
}

#[tokio::test]
async fn more_connections_than_descriptors_do_not_keep_events_from_being_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with_descriptors(128, dir.path()).await;
    // The client keeps the connection of its first request.
    assert_eq!(server.get("/health").await.0, 200);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..5 {
        let (status, answer) = server.post("a", &json!({"message_type": "user_message"})).await;
        assert_eq!(status, 202, "{answer}");
        server.await_counted(answer["receipt"].as_str().unwrap()).await;
    }
    drop(crowd);
    assert_eq!(server.stop().await.code(), Some(0));
}

#[tokio::test]
async fn each_barrier_can_be_recorded_for_a_simulated_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("barrier.json");
    let server = Server::start(&dir.path().join("data"), &["--record-barriers", record.to_str().unwrap()]).await;
    let (_, answer) = server.post("a", &json!({"message_type": "user_message"})).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    server.kill();
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    let log = std::fs::read(dir.path().join("data/store.sqlite3-wal")).unwrap();
    let salt = |at: usize| u64::from(u32::from_be_bytes(log[at..at + 4].try_into().unwrap()));
    assert_eq!((state["salts"][0].as_u64(), state["salts"][1].as_u64()), (Some(salt(16)), Some(salt(20))));
    assert!((32..=log.len() as u64).contains(&state["length"].as_u64().unwrap()));
}
