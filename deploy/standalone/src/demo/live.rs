//! The fleet's present: many conversations at once, at a steady rate, with a burst of errors now and then.

use super::conversation::{Event, converse};
use super::delivery::Delivery;
use super::fleet::{Agent, Fleet, Trouble};
use super::ledger::Ledger;
use super::random::Random;
use schemas::time::now_micros;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often due events are posted.
const TICK: Duration = Duration::from_millis(100);
/// Largest batch.
const BATCH: usize = 500;
/// Seconds from one event of a conversation to its next.
const STEP_SECONDS: f64 = 5.0;
/// A burst of errors comes that often and lasts that long, in seconds.
const BURST_EVERY_SECONDS: u64 = 120;
const BURST_SECONDS: u64 = 20;

/// How fast and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Events per second.
    pub(super) rate: f64,
    /// How long.
    pub(super) duration: Duration,
    /// The fleet's seed.
    pub(super) seed: u64,
}

/// Posts until the time is up or the user stops it; returns how many events were acknowledged.
pub(super) async fn post(pace: Pace, fleet: &Fleet, delivery: &Delivery, ledger: &mut Ledger) -> anyhow::Result<u64> {
    let mut stage = Stage::new(pace, fleet);
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    // Falling behind makes larger batches, not more requests.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut posted = 0u64;
    while begun.elapsed() < pace.duration {
        tokio::select! {
            _ = tick.tick() => {}
            () = delivery.stopped() => break,
        }
        let elapsed = begun.elapsed().min(pace.duration).as_secs_f64();
        let mut due = ((pace.rate * elapsed) as u64).saturating_sub(posted) as usize;
        while due > 0 && !delivery.is_stopped() {
            let batch = stage.next_events(due.min(BATCH), begun.elapsed());
            delivery.post(&batch).await?;
            batch.iter().for_each(|event| ledger.add(event));
            posted += batch.len() as u64;
            due -= batch.len();
            delivery.progress().advance(batch.len() as u64);
        }
    }
    Ok(posted)
}

/// The conversations that go on now.
struct Stage<'a> {
    fleet: &'a Fleet,
    random: Random,
    conversations: Vec<VecDeque<Event>>,
    weights: Vec<(usize, f64)>,
    run: i64,
    begun: i64,
    last_at: i64,
}

impl<'a> Stage<'a> {
    fn new(pace: Pace, fleet: &'a Fleet) -> Self {
        let weights = fleet.agents().iter().enumerate().map(|(i, agent)| (i, agent.kind.weight)).collect();
        // Each run is another one: it happens at another time.
        let run = now_micros();
        let mut stage =
            Self { fleet, random: Random::of(pace.seed, "live", run), conversations: Vec::new(), weights, run, begun: 0, last_at: run };
        for _ in 0..((pace.rate * STEP_SECONDS) as usize).clamp(4, 50_000) {
            let mut conversation = stage.begin(Duration::ZERO);
            // In the middle of things: the start of all of them at once would be no ordinary moment.
            let skip = stage.random.below(conversation.len());
            conversation.drain(..skip);
            stage.conversations.push(conversation);
        }
        stage
    }

    /// The next events, happening now.
    fn next_events(&mut self, count: usize, elapsed: Duration) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let at = self.random.below(self.conversations.len());
            let Some(mut event) = self.conversations[at].pop_front() else {
                self.conversations[at] = self.begin(elapsed);
                continue;
            };
            // Never twice the same time, so that the order is the one that was told.
            self.last_at = now_micros().max(self.last_at + 1);
            event.happens_at(self.last_at);
            events.push(event);
        }
        events
    }

    fn begin(&mut self, elapsed: Duration) -> VecDeque<Event> {
        let agent = &self.fleet.agents()[*self.random.pick_weighted(&self.weights)];
        self.begun += 1;
        let number = self.run.wrapping_add(self.begun);
        converse(agent, "live", number, now_micros(), self.burst(agent, elapsed)).into()
    }

    /// Every two minutes one agent fails for a while.
    fn burst(&self, agent: &Agent, elapsed: Duration) -> Option<Trouble> {
        let (round, second) = (elapsed.as_secs() / BURST_EVERY_SECONDS, elapsed.as_secs() % BURST_EVERY_SECONDS);
        let mut random = Random::of(self.fleet.seed(), "live burst", round.cast_signed());
        let from = 30 + random.below(60) as u64;
        let victim = random.below(self.fleet.agents().len());
        let is_hit = self.fleet.agents()[victim].id == agent.id && (from..from + BURST_SECONDS).contains(&second);
        is_hit.then(|| Trouble::burst(&mut random))
    }
}
