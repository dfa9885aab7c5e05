//! Apache Kafka (without `ZooKeeper`) as Java processes on free ports: one broker, or several of which the first are controllers too.
//! Brokers can be stopped, killed, frozen and started again under the same address.

use crate::leash::{Folder, Leash};
use anyhow::{Context as _, bail, ensure};
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const POM: &str = include_str!("../kafka/pom.xml");
const READY_WITHIN: Duration = Duration::from_secs(90);
const JVM: [&str; 5] = [
    "-Xmx400m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
];
/// What `KafkaRaftServer` logs when the broker is in the cluster and takes requests.
const READY_LINE: &str = "Kafka Server started";

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Number of brokers.
    pub brokers: u32,
    /// How many of them, from the first on, are controllers too. Leaders move as long as most of these run.
    pub controllers: u32,
    /// Further ways in, each advertised under a port per broker that is somebody else's: a proxy's, which leads to
    /// [`Kafka::door`]. Who comes in by one is led to the other brokers by the same.
    pub doors: Vec<Vec<u16>>,
    /// The door by which brokers reach each other; directly where there is none.
    pub inter_broker_door: Option<usize>,
    /// Further broker settings; they win over the defaults.
    pub settings: Vec<(String, String)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, controllers: 1, doors: Vec::new(), inter_broker_door: None, settings: Vec::new() }
    }
}

/// A running cluster. Ends when dropped.
#[derive(Debug)]
pub struct Kafka {
    nodes: Vec<Node>,
    lib: PathBuf,
    _folder: Folder,
}

#[derive(Debug)]
struct Node {
    port: u16,
    /// Where each door leads.
    doors: Vec<u16>,
    properties: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Leash>>,
}

impl Kafka {
    /// Starts one broker; blocks until it takes requests.
    ///
    /// # Errors
    /// Where Maven or Java fails, or it is not ready in time.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&KafkaOptions::default())
    }

    /// Starts a cluster; blocks until it takes requests.
    ///
    /// # Errors
    /// Where Maven or Java fails, or it is not ready in time.
    pub fn start_with(options: &KafkaOptions) -> anyhow::Result<Self> {
        ensure!(options.brokers > 0, "a cluster has at least one broker");
        ensure!((1..=options.brokers).contains(&options.controllers), "a cluster has at least one controller, and each is a broker");
        ensure!(options.doors.iter().all(|door| door.len() == options.brokers as usize), "a door has a port for each broker");
        let lib = crate::artifacts::fetch("kafka", POM)?;
        // A free port can be taken by someone else before the broker binds it.
        for _ in 0..2 {
            if let Ok(kafka) = Self::try_start(options, &lib) {
                return Ok(kafka);
            }
        }
        Self::try_start(options, &lib)
    }

    fn try_start(options: &KafkaOptions, lib: &Path) -> anyhow::Result<Self> {
        let folder = Folder::create()?;
        let cluster_id = random_cluster_id();
        let controllers = (0..options.controllers).map(|_| crate::free_port()).collect::<std::io::Result<Vec<u16>>>()?;
        let mut nodes = Vec::new();
        for id in 1..=options.brokers {
            let node = Node {
                port: crate::free_port()?,
                doors: options.doors.iter().map(|_| crate::free_port()).collect::<std::io::Result<_>>()?,
                properties: folder.path().join(format!("{id}.properties")),
                log: folder.path().join(format!("{id}.log")),
                process: Mutex::new(None),
            };
            let data = folder.path().join(format!("data-{id}"));
            std::fs::write(&node.properties, properties(options, id, &node, &controllers, &data))?;
            format_storage(lib, &node.properties, &cluster_id)?;
            nodes.push(node);
        }
        let kafka = Self { nodes, lib: lib.to_owned(), _folder: folder };
        for node in &kafka.nodes {
            kafka.launch(node)?;
        }
        for node in &kafka.nodes {
            node.wait_until_ready()?;
        }
        Ok(kafka)
    }

    /// The brokers' addresses, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// Where a door of a broker leads: `127.0.0.1:<port>`.
    pub fn door(&self, door: usize, broker: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[broker].doors[door])
    }

    /// Kills a broker at once (the first is 0).
    pub fn kill(&self, broker: usize) {
        drop(self.nodes[broker].process().take());
    }

    /// Starts a broker that was killed; blocks until it takes requests.
    ///
    /// # Errors
    /// Where it does not come back in time.
    pub fn restart(&self, broker: usize) -> anyhow::Result<()> {
        self.kill(broker);
        self.launch(&self.nodes[broker])?;
        self.nodes[broker].wait_until_ready()
    }

    /// Stops a broker's process without ending it: connections stay open and nothing answers.
    ///
    /// # Errors
    /// Where the broker is not running.
    pub fn freeze(&self, broker: usize) -> anyhow::Result<()> {
        self.nodes[broker].signal("STOP")
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// Where the broker is not running.
    pub fn thaw(&self, broker: usize) -> anyhow::Result<()> {
        self.nodes[broker].signal("CONT")
    }

    fn launch(&self, node: &Node) -> anyhow::Result<()> {
        // The log of an earlier run would look like readiness.
        std::fs::write(&node.log, "")?;
        let mut command = java(&self.lib);
        command.extend(["kafka.Kafka".to_owned(), node.properties.display().to_string()]);
        *node.process() = Some(Leash::start(&command, &node.log)?);
        Ok(())
    }
}

impl Node {
    fn process(&self) -> std::sync::MutexGuard<'_, Option<Leash>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        self.process().as_ref().context("the broker is not running")?.signal(name)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(READY_LINE) && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            let is_alive = self.process().as_ref().is_some_and(Leash::is_alive);
            if !is_alive || Instant::now() > deadline {
                bail!("the Kafka broker {}:\n{log}", if is_alive { "is not ready in time" } else { "ended" });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The broker of this test binary; started by the first that asks. Use topics and groups of your own.
///
/// # Panics
/// Where it cannot be started.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start().unwrap_or_else(|error| panic!("Kafka: {error:#}")))
}

fn properties(options: &KafkaOptions, id: u32, node: &Node, controllers: &[u16], data: &Path) -> String {
    let controller = controllers.get(id as usize - 1);
    let replicas = options.brokers.min(3).to_string();
    let voters: Vec<String> = controllers.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}")).collect();
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", node.port);
    let mut advertised = listeners.clone();
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (door, (port, ports)) in node.doors.iter().zip(&options.doors).enumerate() {
        listeners += &format!(",DOOR{door}://127.0.0.1:{port}");
        advertised += &format!(",DOOR{door}://127.0.0.1:{}", ports[id as usize - 1]);
        protocols += &format!(",DOOR{door}:PLAINTEXT");
    }
    if let Some(port) = controller {
        listeners += &format!(",CONTROLLER://127.0.0.1:{port}");
    }
    let mut settings: Vec<(&str, String)> = vec![
        ("process.roles", if controller.is_some() { "broker,controller" } else { "broker" }.into()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("listeners", listeners),
        ("advertised.listeners", advertised),
        ("inter.broker.listener.name", options.inter_broker_door.map_or("PLAINTEXT".into(), |door| format!("DOOR{door}"))),
        ("controller.listener.names", "CONTROLLER".into()),
        ("listener.security.protocol.map", protocols),
        ("log.dirs", data.display().to_string()),
        // Topics come into being on request only, as in a well-run cluster.
        ("auto.create.topics.enable", "false".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("group.min.session.timeout.ms", "1000".into()),
        ("offsets.topic.num.partitions", "2".into()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("transaction.state.log.num.partitions", "1".into()),
        ("transaction.state.log.replication.factor", replicas),
        ("transaction.state.log.min.isr", "1".into()),
        ("share.coordinator.state.topic.replication.factor", "1".into()),
        ("share.coordinator.state.topic.min.isr", "1".into()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("log.cleaner.dedupe.buffer.size", "4194304".into()),
        ("log.retention.check.interval.ms", "500".into()),
        ("log.cleaner.backoff.ms", "500".into()),
    ];
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    // Of a setting named twice the last one counts.
    settings.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}={value}");
        text
    })
}

fn java(lib: &Path) -> Vec<String> {
    let mut command = vec!["java".to_owned()];
    command.extend(JVM.map(str::to_owned));
    command.extend(["-cp".to_owned(), format!("{}/*", lib.display())]);
    command
}

fn format_storage(lib: &Path, properties: &Path, cluster_id: &str) -> anyhow::Result<()> {
    let command = java(lib);
    let output = Command::new(&command[0])
        .args(&command[1..])
        .args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"])
        .arg(properties)
        .stdin(Stdio::null())
        .output()
        .context("running java")?;
    ensure!(output.status.success(), "kafka's storage tool failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Sixteen random bytes as Kafka writes them: 22 characters of URL-safe base64, of which the last carries two bits.
fn random_cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut id: String = (0..21)
        .map(|_| {
            let random = std::hash::RandomState::new().build_hasher().finish();
            char::from(ALPHABET[usize::try_from(random % 64).unwrap_or_default()])
        })
        .collect();
    // An id may not start with a dash: it would read as an option.
    if id.starts_with('-') {
        id.replace_range(..1, "A");
    }
    id + "Q"
}
