//! A TCP link that can be cut: while it is, nothing passes, nothing is closed and nobody is told, which is how a broken
//! network looks from both ends.

use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running link.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    upstream: Arc<OnceLock<String>>,
    is_whole: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Listens on a free port; where it leads is said by [`Link::lead_to`].
    ///
    /// # Errors
    /// Where there is no port.
    pub async fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a link's port")?;
        let address = listener.local_addr()?;
        let upstream = Arc::<OnceLock<String>>::default();
        let (is_whole, whole) = watch::channel(true);
        let leads_to = Arc::clone(&upstream);
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(pass(client, Arc::clone(&leads_to), whole.clone()))),
                    // Whoever was killed while it waited to be let in must not close the door to the others.
                    Err(error) => refused(&error).await,
                }
            }
        });
        Ok(Self { address, upstream, is_whole, accepting })
    }

    /// From now on it leads to `upstream` (`host:port`). Said once.
    pub fn lead_to(&self, upstream: String) {
        // Said again, it stays where it is.
        drop(self.upstream.set(upstream));
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets nothing through any more. What was on its way arrives once it is whole again.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Makes it whole again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Says why somebody could not be let in, and waits for a moment.
pub(crate) async fn refused(error: &std::io::Error) {
    eprintln!("torture: a connection could not be taken: {error}");
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}

async fn pass(client: TcpStream, upstream: Arc<OnceLock<String>>, mut whole: watch::Receiver<bool>) {
    let Some(upstream) = upstream.get() else { return };
    if whole.wait_for(|whole| *whole).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Small answers must not wait for more.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Where one way ends, both do.
    tokio::select! {
        () = carry(from_client, to_server, whole.clone()) => {}
        () = carry(from_server, to_client, whole.clone()) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // The other end hears of a closed connection no sooner than of anything else.
        if whole.wait_for(|whole| *whole).await.is_err() || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_was_sent_while_it_was_cut_arrives_once_it_is_whole() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let link = Link::listen().await.expect("a link");
        link.lead_to(server.local_addr().expect("bound").to_string());
        let mut client = TcpStream::connect(("127.0.0.1", link.port())).await.expect("connects");
        client.write_all(b"a").await.expect("sent");
        let (mut accepted, _) = server.accept().await.expect("comes through");
        assert_eq!(accepted.read_u8().await.expect("arrives"), b'a');

        link.cut();
        client.write_all(b"b").await.expect("nobody is told");
        let nothing = tokio::time::timeout(Duration::from_millis(100), accepted.read_u8()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        link.mend();
        assert_eq!(accepted.read_u8().await.expect("arrives"), b'b');
    }
}
