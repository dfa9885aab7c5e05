//! Every kept input, and small changes of it, against what must hold. Plain builds, the same changes each time.

mod change;

use change::Changes;
use fuzz::{TARGETS, Target};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Changed inputs per target and kept input; those of the log open files and threads.
const CHANGES: usize = 60;
const CHANGES_OF_LOGS: usize = 4;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("readable");
            (path, bytes)
        })
        .collect();
    inputs.sort();
    inputs
}

fn holds(target: &Target, bytes: &[u8]) -> bool {
    catch_unwind(|| (target.check)(bytes)).is_ok()
}

fn try_all(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let inputs = corpus(name);
    assert!(inputs.len() >= 3, "{name} has hardly any inputs");
    let broken: Vec<_> = inputs.iter().filter(|(_, bytes)| !holds(target, bytes)).map(|(path, _)| path).collect();
    assert!(broken.is_empty(), "what must hold does not, of {broken:?}");

    let changes = if name == "local_log" { CHANGES_OF_LOGS } else { CHANGES };
    for (i, (path, bytes)) in inputs.iter().enumerate() {
        let (_, other) = &inputs[(i * 7 + 3) % inputs.len()];
        let mut changed = Changes::of(bytes, other);
        for n in 0..changes {
            let input = changed.next();
            if !holds(target, &input) {
                let kept = std::env::temp_dir().join(format!("fuzz-{name}-{i}-{n}"));
                std::fs::write(&kept, input).expect("room for a small file");
                panic!("what must hold does not, of change {n} of {}; the input is {}", path.display(), kept.display());
            }
        }
    }
}

macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            try_all(stringify!($name));
        })+

        #[test]
        fn every_target_is_tried() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),+]);
        }
    };
}

tests!(bodies, event, identity, texts, query, users, dead_letter, archive, local_log);
