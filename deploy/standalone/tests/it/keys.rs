use crate::server::{Server, agent_tally, run};
use serde_json::{Value, json};
use std::path::Path;

/// Runs `agent-tally keys`; what it printed.
async fn keys(dir: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = agent_tally();
    command.arg("keys").args(args).arg("--data-dir").arg(dir);
    let output = run(command).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

async fn create(dir: &Path, scope: &str) -> String {
    let printed = keys(dir, &["create", "--scope", scope, "--name", "test", "--expires", "30d"]).await.unwrap();
    printed.lines().next().unwrap().to_owned()
}

async fn id_of_only_key(dir: &Path) -> String {
    let listed: Value = serde_json::from_str(&keys(dir, &["list", "--json"]).await.unwrap()).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    listed[0]["id"].as_str().unwrap().to_owned()
}

async fn post_status(server: &Server, key: Option<&str>) -> u16 {
    let request = server.http.post(server.at("/api/v1/agents/a/events")).json(&json!({"message_type": "user_message"}));
    let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_key_opens_and_closes_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--require-keys"]).await;
    assert_eq!(post_status(&server, None).await, 401);
    let key = create(dir.path(), "ingest").await;
    assert_eq!(post_status(&server, Some(&key)).await, 202);
    let read = server.http.get(server.at("/api/v1/agents")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(read.status(), 403);
    let id = id_of_only_key(dir.path()).await;
    assert!(!keys(dir.path(), &["list"]).await.unwrap().contains(&key));
    keys(dir.path(), &["revoke", &id]).await.unwrap();
    assert_eq!(post_status(&server, Some(&key)).await, 401);
    let unknown = keys(dir.path(), &["revoke", "nobody"]).await.unwrap_err();
    assert!(unknown.contains("no key with the id nobody"), "{unknown}");
}

#[tokio::test]
async fn keys_of_a_directory_at_rest_are_there_when_the_server_starts() {
    let dir = tempfile::tempdir().unwrap();
    let key = create(dir.path(), "ingest,read").await;
    let server = Server::start(dir.path(), &["--require-keys"]).await;
    assert_eq!(post_status(&server, Some(&key)).await, 202);
    assert_eq!(server.stop().await.code(), Some(0));
    let id = id_of_only_key(dir.path()).await;
    keys(dir.path(), &["revoke", &id]).await.unwrap();
    let server = Server::start(dir.path(), &["--require-keys"]).await;
    assert_eq!(post_status(&server, Some(&key)).await, 401);
}

#[tokio::test]
async fn metrics_need_the_admin_scope_where_keys_are_required() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--require-keys"]).await;
    let status = async |key: Option<&str>| {
        let request = server.http.get(server.at("/metrics"));
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(None).await, 401);
    let read = create(dir.path(), "read").await;
    assert_eq!(status(Some(&read)).await, 403);
    assert_eq!(status(Some(&create(dir.path(), "admin").await)).await, 200);
    let nowhere = server.http.get(server.at("/api/v1/nowhere")).bearer_auth(&read).send().await.unwrap();
    assert_eq!(nowhere.status().as_u16(), 404, "the guard is for the metrics alone");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_key_or_an_explicit_word() {
    let dir = tempfile::tempdir().unwrap();
    let open = ["--listen", "0.0.0.0:0"];
    let refused = Server::try_start(dir.path(), &open).await.err().unwrap();
    assert!(refused.contains("agent-tally keys create"), "{refused}");
    let key = create(dir.path(), "ingest").await;
    let mut server = Server::start(dir.path(), &open).await;
    server.url = server.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!((post_status(&server, None).await, post_status(&server, Some(&key)).await), (401, 202));
    drop(server);
    let mut server = Server::start(dir.path(), &["--listen", "0.0.0.0:0", "--insecure"]).await;
    server.url = server.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(post_status(&server, None).await, 202);
}
