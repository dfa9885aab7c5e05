//! `agent-tally dead-letters` against a running server.

use crate::server::{PATIENCE, Server, agent_tally, run};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Runs `agent-tally dead-letters`; what it printed.
async fn dead_letters(url: &str, args: &[&str], key: Option<&str>) -> Result<String, String> {
    let mut command = agent_tally();
    command.arg("dead-letters").args(args).args(["--url", url]);
    command.envs(key.map(|key| ("AGENT_TALLY_KEY", key)));
    let output = run(command).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

async fn post(server: &Server, content: &str) -> String {
    let event = json!({"event_id": "e", "timestamp": "2026-11-26T10:00:00.000Z", "message_type": "user_message", "content": content});
    let (status, answer) = server.post("bot", &event).await;
    assert_eq!(status, 202, "{answer}");
    answer["receipt"].as_str().unwrap().to_owned()
}

/// Posts two events of one identity; the receipt of the one that is dead.
async fn conflict(server: &Server) -> String {
    let first = post(server, "first").await;
    server.await_counted(&first).await;
    let second = post(server, "second").await;
    let begun = Instant::now();
    loop {
        let (_, answer) = server.get(&format!("/api/v1/receipts/{second}?wait_ms=5000")).await;
        if answer["dead_letters"][0]["reason"] == "id_conflict" {
            return second;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_redriven_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let ask = async |args: &[&str]| dead_letters(&server.url, args, None).await;
    assert_eq!(ask(&["list"]).await.unwrap(), "no dead letters\n");
    let position = conflict(&server).await;
    let listed = ask(&["list", "--reason", "id_conflict", "--agent", "bot"]).await.unwrap();
    let line = listed.lines().nth(1).unwrap();
    assert!(line.starts_with(&format!("{position} ")) && line.contains("id_conflict") && line.contains("bot"), "{listed}");
    assert_eq!(ask(&["list", "--agent", "nobody"]).await.unwrap(), "no dead letters\n");
    let shown = ask(&["show", &position]).await.unwrap();
    assert!(shown.contains("reason    id_conflict (at insert)") && shown.contains("\"content\": \"second\""), "{shown}");

    let redriven = ask(&["redrive", &position, "--event-id", "own", "--json"]).await.unwrap();
    let redriven: Value = serde_json::from_str(&redriven).unwrap();
    let to = redriven["redriven_to"].as_str().unwrap();
    server.await_counted(to).await;
    let listed: Value = serde_json::from_str(&ask(&["list", "--json"]).await.unwrap()).unwrap();
    assert_eq!((&listed["items"][0]["redriven_to"], listed["items"].as_array().unwrap().len()), (&json!(to), 1));
    let (_, agent) = server.get("/api/v1/agents/bot/metrics?days=2").await;
    assert_eq!(agent["metrics"]["total_messages"], 2, "{agent}");

    let before = ask(&["redrive", &position]).await.unwrap_err();
    assert!(before.contains("409") && before.contains(to), "{before}");
    let again = ask(&["redrive", &position, "--event-id", "own", "--again"]).await.unwrap();
    assert!(again.starts_with(&format!("{position} redriven to 0-")), "{again}");
    assert_eq!(ask(&["redrive", "--all"]).await.unwrap(), "nothing to redrive\n");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let refused: [(&[&str], &str); 5] = [
        (&["show", "0-0-4711"], "no such dead letter"),
        (&["redrive", "0-0-4711"], "no such dead letter"),
        (&["show", "junk"], "<epoch>-<partition>-<offset>"),
        (&["redrive"], "required"),
        (&["redrive", "--all", "--event-id", "x"], "cannot be used with"),
    ];
    for (args, says) in refused {
        let said = dead_letters(&server.url, args, None).await.unwrap_err();
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let nobody = dead_letters("http://127.0.0.1:1", &["list"], None).await.unwrap_err();
    assert!(nobody.contains("nothing listens at"), "{nobody}");
    assert!(dead_letters("foo", &["list"], None).await.unwrap_err().contains("is no URL"));
}

async fn create_key(dir: &Path, scope: &str) -> String {
    let mut command = agent_tally();
    command.args(["keys", "create", "--name", "test", "--scope", scope, "--data-dir"]).arg(dir);
    let printed = String::from_utf8(run(command).await.stdout).unwrap();
    printed.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn reading_takes_a_read_key_and_redriving_an_admin_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--require-keys"]).await;
    assert!(dead_letters(&server.url, &["list"], None).await.unwrap_err().contains("401"));
    let (read, admin) = (create_key(dir.path(), "read").await, create_key(dir.path(), "admin").await);
    assert_eq!(dead_letters(&server.url, &["list"], Some(&read)).await.unwrap(), "no dead letters\n");
    let refused = dead_letters(&server.url, &["redrive", "--all"], Some(&read)).await.unwrap_err();
    assert!(refused.contains("403"), "{refused}");
    assert_eq!(dead_letters(&server.url, &["redrive", "--all"], Some(&admin)).await.unwrap(), "nothing to redrive\n");
}
