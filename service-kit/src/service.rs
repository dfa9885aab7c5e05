//! What a service that is a process of its own is told besides its work: where to listen, whom to let in, and where the
//! log, the store and the registry are. The defaults of the addresses differ, so each service sets its own.

use crate::http::{self, HttpConfig, ListenError};
use crate::log::LogConfig;
use crate::registry::RegistryConfig;
use crate::store::StoreConfig;
use clap::Args;
use std::net::SocketAddr;

/// The surroundings of a service. `listen` and `admin_listen` need a default from whoever flattens this.
#[derive(Args, Clone, Debug)]
pub struct ServiceConfig {
    /// Where to listen.
    #[arg(long, env = "LISTEN", required = false)]
    pub listen: SocketAddr,

    /// Where health and metrics are.
    #[arg(long, env = "ADMIN_LISTEN", required = false)]
    pub admin_listen: SocketAddr,

    /// Let nobody in without an API key.
    #[arg(long, env = "REQUIRE_KEYS")]
    pub require_keys: bool,

    /// Let everybody in, on whatever address.
    #[arg(long, env = "INSECURE", conflicts_with = "require_keys")]
    pub insecure: bool,

    /// The HTTP guards.
    #[command(flatten)]
    pub http: HttpConfig,

    /// Where the log is.
    #[command(flatten)]
    pub log: LogConfig,

    /// Where the numbers and the keys are.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: RegistryConfig,
}

impl ServiceConfig {
    /// Refuses to be open to others without keys, before anything binds.
    ///
    /// # Errors
    /// Where it would be.
    pub fn validate(&self) -> Result<(), ListenError> {
        http::guard_listen(&self.listen, self.require_keys, self.insecure)
    }
}
