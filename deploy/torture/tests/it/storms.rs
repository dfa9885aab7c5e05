//! The short form of the long runs: one storm of faults on the services, and a disk that fills up.

use std::io::Write as _;
use std::process::Command;
use torture::ledger::Dice;
use torture::run::{RunOptions, services};
use torture::schedule::{Fault, Kind, Step, StoreFault};

/// A storm that has a bit of everything.
fn is_varied(storm: &[Step]) -> bool {
    let has = |is: fn(Fault) -> bool| storm.iter().any(|step| is(step.fault));
    has(|fault| matches!(fault, Fault::Kill(Kind::Aggregator, _)))
        && has(|fault| matches!(fault, Fault::Kill(Kind::Gateway, _)))
        && has(|fault| matches!(fault, Fault::Freeze(Kind::Aggregator, _)))
        && has(|fault| matches!(fault, Fault::BrokerKill(_)))
        && has(|fault| matches!(fault, Fault::Cut(_)))
        && has(|fault| matches!(fault, Fault::Store(StoreFault::LostAnswers)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_faults_on_three_brokers_loses_and_doubles_nothing() {
    let Some(_turn) = crate::real_engines().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let seed = (0..).find(|seed| is_varied(&services::SHAPE.storm(&mut Dice(*seed), 1))).expect("some seed has it");
    let options = RunOptions { scenario: "services".into(), seed, rounds: 1, waves: 1, rate: 200, old_binaries: None };
    let run = services::storms(directory.path(), &options).await.unwrap();
    assert!(run.is_clean(), "{run:#?}");
    assert!(
        run.tally.zombies > 0 && run.tally.kills.len() > 1 && !run.tally.broker_failures.is_empty() && !run.tally.partitions.is_empty(),
        "{run:#?}"
    );
}

/// Where nothing can be mounted, the program says so and succeeds.
#[test]
fn a_full_disk_refuses_clearly_loses_nothing_and_goes_on_by_itself() {
    let options = ["run", "--scenario", "standalone-disk-full", "--seed", "1", "--rounds", "3"];
    let output = Command::new(env!("CARGO_BIN_EXE_torture")).args(options).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    if said.contains("SKIPPED") {
        // To stderr itself, since the test harness hides what goes through the print macros.
        writeln!(std::io::stderr(), "\n*** {} ***", said.trim()).unwrap();
    }
}
