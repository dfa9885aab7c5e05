//! How many insert requests are under way at once: as many as the store answers in good time.
//!
//! A fixed number that suits DynamoDB drowns a slower store: each request waits behind the others until its time is up and
//! is sent again, so the store does everything twice and is further behind for it. The number is found as TCP finds its
//! window: it grows with good answers as long as all of it is used, and a slow one halves it. Refusals are no sign: a
//! throttled agent or item waits by itself ([`crate::partition`]), and a store that is away answers quickly.

use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Where the search begins.
const FIRST: usize = 16;
/// However many agents have something to be written, no more connections are opened.
const MOST: usize = 256;

/// Turns for requests.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Turns that are taken away as they come back.
    owed: usize,
}

/// One request's turn; its end tells how long the answer took.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    limit: &'a AdaptiveLimit,
    permit: Option<SemaphorePermit<'a>>,
    began: Instant,
}

impl AdaptiveLimit {
    /// Turns for requests of which those that take longer than `slow` are one too many.
    pub(crate) fn new(slow: Duration) -> Self {
        crate::measure::store_concurrency(FIRST);
        Self { turns: Semaphore::new(FIRST), state: Mutex::new(State { window: Window::new(slow), owed: 0 }) }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let permit = self.turns.acquire().await.ok();
        Turn { limit: self, permit, began: Instant::now() }
    }

    fn end(&self, began: Instant, permit: Option<SemaphorePermit<'_>>) {
        let mut state = self.state.lock().expect("no panic while held");
        let before = state.window.size();
        state.window.answered(began, Instant::now(), self.turns.available_permits() == 0);
        let now = state.window.size();
        if now > before {
            let settled = (now - before).min(state.owed);
            state.owed -= settled;
            self.turns.add_permits(now - before - settled);
        } else {
            state.owed += before - now - self.turns.forget_permits(before - now);
        }
        if state.owed > 0
            && let Some(permit) = permit
        {
            state.owed -= 1;
            permit.forget();
        }
        if now != before {
            crate::measure::store_concurrency(now);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.limit.end(self.began, self.permit.take());
    }
}

/// The number itself, and how it changes.
#[derive(Debug)]
struct Window {
    limit: f64,
    /// Answers that took longer are slow.
    slow: Duration,
    /// Until the first slow answer each good one adds a turn; from then on each round of them.
    is_starting: bool,
    /// Requests from before it say nothing new.
    last_cut: Option<Instant>,
}

impl Window {
    fn new(slow: Duration) -> Self {
        Self { limit: FIRST as f64, slow, is_starting: true, last_cut: None }
    }

    fn size(&self) -> usize {
        self.limit as usize
    }

    /// Learns from an answer; `is_full` where all turns were taken.
    fn answered(&mut self, began: Instant, now: Instant, is_full: bool) {
        if now - began > self.slow {
            if self.last_cut.is_none_or(|cut| began >= cut) {
                self.limit = (self.limit / 2.0).max(1.0);
                self.is_starting = false;
                self.last_cut = Some(now);
            }
        } else if is_full {
            let more = if self.is_starting { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(MOST as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(100);
    const SERVICE: Duration = Duration::from_millis(10);

    /// Rounds of as many requests as are allowed, on a store that does `at_once` of them in 10 ms and lets the others wait.
    fn rounds(window: &mut Window, now: &mut Instant, at_once: usize, rounds: usize) {
        for _ in 0..rounds {
            let (began, size) = (*now, window.size());
            for n in 0..size {
                *now = began + SERVICE * (n / at_once + 1) as u32;
                window.answered(began, *now, true);
            }
        }
    }

    #[test]
    fn a_fast_store_is_asked_more_and_more_at_once_up_to_the_most() {
        let (mut window, mut now) = (Window::new(SLOW), Instant::now());
        rounds(&mut window, &mut now, 1_000, 10);
        assert_eq!(window.size(), MOST);
    }

    #[test]
    fn a_slow_store_is_asked_so_much_at_once_that_it_answers_in_good_time() {
        // Two at once in 10 ms: more than 20 at once wait for longer than 100 ms.
        let (mut window, mut now) = (Window::new(SLOW), Instant::now());
        rounds(&mut window, &mut now, 2, 10);
        for _ in 0..200 {
            rounds(&mut window, &mut now, 2, 1);
            assert!((8..=22).contains(&window.size()), "{}", window.size());
        }
    }

    #[test]
    fn a_store_that_stands_still_is_asked_one_thing_at_a_time_and_found_again() {
        let (mut window, mut now) = (Window::new(SLOW), Instant::now());
        for _ in 0..10 {
            window.answered(now, now + SLOW * 2, true);
            now += SLOW * 2;
        }
        assert_eq!(window.size(), 1);
        rounds(&mut window, &mut now, 1_000, 20);
        assert!((15..=25).contains(&window.size()), "{}", window.size());
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let (mut window, now) = (Window::new(SLOW), Instant::now());
        (0..500).for_each(|_| window.answered(now, now, false));
        assert_eq!(window.size(), FIRST);
    }

    #[test]
    fn requests_from_before_a_cut_do_not_cut_again() {
        let (mut window, now) = (Window::new(SLOW), Instant::now());
        (2..10).for_each(|n| window.answered(now, now + SLOW * n, true));
        assert_eq!(window.size(), FIRST / 2);
    }

    #[tokio::test]
    async fn as_many_turns_are_out_as_the_window_says() {
        // Every answer is slow.
        let limit = AdaptiveLimit::new(Duration::ZERO);
        let mut turns = Vec::new();
        for _ in 0..FIRST {
            turns.push(limit.turn().await);
        }
        assert_eq!(limit.turns.available_permits(), 0);
        let kept = turns.split_off(2);
        drop(turns);
        // Halved by the first, and both are paid with.
        assert_eq!((limit.turns.available_permits(), limit.state.lock().expect("held by nobody").owed), (0, FIRST / 2 - 2));
        drop(kept);
        let state = limit.state.lock().expect("held by nobody");
        assert_eq!((limit.turns.available_permits(), state.owed), (state.window.size(), 0));
    }
}
