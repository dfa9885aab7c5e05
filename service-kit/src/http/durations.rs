//! How long requests took, by route, method and status. The registry's look-up allocates a key of all labels; a service has
//! some dozens of them, so they are looked up once each.

use metrics::{Histogram, Label, histogram};
use rustc_hash::FxHashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

const NAME: &str = "http_request_duration_seconds";

/// The histograms of a service, by route; of a route, by method and status.
#[derive(Default)]
pub(super) struct Durations {
    by_route: RwLock<FxHashMap<String, Vec<Of>>>,
}

struct Of {
    method: &'static str,
    status: u16,
    histogram: Histogram,
}

impl std::fmt::Debug for Durations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Durations")
    }
}

impl Durations {
    /// Records a request. Routes and methods must be bounded in number.
    pub(super) fn record(&self, service: &'static str, (route, method, status): (&str, &'static str, u16), took: Duration) {
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        let of = known.get(route).and_then(|all| all.iter().find(|of| of.method == method && of.status == status));
        if let Some(of) = of {
            return of.histogram.record(took);
        }
        drop(known);
        let labels = vec![
            Label::from_static_parts("service", service),
            Label::new("route", route.to_owned()),
            Label::from_static_parts("method", method),
            Label::new("status", status.to_string()),
        ];
        let histogram = histogram!(NAME, labels);
        histogram.record(took);
        let mut known = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().push(Of { method, status, histogram });
    }
}
