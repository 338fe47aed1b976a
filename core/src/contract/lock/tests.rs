//! What a release freezes stays frozen.

use proptest::prelude::*;

use super::*;
use crate::contract::sample::contracts;
use crate::contract::{NoLibrary, load};

fn lock() -> (Loaded, String) {
    let text = "\
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.2.0
status: active
schema:
  - name: thing
    customProperties: [{property: lockstep.owner, value: erp}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: email, logicalType: string, logicalTypeOptions: {maxLength: 80}}
";
    let loaded = load("thing.odcs.yaml", text, &NoLibrary).unwrap();
    let lock = write(&loaded, None);
    (loaded, lock)
}

#[test]
fn a_lock_gives_the_contract_and_its_places_in_the_lock() {
    let (loaded, text) = lock();
    let read = read("1.2.0.lock.json", &text).unwrap();
    assert_eq!(read.contract.contract, loaded.contract);
    assert_eq!(read.digest, digest(&loaded.contract));
    assert_eq!(read.writer, schema::writer(&loaded.contract));
    let place = read.contract.places.at("/fields/email/limits/maxLength");
    let place = place.unwrap();
    assert_eq!(place.file, "1.2.0.lock.json");
    assert_eq!(&text[place.offset..place.offset + place.length], "80");
    assert!(
        text.lines()
            .nth(place.line - 1)
            .unwrap()
            .contains("maxLength")
    );
}

#[test]
fn an_edited_lock_is_refused_where_its_digest_stands() {
    let (_, text) = lock();
    for (from, to) in [
        ("\"maxLength\": 80", "\"maxLength\": 81"),
        (
            "\"additionalProperties\": false",
            "\"additionalProperties\": true",
        ),
        ("\"id\": \"t\"", "\"id\": \"u\""),
    ] {
        assert!(text.contains(from), "{from}");
        let found = read("l.json", &text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(found[0].code, "LS-C048");
        assert!(found[0].place.as_ref().unwrap().line > 1);
    }
    // Line ends are the checkout's business.
    assert!(read("l.json", &text.replace('\n', "\r\n")).is_ok());
}

#[test]
fn a_lock_names_the_release_before_it() {
    let (loaded, first) = lock();
    assert!(first.starts_with("{\n  \"format\": 1,\n  \"contract\""));
    assert_eq!(read("l.json", &first).unwrap().after, None);
    let before = Version::new(1, 1, 4);
    let text = write(&loaded, Some(&before));
    assert_eq!(read("l.json", &text).unwrap().after, Some(before));
    let edited = text.replace("\"after\": \"1.1.4\"", "\"after\": \"1.1.3\"");
    assert_eq!(read("l.json", &edited).unwrap_err()[0].code, "LS-C048");
}

#[test]
fn what_is_no_lock_is_refused_with_a_place() {
    let (_, text) = lock();
    for bad in [
        "",
        "{",
        "[]",
        "{\"format\": 3}",
        "{\"format\": 1}",
        &text[..text.len() / 2],
        &text.replace("\"format\": 1", "\"format\": \"1\""),
    ] {
        let found = read("l.json", bad).unwrap_err();
        assert_eq!(found[0].code, "LS-C047", "{bad}");
        assert!(found[0].place.is_some() && found[0].help.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_contract_survives_its_lock(contract in contracts()) {
        let text = write(&Loaded { contract: contract.clone(), places: Default::default(), findings: vec![] }, None);
        let lock = read("l.json", &text);
        let lock = lock.unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
        prop_assert_eq!(lock.contract.contract, contract);
    }

    #[test]
    fn random_locks_never_panic(at in 0usize..3000, with in "\\PC{0,4}|[\\[\\]{}:,\"0-9]{1,6}") {
        let (_, mut text) = lock();
        let at = at.min(text.len());
        text.replace_range(at..at, &with);
        let _ = read("l.json", &text);
    }
}
