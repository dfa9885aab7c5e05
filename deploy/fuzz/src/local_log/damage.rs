//! Puts the files of a log in place, damaged.

use super::script::{Damage, Kind};
use std::path::Path;

/// Of SQLite's pages; a frame of the write-ahead log has a header of 24 bytes besides.
const PAGE: usize = 4_096;

/// A log's files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) main: Vec<u8>,
    pub(super) wal: Option<Vec<u8>>,
}

/// What the damage came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Harm {
    pub(super) is_any: bool,
    /// Only the write-ahead log is not as it was.
    pub(super) is_cut: bool,
}

pub(super) struct Image<'a> {
    pub(super) path: &'a Path,
}

impl Image<'_> {
    pub(super) fn put(&self, files: &Files, damages: &[Damage]) -> Harm {
        let (mut main, mut wal) = (Some(files.main.clone()), files.wal.clone());
        for damage in damages {
            let file = if damage.is_to_wal && wal.is_some() { &mut wal } else { &mut main };
            if let Some(bytes) = file
                && !apply(bytes, damage)
            {
                *file = None;
            }
        }
        let wal_path = self.path.with_file_name("log-wal");
        for (path, bytes) in [(self.path, &main), (&wal_path, &wal)] {
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).expect("room for a file");
            }
        }
        let is_main_hurt = main.as_ref() != Some(&files.main);
        Harm { is_any: is_main_hurt || wal != files.wal, is_cut: !is_main_hurt && wal != files.wal }
    }
}

/// Whether the file is still there.
fn apply(bytes: &mut Vec<u8>, damage: &Damage) -> bool {
    let pages = bytes.len().div_ceil(PAGE);
    let at = match pages {
        0 => 0,
        pages => ((usize::from(damage.page) % pages) * PAGE + usize::from(damage.byte) % PAGE).min(bytes.len()),
    };
    let page = at / PAGE * PAGE;
    match damage.kind {
        Kind::Flip(bits) => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= bits),
        Kind::Overwrite { length, with } => bytes[at..].iter_mut().take(length.into()).for_each(|byte| *byte = with),
        Kind::Number(number) => bytes[at..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, new)| *byte = new),
        Kind::Cut => bytes.truncate(at),
        Kind::Zero => bytes[page..].iter_mut().take(PAGE).for_each(|byte| *byte = 0),
        Kind::Misplace { to } => {
            let source: Vec<u8> = bytes[page..].iter().take(PAGE).copied().collect();
            let to = usize::from(to) % pages.max(1) * PAGE;
            bytes[to..].iter_mut().zip(source).for_each(|(byte, new)| *byte = new);
        }
        Kind::Extend { length, with } => bytes.extend(std::iter::repeat_n(with, usize::from(length) * 32)),
        Kind::Remove => return false,
    }
    true
}
