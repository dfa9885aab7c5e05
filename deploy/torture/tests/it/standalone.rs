//! One process on one machine: killed at random, by SIGKILL and at failpoints.

use crate::PATIENCE;
use agent_tally::engine::Engine;
use event_log::Log;
use event_log::local::{LocalLog, LocalOptions};
use schemas::item::TableNames;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torture::audit::{audit, audit_log};
use torture::client::{Load, Progress, await_counted};
use torture::ledger::{Dice, Ledger};
use torture::process::Process;

const FAILPOINTS: &str = "after_insert=0.002,after_update=0.002,after_announce=0.002,before_commit=0.004,after_commit=0.004";

fn serve(data_dir: &Path, listen: &str, environment: &[(String, String)]) -> (Process, String) {
    let arguments = ["serve", "--listen", listen, "--data-dir", data_dir.to_str().unwrap(), "--partitions", "4"].map(String::from);
    let mut process = Process::start("agent-tally", &arguments, environment, &data_dir.with_extension("log")).unwrap();
    let line = process.await_line("http://").unwrap();
    let url = line.split_whitespace().find(|w| w.starts_with("http://")).unwrap().trim_end_matches('/').to_owned();
    (process, url)
}

/// Opens what a stopped server left behind and compares it with the ledger.
async fn audit_data_dir(data_dir: &Path, ledger: &Ledger) {
    let engine = Engine::open(&data_dir.join("store.sqlite3")).unwrap();
    let found = audit(&engine.client(), &TableNames::default(), ledger).await.unwrap();
    let log: Arc<dyn Log> = Arc::new(LocalLog::open(data_dir.join("log.sqlite3"), LocalOptions::default()).unwrap());
    audit_log(&*log, "agent-events", found, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_and_double_nothing_on_standalone() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let (mut process, url) = serve(&data_dir, "127.0.0.1:0", &[]);
    let listen = url.trim_start_matches("http://").to_owned();
    let load = Load {
        gateways: vec![url.clone()],
        seed: 7,
        run: "kills".into(),
        agents: 12,
        events: 12_000,
        batch: 40,
        concurrency: 6,
        twice_per_cent: 20,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let progress = Arc::new(Progress::default());
    let sending = tokio::spawn({
        let progress = Arc::clone(&progress);
        async move { load.send(progress).await }
    });
    let mut dice = Dice(11);
    for round in 0..12 {
        // A random moment of the load, measured in work done.
        let until = progress.accepted.load(Ordering::Relaxed) + 100 + dice.roll(1_200);
        while progress.accepted.load(Ordering::Relaxed) < until && !sending.is_finished() && !process.has_ended().unwrap() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.kill().unwrap();
        let environment = if round % 2 == 0 { vec![("AGENT_TALLY_FAILPOINTS".into(), FAILPOINTS.into())] } else { vec![] };
        process = serve(&data_dir, &listen, &environment).0;
    }
    // A failpoint may still strike: the last life has none.
    process.kill().unwrap();
    let (process, url) = serve(&data_dir, &listen, &[]);
    let ledger = sending.await.unwrap().unwrap();
    let receipts = progress.receipts.lock().unwrap().clone();
    await_counted(&url, &receipts, PATIENCE).await.unwrap();
    process.stop(Duration::from_secs(20)).unwrap();
    audit_data_dir(&data_dir, &ledger).await;
}
