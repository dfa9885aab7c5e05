use crate::server::{Server, agent_tally, run};

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
    for name in ["serve", "demo", "keys"] {
        assert!(text.contains(name), "{text}");
    }
}
