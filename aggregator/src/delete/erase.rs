//! Replaces each event by its marker ([`marker_of_deleted`]): of the agents and days of which something was subtracted.

use super::{DeleteError, WRITES_AT_ONCE, Work};
use crate::store::failure;
use crate::verify::Progress;
use event_log::Position;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{Item, SRC, Subject, event_of_item, marker_of_deleted};
use schemas::time::DAY_US;
use service_kit::deletions::Whose;

impl Work<'_> {
    pub(super) async fn erase(&self, progress: &Progress) -> Result<(), DeleteError> {
        let corrections = self.corrections().await?;
        for (done, correction) in corrections.iter().enumerate() {
            let Subject::Agent(agent) = &correction.subject else { continue };
            let from = i64::from(correction.day) * DAY_US;
            let mut pages = self.reader.event_pages(agent, from, from + DAY_US);
            while let Some(page) = pages.next(&self.reader).await? {
                let markers = page.iter().filter_map(|item| self.marker(item)).map(|marker| async move { self.put(marker).await });
                stream::iter(markers.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE).try_collect::<Vec<()>>().await?;
            }
            progress.now_and_then(|| format!("events of {} of {} agents' days erased", done + 1, corrections.len()));
        }
        if let Whose::Agent(agent) = &self.deletion.whose {
            self.check_stage().await?;
            self.metrics.unregister(agent).await?;
        }
        Ok(())
    }

    /// The marker of an event that is to be deleted.
    fn marker(&self, item: &Item) -> Option<Item> {
        let stored = event_of_item(item)?;
        let at = Position::parse_src(stored.src.as_deref()?)?;
        self.deletion.holds(&stored.event, at).then(|| marker_of_deleted(item))
    }

    async fn put(&self, marker: Item) -> Result<(), DeleteError> {
        self.reader.pace(1).await;
        let src = marker.get(SRC).cloned();
        let put = self.store.put_item().table_name(&self.deleter.tables.events).set_item(Some(marker));
        // Not where it expired meanwhile.
        let put = put
            .condition_expression("#s = :s")
            .expression_attribute_names("#s", SRC)
            .set_expression_attribute_values(src.map(|src| std::collections::HashMap::from([(":s".to_owned(), src)])));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(e) => Err(failure("PutItem", &e).into()),
        }
    }
}
