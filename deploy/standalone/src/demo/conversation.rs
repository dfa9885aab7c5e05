//! One conversation of a user with an agent, as the events that the agent would post.

use super::fleet::{Agent, ERRORS, Model, Trouble};
use super::random::Random;
use schemas::MessageType;
use schemas::time::format_micros;
use serde::Serialize;

/// An event in the contract's form.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) agent_id: String,
    /// Set when the event happens.
    pub(super) timestamp: String,
    pub(super) event_id: String,
    pub(super) message_type: MessageType,
    pub(super) conversation_id: String,
    pub(super) session_id: String,
    pub(super) trace_id: String,
    pub(super) user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_details: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_time_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_used: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cached_input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_feedback: Option<f64>,
    #[serde(skip)]
    pub(super) at: i64,
}

/// What the client adds of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Metadata {
    source: &'static str,
    app_version: &'static str,
}

impl Event {
    /// Sets when it happens.
    pub(super) fn happens_at(&mut self, at: i64) {
        self.at = at;
        self.timestamp = format_micros(at);
    }
}

/// The conversation that begins at `start`; `number` tells conversations of the same `purpose` apart.
pub(super) fn converse(agent: &Agent, purpose: &str, number: i64, start: i64, burst: Option<Trouble>) -> Vec<Event> {
    let mut random = agent.random(purpose, number);
    let mut teller = Teller {
        conversation: random.bits(),
        trace: (random.bits(), random.bits()),
        user: user(agent, &mut random),
        source: random.pick_weighted::<&str>(&[("web", 6.0), ("mobile", 3.0), ("api", 2.0), ("slack", 1.0)]),
        agent,
        at: start,
        events: Vec::with_capacity(12),
    };
    let model = random.pick_weighted::<&'static Model>(agent.kind.models);
    teller.tell(MessageType::ConversationStart);
    let turns = 1 + random.pick_weighted(&[(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.0), (5, 0.6)]);
    let mut failed = false;
    for turn in 0..turns {
        let trouble = burst.unwrap_or_else(|| agent.trouble(teller.at));
        failed = take_turn(&mut teller, model, trouble, &mut random);
        if failed && random.chance(0.6) {
            break;
        }
        if turn + 1 < turns {
            teller.wait(random.around(25_000.0, 0.7));
        }
    }
    if random.chance(0.24) {
        teller.wait(random.around(6_000.0, 0.6));
        let mood = agent.kind.satisfaction - f64::from(u8::from(failed)) * 1.8 - 0.5 * (agent.slowness(teller.at) - 1.0);
        let score = (mood + random.between(-1.6, 1.3)).round().clamp(1.0, 5.0);
        teller.tell(MessageType::Feedback).user_feedback = Some(score);
    }
    if random.chance(0.9) {
        teller.wait(random.around(4_000.0, 0.6));
        teller.tell(MessageType::ConversationEnd);
    }
    teller.events
}

/// A question, the tools that it takes, and an answer or an error. Returns whether it failed.
fn take_turn(teller: &mut Teller<'_>, model: &'static Model, trouble: Trouble, random: &mut Random) -> bool {
    let kind = teller.agent.kind;
    let (question, answer) = *random.pick(kind.lines);
    teller.tell(MessageType::UserMessage).content = Some(question);
    let slowness = teller.agent.slowness(teller.at);
    for _ in 0..*random.pick_weighted(&[(0, 4.0), (1, 4.0), (2, 1.5), (3, 0.5)]) {
        let (tool, median_ms) = *random.pick(kind.tools);
        let took_ms = random.around(median_ms * slowness, 0.45);
        teller.wait(took_ms);
        let call = teller.tell(MessageType::ToolCall);
        call.tool_name = Some(tool);
        call.response_time_ms = Some(to_tenths(took_ms));
    }
    let (input, output) = kind.tokens;
    let input = random.around(input, 0.5).max(1.0);
    let output = random.around(output, 0.55).max(1.0);
    let took_ms = random.around((model.first_token_ms + output * model.per_token_ms) * slowness, 0.22);
    if random.chance(trouble.error_rate) {
        let (error, details) = *trouble.error.unwrap_or_else(|| random.pick(&ERRORS));
        let took_ms = if error == "timeout" { 60_000.0 } else { took_ms * 0.4 };
        teller.wait(took_ms);
        let event = teller.tell(MessageType::Error);
        event.error_type = Some(error);
        event.error_details = Some(details);
        event.model_used = Some(model.name);
        event.response_time_ms = Some(to_tenths(took_ms));
        return true;
    }
    teller.wait(took_ms);
    let cached = random.chance(0.4).then(|| (input * random.between(0.3, 0.9)) as i64);
    let reasoning = model.reasons.then(|| (output * random.between(0.1, 0.6)) as i64);
    let event = teller.tell(MessageType::AgentResponse);
    event.content = Some(answer);
    event.model_used = Some(model.name);
    event.response_time_ms = Some(to_tenths(took_ms));
    event.input_tokens = Some(input as i64);
    event.output_tokens = Some(output as i64);
    event.cached_input_tokens = cached;
    event.reasoning_tokens = reasoning;
    false
}

/// Some users come every day, most now and then.
fn user(agent: &Agent, random: &mut Random) -> String {
    let n = (agent.kind.users as f64 * random.unit().powf(2.3)) as usize;
    format!("user-{:04}", (n * 37 + agent.kind.users * 11) % 10_000)
}

fn to_tenths(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

/// Writes the conversation's events down, one after the other.
struct Teller<'a> {
    agent: &'a Agent,
    conversation: u64,
    trace: (u64, u64),
    user: String,
    source: &'static str,
    at: i64,
    events: Vec<Event>,
}

impl Teller<'_> {
    fn wait(&mut self, ms: f64) {
        self.at += (ms * 1_000.0) as i64 + 1_000;
    }

    fn tell(&mut self, message_type: MessageType) -> &mut Event {
        let number = self.events.len();
        self.events.push(Event {
            agent_id: self.agent.id.clone(),
            timestamp: format_micros(self.at),
            event_id: format!("demo-{:016x}-{number}", self.conversation),
            message_type,
            conversation_id: format!("conv-{:016x}", self.conversation),
            session_id: format!("s-{:012x}", self.trace.0 & 0xffff_ffff_ffff),
            trace_id: format!("{:016x}{:016x}", self.trace.0, self.trace.1),
            user_id: self.user.clone(),
            content: None,
            metadata: Some(Metadata { source: self.source, app_version: "5.2.0" }),
            error_type: None,
            error_details: None,
            response_time_ms: None,
            model_used: None,
            tool_name: None,
            input_tokens: None,
            output_tokens: None,
            cached_input_tokens: None,
            reasoning_tokens: None,
            user_feedback: None,
            at: self.at,
        });
        self.events.last_mut().expect("pushed above")
    }
}
