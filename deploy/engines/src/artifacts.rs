//! Gets an engine's jars from the Maven repository, once: concurrent test processes wait for the one that does it.

use anyhow::{Context as _, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder that holds the jars of the engine `name`, whose Maven project is `pom`.
pub(crate) fn fetch(name: &str, pom: &str) -> anyhow::Result<PathBuf> {
    let root = engines_dir();
    fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock().with_context(|| format!("locking the engine folder of {name}"))?;

    let folder = root.join(name);
    let (lib, pom_path, complete) = (folder.join("lib"), folder.join("pom.xml"), folder.join("complete"));
    // The copy of the project that the jars came from marks them complete, so another version is fetched anew.
    if fs::read_to_string(&complete).is_ok_and(|done| done == pom) {
        return Ok(lib);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&lib)?;
    fs::write(&pom_path, pom)?;
    copy_dependencies(&pom_path, &lib)?;
    fs::write(&complete, pom)?;
    Ok(lib)
}

/// `AGENT_TALLY_ENGINES_DIR`, else `.engines` in the workspace.
fn engines_dir() -> PathBuf {
    match std::env::var_os("AGENT_TALLY_ENGINES_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines"),
    }
}

fn copy_dependencies(pom: &Path, lib: &Path) -> anyhow::Result<()> {
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", fs::canonicalize(lib)?.display()))
        .arg("-f")
        .arg(pom)
        .stdin(Stdio::null())
        .output()
        .context("running mvn")?;
    ensure!(
        output.status.success(),
        "mvn could not get the engine:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
