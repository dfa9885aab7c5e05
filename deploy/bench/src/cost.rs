//! The cost table: computed from the items' sizes by the same function that the tests check against an engine.

use crate::report::say;

pub(crate) fn print() -> anyhow::Result<()> {
    say(&format!(
        "\n### DynamoDB write units (target: ≤ 1,350 per 1,000 events at 25 per agent and flush)\n\n{}",
        aggregator::cost::table().trim_end()
    ))
}
