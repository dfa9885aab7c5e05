//! What stands around a service that is measured side by side: the parts of `bench-part`, and the services on them.
//!
//! What is measured runs on the first core alone, everything else on the second.

use crate::process::{Place, Server, beside, pinned};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// Where what is measured runs.
pub(crate) const MEASURED: usize = 0;
/// Where the load, the broker and the store run.
pub(crate) const REST: usize = 1;

/// Starts a part on a core; its address is its `url`.
pub(crate) fn part(place: &Place, core: usize, arguments: &[&str]) -> anyhow::Result<Server> {
    let mut command = pinned(core, &beside("bench-part")?);
    command.args(arguments);
    let mut part = Server::spawn(&format!("bench-part {}", arguments.join(" ")), command, &place.log(arguments[0]))?;
    part.await_word(|_| true)?;
    Ok(part)
}

/// A service on a mock broker and an instant store, on the core that is measured.
#[derive(Debug)]
pub(crate) struct OnParts<'a> {
    pub(crate) place: &'a Place,
    pub(crate) kafka: &'a Server,
    pub(crate) store: &'a Server,
}

impl OnParts<'_> {
    /// What every service is told.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let all = [
            ("KAFKA_BROKERS", self.kafka.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.store.url()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Starts one; `address` is where it will listen for what is waited for.
    pub(crate) async fn service(
        &self,
        program: &Path,
        arguments: &[String],
        more: &[(&str, String)],
        address: SocketAddr,
    ) -> anyhow::Result<Server> {
        let mut command = pinned(MEASURED, program);
        command.args(arguments).env("ADMIN_LISTEN", "127.0.0.1:0").envs(self.environment()).envs(more.iter().cloned());
        let name = program.file_name().and_then(|n| n.to_str()).unwrap_or("service");
        let mut server = Server::spawn(name, command, &self.place.log(name))?;
        server.await_listening(address).await?;
        Ok(server)
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
