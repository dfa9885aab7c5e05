//! The fleet: who the agents are, what they run on, when they are busy, how they fail and who uses them.

use super::random::Random;
use schemas::time::{DAY_US, HOUR_US, day_of};

/// Events of an average conversation, measured over the generator (see the tests).
pub(super) const EVENTS_PER_CONVERSATION: f64 = 9.0;

/// A model as an agent uses it: figures in the range that its provider's customers see.
#[derive(Debug)]
pub(super) struct Model {
    /// Its name, as clients send it.
    pub(super) name: &'static str,
    /// Time before the first token, ms.
    pub(super) first_token_ms: f64,
    /// Time per output token, ms.
    pub(super) per_token_ms: f64,
    /// Whether it reports reasoning tokens.
    pub(super) reasons: bool,
}

const SONNET: Model = Model { name: "claude-sonnet-5", first_token_ms: 620.0, per_token_ms: 12.0, reasons: false };
const HAIKU: Model = Model { name: "claude-haiku-5-5", first_token_ms: 310.0, per_token_ms: 5.0, reasons: false };
const OPUS: Model = Model { name: "claude-opus-5", first_token_ms: 900.0, per_token_ms: 19.0, reasons: false };
const GPT: Model = Model { name: "gpt-5.2", first_token_ms: 1_400.0, per_token_ms: 11.0, reasons: true };
const GPT_MINI: Model = Model { name: "gpt-5-mini", first_token_ms: 540.0, per_token_ms: 6.0, reasons: true };
const FLASH: Model = Model { name: "gemini-2.5-flash", first_token_ms: 280.0, per_token_ms: 4.0, reasons: false };
const DEEPSEEK: Model = Model { name: "deepseek-chat", first_token_ms: 700.0, per_token_ms: 16.0, reasons: false };
/// Runs on the operator's own machines: no price is known, and the cost is unknown, not 0.
const IN_HOUSE: Model = Model { name: "in-house/llama-3.3-70b", first_token_ms: 450.0, per_token_ms: 21.0, reasons: false };

/// What kind of agent it is.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name.
    pub(super) name: &'static str,
    /// Its traffic; the average kind has 1.
    pub(super) weight: f64,
    /// What it runs on and how often.
    pub(super) models: &'static [(&'static Model, f64)],
    /// Median input and output tokens of an answer.
    pub(super) tokens: (f64, f64),
    /// The tools that it calls, each with its median time in ms.
    pub(super) tools: &'static [(&'static str, f64)],
    /// How many users it has.
    pub(super) users: usize,
    /// How often an answer fails on a good day.
    pub(super) error_rate: f64,
    /// How people feel about it, 1 to 5.
    pub(super) satisfaction: f64,
    /// What users write and what it answers.
    pub(super) lines: &'static [(&'static str, &'static str)],
    rhythm: Rhythm,
    drift: Drift,
}

#[derive(Clone, Copy, Debug)]
enum Rhythm {
    /// Working days around an hour (UTC).
    Office(f64),
    /// Evenings and weekends too.
    Consumer(f64),
    /// Jobs at night.
    Nightly,
    /// The same at any time.
    Steady,
}

#[derive(Clone, Copy, Debug)]
enum Drift {
    None,
    /// Gets slower day by day for 60 days until it is fixed; counted from that day.
    Slower(i32),
}

/// Two agents get slower, each until it is fixed after 60 days. Half a period apart, so at any time one of them
/// has been getting slower for the last 30 days at least.
const DRIFT_DAYS: i32 = 60;

static KINDS: [Kind; 12] = [
    Kind {
        name: "support-bot",
        weight: 2.6,
        models: &[(&HAIKU, 6.0), (&SONNET, 2.0), (&FLASH, 2.0)],
        tokens: (1_400.0, 180.0),
        tools: &[("search_help_center", 240.0), ("lookup_order", 180.0), ("create_ticket", 320.0)],
        users: 420,
        error_rate: 0.012,
        satisfaction: 4.1,
        lines: &[
            ("Where is my order? It should have come on Monday.", "It left our warehouse on Saturday and is due tomorrow before noon."),
            (
                "How do I change the address on my account?",
                "Under Settings, Addresses. I can change it for you if you tell me the new one.",
            ),
            ("I was charged twice for the same month.", "I see both charges. The second one is refunded; it takes three to five days."),
            ("The app logs me out every time.", "That is fixed in version 5.2. Which version do you see under About?"),
        ],
        rhythm: Rhythm::Consumer(18.0),
        drift: Drift::None,
    },
    Kind {
        name: "research-agent",
        weight: 0.9,
        models: &[(&OPUS, 3.0), (&GPT, 4.0), (&SONNET, 3.0)],
        tokens: (9_500.0, 900.0),
        tools: &[("web_search", 850.0), ("read_page", 1_300.0), ("summarize", 2_100.0)],
        users: 60,
        error_rate: 0.028,
        satisfaction: 4.3,
        lines: &[
            (
                "Compare the battery recycling rules of the EU and Japan.",
                "Both set collection targets; the EU adds minimum recycled content from 2031. Sources below.",
            ),
            (
                "What changed in the guidance on sodium intake since 2020?",
                "Three reviews matter. The largest finds no change below 5 g a day.",
            ),
            (
                "Find suppliers of food-grade tubing in northern Italy.",
                "Seven companies fit; four publish certificates. The table lists capacity and lead times.",
            ),
        ],
        rhythm: Rhythm::Office(13.0),
        drift: Drift::Slower(0),
    },
    Kind {
        name: "code-reviewer",
        weight: 1.4,
        models: &[(&SONNET, 6.0), (&OPUS, 2.0), (&GPT, 2.0)],
        tokens: (12_000.0, 520.0),
        tools: &[("read_diff", 120.0), ("run_tests", 24_000.0), ("post_comment", 210.0)],
        users: 85,
        error_rate: 0.02,
        satisfaction: 4.0,
        lines: &[
            (
                "Review pull request 4812.",
                "Two findings: the retry loop never ends when the queue is closed, and the test sleeps instead of waiting.",
            ),
            (
                "Is this migration safe to run while the service is up?",
                "Not as written: adding the column with a default rewrites the table. Split it in two.",
            ),
            ("Why does this test fail only in CI?", "It relies on the order of a hash map. Sort before comparing."),
        ],
        rhythm: Rhythm::Office(14.0),
        drift: Drift::None,
    },
    Kind {
        name: "sales-assistant",
        weight: 1.1,
        models: &[(&GPT_MINI, 6.0), (&GPT, 2.0)],
        tokens: (2_100.0, 240.0),
        tools: &[("search_crm", 350.0), ("draft_email", 900.0)],
        users: 110,
        error_rate: 0.015,
        satisfaction: 3.9,
        lines: &[
            ("Draft a follow-up to the meeting with Northwind.", "Here is a draft that answers their question on data residency first."),
            ("Which of my accounts have gone quiet?", "Nine have had no contact in six weeks. The three largest are at the top."),
        ],
        rhythm: Rhythm::Office(15.0),
        drift: Drift::None,
    },
    Kind {
        name: "sql-analyst",
        weight: 0.8,
        models: &[(&SONNET, 5.0), (&DEEPSEEK, 4.0)],
        tokens: (5_200.0, 310.0),
        tools: &[("run_query", 2_600.0), ("describe_table", 90.0), ("plot", 400.0)],
        users: 70,
        error_rate: 0.045,
        satisfaction: 3.8,
        lines: &[
            ("How many customers came back within 30 days last quarter?", "38.2 per cent, up from 35.9 the quarter before."),
            ("Show revenue by region and week since May.", "The chart shows it; the dip in week 28 is the holiday in the north."),
        ],
        rhythm: Rhythm::Office(10.0),
        drift: Drift::None,
    },
    Kind {
        name: "onboarding-guide",
        weight: 0.7,
        models: &[(&HAIKU, 7.0), (&GPT_MINI, 3.0)],
        tokens: (1_900.0, 200.0),
        tools: &[("check_progress", 130.0)],
        users: 260,
        error_rate: 0.008,
        satisfaction: 4.4,
        lines: &[
            ("I have connected my account. What next?", "Invite your team, then import a first project. It takes about four minutes."),
            ("What does a workspace do?", "It keeps projects, people and billing together. Most companies need only one."),
        ],
        rhythm: Rhythm::Office(16.0),
        drift: Drift::None,
    },
    Kind {
        name: "invoice-parser",
        weight: 1.3,
        models: &[(&FLASH, 8.0), (&IN_HOUSE, 3.0)],
        tokens: (3_800.0, 150.0),
        tools: &[("ocr", 1_700.0), ("match_purchase_order", 260.0)],
        users: 12,
        error_rate: 0.03,
        satisfaction: 3.7,
        lines: &[
            ("Parse invoice 2093-B.", "Total 4,180.50 EUR, due in 30 days, matches purchase order 7731."),
            ("Parse the statement of account.", "Twelve lines; two have no purchase order and wait for a person."),
        ],
        rhythm: Rhythm::Nightly,
        drift: Drift::None,
    },
    Kind {
        name: "docs-search",
        weight: 1.5,
        models: &[(&FLASH, 6.0), (&HAIKU, 4.0)],
        tokens: (2_600.0, 160.0),
        tools: &[("vector_search", 70.0)],
        users: 340,
        error_rate: 0.006,
        satisfaction: 4.2,
        lines: &[
            (
                "How do I rotate the signing keys?",
                "Create the new key, wait an hour, then retire the old one. Steps in Operations, section 3.",
            ),
            ("What is the limit on upload size?", "2 GB per file; 5 GB on the enterprise plan."),
        ],
        rhythm: Rhythm::Office(12.0),
        drift: Drift::Slower(DRIFT_DAYS / 2),
    },
    Kind {
        name: "incident-triage",
        weight: 0.5,
        models: &[(&SONNET, 5.0), (&GPT, 5.0)],
        tokens: (7_400.0, 380.0),
        tools: &[("query_metrics", 600.0), ("read_logs", 1_100.0), ("page_on_call", 150.0)],
        users: 25,
        error_rate: 0.02,
        satisfaction: 4.0,
        lines: &[
            (
                "Checkout latency alert, region west.",
                "The database's connection pool is exhausted since the 14:02 deployment. Rolling back is the fastest fix.",
            ),
            ("Disk alert on the queue host.", "Compaction lags behind by 40 GB; it recovers by itself in about 25 minutes."),
        ],
        rhythm: Rhythm::Steady,
        drift: Drift::None,
    },
    Kind {
        name: "translator",
        weight: 1.2,
        models: &[(&FLASH, 5.0), (&DEEPSEEK, 5.0)],
        tokens: (900.0, 620.0),
        tools: &[("glossary", 40.0)],
        users: 150,
        error_rate: 0.007,
        satisfaction: 4.3,
        lines: &[
            ("Translate the release notes into Portuguese.", "Feito. Mantive os nomes dos produtos em inglês."),
            ("Translate into Japanese, polite form.", "かしこまりました。こちらが訳文です。"),
        ],
        rhythm: Rhythm::Consumer(9.0),
        drift: Drift::None,
    },
    Kind {
        name: "meeting-notes",
        weight: 0.6,
        models: &[(&GPT_MINI, 5.0), (&IN_HOUSE, 4.0)],
        tokens: (14_000.0, 700.0),
        tools: &[("transcribe", 9_000.0)],
        users: 180,
        error_rate: 0.018,
        satisfaction: 4.1,
        lines: &[
            ("Notes of the planning meeting, please.", "Four decisions, seven tasks, two open questions. The tasks have owners and dates."),
            ("What did we promise the customer?", "A fix by Friday and weekly reports until the end of the quarter."),
        ],
        rhythm: Rhythm::Office(16.0),
        drift: Drift::None,
    },
    Kind {
        name: "legal-review",
        weight: 0.4,
        models: &[(&OPUS, 7.0), (&GPT, 2.0)],
        tokens: (22_000.0, 850.0),
        tools: &[("search_clauses", 420.0), ("compare_versions", 700.0)],
        users: 18,
        error_rate: 0.014,
        satisfaction: 4.2,
        lines: &[
            ("Does the new draft change the liability cap?", "Yes: from 12 to 6 months of fees, and it no longer excludes data loss."),
            ("List the clauses that differ from our template.", "Eleven differ; three matter: governing law, audit rights, assignment."),
        ],
        rhythm: Rhythm::Office(11.0),
        drift: Drift::None,
    },
];

/// One agent of the fleet.
#[derive(Debug)]
pub(super) struct Agent {
    /// Its id.
    pub(super) id: String,
    /// What it is.
    pub(super) kind: &'static Kind,
    /// Which of the kinds it is, for what they do in turn.
    turn: i32,
    /// Conversations on an average day.
    per_day: f64,
    seed: u64,
}

/// All agents.
#[derive(Debug)]
pub(super) struct Fleet {
    agents: Vec<Agent>,
    seed: u64,
}

impl Fleet {
    /// The first `agents` agents of the seed's fleet. From the thirteenth on, kinds come again as teams of their own.
    pub(super) fn new(agents: usize, seed: u64, events_per_day: u32) -> Self {
        let average = KINDS.iter().map(|k| k.weight).sum::<f64>() / KINDS.len() as f64;
        let conversations = f64::from(events_per_day) / EVENTS_PER_CONVERSATION;
        let agents = (0..agents)
            .map(|i| {
                let kind = &KINDS[i % KINDS.len()];
                let id = if i < KINDS.len() { kind.name.to_owned() } else { format!("team-{}/{}", i / KINDS.len() + 1, kind.name) };
                Agent { id, kind, turn: (i % KINDS.len()) as i32, per_day: conversations * kind.weight / average, seed }
            })
            .collect();
        Self { agents, seed }
    }

    /// The agents.
    pub(super) fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// The seed.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// About how many events that many days have.
    pub(super) fn expected_events(&self, days: u32) -> u64 {
        let per_day: f64 = self.agents.iter().map(|a| a.per_day * EVENTS_PER_CONVERSATION).sum();
        // The first and the last day are whole and cut off; together about one.
        (per_day * (f64::from(days) - 0.5).max(0.3)) as u64
    }
}

/// Share of the answers that fail on a bad day: enough to count as degraded.
const BAD_DAY_ERROR_RATE: f64 = 0.14;

impl Agent {
    /// When the conversations of a day begin, microseconds since the epoch, unsorted.
    pub(super) fn starts(&self, day: i32) -> Vec<i64> {
        let mut random = self.random("day", i64::from(day));
        let hours: Vec<(usize, f64)> = (0..24).map(|h| (h, self.kind.rhythm.of_hour(h))).collect();
        // A slow swell over the months and the luck of the day.
        let swell = 1.0 + 0.15 * (f64::from(day) / 29.0).sin();
        let expected = self.per_day * self.kind.rhythm.of_weekday(day) * swell * random.between(0.88, 1.12);
        let count = (expected + random.unit()) as usize;
        let start = i64::from(day) * DAY_US;
        (0..count).map(|_| start + *random.pick_weighted(&hours) as i64 * HOUR_US + (random.unit() * HOUR_US as f64) as i64).collect()
    }

    /// A generator for this agent alone.
    pub(super) fn random(&self, purpose: &str, number: i64) -> Random {
        Random::of(self.seed, &format!("{}/{purpose}", self.id), number)
    }

    /// How many times slower than at its best the agent is at that time.
    pub(super) fn slowness(&self, at: i64) -> f64 {
        let Drift::Slower(from) = self.kind.drift else { return 1.0 };
        let days = f64::from((day_of(at) - from).rem_euclid(DRIFT_DAYS)) + at.rem_euclid(DAY_US) as f64 / DAY_US as f64;
        1.0 + 2.2 * days / f64::from(DRIFT_DAYS)
    }

    /// What fails at that time. Each kind in turn has a bad day, so that there is always somebody to look after; and about
    /// one day in sixteen has a burst of errors of 20 to 70 minutes.
    pub(super) fn trouble(&self, at: i64) -> Trouble {
        let day = day_of(at);
        let mut random = self.random("trouble", i64::from(day));
        if random.chance(0.06) {
            let from = i64::from(day) * DAY_US + (random.between(7.0, 19.0) * HOUR_US as f64) as i64;
            let until = from + (random.between(20.0, 70.0) * 60_000_000.0) as i64;
            if (from..until).contains(&at) {
                return Trouble::burst(&mut random);
            }
        }
        let is_bad_day = (day + self.turn).rem_euclid(KINDS.len() as i32) == 0;
        Trouble { error_rate: if is_bad_day { BAD_DAY_ERROR_RATE } else { self.kind.error_rate }, error: None }
    }
}

/// How likely answers fail, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    /// Share of the answers that fail.
    pub(super) error_rate: f64,
    /// The error that the burst is made of; `None` outside of bursts.
    pub(super) error: Option<&'static (&'static str, &'static str)>,
}

/// Error types with what they say.
pub(super) static ERRORS: [(&str, &str); 6] = [
    ("rate_limit", "429 from the model's provider: rate limit reached, retry after 20 s"),
    ("timeout", "no answer from the model within 60 s"),
    ("tool_failed", "the tool answered 500"),
    ("context_length", "the prompt has more tokens than the model takes"),
    ("upstream_unavailable", "503 from the model's provider"),
    ("invalid_output", "the answer does not fit the schema"),
];

impl Trouble {
    /// A burst of one kind of error.
    pub(super) fn burst(random: &mut Random) -> Self {
        Self { error_rate: random.between(0.35, 0.7), error: Some(random.pick(&ERRORS)) }
    }
}

impl Rhythm {
    fn of_hour(self, hour: usize) -> f64 {
        let hour = hour as f64 + 0.5;
        let bell = |peak: f64, width: f64| {
            let away = (hour - peak).abs();
            let away = away.min(24.0 - away);
            (-(away / width).powi(2)).exp()
        };
        match self {
            Self::Office(peak) => 0.03 + bell(peak, 4.0),
            Self::Consumer(peak) => 0.12 + bell(peak, 5.5),
            Self::Nightly => 0.05 + 2.0 * bell(2.0, 1.8),
            Self::Steady => 1.0,
        }
    }

    fn of_weekday(self, day: i32) -> f64 {
        // 1970-01-01 was a Thursday; 0 is Monday. The figures of a week add up to 7.
        let weekday = (day + 3).rem_euclid(7) as usize;
        let week = match self {
            Self::Office(_) => [1.3, 1.36, 1.34, 1.28, 1.12, 0.32, 0.28],
            Self::Consumer(_) => [0.98, 0.94, 0.94, 0.98, 1.06, 1.08, 1.02],
            Self::Nightly => [1.1, 1.1, 1.1, 1.1, 1.1, 0.9, 0.6],
            Self::Steady => [1.0; 7],
        };
        week[weekday]
    }
}
