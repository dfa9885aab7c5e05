//! From an empty directory to the first accepted event, and what the process takes at rest.

use crate::load::{Events, Poster};
use crate::process::Place;
use crate::report::{Table, milliseconds, quantile, verdict};
use std::time::Duration;

const STARTS: usize = 7;
/// Not synchronisation: rest is what is measured.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn measure(place: &Place) -> anyhow::Result<()> {
    let (mut ready, mut accepted, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..STARTS {
        let body = Events::new(&format!("start-{n}"), 1)?.batch(1)?;
        let server = place.standalone()?;
        ready.push(server.began().elapsed());
        Poster::new(server.url())?.post(body).await?;
        accepted.push(server.began().elapsed());
        tokio::time::sleep(REST).await;
        idle.push(server.resident_mib()?);
        server.stop()?;
    }
    let median = |of: &[Duration]| quantile(of, 0.5).unwrap_or_default();
    let memory = quantile(&idle, 0.5).unwrap_or_default();
    let mut table = Table::new(&format!("Start on an empty directory (median of {STARTS})"), &["what", "measured", "target", ""]);
    table.row(&["start to ready", &milliseconds(median(&ready)), "", ""]);
    let first = median(&accepted);
    table.row(&["start to the first accepted event", &milliseconds(first), "≤ 1,000 ms", verdict(first <= Duration::from_secs(1))]);
    table.row(&["resident memory idle", &format!("{memory:.0} MiB"), "≤ 120 MB", verdict(memory * 1.048_576 <= 120.0)]);
    table.print()
}
