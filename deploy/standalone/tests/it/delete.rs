//! `agent-tally delete`: a user is gone from every answer, beside the running server, and an agent from every list.

use crate::server::{Server, agent_tally, run};
use schemas::time::{format_micros, now_micros};
use serde_json::{Value, json};
use std::process::Output;

async fn delete(arguments: &[&str]) -> Output {
    let mut command = agent_tally();
    command.arg("delete").args(arguments);
    run(command).await
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_user_is_gone_from_every_answer_and_an_agent_from_every_list() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let now = now_micros();
    let mut last = String::new();
    for (n, (agent, user)) in [("bot", "u-1"), ("bot", "u-2"), ("other", "u-1"), ("third", "u-3")].into_iter().enumerate() {
        let timestamp = format_micros(now - n as i64);
        let event =
            json!({"timestamp": timestamp, "message_type": "user_message", "user_id": user, "content": "hello", "model_used": user});
        let (_, answer) = server.post(agent, &event).await;
        last = answer["receipt"].as_str().unwrap().to_owned();
    }
    server.await_counted(&last).await;
    let reconciled = async || server.get("/api/v1/reconciliation").await.1["totals"].clone();
    // With their events of today; the live table hears of a change a moment later.
    let listed = async |agents: &[(&str, i64)]| {
        let mut last = Value::Null;
        for _ in 0..500 {
            last = server.get("/api/v1/agents?sort=agent_id&detail=true").await.1;
            let items = last["items"].as_array().unwrap();
            let ids: Vec<_> = items.iter().map(|a| (a["agent_id"].as_str().unwrap(), a["calls"].as_i64().unwrap())).collect();
            if ids == agents {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{agents:?} are not listed: {last}");
    };
    listed(&[("bot", 2), ("other", 1), ("third", 1)]).await;

    let look = said(&delete(&["--data-dir", place, "--user", "u-1"]).await);
    assert!(look.contains("would delete 2 events of the user with SHA-256") && look.contains("bot, other"), "{look}");
    let done = said(&delete(&["--data-dir", place, "--user", "u-1", "--yes"]).await);
    assert!(done.starts_with("deleted 2 events of the user with SHA-256") && !done.contains("u-1"), "{done}");
    let (_, metrics) = server.get("/api/v1/agents/bot/metrics").await;
    assert_eq!((&metrics["metrics"]["total_messages"], &metrics["metrics"]["unique_users"]), (&json!(1), &json!(1)), "{metrics}");
    assert!(!metrics.to_string().contains("u-1"), "a model that is gone is not shown: {metrics}");
    let (_, events) = server.get("/api/v1/events?agent_id=bot").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    listed(&[("bot", 1), ("other", 0), ("third", 1)]).await;
    let permalink = format!("/api/v1/agents/bot/events/{}", format_micros(now));
    assert_eq!(server.get(&permalink).await.0, 404);

    said(&delete(&["--data-dir", place, "--agent", "third", "--yes"]).await);
    listed(&[("bot", 1), ("other", 0)]).await;
    assert_eq!(server.get("/api/v1/agents/third").await.0, 404);
    let totals = reconciled().await;
    assert_eq!(
        (&totals["inserted"], &totals["deleted"], &totals["rollups"], &totals["agrees"]),
        (&json!(4), &json!(3), &json!(1), &json!(true))
    );

    // It may come back, and everything is what its events add up to, from outside too.
    let (_, answer) = server.post("third", &json!({"message_type": "user_message", "user_id": "u-3"})).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    listed(&[("bot", 1), ("other", 0), ("third", 1)]).await;
    for arguments in [["--data-dir", place], ["--url", server.url.as_str()]] {
        let mut verify = agent_tally();
        verify.args(["verify", "--json"]).args(arguments);
        let report: Value = serde_json::from_slice(&run(verify).await.stdout).unwrap();
        assert_eq!(report["agrees"], true, "{report}");
    }
    let unknown = delete(&["--data-dir", place, "--agent", "nobody", "--yes"]).await;
    assert_eq!((unknown.status.code(), unknown.stdout.as_slice()), (Some(1), b"there is no event of agent nobody\n".as_slice()));
    let wrong = delete(&["--data-dir", place, "--agent", "no#body"]).await;
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("can be no agent's id"), "{wrong:?}");
}
