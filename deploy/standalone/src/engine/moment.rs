//! A moment of the store, kept while others go on writing: a read transaction of SQLite on a connection of its own. Never
//! writes to the store, and never opens its file but through SQLite, whose locks would be dropped otherwise.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Wait for a lock of SQLite; writers hold theirs for milliseconds.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// Pause where somebody else has a lock.
const PAUSE: Duration = Duration::from_millis(10);
/// Pages per step; steps on a kept moment never begin anew, so this only bounds what is copied between two.
const PAGES_PER_STEP: i32 = 4_096;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// SQLite says no.
    #[error("the store cannot be copied")]
    Sqlite(#[from] rusqlite::Error),
    /// Nobody wants it any more.
    #[error("the copy of the store was given up")]
    GivenUp,
}

/// What the store held when this was made.
#[derive(Debug)]
pub struct Moment(Connection);

impl Moment {
    /// This moment of the store in that file: everything that was answered before.
    pub fn of(store: &Path) -> Result<Self, MomentError> {
        let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_FOR)?;
        // A transaction sees the store as its first read does.
        connection.execute_batch("BEGIN")?;
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(Self(connection))
    }

    /// Writes it to a file that is not there yet, for as long as it is wanted. Blocks.
    pub fn copy_to(self, path: &Path, is_wanted: impl Fn() -> bool) -> Result<(), MomentError> {
        let mut copy = Connection::open(path)?;
        // It is thrown away with the process.
        copy.pragma_update(None, "synchronous", "OFF")?;
        let backup = Backup::new(&self.0, &mut copy)?;
        loop {
            match backup.step(PAGES_PER_STEP)? {
                StepResult::Done => return Ok(()),
                _ if !is_wanted() => return Err(MomentError::GivenUp),
                StepResult::More => {}
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
}
