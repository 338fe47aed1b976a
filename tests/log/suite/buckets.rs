//! Promises about key-value buckets.

use std::time::Duration;

use bytes::Bytes;
use lockstep::log::{Entry, LogError};
use tokio::sync::mpsc::Receiver;

use super::*;

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) async fn a_key_has_its_last_value_and_revision<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    let first = bucket.put("k", value("1")).await.unwrap();
    let second = bucket.put("k", value("2")).await.unwrap();
    assert!(first >= 1 && second > first);
    let expected = Entry {
        key: "k".into(),
        value: value("2"),
        revision: second,
        removed: false,
    };
    assert_eq!(bucket.get("k").await.unwrap(), Some(expected));
}

pub(crate) async fn of_two_updates_one_wins<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    let updates = (0..8).map(|n| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let bucket = log.bucket("b").await.unwrap();
            bucket.update("k", value(&n.to_string()), 0).await
        })
    });
    let mut won = Vec::new();
    let mut lost = Vec::new();
    for update in updates.collect::<Vec<_>>() {
        match update.await.unwrap() {
            Ok(revision) => won.push(revision),
            Err(LogError::WrongRevision { key, actual }) => lost.push((key, actual)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(lost, vec![("k".to_owned(), won[0]); 7]);
    let bucket = log.bucket("b").await.unwrap();
    bucket.update("k", value("next"), won[0]).await.unwrap();
}

pub(crate) async fn a_removed_key_is_new_again<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    bucket.delete("absent").await.unwrap();
    let first = bucket.put("k", value("1")).await.unwrap();
    bucket.delete("k").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    assert!(bucket.list("").await.unwrap().is_empty());
    assert!(matches!(
        bucket.update("k", value("2"), first).await,
        Err(LogError::WrongRevision { .. })
    ));
    let second = bucket.update("k", value("2"), 0).await.unwrap();
    assert!(second > first);
}

pub(crate) async fn keys_are_listed_by_prefix<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    for key in ["b/1", "a/2", "a/1", "a.1", "ab", "c"] {
        bucket.put(key, value(key)).await.unwrap();
    }
    let keys = |entries: Vec<Entry>| entries.into_iter().map(|e| e.key).collect::<Vec<_>>();
    assert_eq!(keys(bucket.list("a/").await.unwrap()), ["a/1", "a/2"]);
    assert_eq!(
        keys(bucket.list("").await.unwrap()),
        ["a.1", "a/1", "a/2", "ab", "b/1", "c"]
    );
    assert!(bucket.list("zz").await.unwrap().is_empty());
}

pub(crate) async fn a_scan_shows_every_key_that_is_there<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    let mut seen = Vec::new();
    bucket
        .scan(&mut |entry| seen.push(entry.key))
        .await
        .unwrap();
    assert_eq!(seen, [""; 0]);
    let name = |n: usize| format!("k{n:03}");
    for n in 0..100 {
        bucket.put(&name(n), value(&name(n))).await.unwrap();
    }
    bucket.put(&name(7), value("again")).await.unwrap();
    bucket.delete(&name(40)).await.unwrap();
    bucket
        .scan(&mut |entry| seen.push(entry.key))
        .await
        .unwrap();
    seen.sort();
    let expected: Vec<String> = (0..100).filter(|n| *n != 40).map(name).collect();
    assert_eq!(seen, expected);
}

pub(crate) async fn buckets_do_not_share_keys<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    let (one, two) = (
        log.bucket("one").await.unwrap(),
        log.bucket("two").await.unwrap(),
    );
    one.put("k", value("1")).await.unwrap();
    assert_eq!(two.get("k").await.unwrap(), None);
    // Opening it again finds what is there.
    let again = log.bucket("one").await.unwrap();
    assert_eq!(again.get("k").await.unwrap().unwrap().value, value("1"));
    assert!(matches!(log.bucket("a.b").await, Err(LogError::Refused(_))));
}

pub(crate) async fn bad_keys_are_refused<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    for key in ["", ".a", "a.", "a..b", "a b", "a*", "ä"] {
        let answer = bucket.put(key, value("1")).await;
        assert!(
            matches!(answer, Err(LogError::Refused(_))),
            "{key:?}: {answer:?}"
        );
    }
    let large = vec![0; lockstep::log::PAYLOAD_MAX + 1];
    assert!(matches!(
        bucket.put("k", large.into()).await,
        Err(LogError::Refused(_))
    ));
    bucket.put("A-z_0/9=.x", value("")).await.unwrap();
    assert_eq!(
        bucket.get("A-z_0/9=.x").await.unwrap().unwrap().value,
        value("")
    );
}

async fn next(watch: &mut Receiver<Entry>) -> Entry {
    tokio::time::timeout(DEADLINE, watch.recv())
        .await
        .expect("an entry in time")
        .expect("an entry")
}

pub(crate) async fn a_watch_tells_what_is_there_and_what_changes<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    bucket.put("a/1", value("1")).await.unwrap();
    bucket.put("a/2", value("2")).await.unwrap();
    bucket.put("b/1", value("x")).await.unwrap();
    let mut watch = bucket.watch("a/").await.unwrap();
    let mut there = [next(&mut watch).await.key, next(&mut watch).await.key];
    there.sort();
    assert_eq!(there, ["a/1", "a/2"]);
    bucket.put("b/1", value("y")).await.unwrap();
    let revision = bucket.put("a/2", value("3")).await.unwrap();
    let changed = next(&mut watch).await;
    assert_eq!(
        (changed.key.as_str(), &changed.value, changed.revision),
        ("a/2", &value("3"), revision)
    );
    bucket.delete("a/1").await.unwrap();
    let removed = next(&mut watch).await;
    assert_eq!((removed.key.as_str(), removed.removed), ("a/1", true));
    assert!(removed.value.is_empty());
}

pub(crate) async fn a_slow_watcher_learns_the_last_value<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    let mut watch = bucket.watch("").await.unwrap();
    for n in 1..=400 {
        bucket
            .put(&format!("k{}", n % 3), value(&n.to_string()))
            .await
            .unwrap();
    }
    bucket.put("end", value("end")).await.unwrap();
    let mut last = std::collections::BTreeMap::new();
    let mut revision = 0;
    loop {
        let entry = next(&mut watch).await;
        assert!(entry.revision > revision, "revisions rise");
        revision = entry.revision;
        if entry.key == "end" {
            break;
        }
        last.insert(entry.key, entry.value);
    }
    let expected = [("k0", "399"), ("k1", "400"), ("k2", "398")];
    assert_eq!(last, expected.map(|(k, v)| (k.to_owned(), value(v))).into());
}

pub(crate) async fn values_survive_a_kill<F: Fixture>() {
    let fixture = F::fresh().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    bucket.put("gone", value("1")).await.unwrap();
    bucket.delete("gone").await.unwrap();
    let revision = bucket.put("k", value("1")).await.unwrap();
    drop(bucket);
    let fixture = fixture.killed().await;
    let bucket = fixture.log().bucket("b").await.unwrap();
    assert_eq!(bucket.get("gone").await.unwrap(), None);
    assert_eq!(bucket.get("k").await.unwrap().unwrap().revision, revision);
    assert!(bucket.update("k", value("2"), revision).await.unwrap() > revision);
    // A watch that nobody reads ends with its receiver.
    drop(bucket.watch("").await.unwrap());
    tokio::time::sleep(Duration::from_millis(1)).await;
}
