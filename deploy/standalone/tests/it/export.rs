use crate::server::{PATIENCE, Server, agent_tally, run};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A directory that was served, and an export of it.
async fn exported(dir: &Path) -> (PathBuf, PathBuf) {
    let (data_dir, folder) = (dir.join("data"), dir.join("export"));
    let server = Server::start(&data_dir, &[]).await;
    for agent in ["a", "b"] {
        let (status, answer) = server.post(agent, &json!({"message_type": "user_message", "user_id": "u"})).await;
        assert_eq!(status, 202, "{answer}");
        server.await_counted(answer["receipt"].as_str().unwrap()).await;
    }
    server.stop().await;
    let said = told(&["export", "--data-dir", data_dir.to_str().unwrap(), "--to", folder.to_str().unwrap()]).await.unwrap();
    assert!(said.contains("exported 2 events"), "{said}");
    (data_dir, folder)
}

/// What a command said, or what it complained of.
async fn told(arguments: &[&str]) -> Result<String, String> {
    let mut command = agent_tally();
    command.args(arguments);
    let output = run(command).await;
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(out) } else { Err(complaint) }
}

#[tokio::test]
async fn a_damaged_export_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (_, folder) = exported(dir.path()).await;
    let target = dir.path().join("target");
    let import = ["import", "--from", folder.to_str().unwrap(), "--data-dir", target.to_str().unwrap()];
    let names: Vec<String> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in &names {
        let path = folder.join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [Some(&flipped[..]), Some(&whole[..whole.len() - 1]), None] {
            match damaged {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let complaint = told(&import).await.unwrap_err();
            let is_named = ["is damaged", "is missing", "is no export"].iter().any(|words| complaint.contains(words));
            assert!(is_named, "{name}: {complaint}");
            assert!(!target.exists(), "{name}: something was written");
        }
        std::fs::write(&path, &whole).unwrap();
    }
    told(&import).await.unwrap();
}

/// Whoever made the folder can compute its hashes too.
#[tokio::test]
async fn an_export_that_names_files_outside_of_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, folder) = exported(dir.path()).await;
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let name = manifest.split('"').find(|text| text.starts_with("events-")).unwrap().to_owned();
    std::fs::copy(folder.join(&name), dir.path().join(&name)).unwrap();
    for outside in [format!("../{name}"), format!("./{name}"), dir.path().join(&name).to_str().unwrap().to_owned(), "..".to_owned()] {
        let changed = manifest.replace(&name, &outside);
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&changed));
        let hashes = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let lines = hashes.lines().filter(|line| !line.ends_with("  manifest.json")).map(|line| line.replace(&name, &outside));
        let hashes: String = lines.chain([format!("{hash}  manifest.json")]).map(|line| line + "\n").collect();
        let elsewhere = dir.path().join("hostile");
        std::fs::create_dir_all(&elsewhere).unwrap();
        for file in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), elsewhere.join(file.file_name())).unwrap();
        }
        std::fs::write(elsewhere.join("manifest.json"), &changed).unwrap();
        std::fs::write(elsewhere.join("SHA256SUMS"), hashes).unwrap();
        let target = dir.path().join("target");
        let complaint = told(&["import", "--from", elsewhere.to_str().unwrap(), "--data-dir", target.to_str().unwrap()]).await.unwrap_err();
        assert!(complaint.contains("which is no file of this folder"), "{outside}: {complaint}");
        assert!(!target.exists(), "{outside}: something was written");
    }
}

#[tokio::test]
async fn what_cannot_be_exported_or_imported_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, folder) = exported(dir.path()).await;
    let (data_dir, folder) = (data_dir.to_str().unwrap(), folder.to_str().unwrap());
    let never_served = dir.path().join("empty");
    std::fs::create_dir(&never_served).unwrap();
    let refused: [(&[&str], &str); 6] = [
        (&["export", "--data-dir", data_dir, "--to", folder], "is not empty"),
        (&["export", "--data-dir", "/no/such/place", "--to", "x"], "there is no data directory"),
        (&["export", "--data-dir", never_served.to_str().unwrap(), "--to", "x"], "no `agent-tally serve` has worked on it"),
        (&["import", "--from", folder, "--data-dir", data_dir], "is not empty; import into empty tables"),
        (&["import", "--from", data_dir, "--data-dir", "x"], "is no export"),
        (&["import", "--from", folder], "--data-dir"),
    ];
    for (arguments, says) in refused {
        let complaint = told(arguments).await.unwrap_err();
        assert!(complaint.contains(says), "{arguments:?}: {complaint}");
    }
}

/// Numbers of an agent are written after a minute here, so the server holds events for the export when it is given up.
#[tokio::test]
async fn an_export_that_is_given_up_leaves_nothing_and_lets_events_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let server = Server::start(&data_dir, &["--flush", "cheap"]).await;
    let event = json!({"message_type": "user_message", "user_id": "u"});
    assert_eq!(server.post("a", &event).await.0, 202);
    let mut command = agent_tally();
    command.arg("export").arg("--data-dir").arg(&data_dir).arg("--to").arg(dir.path().join("export"));
    let export = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("events are held", async || server.post("a", &event).await.0 == 503).await;
    assert_eq!(entries(dir.path()).len(), 2, "{:?}", entries(dir.path()));
    assert!(Command::new("kill").args(["-TERM", &export.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| export.wait_with_output().unwrap()).await.unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && complaint.contains("stopped; nothing was exported"), "{complaint}");
    until("events are taken", async || server.post("a", &event).await.0 == 202).await;
    until("nothing is left", async || entries(dir.path()) == ["data"]).await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn entries(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn keys_move_along() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, restored) = (dir.path().join("data"), dir.path().join("restored"));
    let folder = dir.path().join("export");
    let [data_dir, restored, folder] = [&data_dir, &restored, &folder].map(|path| path.to_str().unwrap());
    let key = told(&["keys", "create", "--scope", "read,ingest", "--name", "me", "--data-dir", data_dir]).await.unwrap();
    let server = Server::start(Path::new(data_dir), &[]).await;
    server.stop().await;
    told(&["export", "--data-dir", data_dir, "--to", folder]).await.unwrap();
    told(&["import", "--from", folder, "--data-dir", restored]).await.unwrap();
    let server = Server::start(Path::new(restored), &["--require-keys"]).await;
    let key = key.split_whitespace().find(|word| word.starts_with("at_")).unwrap();
    let answer = server.http.get(server.at("/api/v1/agents")).bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(server.get("/api/v1/agents").await.0, 401);
}
