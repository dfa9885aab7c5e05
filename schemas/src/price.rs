//! What a model's tokens cost.
//!
//! The table is data (`data/prices.json`, with its date and source); an operator's own file replaces or
//! extends it. A model that no table knows has no cost, which is not the same as a cost of 0.

use crate::event::AgentEvent;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::LazyLock;

static BUILTIN: LazyLock<PriceTable> =
    LazyLock::new(|| PriceTable::from_json(include_str!("../data/prices.json")).expect("the committed table parses"));

/// The most that one event may cost, US dollars.
pub const MAX_COST_USD: f64 = 1e6;

/// Prices by model name.
#[derive(Clone, Debug, Deserialize)]
pub struct PriceTable {
    /// Day of the prices, `YYYY-MM-DD`.
    pub date: String,
    /// Where they are from.
    pub source: String,
    models: HashMap<String, Price>,
}

/// US dollars per token of one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Price {
    /// Per input token.
    pub input: f64,
    /// Per output token.
    pub output: f64,
    /// Per input token read from a cache; `input` where absent.
    #[serde(default)]
    pub cached_input: Option<f64>,
}

impl PriceTable {
    /// The table that ships with this build.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a table: `{"date","source","models":{"<name>":{"input","output","cached_input"?}}}`, dollars per token.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// This table with `over`'s prices in place of its own.
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        let mut models = self.models.clone();
        models.extend(over.models.iter().map(|(k, v)| (k.clone(), *v)));
        Self { date: over.date.clone(), source: format!("{}; {}", over.source, self.source), models }
    }

    /// The price of a model: by its name, else by the part behind the last `/` (a provider's prefix).
    pub fn price(&self, model: &str) -> Option<Price> {
        self.models.get(model).or_else(|| self.models.get(model.rsplit('/').next()?)).copied()
    }

    /// Dollars for one call. `input` includes `cached`; a missing count is taken as 0 only where its price is 0.
    pub fn cost_usd(&self, model: &str, input: Option<i64>, output: Option<i64>, cached: Option<i64>) -> Option<f64> {
        let price = self.price(model)?;
        let or_free = |count: Option<i64>, each: f64| count.or((each == 0.0).then_some(0));
        let input = or_free(input, price.input)?;
        let output = or_free(output, price.output)?;
        let cached = cached.unwrap_or(0).clamp(0, input);
        let cached_price = price.cached_input.unwrap_or(price.input);
        Some((input - cached) as f64 * price.input + cached as f64 * cached_price + output as f64 * price.output)
    }

    /// What an event's tokens cost by its model, in whole nano-dollars as it will be counted (0.0022, not
    /// 0.0021999999999999997); `None` where that is not known, or more than any event may cost.
    pub fn estimate_usd(&self, event: &AgentEvent) -> Option<f64> {
        let has_tokens = event.input_tokens.is_some() || event.output_tokens.is_some();
        let model = event.model_used.as_ref().filter(|_| has_tokens)?;
        let cost = self.cost_usd(model, event.input_tokens, event.output_tokens, event.cached_input_tokens)?;
        (0.0..=MAX_COST_USD).contains(&cost).then(|| (cost * 1e9).round() / 1e9)
    }

    /// Number of models.
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether the table has no model.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_models_cost_nothing_known() {
        let table = PriceTable::builtin();
        assert!(table.len() > 100);
        assert_eq!(table.cost_usd("no-such-model", Some(1), Some(1), None), None);
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let table = PriceTable::from_json(r#"{"date":"2026-01-01","source":"test","models":{"m":{"input":2.0,"output":3.0,"cached_input":0.5},"e":{"input":1.0,"output":0.0}}}"#).expect("json");
        assert_eq!(table.cost_usd("m", Some(10), Some(1), Some(4)), Some(6.0 * 2.0 + 4.0 * 0.5 + 3.0));
        assert_eq!(table.cost_usd("openai/m", Some(1), Some(0), None), Some(2.0));
        assert_eq!(table.cost_usd("m", Some(10), None, None), None);
        assert_eq!(table.cost_usd("e", Some(10), None, None), Some(10.0));
    }
}
