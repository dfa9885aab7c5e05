//! What of a verification is done, in a file: an interrupted one goes on with the next days.

use super::finding::Finding;
use super::report::RawTally;
use super::window::Window;
use super::{Findings, VerifyError, VerifyOptions};
use schemas::time::{day_of, now_micros};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file, where one is wanted.
#[derive(Debug)]
pub(super) struct Resume {
    path: Option<PathBuf>,
    noted: Noted,
    today: i32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Noted {
    /// Which verification it is: of what, and how.
    of: String,
    done: BTreeMap<String, Done>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    tally: RawTally,
    findings: Vec<Finding>,
    findings_total: u64,
}

impl Resume {
    /// Reads what is done, if the file is there. A deletion since makes it another verification.
    pub(super) fn open(options: &VerifyOptions, (log_id, table, deletions): (&str, &str, usize)) -> Result<Self, VerifyError> {
        let today = day_of(now_micros());
        let of = format!(
            "{table} and log {log_id} after {deletions} deletions, retention {:?}, without log {}",
            options.retention, options.skip_log
        );
        let new = Noted { of: of.clone(), done: BTreeMap::new() };
        let Some(path) = options.resume.clone() else { return Ok(Self { path: None, noted: new, today }) };
        let noted: Noted = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| VerifyError::Resume { path: path.clone(), problem: format!("no verification of ours is noted here ({e})") })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => new,
            Err(e) => return Err(VerifyError::Resume { path, problem: e.to_string() }),
        };
        if noted.of != of {
            let problem = format!("this is noted of another verification ({}), not of {of}", noted.of);
            return Err(VerifyError::Resume { path, problem });
        }
        Ok(Self { path: Some(path), noted, today })
    }

    /// What an earlier run found for these days.
    pub(super) fn done(&self, window: Window) -> Option<(RawTally, Findings)> {
        let done = self.noted.done.get(&window.to_string())?.clone();
        Some((done.tally, Findings { kept: done.findings, total: done.findings_total }))
    }

    /// Notes that these days are done.
    pub(super) fn note(&mut self, window: Window, tally: &RawTally, found: &Findings) -> Result<(), VerifyError> {
        // What changes every minute is looked at again.
        let Some(path) = self.path.as_ref().filter(|_| window.days().1 < self.today) else { return Ok(()) };
        let done = Done { tally: tally.clone(), findings: found.kept.clone(), findings_total: found.total };
        self.noted.done.insert(window.to_string(), done);
        let failed = |e: std::io::Error| VerifyError::Resume { path: path.clone(), problem: e.to_string() };
        let next = path.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(&self.noted).map_err(|e| failed(e.into()))?).map_err(failed)?;
        std::fs::rename(&next, path).map_err(failed)
    }

    /// All is done: the next verification begins anew.
    pub(super) fn finish(&self) {
        if let Some(path) = &self.path {
            drop(std::fs::remove_file(path));
        }
    }
}
