//! What goes wrong, when and for how long: drawn from a seed, so that a run's schedule can be had again. Does nothing itself.

use crate::ledger::Dice;

/// A kind of our processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Takes events in.
    Gateway,
    /// Counts them.
    Aggregator,
    /// Answers questions.
    QueryApi,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Aggregator, Self::QueryApi];

    /// The binary's name.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Gateway => "ingest-gateway",
            Self::Aggregator => "aggregator",
            Self::QueryApi => "query-api",
        }
    }
}

/// A broken network. The services stand on two sides: half of each kind on either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One side's services do not reach a broker.
    SideFromBroker(usize, usize),
    /// One side's services reach no broker.
    SideFromBrokers(usize),
    /// One side's services do not reach the store.
    SideFromStore(usize),
    /// No service reaches a broker, while the other brokers do.
    Broker(usize),
    /// The other brokers do not reach a broker, while all services do: nothing can be copied from it.
    BrokerFromBrokers(usize),
}

/// A store that misbehaves, for all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Some requests are applied and not answered, some never arrive.
    LostAnswers,
    /// Some requests are applied 30 s later, long after their sender has given up.
    LateBy30s,
    /// One agent's writes are throttled, all of them.
    OneAgentThrottled,
    /// Two of three writes are throttled.
    EverythingThrottled,
    /// A third of the requests are answered with 500.
    Errors,
}

/// One thing that goes wrong. It ends after its time; what ends a kill is another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Kind, usize),
    /// SIGSTOP. An aggregator that is silent for longer than its session lasts wakes as a zombie.
    Freeze(Kind, usize),
    /// SIGKILL of a broker.
    BrokerKill(usize),
    /// SIGSTOP of a broker: its connections stay open and nothing answers.
    BrokerFreeze(usize),
    /// A network partition.
    Cut(Cut),
    /// A misbehaving store.
    Store(StoreFault),
    /// A process' clock is off by so many seconds, and then steps back.
    Clock(Kind, usize, i64),
}

/// A fault in its time, ms from the beginning of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub lasts_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// How many there are of what can break.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Gateways.
    pub gateways: usize,
    /// Aggregators that run.
    pub aggregators: usize,
    /// Query APIs.
    pub query_apis: usize,
    /// Brokers.
    pub brokers: usize,
    /// Whether clocks can be set.
    pub has_clocks: bool,
}

/// The session time-out of our consumers, ms: the product's default.
pub const SESSION_MS: u64 = 6_000;
/// From the beginning of one wave to that of the next, ms: no fault lasts into the one after.
const WAVE_MS: u64 = 13_000;

impl Shape {
    fn count(self, kind: Kind) -> usize {
        match kind {
            Kind::Gateway => self.gateways,
            Kind::Aggregator => self.aggregators,
            Kind::QueryApi => self.query_apis,
        }
    }

    /// Faults that overlap, in waves of 13 s: processes of every kind killed, zombies, mostly a broken broker, now and then a
    /// broken network, a misbehaving store, a clock that is off. At least one process of each kind is left alone in each wave,
    /// and at most one broker is hit; none in two waves in a row, since it takes its time to come back.
    pub fn storm(self, dice: &mut Dice, waves: usize) -> Vec<Step> {
        let first = dice.roll(self.brokers as u64) as usize;
        let mut steps = Vec::new();
        for wave in 0..waves {
            let later = wave as u64 * WAVE_MS;
            let wave = self.wave(dice, (first + wave) % self.brokers);
            steps.extend(wave.into_iter().map(|step| Step { at_ms: step.at_ms + later, ..step }));
        }
        steps
    }

    fn wave(self, dice: &mut Dice, broker: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for kind in Kind::ALL {
            let mut numbers: Vec<usize> = (0..self.count(kind)).collect();
            // The one that is left alone.
            numbers.remove(dice.roll(numbers.len() as u64) as usize);
            for number in numbers {
                let fault = match (kind, dice.roll(10)) {
                    (Kind::Aggregator, 0..=5) | (_, 0) => Fault::Freeze(kind, number),
                    (_, 1..=2) => continue,
                    _ => Fault::Kill(kind, number),
                };
                steps.push(match fault {
                    Fault::Kill(..) => Step { at_ms: dice.roll(8_000), lasts_ms: dice.roll(4_000), fault },
                    _ => Step { at_ms: dice.roll(3_000), lasts_ms: SESSION_MS + 1_000 + dice.roll(2_500), fault },
                });
            }
        }
        let some_seconds = |dice: &mut Dice, fault| Step { at_ms: dice.roll(4_000), lasts_ms: 3_000 + dice.roll(6_000), fault };
        let worst = match dice.roll(10) {
            0..=5 => Fault::BrokerKill(broker),
            6..=7 => Fault::BrokerFreeze(broker),
            _ => Fault::Cut(self.cut(dice)),
        };
        steps.push(some_seconds(dice, worst));
        if !matches!(worst, Fault::Cut(_)) && dice.roll(10) < 3 {
            let fault = Fault::Cut(self.cut(dice));
            steps.push(some_seconds(dice, fault));
        }
        if dice.roll(10) < 5 {
            let fault = Fault::Store(store_fault(dice));
            steps.push(some_seconds(dice, fault));
        }
        // Drawn everywhere, so that a seed has the same schedule where clocks cannot be set.
        if dice.roll(10) < 4 {
            let kind = Kind::ALL[dice.roll(2) as usize];
            let number = dice.roll(self.count(kind) as u64) as usize;
            // Events are refused from ten minutes ahead of a gateway's clock on; brokers refuse records from an hour ahead on.
            let seconds = [-300, -60, 60, 300, 1_800][dice.roll(5) as usize];
            let step = Step { at_ms: dice.roll(3_000), lasts_ms: 6_000, fault: Fault::Clock(kind, number, seconds) };
            steps.extend(Some(step).filter(|_| self.has_clocks));
        }
        steps
    }

    fn cut(self, dice: &mut Dice) -> Cut {
        let (side, broker) = (dice.roll(2) as usize, dice.roll(self.brokers as u64) as usize);
        match dice.roll(5) {
            0 => Cut::SideFromBroker(side, broker),
            1 => Cut::SideFromBrokers(side),
            2 => Cut::SideFromStore(side),
            3 => Cut::Broker(broker),
            _ => Cut::BrokerFromBrokers(broker),
        }
    }
}

fn store_fault(dice: &mut Dice) -> StoreFault {
    match dice.roll(5) {
        0 => StoreFault::LostAnswers,
        1 => StoreFault::LateBy30s,
        2 => StoreFault::OneAgentThrottled,
        3 => StoreFault::EverythingThrottled,
        _ => StoreFault::Errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SHAPE: Shape = Shape { gateways: 2, aggregators: 6, query_apis: 2, brokers: 3, has_clocks: true };

    #[test]
    fn a_seed_has_one_schedule() {
        let storms = |seed| {
            let mut dice = Dice(seed);
            (0..20).map(|_| SHAPE.storm(&mut dice, 3)).collect::<Vec<_>>()
        };
        assert_eq!(storms(1), storms(1));
        assert_ne!(storms(1), storms(2));
    }

    #[test]
    fn one_of_each_kind_is_left_alone_and_zombies_outlive_their_session() {
        let mut dice = Dice(3);
        let (mut zombies, mut kills) = (0, 0);
        for _ in 0..200 {
            let steps = SHAPE.wave(&mut dice, 1);
            for kind in Kind::ALL {
                let hit: BTreeSet<usize> = steps
                    .iter()
                    .filter_map(|step| match step.fault {
                        Fault::Kill(k, number) | Fault::Freeze(k, number) if k == kind => Some(number),
                        _ => None,
                    })
                    .collect();
                assert!(hit.len() < SHAPE.count(kind), "{kind:?}: {steps:?}");
            }
            assert!(steps.iter().all(|step| step.at_ms + step.lasts_ms <= WAVE_MS), "{steps:?}");
            kills += steps.iter().filter(|step| matches!(step.fault, Fault::Kill(..))).count();
            let frozen = steps.iter().filter(|step| matches!(step.fault, Fault::Freeze(Kind::Aggregator, _)));
            zombies += frozen.inspect(|step| assert!(step.lasts_ms > SESSION_MS)).count();
        }
        assert!(kills > 400 && zombies > 400, "{kills} kills and {zombies} zombies in 200 waves");
    }

    #[test]
    fn no_broker_is_hit_twice_in_a_storm() {
        let mut dice = Dice(5);
        for _ in 0..200 {
            let steps = SHAPE.storm(&mut dice, 3);
            let mut brokers = BTreeSet::new();
            for step in steps {
                if let Fault::BrokerKill(broker) | Fault::BrokerFreeze(broker) = step.fault {
                    assert!(brokers.insert(broker), "{step:?}");
                }
            }
        }
    }
}
