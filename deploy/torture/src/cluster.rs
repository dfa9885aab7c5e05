//! The services on three brokers and DynamoDB Local, each reached through links that can be cut, the store also through the
//! proxy that misbehaves. Starts what has ended, as a supervisor would; decides nothing about what is to fail.

use crate::fault_proxy::{FaultProxy, Faults};
use crate::link::Link;
use crate::process::{Process, binary_path};
use crate::schedule::{Cut, Fault, Kind, Shape, StoreFault};
use anyhow::Context as _;
use engines::dynamodb::DynamoDbLocal;
use engines::kafka::{Kafka, KafkaOptions};
use event_log::Log;
use event_log::kafka::{KafkaConfig, KafkaLog};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Partitions of the events' topic.
pub const PARTITIONS: u32 = 8;
const BROKERS: usize = 3;
/// The doors of the two sides that services stand on; the brokers' own comes after.
const SIDES: usize = 2;
/// Where an aggregator dies by itself, between two steps.
const FAILPOINTS: &str = "after_insert=0.003,after_update=0.003,after_announce=0.003,before_commit=0.005,after_commit=0.005";
/// A process that ended by itself is started again after so long.
const RESTART_AFTER: Duration = Duration::from_millis(300);
/// The agent whose writes are throttled.
const HOT_AGENT: &str = "agent-7";

/// How many of each service, and what they are started from.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Gateways.
    pub gateways: usize,
    /// Aggregators, at the most.
    pub aggregators: usize,
    /// Query APIs.
    pub query_apis: usize,
    /// Binaries of an earlier version, for those that are not upgraded yet.
    pub old_binaries: Option<PathBuf>,
    /// Whether clocks are to step, where they can: a library that comes between a process and its clock costs time.
    pub has_clocks: bool,
    /// Decides what is at random in the faults themselves.
    pub seed: u64,
}

/// What happened to the processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// SIGKILLs, by binary.
    pub kills: BTreeMap<String, u64>,
    /// Ends between two steps of an aggregator (failpoints).
    pub aborts: u64,
    /// Ends by themselves without a failpoint: after a time as a zombie, or where a start found no broker.
    pub ended: u64,
    /// Aggregators that were silent for longer than their session lasts, and then woke.
    pub zombies: u64,
    /// Broken brokers, by how.
    pub broker_failures: BTreeMap<String, u64>,
    /// Network partitions, by which.
    pub partitions: BTreeMap<String, u64>,
    /// Anything else.
    pub others: BTreeMap<String, u64>,
}

/// Engines, links and services.
#[derive(Debug)]
pub struct Cluster {
    /// What happened so far.
    pub tally: Tally,
    kafka: Arc<Kafka>,
    dynamodb: DynamoDbLocal,
    proxy: FaultProxy,
    /// By door and broker.
    doors: Vec<Vec<Link>>,
    /// To the store, by side.
    stores: Vec<Link>,
    members: Vec<Member>,
    /// Brokers that are on their way back.
    returning: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
    directory: PathBuf,
    old_binaries: Option<PathBuf>,
    faketime: Option<PathBuf>,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    number: usize,
    port: u16,
    process: Option<Process>,
    /// It is to be running: where it is not, it is started.
    is_wanted: bool,
    is_old: bool,
    has_failpoints: bool,
    /// It ended by itself a moment ago.
    not_before: Instant,
}

impl Cluster {
    /// Starts everything; returns once the engines take requests.
    pub async fn start(directory: &Path, options: &ClusterOptions) -> anyhow::Result<Self> {
        let mut doors = Vec::new();
        for _ in 0..=SIDES {
            let mut links = Vec::new();
            for _ in 0..BROKERS {
                links.push(Link::listen().await?);
            }
            doors.push(links);
        }
        let kafka_options = KafkaOptions {
            brokers: BROKERS as u32,
            controllers: BROKERS as u32,
            doors: doors.iter().map(|links| links.iter().map(Link::port).collect()).collect(),
            inter_broker_door: Some(SIDES),
            settings: [
                // Leaders go home soon after their broker is back: each failure moves them twice.
                ("leader.imbalance.check.interval.seconds", "3"),
                ("leader.imbalance.per.broker.percentage", "0"),
                ("replica.lag.time.max.ms", "6000"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        };
        let (kafka, dynamodb) =
            tokio::task::spawn_blocking(move || anyhow::Ok((Kafka::start_with(&kafka_options)?, DynamoDbLocal::start()?))).await??;
        for (door, links) in doors.iter().enumerate() {
            for (broker, link) in links.iter().enumerate() {
                link.lead_to(kafka.door(door, broker));
            }
        }
        let proxy = FaultProxy::start(&dynamodb.endpoint(), options.seed, Faults::default()).await?;
        let mut stores = Vec::new();
        for _ in 0..SIDES {
            let link = Link::listen().await?;
            link.lead_to(proxy.address());
            stores.push(link);
        }
        let mut members = Vec::new();
        for (kind, count) in
            [(Kind::Aggregator, options.aggregators), (Kind::Gateway, options.gateways), (Kind::QueryApi, options.query_apis)]
        {
            for number in 0..count {
                let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                let is_old = options.old_binaries.is_some();
                let not_before = Instant::now();
                members.push(Member { kind, number, port, process: None, is_wanted: true, is_old, has_failpoints: false, not_before });
            }
        }
        let mut cluster = Self {
            tally: Tally::default(),
            kafka: Arc::new(kafka),
            dynamodb,
            proxy,
            doors,
            stores,
            members,
            returning: Vec::new(),
            directory: directory.to_owned(),
            old_binaries: options.old_binaries.clone(),
            faketime: crate::clock::library().filter(|_| options.has_clocks),
        };
        cluster.supervise()?;
        Ok(cluster)
    }

    /// What there is to break.
    pub fn shape(&self) -> Shape {
        let count = |kind| self.members.iter().filter(|member| member.kind == kind && member.is_wanted).count();
        Shape {
            gateways: count(Kind::Gateway),
            aggregators: count(Kind::Aggregator),
            query_apis: count(Kind::QueryApi),
            brokers: BROKERS,
            has_clocks: self.faketime.is_some(),
        }
    }

    /// Base URLs of all that serve HTTP.
    pub fn urls(&self, kind: Kind) -> Vec<String> {
        self.members.iter().filter(|member| member.kind == kind).map(|member| format!("http://127.0.0.1:{}", member.port)).collect()
    }

    /// The log, past all links.
    pub fn log(&self) -> anyhow::Result<Arc<dyn Log>> {
        Ok(Arc::new(KafkaLog::new(KafkaConfig::new(self.kafka.bootstrap()))?))
    }

    /// The store, past all faults.
    pub fn store(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.client()
    }

    /// The environment of whoever is to see the cluster without faults.
    pub fn outside(&self) -> Vec<(String, String)> {
        environment(&self.kafka.bootstrap(), &self.dynamodb.endpoint())
    }

    /// Starts whatever is to run and does not.
    pub fn supervise(&mut self) -> anyhow::Result<()> {
        for i in 0..self.members.len() {
            let member = &mut self.members[i];
            if let Some(process) = &mut member.process
                && process.has_ended()?
            {
                if member.has_failpoints {
                    self.tally.aborts += 1;
                } else {
                    self.tally.ended += 1;
                }
                member.process = None;
                member.has_failpoints = false;
                member.not_before = Instant::now() + RESTART_AFTER;
            }
            if member.is_wanted && member.process.is_none() && Instant::now() >= member.not_before {
                self.launch(i, false)?;
            }
        }
        Ok(())
    }

    /// So many aggregators from now on; who is too many leaves in order.
    pub fn scale(&mut self, aggregators: usize) -> anyhow::Result<()> {
        for i in 0..self.members.len() {
            if self.members[i].kind == Kind::Aggregator {
                self.members[i].is_wanted = self.members[i].number < aggregators;
                if !self.members[i].is_wanted {
                    self.leave(i)?;
                }
            }
        }
        *self.tally.others.entry("changes of the number of aggregators".into()).or_default() += 1;
        self.supervise()
    }

    /// Replaces one process of the old version, in order. Whether there was one.
    pub fn upgrade_one(&mut self) -> anyhow::Result<bool> {
        let Some(i) = self.members.iter().position(|member| member.is_old && member.is_wanted) else { return Ok(false) };
        self.members[i].is_old = false;
        self.leave(i)?;
        self.supervise()?;
        *self.tally.others.entry("upgrades of a process".into()).or_default() += 1;
        Ok(true)
    }

    /// Lets a fault begin.
    pub fn begin(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(kind, number) => {
                let i = self.member(kind, number)?;
                self.members[i].is_wanted = false;
                if let Some(process) = self.members[i].process.take() {
                    process.kill()?;
                    *self.tally.kills.entry(kind.binary().into()).or_default() += 1;
                }
            }
            Fault::Freeze(kind, number) => {
                let i = self.member(kind, number)?;
                // Whoever ended by itself a moment ago is none to freeze.
                if let Some(process) = &self.members[i].process
                    && process.signal("STOP").is_ok()
                {
                    match kind {
                        Kind::Aggregator => self.tally.zombies += 1,
                        _ => *self.tally.others.entry(format!("{} frozen", kind.binary())).or_default() += 1,
                    }
                }
            }
            Fault::BrokerKill(broker) => {
                self.kafka.kill(broker);
                *self.tally.broker_failures.entry("killed".into()).or_default() += 1;
            }
            Fault::BrokerFreeze(broker) => {
                self.kafka.freeze(broker)?;
                *self.tally.broker_failures.entry("frozen".into()).or_default() += 1;
            }
            Fault::Cut(cut) => {
                self.links(cut).for_each(Link::cut);
                let name = match cut {
                    Cut::SideFromBroker(..) => "half of the services from a broker",
                    Cut::SideFromBrokers(_) => "half of the services from all brokers",
                    Cut::SideFromStore(_) => "half of the services from the store",
                    Cut::Broker(_) => "all services from a broker",
                    Cut::BrokerFromBrokers(_) => "a broker from the other brokers",
                };
                *self.tally.partitions.entry(name.into()).or_default() += 1;
            }
            Fault::Store(fault) => {
                let (faults, name) = store_faults(fault);
                self.proxy.set(faults);
                *self.tally.others.entry(name.into()).or_default() += 1;
            }
            Fault::Clock(kind, number, seconds) => {
                crate::clock::set(&self.clock_file(kind, number), seconds)?;
                *self.tally.others.entry("steps of a process' clock".into()).or_default() += 2;
            }
        }
        Ok(())
    }

    /// Lets a fault end.
    pub fn end(&mut self, fault: Fault, has_failpoints: bool) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(kind, number) => {
                let i = self.member(kind, number)?;
                self.members[i].is_wanted = true;
                if self.members[i].process.is_none() {
                    self.launch(i, has_failpoints)?;
                }
            }
            Fault::Freeze(kind, number) => {
                let i = self.member(kind, number)?;
                if let Some(process) = &self.members[i].process {
                    // It may have been killed while it was frozen.
                    drop(process.signal("CONT"));
                }
            }
            Fault::BrokerKill(broker) => {
                let kafka = Arc::clone(&self.kafka);
                self.returning.push(tokio::task::spawn_blocking(move || kafka.restart(broker)));
            }
            Fault::BrokerFreeze(broker) => self.kafka.thaw(broker)?,
            Fault::Cut(cut) => self.links(cut).for_each(Link::mend),
            Fault::Store(_) => self.proxy.set(Faults::default()),
            Fault::Clock(kind, number, _) => crate::clock::set(&self.clock_file(kind, number), 0)?,
        }
        Ok(())
    }

    /// Waits for the brokers that are on their way back.
    pub async fn brokers_returned(&mut self) -> anyhow::Result<()> {
        for broker in self.returning.drain(..) {
            broker.await??;
        }
        Ok(())
    }

    /// Ends every service where it stands, and waits until the last late request has reached the store.
    pub async fn end_services(&mut self) {
        self.members.clear();
        while self.proxy.late() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn member(&self, kind: Kind, number: usize) -> anyhow::Result<usize> {
        self.members.iter().position(|m| m.kind == kind && m.number == number).with_context(|| format!("there is no {kind:?} {number}"))
    }

    fn links(&self, cut: Cut) -> Box<dyn Iterator<Item = &Link> + '_> {
        match cut {
            Cut::SideFromBroker(side, broker) => Box::new(std::iter::once(&self.doors[side][broker])),
            Cut::SideFromBrokers(side) => Box::new(self.doors[side].iter()),
            Cut::SideFromStore(side) => Box::new(std::iter::once(&self.stores[side])),
            Cut::Broker(broker) => Box::new(self.doors[..SIDES].iter().map(move |links| &links[broker])),
            Cut::BrokerFromBrokers(broker) => Box::new(std::iter::once(&self.doors[SIDES][broker])),
        }
    }

    fn clock_file(&self, kind: Kind, number: usize) -> PathBuf {
        self.directory.join(format!("{}-{number}.clock", kind.binary()))
    }

    fn launch(&mut self, i: usize, has_failpoints: bool) -> anyhow::Result<()> {
        let Member { kind, number, port, is_old, .. } = self.members[i];
        let side = number % SIDES;
        let brokers: Vec<String> = self.doors[side].iter().map(|link| format!("127.0.0.1:{}", link.port())).collect();
        let mut variables = environment(&brokers.join(","), &format!("http://127.0.0.1:{}", self.stores[side].port()));
        if let Some(library) = &self.faketime {
            let clock = self.clock_file(kind, number);
            if !clock.exists() {
                crate::clock::set(&clock, 0)?;
            }
            variables.extend(crate::clock::variables(library, &clock));
        }
        let has_failpoints = has_failpoints && kind == Kind::Aggregator;
        if has_failpoints {
            variables.push(("AGENT_TALLY_FAILPOINTS".into(), FAILPOINTS.into()));
        }
        let arguments = match kind {
            Kind::Aggregator => vec!["--create-tables".to_owned()],
            Kind::Gateway | Kind::QueryApi => vec!["--listen".to_owned(), format!("127.0.0.1:{port}")],
        };
        let binary = match &self.old_binaries {
            Some(directory) if is_old => directory.join(kind.binary()).display().to_string(),
            _ => binary_path(kind.binary())?.display().to_string(),
        };
        let log_file = self.directory.join(format!("{}-{number}.log", kind.binary()));
        self.members[i].process = Some(Process::start(&binary, &arguments, &variables, &log_file)?);
        self.members[i].has_failpoints = has_failpoints;
        Ok(())
    }

    /// Ends a process in order; one that does not is killed after its time.
    fn leave(&mut self, i: usize) -> anyhow::Result<()> {
        if let Some(process) = self.members[i].process.take() {
            // Not ready yet, or thrown out: it may end with an error. What it leaves behind is counted all the same.
            drop(process.stop(Duration::from_secs(20)));
            *self.tally.others.entry("orderly ends".into()).or_default() += 1;
        }
        Ok(())
    }
}

fn environment(brokers: &str, store: &str) -> Vec<(String, String)> {
    let partitions = PARTITIONS.to_string();
    [
        ("KAFKA_BROKERS", brokers),
        ("KAFKA_PARTITIONS", &partitions),
        ("AWS_ENDPOINT_URL_DYNAMODB", store),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("ADMIN_LISTEN", "127.0.0.1:0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn store_faults(fault: StoreFault) -> (Faults, &'static str) {
    let none = Faults::default();
    match fault {
        StoreFault::LostAnswers => (Faults { lost_answers: 100, lost_requests: 50, ..none }, "times of lost answers"),
        StoreFault::LateBy30s => (Faults { late: 50, delay: Duration::from_secs(30), ..none }, "times of requests late by 30 s"),
        StoreFault::OneAgentThrottled => (Faults { throttled_key: Some(HOT_AGENT.into()), ..none }, "throttling storms of one agent"),
        StoreFault::EverythingThrottled => (Faults { throttled: 666, throttled_statements: 666, ..none }, "throttling storms of all"),
        StoreFault::Errors => (Faults { failed: 333, ..none }, "times of errors"),
    }
}
