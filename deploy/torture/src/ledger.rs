//! The client's own books: what it sent, and what every rollup must therefore say.
//!
//! Computed here from the sent values alone, without the aggregator's fold: the two must agree.

use schemas::MessageType;
use schemas::rollup::{ModelUse, Rollup, Slot, ToolUse};
use schemas::sketch::bucket_of;
use schemas::time::{DAY_US, HOUR_US, SLOT_US, format_micros};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A small seeded generator (SplitMix64), so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below.max(1)
    }
}

/// One event as the client sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentEvent {
    /// Whose.
    pub agent: String,
    /// The client's id.
    pub id: String,
    /// µs since the epoch.
    pub timestamp: i64,
    /// What it tells of.
    pub message_type: MessageType,
    /// Whole milliseconds.
    pub response_time_ms: Option<i64>,
    /// Tokens in and out.
    pub tokens: Option<(i64, i64)>,
    /// Cost in micro-dollars.
    pub cost_micro: Option<i64>,
    /// 1 to 5.
    pub feedback: Option<i64>,
    /// Model name (one that no price table knows).
    pub model: Option<String>,
    /// Tool name.
    pub tool: Option<String>,
    /// Error type.
    pub error_type: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Conversation.
    pub conversation: Option<String>,
}

impl SentEvent {
    /// A believable event of one of `agents` agents at about `now` (µs), the `n`-th of its run.
    pub fn make(dice: &mut Dice, run: &str, n: u64, agents: u64, now: i64) -> Self {
        let message_type = MessageType::ALL[dice.roll(9) as usize];
        let pick = |dice: &mut Dice, of: &str, count: u64| Some(format!("{of}-{}", dice.roll(count)));
        // Over the last three hours, and now and then the day before.
        let back = if dice.roll(20) == 0 { DAY_US } else { 0 } + dice.roll(3 * HOUR_US as u64) as i64;
        Self {
            agent: format!("agent-{}", dice.roll(agents)),
            id: format!("{run}-{n}"),
            timestamp: now - back,
            message_type,
            response_time_ms: (dice.roll(2) == 0).then(|| dice.roll(20_000) as i64),
            tokens: (dice.roll(2) == 0).then(|| (dice.roll(4_000) as i64, dice.roll(900) as i64)),
            cost_micro: (dice.roll(3) == 0).then(|| dice.roll(50_000) as i64),
            feedback: (message_type == MessageType::Feedback).then(|| 1 + dice.roll(5) as i64),
            model: if dice.roll(2) == 0 { pick(dice, "torture-model", 4) } else { None },
            tool: if message_type == MessageType::ToolCall { pick(dice, "tool", 3) } else { None },
            error_type: if message_type == MessageType::Error { pick(dice, "Error", 3) } else { None },
            user: if dice.roll(2) == 0 { pick(dice, "user", 40) } else { None },
            conversation: None,
        }
    }

    /// The body that the client posts.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "agent_id": self.agent,
            "event_id": self.id,
            "timestamp": format_micros(self.timestamp),
            "message_type": self.message_type.name(),
            "content": format!("event {}", self.id),
            "metadata": {"run": self.id, "nothing": null},
        });
        let fields = [
            ("response_time_ms", self.response_time_ms.map(Value::from)),
            ("input_tokens", self.tokens.map(|t| t.0.into())),
            ("output_tokens", self.tokens.map(|t| t.1.into())),
            ("cost_usd", self.cost_micro.map(|c| (c as f64 / 1e6).into())),
            ("user_feedback", self.feedback.map(Value::from)),
            ("model_used", self.model.clone().map(Value::from)),
            ("tool_name", self.tool.clone().map(Value::from)),
            ("error_type", self.error_type.clone().map(Value::from)),
            ("user_id", self.user.clone().map(Value::from)),
            ("conversation_id", self.conversation.clone().map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

/// What was accepted, and what follows from it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    events: BTreeMap<(String, i64, String), SentEvent>,
}

impl Ledger {
    /// An accepted event. A repeat changes nothing: that is the point.
    pub fn accept(&mut self, event: SentEvent) {
        self.events.insert((event.agent.clone(), event.timestamp, event.id.clone()), event);
    }

    /// All that another ledger holds.
    pub fn unite(&mut self, other: Self) {
        self.events.extend(other.events);
    }

    /// Every accepted event by identity.
    pub fn events(&self) -> &BTreeMap<(String, i64, String), SentEvent> {
        &self.events
    }

    /// What each agent's hour must hold; hours since the epoch.
    pub fn hours(&self) -> BTreeMap<(String, i32), Rollup> {
        self.sums(HOUR_US, true)
    }

    /// What each agent's day must hold; days since the epoch.
    pub fn days(&self) -> BTreeMap<(String, i32), Rollup> {
        self.sums(DAY_US, false)
    }

    /// The users of each agent's day.
    pub fn users(&self) -> BTreeMap<(String, i32), BTreeSet<String>> {
        let mut users: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for e in self.events.values() {
            if let Some(user) = &e.user {
                users.entry((e.agent.clone(), (e.timestamp / DAY_US) as i32)).or_default().insert(user.clone());
            }
        }
        users
    }

    fn sums(&self, span: i64, with_slots: bool) -> BTreeMap<(String, i32), Rollup> {
        let mut sums: BTreeMap<(String, i32), Rollup> = BTreeMap::new();
        for e in self.events.values() {
            enter(sums.entry((e.agent.clone(), (e.timestamp / span) as i32)).or_default(), e, with_slots);
        }
        sums
    }
}

fn enter(sum: &mut Rollup, e: &SentEvent, with_slots: bool) {
    let tokens = e.tokens.map_or(0, |(input, output)| input + output);
    let cost = e.cost_micro.map_or(0, |c| c * 1_000);
    let latency = e.response_time_ms.map(|ms| ms * 1_000);
    sum.calls += 1;
    sum.by_type[e.message_type as usize] += 1;
    sum.last_at = sum.last_at.max(e.timestamp);
    sum.tokens += tokens;
    sum.input_tokens += e.tokens.map_or(0, |t| t.0);
    sum.output_tokens += e.tokens.map_or(0, |t| t.1);
    sum.cost_nanousd += cost;
    sum.cost_n += i64::from(e.cost_micro.is_some());
    sum.feedback_micro += e.feedback.map_or(0, |f| f * 1_000_000);
    sum.feedback_n += i64::from(e.feedback.is_some());
    if let Some(us) = latency {
        sum.latency_us += us;
        sum.latency_n += 1;
        sum.latency_max_us = sum.latency_max_us.max(us);
        *sum.latency_buckets.entry(bucket_of(us)).or_default() += 1;
    }
    if let Some(model) = &e.model {
        let m: &mut ModelUse = sum.models.entry(model.clone()).or_default();
        m.calls += 1;
        m.tokens += tokens;
        m.cost_nanousd += cost;
    }
    if let Some(tool) = &e.tool {
        let t: &mut ToolUse = sum.tools.entry(tool.clone()).or_default();
        t.calls += 1;
        t.latency_us += latency.unwrap_or(0);
    }
    if let Some(error) = &e.error_type {
        *sum.error_types.entry(error.clone()).or_default() += 1;
    }
    if with_slots {
        let slot: &mut Slot = sum.slots.entry((e.timestamp % HOUR_US / SLOT_US) as u8).or_default();
        slot.calls += 1;
        slot.messages += i64::from(e.message_type == MessageType::UserMessage);
        slot.errors += i64::from(e.message_type == MessageType::Error);
        slot.tokens += tokens;
        slot.cost_nanousd += cost;
        if let Some(us) = latency {
            slot.latency_us += us;
            slot.latency_n += 1;
            slot.latency_max_us = slot.latency_max_us.max(us);
        }
    }
}
