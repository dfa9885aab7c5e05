//! Puts the built dashboard into the binary: writes the list of the files below `dashboard/dist`, which
//! `src/dashboard/files.rs` includes. Nothing is built here: without the folder's content the binary has no dashboard,
//! and neither Node nor npm is needed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("{name} is not set")));
    let folder = variable("CARGO_MANIFEST_DIR")?.join("../dashboard/dist");
    // Cargo watches what is there: for a folder that is missing it would compile everything anew each time.
    if let Err(error) = ensure(&folder) {
        println!("cargo::warning=cannot make {}, so there is no dashboard in this binary: {error}", folder.display());
    }
    let folder = folder.canonicalize().unwrap_or(folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    if folder.is_dir() {
        list(&folder, &mut files)?;
    }
    files.sort_unstable();
    let mut code = String::from("&[\n");
    for file in files.iter().filter(|file| is_served(file)) {
        let path = file.strip_prefix(&folder).map_err(io::Error::other)?;
        let path = path.to_str().ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?.replace('\\', "/");
        writeln!(code, "    ({path:?}, include_bytes!({:?})),", file.display().to_string()).map_err(io::Error::other)?;
    }
    code.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("dashboard.rs"), code)
}

fn ensure(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // Made while this script runs it would count as changed since, and the next build would begin here again.
    fs::File::open(folder)?.set_modified(SystemTime::UNIX_EPOCH)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Source maps are for who builds; hidden files are for nobody.
fn is_served(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    !name.starts_with('.') && ![".map", ".map.gz", ".map.br"].iter().any(|end| name.ends_with(end))
}
