//! Pages of agents in an order: those that the live table holds, and behind them those it has not heard of in its days.

use super::status::{AgentStatus, StatusCounts, status};
use crate::AppState;
use crate::live_table::{Column, RankAfter, RankQuery, Search};
use rustc_hash::FxHashSet;
use schemas::AgentTotals;
use schemas::time::now_micros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the next page goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum After {
    /// Behind this row of the live table.
    Live(RankAfter),
    /// Behind this agent, among those that the live table does not hold.
    Dormant(String),
    /// Behind this agent, in the order of ids.
    Id(String),
}

/// An agent and its totals of the days asked for (zeros where it was idle), with `last_at` over all days held; 0 where
/// unknown.
pub(super) type Row = (String, AgentTotals);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wishes {
    /// Part of the id.
    pub(super) search: String,
    /// First and last day whose totals count.
    pub(super) days: (i32, i32),
    /// Today.
    pub(super) today: i32,
    /// Only agents that are so; all where `None`.
    pub(super) statuses: Option<Vec<AgentStatus>>,
}

/// The agents that the wishes take.
pub(super) struct Listing<'a> {
    state: &'a AppState,
    wishes: &'a Wishes,
    live: Vec<Arc<str>>,
    /// Those of the directory that the live table does not hold, by id.
    dormant: Vec<&'a str>,
    /// Of all agents that the search takes, whatever status is asked for.
    pub(super) counts: StatusCounts,
}

impl<'a> Listing<'a> {
    pub(super) fn new(state: &'a AppState, directory: &'a BTreeMap<String, i64>, wishes: &'a Wishes) -> Self {
        let is_wanted = |status: AgentStatus| wishes.statuses.as_ref().is_none_or(|wanted| wanted.contains(&status));
        let (mut live, mut counts) = (Vec::new(), StatusCounts::default());
        let (now, silent_us) = (now_micros(), state.silent_us());
        state.live.each_lately(wishes.today, &wishes.search, |id, today, yesterday| {
            let (status, _) = status(today, yesterday, now - today.last_at, silent_us);
            counts.add(status, 1);
            if is_wanted(status) {
                live.push(Arc::clone(id));
            }
        });
        let search = Search::new(&wishes.search);
        let is_dormant = |id: &&str| search.takes(id) && state.live.last_at(id).is_none();
        // Nobody heard of them for days: no read of the store makes them anything but silent.
        let mut dormant: Vec<&str> = directory.keys().map(String::as_str).filter(is_dormant).collect();
        counts.add(AgentStatus::Silent, dormant.len());
        if !is_wanted(AgentStatus::Silent) {
            dormant.clear();
        }
        Self { state, wishes, live, dormant, counts }
    }

    /// Agents of all pages.
    pub(super) fn total(&self) -> usize {
        self.live.len() + self.dormant.len()
    }

    /// A page in the order of ids.
    pub(super) fn by_id(&self, is_descending: bool, after: Option<&After>, limit: usize) -> (Vec<Row>, Option<After>) {
        let mut ids: Vec<&str> = self.live.iter().map(|id| &**id).chain(self.dormant.iter().copied()).collect();
        if let Some(After::Id(last)) = after {
            ids.retain(|id| if is_descending { *id < last.as_str() } else { *id > last.as_str() });
        }
        ids.sort_unstable();
        if is_descending {
            ids.reverse();
        }
        let has_more = ids.len() > limit;
        ids.truncate(limit);
        let next = ids.last().filter(|_| has_more).map(|id| After::Id((*id).to_owned()));
        (ids.into_iter().map(|id| self.row(id)).collect(), next)
    }

    /// A page in the order of a column.
    pub(super) fn by_value(&self, sort: Column, is_descending: bool, after: Option<&After>, limit: usize) -> (Vec<Row>, Option<After>) {
        let among: Option<FxHashSet<Arc<str>>> = self.wishes.statuses.as_ref().map(|_| self.live.iter().cloned().collect());
        let mut rows: Vec<Row> = Vec::new();
        if !matches!(after, Some(After::Dormant(_))) {
            let query = RankQuery {
                days: self.wishes.days,
                sort,
                is_descending,
                search: Some(self.wishes.search.as_str()).filter(|s| !s.is_empty()),
                among: among.as_ref(),
                after: match after {
                    Some(After::Live(row)) => Some(row),
                    _ => None,
                },
                limit,
            };
            let ranked = self.state.live.rank(&query);
            rows.extend(ranked.rows.into_iter().map(|row| (row.agent_id.to_string(), row.totals)));
            if let Some(next) = ranked.next {
                return (rows, Some(After::Live(next)));
            }
        }
        let first = match after {
            Some(After::Dormant(last)) => self.dormant.partition_point(|id| *id <= last.as_str()),
            _ => 0,
        };
        let room = limit - rows.len();
        let page = &self.dormant[first..self.dormant.len().min(first + room)];
        let has_more = first + page.len() < self.dormant.len();
        rows.extend(page.iter().map(|id| self.row(id)));
        let next = has_more.then(|| After::Dormant(page.last().copied().unwrap_or_default().to_owned()));
        (rows, next)
    }

    fn row(&self, id: &str) -> Row {
        (id.to_owned(), self.state.live.over(id, self.wishes.days).unwrap_or_default())
    }
}
