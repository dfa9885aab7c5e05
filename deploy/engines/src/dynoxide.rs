//! dynoxide in memory, served over TCP from a thread of this process: starts in milliseconds, needs no Java.

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::Client;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running dynoxide. Ends when dropped.
#[derive(Debug)]
pub struct Dynoxide {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dynoxide {
    /// Starts one on a free port, on a runtime of its own since it blocks the threads it runs on.
    ///
    /// # Errors
    /// Where the port, the thread or the database cannot be had.
    pub fn start() -> anyhow::Result<Self> {
        let database = dynoxide::Database::memory().map_err(|error| anyhow!("{error}"))?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("dynoxide".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        served = serve(listener, database) => {
                            if let Err(error) = served {
                                tracing::error!(%error, "dynoxide ended");
                            }
                        }
                        // Resolves when the sender is dropped, too.
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            })
            .context("starting dynoxide's thread")?;
        Ok(Self { port, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        crate::dynamodb::client(&self.endpoint())
    }
}

impl Drop for Dynoxide {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported by its own thread.
            drop(thread.join());
        }
    }
}

async fn serve(listener: std::net::TcpListener, database: dynoxide::Database) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await.map_err(|error| anyhow!(error))
}
