//! What goes wrong around a lake: lost answers, writers that race, stores that fail, files that are broken.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
mod store;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::http::Method;
use common::{Lane, in_folder, rows, shape, upsert};
use lockstep_core::connector::Receipt;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind};
use store::{Fault, Store};

/// Goes wrong the first times that something is asked for.
fn times(
    mut left: usize,
    method: Method,
    part: &'static str,
    fault: Fault,
) -> impl FnMut(&Method, &str) -> Fault + Send {
    move |asked, path| {
        if left == 0 || *asked != method || !path.contains(part) {
            return Fault::None;
        }
        left -= 1;
        fault
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_done_twice() {
    for fault in [Fault::DoneButFailed, Fault::DoneButCut] {
        let store = Store::start().await;
        let settings = store.settings();
        let mut lane = Lane::open(&settings, "f", &shape("things")).await;
        lane.upserts(0..10, 1).await;
        store.decide(times(1, Method::PUT, "/commits/", fault));
        lane.upserts(5..15, 2).await;
        lane.upserts(15..20, 1).await;
        assert_eq!(rows(&settings, &lane.shape).await.len(), 20);
        let other = Lane::open(&settings, "f", &lane.shape).await;
        assert_eq!(other.reached, 3);
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_that_counts_and_goes_in_later() {
    let store = Store::start().await;
    let settings = store.settings();
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    lane.upserts(0..10, 1).await;
    let batch = lane.batch(vec![upsert(&lane.shape, 1, 2), upsert(&lane.shape, 77, 2)]);
    for (part, fault) in [
        ("/things/", Fault::Refuse(503, "SlowDown")),
        ("/commits/", Fault::Refuse(500, "InternalError")),
    ] {
        store.decide(times(100, Method::PUT, part, fault));
        let error = lane.sink.apply(&batch).await.unwrap_err();
        assert!(error.kind().is_retryable(), "{error:?}");
        store.decide(|_, _| Fault::None);
        assert_eq!(rows(&settings, &lane.shape).await.len(), 10);
    }
    // A short disturbance is sat out.
    store.decide(times(
        2,
        Method::PUT,
        "/things/",
        Fault::Refuse(503, "SlowDown"),
    ));
    let changes = batch.changes.clone();
    lane.commit(changes).await;
    assert_eq!(rows(&settings, &lane.shape).await.len(), 11);
}

#[tokio::test]
async fn writers_that_race_lose_nothing_and_one_of_a_lane_is_stopped() {
    let root = tempfile::tempdir().unwrap();
    let bucket = Store::start().await;
    for settings in [in_folder(root.path()), bucket.settings()] {
        let shape = shape("things");
        Lane::open(&settings, "any", &shape).await;
        let writers = (0..3).map(|writer: i64| {
            let (settings, shape) = (settings.clone(), shape.clone());
            tokio::spawn(async move {
                let mut lane = Lane::open(&settings, &format!("flow {writer}"), &shape).await;
                for batch in 0..8 {
                    let from = writer * 100 + batch * 5;
                    lane.upserts(from..from + 5, 1).await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        assert_eq!(rows(&settings, &shape).await.len(), 120);
        // Two that believe to have the same lane.
        let (mut first, second) = (
            Lane::open(&settings, "flow 0", &shape).await,
            Lane::open(&settings, "flow 0", &shape).await,
        );
        first.upserts(900..901, 1).await;
        let late = second.batch(vec![upsert(&second.shape, 901, 1)]);
        let error = second.sink.apply(&late).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Stopped, "{error:?}");
        assert_eq!(rows(&settings, &shape).await.len(), 121);
    }
}

#[tokio::test]
async fn a_store_that_keeps_no_two_writers_apart_is_refused_in_words() {
    let store = Store::start().await;
    let settings = store.settings();
    Lane::open(&settings, "f", &shape("things")).await;
    store.decide(|_, _| Fault::Simple);
    let error = Lane::try_open(&settings, "f", &shape("things"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    store.decide(|method, _| {
        if *method == Method::PUT {
            Fault::Refuse(501, "NotImplemented")
        } else {
            Fault::None
        }
    });
    let error = Lane::try_open(&settings, "f", &shape("things"))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("conditional"), "{error}");
    let reader = common::reader(&settings, "things").await;
    let findings = reader.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.severity == Severity::Error),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_store_without_ranges_is_read_all_the_same() {
    let store = Store::start().await;
    let settings = store.settings();
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    lane.upserts(0..300, 1).await;
    store.decide(|method, _| {
        if *method == Method::GET {
            Fault::Simple
        } else {
            Fault::None
        }
    });
    assert_eq!(rows(&settings, &lane.shape).await.len(), 300);
}

#[tokio::test]
async fn what_the_store_refuses_is_said_by_kind_and_without_secrets() {
    let store = Store::start().await;
    let settings = store.settings();
    Lane::open(&settings, "f", &shape("things")).await;
    for (fault, kind, word) in [
        (
            Fault::Refuse(403, "AccessDenied"),
            Kind::Unauthorized,
            "AccessDenied",
        ),
        (
            Fault::Refuse(400, "ExpiredToken"),
            Kind::Unauthorized,
            "ExpiredToken",
        ),
        (
            Fault::Refuse(404, "NoSuchBucket"),
            Kind::Config,
            "NoSuchBucket",
        ),
        (Fault::Html, Kind::Unexpected, "listing"),
    ] {
        store.decide(move |_, _| fault);
        let reader = common::reader(&settings, "things").await;
        let error = reader.discover().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.help_text().is_some());
        let shown = format!("{error:?} {}", error.chain());
        assert!(
            !shown.contains("very secret") && !shown.contains("Signature="),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_file_that_went_while_it_was_read_is_looked_up_anew_and_missed_in_words() {
    let store = Store::start().await;
    let settings = store.settings();
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    lane.upserts(0..50, 1).await;
    let reader = common::reader(&settings, "things").await;
    let columns = ["id".to_owned()];
    let key = ["code".to_owned(), "id".to_owned()];
    let page = lockstep_core::connector::Page {
        table: "things",
        columns: &columns,
        key: &key,
        limit: 10,
        ..Default::default()
    };
    assert_eq!(reader.scan(page).await.unwrap().len(), 10);
    assert!(store.lose("/things/") > 0);
    let error = reader.scan(page).await.unwrap_err();
    assert!(error.to_string().contains("not there any more"), "{error}");
    assert!(error.kind().is_retryable());
}

#[tokio::test]
async fn broken_files_are_errors_and_never_panics() {
    let root = tempfile::tempdir().unwrap();
    let settings = in_folder(root.path());
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    lane.upserts(0..40, 3).await;
    let file = data_files(root.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let read = async || -> Result<usize, Error> {
        let reader = common::reader(&settings, "things").await;
        let columns: Vec<String> = lane.shape.names().map(str::to_owned).collect();
        let key = ["code".to_owned(), "id".to_owned()];
        let page = lockstep_core::connector::Page {
            table: "things",
            columns: &columns,
            key: &key,
            limit: 1000,
            ..Default::default()
        };
        reader.scan(page).await.map(|rows| rows.len())
    };
    // Half a file, as a disk that lies leaves it.
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = read().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unexpected, "{error:?}");
    for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        broken[(at * 7) % whole.len()] = 0xff;
        fs::write(&file, &broken).unwrap();
        if let Err(error) = read().await {
            assert_ne!(error.kind(), Kind::Stopped, "{error:?}");
        }
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(read().await.unwrap(), 40);
    fs::write(
        root.path()
            .join("_lockstep/commits/00000000000000000002.json"),
        b"{\"format\": 1, ",
    )
    .unwrap();
    let error = read().await.unwrap_err();
    assert!(
        error.to_string().contains("00000000000000000002.json"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_committed_is_swept_and_foreign_files_are_not() {
    let root = tempfile::tempdir().unwrap();
    let settings = in_folder(root.path());
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    let folder = root.path().join("things");
    fs::create_dir_all(&folder).unwrap();
    let planted = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, b"x").unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 24 * 3600);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        path
    };
    let orphan = planted("018f0000-0000-7000-8000-000000000000.parquet");
    let foreign = planted("of somebody else.parquet");
    lane.upserts(0..5, 1).await;
    common::until("the orphan goes", || !orphan.exists());
    assert!(foreign.exists());
    assert_eq!(rows(&settings, &lane.shape).await.len(), 5);
}

#[tokio::test]
async fn a_table_stays_what_it_was_made_as() {
    let root = tempfile::tempdir().unwrap();
    let settings = in_folder(root.path());
    let lane = Lane::open(&settings, "f", &shape("things")).await;
    let mut other = settings.clone();
    other["tables"] = serde_json::json!({ "things": { "history": "append" } });
    let error = Lane::try_open(&other, "f", &shape("things"))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("current rows"), "{error}");
    let mut keyed = shape("things");
    keyed.key = vec![0];
    let findings = lane.sink.check(&[Arc::new(keyed)]).await.unwrap();
    assert!(findings[0].message.contains("sorted by"), "{findings:?}");
    // A row without a key, and one whose key is null.
    let mut change = upsert(&lane.shape, 1, 1);
    change.row.0[0] = lockstep_core::Value::Null.into();
    let receipt = lane.sink.apply(&lane.batch(vec![change])).await.unwrap();
    assert!(
        matches!(&receipt, Receipt::RolledBack(refused) if refused.len() == 1),
        "{receipt:?}"
    );
}

#[tokio::test]
async fn a_steady_stream_of_batches_asks_little_of_the_store() {
    let store = Store::start().await;
    let settings = store.settings();
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    lane.upserts(0..5, 1).await;
    lane.upserts(0..5, 2).await;
    store.requests();
    lane.upserts(0..5, 3).await;
    let asked: Vec<String> = store.requests();
    let puts = asked
        .iter()
        .filter(|request| request.starts_with("PUT"))
        .count();
    // A file, the commit, the table's list, and now and then a checkpoint; whole rows are not looked up.
    assert!(puts <= 5, "{asked:?}");
    assert!(
        !asked
            .iter()
            .any(|request| request.starts_with("GET") && request.contains("/things/0")),
        "{asked:?}"
    );
    assert!(
        store
            .paths()
            .iter()
            .any(|path| path.contains("/lake/_lockstep/checkpoints/"))
    );
}

fn data_files(root: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(root.join("things")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
