//! Response-time percentiles from counters that add.
//!
//! The buckets are those of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile
//! sketch with relative-error guarantees", VLDB 2019): bucket `i` holds the values in (γ^(i−1), γ^i], and
//! a quantile is answered with 2γ^i/(γ+1), which is at most [`RELATIVE_ERROR`] away from every value of it.

use std::collections::BTreeMap;

/// Greatest relative error of a percentile.
pub const RELATIVE_ERROR: f64 = 0.02;
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// The bucket of a response time in microseconds. Times under 1 µs share bucket 0 with 1 µs.
pub fn bucket_of(micros: i64) -> i32 {
    if micros <= 1 {
        return 0;
    }
    ((micros as f64).ln() / GAMMA.ln()).ceil() as i32
}

/// The value that stands for a bucket, in microseconds.
pub fn bucket_value(bucket: i32) -> f64 {
    2.0 * GAMMA.powi(bucket) / (GAMMA + 1.0)
}

/// The `q`-quantile (0 to 1) in microseconds; `None` without data.
pub fn quantile(buckets: &BTreeMap<i32, i64>, q: f64) -> Option<f64> {
    let total: i64 = buckets.values().sum();
    if total <= 0 {
        return None;
    }
    let rank = (q * (total - 1) as f64).floor() as i64;
    let mut seen = 0;
    for (&bucket, &count) in buckets {
        seen += count;
        if seen > rank {
            return Some(bucket_value(bucket));
        }
    }
    buckets.keys().next_back().map(|&b| bucket_value(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_within_the_stated_error_of_its_bucket(micros in 1i64..1_000_000_000_000) {
            let got = bucket_value(bucket_of(micros));
            prop_assert!((got - micros as f64).abs() <= RELATIVE_ERROR * micros as f64 * 1.000_001, "{micros} {got}");
        }

        #[test]
        fn a_quantile_is_within_the_stated_error_of_the_exact_one(mut values in prop::collection::vec(1i64..10_000_000_000, 1..200), q in 0.0f64..=1.0) {
            let mut buckets = BTreeMap::new();
            for v in &values { *buckets.entry(bucket_of(*v)).or_insert(0) += 1; }
            values.sort_unstable();
            let exact = values[(q * (values.len() - 1) as f64).floor() as usize] as f64;
            let got = quantile(&buckets, q).expect("data");
            prop_assert!((got - exact).abs() <= RELATIVE_ERROR * exact * 1.000_001);
        }
    }
}
