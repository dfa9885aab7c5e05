//! What the demo shows while it goes on: a bar in a terminal, elsewhere a plain line now and then. All of it on stderr;
//! stdout has only what came of it.

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal; also before the same trouble is told again.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// One for the whole demo, shared by everything that posts.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bar: ProgressBar,
    /// What is going on.
    phase: &'static str,
    /// What stands behind the numbers while all is well.
    remark: String,
    line_at: Instant,
    /// The last reason told why events are not taken, and when.
    told: Option<(Instant, String)>,
    is_troubled: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::hidden();
        let state = State { bar, phase: "", remark: String::new(), line_at: Instant::now(), told: None, is_troubled: false };
        Self { is_terminal: std::io::stderr().is_terminal(), state: Mutex::new(state) }
    }

    /// The history begins, of about so many events.
    pub(super) fn begin_history(&self, events: u64) {
        let bar = ProgressBar::new(events).with_style(style("  history  {bar:32.cyan/dim}  {human_pos} events  {rate}  {msg}"));
        self.begin("history", bar, String::new());
    }

    /// Everything is posted; what is waited for now is the counting.
    pub(super) fn begin_counting(&self) {
        let bar = ProgressBar::no_length().with_style(style("  {spinner} waiting until all are counted"));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.begin("counting", bar, String::new());
    }

    /// Live traffic begins.
    pub(super) fn begin_live(&self, remark: String) {
        self.begin("live", ProgressBar::no_length().with_style(style("  live  {spinner} {human_pos} events  {msg}")), remark);
    }

    fn begin(&self, phase: &'static str, bar: ProgressBar, remark: String) {
        let mut state = self.state();
        // Without a terminal nothing is drawn.
        bar.set_message(remark.clone());
        (state.bar, state.phase, state.remark, state.line_at) = (bar, phase, remark, Instant::now());
    }

    /// What to say behind the numbers.
    pub(super) fn remark(&self, remark: String) {
        let mut state = self.state();
        if !state.is_troubled {
            state.bar.set_message(remark.clone());
        }
        state.remark = remark;
    }

    /// So many more events were acknowledged.
    pub(super) fn advance(&self, events: u64) {
        let mut state = self.state();
        state.bar.inc(events);
        if !self.is_terminal && state.line_at.elapsed() >= BETWEEN_LINES {
            state.line_at = Instant::now();
            let of = state.bar.length().map(|all| format!(" of about {}", HumanCount(all))).unwrap_or_default();
            say(&format!("{}: {}{of} events", state.phase, HumanCount(state.bar.position())));
        }
    }

    /// Events are not taken, for this reason; they are tried for so long yet. The first reason is told at once.
    pub(super) fn trouble(&self, sentence: &str, left: Duration) {
        let mut state = self.state();
        let seconds = left.as_secs_f64().ceil() as u64;
        let is_due = state.told.as_ref().is_none_or(|(at, _)| at.elapsed() >= BETWEEN_LINES);
        if self.is_terminal {
            let is_known = state.is_troubled && state.told.as_ref().is_some_and(|(_, told)| told == sentence);
            if is_due && !is_known {
                state.bar.println(format!("{sentence}; trying again"));
                state.told = Some((Instant::now(), sentence.to_owned()));
            }
            state.bar.set_message(format!("no event is taken; giving up in {}:{:02}", seconds / 60, seconds % 60));
        } else if is_due {
            say(&format!("{sentence}; trying again for {seconds} s"));
            state.told = Some((Instant::now(), sentence.to_owned()));
        }
        state.is_troubled = true;
    }

    /// Events are taken.
    pub(super) fn well(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.is_troubled) {
            state.bar.set_message(state.remark.clone());
        }
    }

    /// The phase is over.
    pub(super) fn end(&self) {
        self.state().bar.finish_and_clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(line: &str) {
    // Nobody may be listening any more.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn style(template: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
    };
    ProgressStyle::with_template(template).expect("the templates are fixed").with_key("rate", rate)
}
