//! The services on three brokers and DynamoDB Local: storms of overlapping faults, or one kill at a time to see how long
//! counting takes to go on.

use super::{RunOptions, Sending, judge, moment, new_run, say, verify};
use crate::client::await_counted;
use crate::cluster::{Cluster, ClusterOptions, PARTITIONS};
use crate::ledger::Dice;
use crate::probe::Probe;
use crate::report::Run;
use crate::schedule::{Fault, Kind, Shape, Step};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longer than any single fault takes to be over, with the brokers' and the groups' time-outs added.
const PATIENCE: Duration = Duration::from_secs(240);
/// One storm of so many is followed by one, eight, three and again eight aggregators.
const SCALES_EVERY: u64 = 4;

/// What storms come over.
pub const SHAPE: Shape = Shape { gateways: 2, aggregators: 8, query_apis: 2, brokers: 3, has_clocks: true };

struct Services {
    cluster: Cluster,
    probe: Probe,
    sending: Sending,
    run: Run,
}

/// Storms: whatever can break, at once.
pub async fn storms(directory: &Path, options: &RunOptions) -> anyhow::Result<Run> {
    let shape = ClusterOptions {
        gateways: SHAPE.gateways,
        aggregators: SHAPE.aggregators,
        query_apis: SHAPE.query_apis,
        old_binaries: options.old_binaries.clone(),
        has_clocks: true,
        seed: options.seed,
    };
    let mut services = Services::start(directory, options, &shape).await?;
    let mut dice = Dice(options.seed);
    for round in 0..options.rounds {
        services.cluster.upgrade_one()?;
        let steps = services.cluster.shape().storm(&mut dice, options.waves);
        services.play(&steps, dice.roll(3) == 0).await?;
        let over = Instant::now();
        services.calm().await?;
        let took = services.recover("the end of a storm", over).await?;
        services.tell(round, &format!("{} faults", steps.len()), took)?;
        if round % SCALES_EVERY == SCALES_EVERY - 1 {
            for aggregators in [1, 8, 3, 8] {
                let since = Instant::now();
                services.cluster.scale(aggregators)?;
                services.recover("another number of aggregators", since).await?;
            }
        }
    }
    while services.cluster.upgrade_one()? {}
    services.finish().await
}

/// One of our processes is killed, or a broker broken, while nothing else is wrong.
pub async fn single_faults(directory: &Path, options: &RunOptions) -> anyhow::Result<Run> {
    let shape = ClusterOptions { gateways: 2, aggregators: 3, query_apis: 2, old_binaries: None, has_clocks: false, seed: options.seed };
    let mut services = Services::start(directory, options, &shape).await?;
    let mut dice = Dice(options.seed);
    for round in 0..options.rounds {
        let shape = services.cluster.shape();
        let broker = dice.roll(shape.brokers as u64) as usize;
        let (fault, is_restarted, what) = match round % 8 {
            0 | 4 => (Fault::Kill(Kind::Aggregator, dice.roll(3) as usize), true, "SIGKILL of an aggregator, restarted"),
            1 | 5 => (Fault::Kill(Kind::Aggregator, dice.roll(3) as usize), false, "SIGKILL of an aggregator, left dead"),
            2 => (Fault::Kill(Kind::Gateway, dice.roll(2) as usize), dice.roll(2) == 0, "SIGKILL of a gateway"),
            3 => (Fault::Kill(Kind::QueryApi, dice.roll(2) as usize), dice.roll(2) == 0, "SIGKILL of a query API"),
            6 => (Fault::BrokerKill(broker), false, "SIGKILL of a broker, left dead"),
            _ => (Fault::BrokerFreeze(broker), false, "a broker that froze"),
        };
        // Whenever, within the seconds between two heartbeats.
        let waits = Duration::from_millis(dice.roll(2_000));
        let begins = Instant::now() + waits;
        services.until(begins).await?;
        let since = Instant::now();
        services.cluster.begin(fault)?;
        if is_restarted {
            services.cluster.end(fault, false)?;
        }
        let took = services.recover(what, since).await?;
        if !is_restarted {
            services.cluster.end(fault, false)?;
        }
        services.tell(round, what, took)?;
        // The next begins when nobody is on the way back any more.
        services.calm().await?;
        services.probe.counted_since(Instant::now(), PATIENCE).await?;
    }
    services.finish().await
}

impl Services {
    async fn start(directory: &Path, options: &RunOptions, shape: &ClusterOptions) -> anyhow::Result<Self> {
        let run = new_run(options);
        let cluster = Cluster::start(directory, shape).await?;
        let gateways = cluster.urls(Kind::Gateway);
        let mut probe = Probe::new(gateways.clone(), cluster.urls(Kind::QueryApi), PARTITIONS, !options.seed)?;
        probe.counted_since(Instant::now(), PATIENCE).await?;
        Ok(Self { cluster, probe, sending: Sending::begin(gateways, options), run })
    }

    /// Waits until then, and looks after whatever ends by itself.
    async fn until(&mut self, then: Instant) -> anyhow::Result<()> {
        loop {
            self.cluster.supervise()?;
            self.sending.check()?;
            if Instant::now() >= then {
                return Ok(());
            }
            moment().await;
        }
    }

    /// Lets the faults begin and end in their time.
    async fn play(&mut self, steps: &[Step], has_failpoints: bool) -> anyhow::Result<()> {
        let start = Instant::now();
        let ends = |step: &Step| step.at_ms + step.lasts_ms;
        let mut moments: Vec<(u64, bool, Fault)> =
            steps.iter().flat_map(|step| [(step.at_ms, true, step.fault), (ends(step), false, step.fault)]).collect();
        moments.sort_by_key(|(at_ms, ..)| *at_ms);
        for (at_ms, begins, fault) in moments {
            self.until(start + Duration::from_millis(at_ms)).await?;
            if begins { self.cluster.begin(fault)? } else { self.cluster.end(fault, has_failpoints)? }
        }
        Ok(())
    }

    /// Waits until nobody is on the way back.
    async fn calm(&mut self) -> anyhow::Result<()> {
        self.cluster.brokers_returned().await?;
        self.cluster.supervise()
    }

    /// Waits until counting goes on, and notes how long that took.
    async fn recover(&mut self, what: &str, since: Instant) -> anyhow::Result<Duration> {
        let took = supervised(&mut self.cluster, self.probe.counted_since(since, PATIENCE)).await??;
        self.run.recovery_ms.entry(what.into()).or_default().push(took.as_millis() as u64);
        Ok(took)
    }

    fn tell(&mut self, round: u64, what: &str, took: Duration) -> anyhow::Result<()> {
        let acknowledged = self.sending.acknowledged();
        self.run.loads.push(super::load_average()?);
        say(&format!("round {round}: {what}; counted again after {:.1} s; {acknowledged} events so far", took.as_secs_f64()))
    }

    async fn finish(self) -> anyhow::Result<Run> {
        let Self { mut cluster, mut probe, sending, mut run } = self;
        let progress = Arc::clone(&sending.progress);
        let mut ledger = supervised(&mut cluster, sending.end()).await??;
        supervised(&mut cluster, probe.counted_since(Instant::now(), PATIENCE)).await??;
        let receipts = progress.receipts.lock().expect("no panic while held").clone();
        let query_api = cluster.urls(Kind::QueryApi).remove(0);
        supervised(&mut cluster, await_counted(&query_api, &receipts, PATIENCE)).await??;
        cluster.end_services().await;
        run.acknowledged = progress.accepted.load(Ordering::Relaxed) + probe.acknowledged();
        run.refused = progress.refused.load(Ordering::Relaxed);
        run.tally = std::mem::take(&mut cluster.tally);
        ledger.unite(probe.into_ledger());
        judge(&mut run, &cluster.store(), &*cluster.log()?, &ledger).await?;
        run.verify = verify("aggregator", &[], &cluster.outside())?;
        Ok(run)
    }
}

/// Does `work` and looks after whatever ends by itself meanwhile.
async fn supervised<T>(cluster: &mut Cluster, work: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = moment() => cluster.supervise()?,
        }
    }
}
