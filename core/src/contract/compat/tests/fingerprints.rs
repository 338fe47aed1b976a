//! Fingerprints name a difference: they last as long as it does.

use super::*;

fn fingerprints(old: &Contract, new: &Contract) -> Vec<String> {
    let places = Places::default();
    let report = compare(side(old, &places), side(new, &places), Direction::Full);
    report
        .findings
        .into_iter()
        .map(|finding| finding.fingerprint)
        .collect()
}

fn short(most: u64) -> Field {
    with(text("a"), |f| f.limits.max_length = Some(most))
}

#[test]
fn a_fingerprint_survives_what_has_nothing_to_do_with_it() {
    let one = fingerprints(
        &contract("1.0.0", vec![short(9)]),
        &contract("1.1.0", vec![short(5)]),
    );
    assert_eq!((one.len(), one[0].len()), (1, 16));
    // Other versions, another order, other words, other fields.
    let words = with(short(5), |f| f.description = Some("Better words.".into()));
    let old = contract("1.3.0", vec![text("b"), short(9)]);
    let new = contract("2.0.0", vec![words, text("b")]);
    assert_eq!(fingerprints(&old, &new), one);
}

#[test]
fn a_fingerprint_dies_when_the_change_differs() {
    let of = |old: u64, new: u64| {
        fingerprints(
            &contract("1.0.0", vec![short(old)]),
            &contract("1.1.0", vec![short(new)]),
        )
        .remove(0)
    };
    let one = of(9, 5);
    assert_ne!(one, of(9, 4));
    assert_ne!(one, of(8, 5));
    let other = |name: &str, most| vec![with(short(most), |f| f.name = name.into())];
    assert_ne!(
        one,
        fingerprints(
            &contract("1.0.0", other("b", 9)),
            &contract("1.1.0", other("b", 5))
        )[0]
    );
    let renamed = |contract: Contract| Contract {
        id: "another".into(),
        ..contract
    };
    let moved = fingerprints(
        &renamed(contract("1.0.0", vec![short(9)])),
        &renamed(contract("1.1.0", vec![short(5)])),
    );
    assert_ne!(one, moved[0]);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let old = contract("1.0.0", vec![short(9), text("b"), text("c")]);
    let new = contract("1.1.0", vec![text("d"), short(5), text("e")]);
    let places = Places::default();
    let ask = || {
        serde_json::to_string(&compare(
            side(&old, &places),
            side(&new, &places),
            Direction::Full,
        ))
        .unwrap()
    };
    assert_eq!(ask(), ask());
}
