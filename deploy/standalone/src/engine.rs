//! The embedded store: the DynamoDB engine `dynoxide` on one SQLite file, spoken to by the ordinary
//! `aws-sdk-dynamodb` client, so that there is one store code path.
//!
//! The SDK's requests never leave the process: `connector` takes them where a socket would be and
//! `operations` hands them to the engine. Nothing here opens a port, because the engine's own server checks
//! neither signatures nor origins.
//!
//! The engine blocks its threads, so it has its own: two that write (one works while the other parses) and two
//! that read through a connection of their own, which SQLite's write-ahead log keeps out of the writers' way.
//! Requests wait in bounded queues; a full one makes the caller wait.
//!
//! Durability: an answer survives a killed process, not a power cut. [`Engine::barrier`] makes everything
//! answered so far durable; the aggregator awaits it before each commit.

mod barrier;
mod connector;
mod inserts;
mod moment;
mod operations;

pub use moment::{Moment, MomentError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use bytes::Bytes;
use dynoxide::Database;
use futures::future::BoxFuture;
use operations::{Answer, Lane};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Requests that may wait for each of the two lanes.
const QUEUE: usize = 256;
/// Threads of each lane: the engine works on one request at a time per connection; a second thread parses
/// and encodes meanwhile.
const THREADS_PER_LANE: usize = 2;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The path is not text that SQLite takes.
    #[error("the path {0} is not valid UTF-8")]
    Path(PathBuf),
    /// The engine refuses the file.
    #[error("cannot open the store {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        #[source]
        source: dynoxide::DynoxideError,
    },
    /// A thread could not be started.
    #[error("cannot start the store's threads")]
    Threads(#[source] std::io::Error),
}

/// The open store.
pub struct Engine {
    lanes: Arc<Lanes>,
    threads: Vec<JoinHandle<()>>,
    path: PathBuf,
}

impl Engine {
    /// Opens or creates the store in the file `path`.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let databases = Arc::new(Databases::open(path)?);
        let (write, write_queue) = Queue::new();
        let (read, read_queue) = Queue::new();
        let mut threads = Vec::with_capacity(2 * THREADS_PER_LANE);
        for (lane, queue) in [("write", write_queue), ("read", read_queue)] {
            let queue = Arc::new(Mutex::new(queue));
            for n in 0..THREADS_PER_LANE {
                let (queue, databases) = (Arc::clone(&queue), Arc::clone(&databases));
                let thread = std::thread::Builder::new().name(format!("store-{lane}-{n}")).spawn(move || work(&queue, &databases));
                threads.push(thread.map_err(EngineError::Threads)?);
            }
        }
        Ok(Self { lanes: Arc::new(Lanes { write, read }), threads, path: path.to_path_buf() })
    }

    /// An SDK client whose requests are answered by this store.
    pub fn client(&self) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("local"))
            // Never resolved: the connector answers.
            .endpoint_url("http://store.invalid")
            .http_client(connector::EngineClient::new(Arc::clone(&self.lanes)))
            // There is nobody to sign for, and signing costs more than a small request.
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Client::from_conf(config)
    }

    /// What makes everything answered so far durable. With `record`, each barrier also writes there what a
    /// power cut would leave of the write-ahead log (for tests).
    pub fn barrier(&self, record: Option<PathBuf>) -> Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<()>> + Send + Sync> {
        barrier::barrier(barrier::write_ahead_log(&self.path), record)
    }

    /// What deletes expired items; to be called now and then, since the engine does not by itself.
    pub fn sweeper(&self) -> Sweeper {
        Sweeper(Arc::clone(&self.lanes))
    }

    /// Finishes what was begun and closes the files. Clients that are still around get errors from then on.
    pub fn close(self) {
        for queue in [&self.lanes.write, &self.lanes.read] {
            queue.stop();
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Deletes expired items.
#[derive(Clone, Debug)]
pub struct Sweeper(Arc<Lanes>);

impl Sweeper {
    /// Deletes what has expired; returns how many items.
    pub async fn sweep(&self) -> Result<usize, String> {
        let (done, outcome) = oneshot::channel();
        self.0.write.send(Work::Sweep { done }).await.map_err(|e| e.to_string())?;
        outcome.await.map_err(|_| Closed.to_string())?
    }
}

/// The engine, opened twice on the same file: SQLite lets one write while the other reads.
struct Databases {
    path: String,
    writer: Database,
    /// Replaced after a change of tables, because the engine caches what it knows of them.
    reader: RwLock<Database>,
}

impl Databases {
    fn open(path: &Path) -> Result<Self, EngineError> {
        let text = path.to_str().ok_or_else(|| EngineError::Path(path.to_path_buf()))?;
        let open = || open_database(text).map_err(|source| EngineError::Open { path: path.to_path_buf(), source });
        Ok(Self { path: text.to_owned(), writer: open()?, reader: RwLock::new(open()?) })
    }

    fn answer(&self, operation: &str, body: &[u8]) -> Answer {
        match operations::lane(operation) {
            Lane::Read => {
                let reader = self.reader.read().unwrap_or_else(PoisonError::into_inner).clone();
                operations::answer(&reader, operation, body)
            }
            Lane::Write => operations::answer(&self.writer, operation, body),
            Lane::Tables => {
                let answer = operations::answer(&self.writer, operation, body);
                match open_database(&self.path) {
                    Ok(fresh) => *self.reader.write().unwrap_or_else(PoisonError::into_inner) = fresh,
                    Err(e) => tracing::error!(error = %e, "cannot reopen the store for reading"),
                }
                answer
            }
        }
    }
}

fn open_database(path: &str) -> dynoxide::Result<Database> {
    let database = Database::new(path)?;
    // Named for what it ends; what it sets is synchronous=NORMAL: no fsync per item, the barrier does it.
    database.disable_bulk_loading()?;
    Ok(database)
}

/// The two ways into the store.
#[derive(Debug)]
struct Lanes {
    write: Queue,
    read: Queue,
}

impl Lanes {
    /// Hands a request to the engine and waits for its answer.
    async fn call(&self, operation: String, body: Bytes) -> Result<Answer, Closed> {
        let queue = if operations::lane(&operation) == Lane::Read { &self.read } else { &self.write };
        let (done, answer) = oneshot::channel();
        queue.send(Work::Request { operation, body, done }).await?;
        answer.await.map_err(|_| Closed)
    }
}

/// The store is closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

enum Work {
    Request { operation: String, body: Bytes, done: oneshot::Sender<Answer> },
    Sweep { done: oneshot::Sender<Result<usize, String>> },
    Stop,
}

/// The sending side of a bounded queue from tasks to threads.
#[derive(Debug)]
struct Queue {
    room: Arc<Semaphore>,
    sender: Mutex<mpsc::Sender<Queued>>,
}

struct Queued {
    work: Work,
    _room: Option<OwnedSemaphorePermit>,
}

impl Queue {
    fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (sender, receiver) = mpsc::channel();
        (Self { room: Arc::new(Semaphore::new(QUEUE)), sender: Mutex::new(sender) }, receiver)
    }

    async fn send(&self, work: Work) -> Result<(), Closed> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Closed)?;
        self.push(Queued { work, _room: Some(room) })
    }

    /// Refuses new work and lets each thread stop behind what is queued.
    fn stop(&self) {
        self.room.close();
        for _ in 0..THREADS_PER_LANE {
            // An error means that the threads have stopped already.
            let _ = self.push(Queued { work: Work::Stop, _room: None });
        }
    }

    fn push(&self, queued: Queued) -> Result<(), Closed> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).send(queued).map_err(|_| Closed)
    }
}

/// A thread's life: one piece of work after the other until told to stop.
fn work(queue: &Mutex<mpsc::Receiver<Queued>>, databases: &Databases) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Queued { work, _room }) = next else { return };
        match work {
            Work::Request { operation, body, done } => {
                // Nobody waits any more: the caller gave up before the work began, so it is as if never sent.
                if !done.is_closed() {
                    drop(done.send(databases.answer(&operation, &body)));
                }
            }
            Work::Sweep { done } => drop(done.send(databases.writer.sweep_ttl().map_err(|e| e.to_string()))),
            Work::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests;
