//! DynamoDB Local in memory, as its own Java process. It never throttles and never raises transaction conflicts.

use crate::leash::{Folder, Leash};
use anyhow::{bail, ensure};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::{Client, Config};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const POM: &str = include_str!("../dynamodb/pom.xml");
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running DynamoDB Local. Ends when dropped.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    _process: Leash,
    _folder: Folder,
}

impl DynamoDbLocal {
    /// Starts one on a free port; blocks until it accepts connections.
    ///
    /// # Errors
    /// Where Maven or Java fails, or it is not ready within a minute.
    pub fn start() -> anyhow::Result<Self> {
        let lib = crate::artifacts::fetch("dynamodb", POM)?;
        let folder = Folder::create()?;
        let log = folder.path().join("dynamodb.log");
        // A free port can be taken by someone else before the engine binds it.
        for attempt in 1.. {
            let port = crate::free_port()?;
            let process = Leash::start(&command(&lib.display().to_string(), port), &log)?;
            match wait_until_ready(port, &process) {
                Ok(()) => return Ok(Self { port, _process: process, _folder: folder }),
                Err(error) if attempt == 3 => bail!("{error}\n{}", std::fs::read_to_string(&log).unwrap_or_default()),
                Err(_) => {}
            }
        }
        unreachable!("the loop returns")
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it; all clients see the same tables.
    pub fn client(&self) -> Client {
        client(&self.endpoint())
    }
}

/// The one of this test binary; started by the first that asks. Use table names of your own.
///
/// # Panics
/// Where it cannot be started.
pub fn shared() -> &'static DynamoDbLocal {
    static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
    SHARED.get_or_init(|| DynamoDbLocal::start().unwrap_or_else(|error| panic!("DynamoDB Local: {error:#}")))
}

/// A client with made-up credentials for the engine at that address.
pub fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "engines"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

fn command(lib: &str, port: u16) -> Vec<String> {
    [
        "java",
        "-Xmx400m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        &format!("-Djava.library.path={lib}"),
        "-cp",
        &format!("{lib}/*"),
        "software.amazon.dynamodb.services.local.main.ServerRunner",
        "-inMemory",
        "-sharedDb",
        "-disableTelemetry",
        "-port",
        &port.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn wait_until_ready(port: u16, process: &Leash) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(process.is_alive(), "DynamoDB Local ended before it was ready");
        ensure!(Instant::now() < deadline, "DynamoDB Local is not ready after {READY_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
