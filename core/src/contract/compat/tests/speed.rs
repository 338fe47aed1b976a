//! Comparison is quick enough to stand in every commit.

use std::time::{Duration, Instant};

use super::*;

/// Generous for an unoptimised build on a busy machine.
const PAIRS_200_MAX: Duration = Duration::from_secs(20);
/// How many of the pairs break; each of those asks two validators about its witness.
const BROKEN: usize = 10;

#[test]
fn two_hundred_contracts_are_compared_at_once() {
    let long = |most| {
        let fields = (0..30).map(|i| {
            with(text(&format!("f{i}")), |field| {
                field.limits.max_length = Some(100);
                if i == 7 {
                    field.limits.max_length = Some(most);
                }
                if i % 5 == 0 {
                    field.limits.pattern = Some("^[A-Z]{2}[0-9]+$".into());
                }
            })
        });
        contract("1.0.0", fields.collect())
    };
    let (old, new) = (long(100), long(90));
    let places = Places::default();
    let began = Instant::now();
    for i in 0..200 {
        let (to, verdict) = if i < BROKEN {
            (&new, Verdict::No)
        } else {
            (&old, Verdict::Yes)
        };
        let report = compare(side(&old, &places), side(to, &places), Direction::Full);
        assert_eq!(report.verdict, verdict);
    }
    let took = began.elapsed();
    println!("200 pairs of 31 fields, {BROKEN} of them broken: {took:?}");
    assert!(took < PAIRS_200_MAX, "{took:?}");
}
