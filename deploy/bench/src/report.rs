//! Markdown tables on standard output and in a document, and the figures in them. Owns how a figure is written.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What was said so far.
static SAID: Mutex<String> = Mutex::new(String::new());
/// What is measured stands between these in a document.
const BEGIN: &str = "<!-- begin: make bench -->";
const END: &str = "<!-- end: make bench -->";

/// Prints a section at once, so that a long run shows how far it is.
pub(crate) fn say(section: &str) -> anyhow::Result<()> {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.push_str(section);
    said.push('\n');
    let mut out = std::io::stdout().lock();
    writeln!(out, "{section}")?;
    Ok(out.flush()?)
}

/// Puts everything that was said into a document, in place of what was measured before.
pub(crate) fn write_into(document: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{} has no place for it: {BEGIN}", document.display()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{} has no end of its place: {END}", document.display()))?;
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::fs::write(document, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", said.trim()))?)
}

/// A markdown table under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(heading: &str, columns: &[&str]) -> Self {
        let rule = columns.iter().map(|_| "---").collect::<Vec<_>>();
        Self { text: format!("\n### {heading}\n\n{}{}", row(columns), row(&rule)) }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.text.push_str(&row(cells));
    }

    pub(crate) fn print(self) -> anyhow::Result<()> {
        say(self.text.trim_end())
    }
}

fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The value that `share` (0 to 1) of the values do not exceed.
pub(crate) fn quantile<T: Copy + PartialOrd>(values: &[T], share: f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
}

/// `12,345`.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether a target is met, in a word.
pub(crate) fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_that_its_share_does_not_exceed() {
        let values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(quantile(&values, 0.5), Some(50));
        assert_eq!(quantile(&values, 0.99), Some(99));
        assert_eq!(quantile(&values, 1.0), Some(100));
        assert_eq!(quantile(&[7], 0.5), Some(7));
        assert_eq!(quantile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0.0, 999.0, 1_000.0, 1_234_567.0].map(thousands).each_ref().map(String::as_str));
    }
}
