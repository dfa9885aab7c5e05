//! Clocks that are off: Debian's libfaketime between a process and its wall clock, which reads from a file how far. Without
//! it (`apt-get install -y libfaketime`) runs leave steps of the clock out, and say so.

use anyhow::Context as _;
use std::path::{Path, PathBuf};

const PLACES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The library, where it is installed.
pub fn library() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Sets how far the clocks that read this file are ahead, s.
pub fn set(file: &Path, seconds: i64) -> anyhow::Result<()> {
    // At once as a whole: a reader must not find half of it.
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{seconds:+}\n")).and_then(|()| std::fs::rename(&next, file)).context("setting a clock")
}

/// What a process' environment needs for its clock to follow the file. Only the wall clock does: the monotonic one, which
/// time-outs go by, never steps on a real machine either.
pub fn variables(library: &Path, file: &Path) -> Vec<(String, String)> {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_DISABLE_SHM", "1".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
