//! Bad files, full disks, other holders: the embedded engine says what is wrong, loses nothing it acknowledged and never panics.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lockstep::log::embedded::{Embedded, EmbeddedOptions};
use lockstep::log::{
    AckPolicy, Log, LogError, Message, PublishError, Result, Stored, StreamConfig,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::embedded::InFolder;
use crate::suite::{
    Fixture as _, config, expecting, fill, message, publish_one, stream, text, until,
};

async fn open(path: impl AsRef<Path>) -> Result<Arc<Embedded>> {
    Embedded::open(path, EmbeddedOptions::default()).await
}

/// A closed log with 200 messages of some size on four subjects, a durable consumer and a bucket.
async fn written(path: &Path) {
    let log = open(path).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    for n in 1..=200 {
        publish_one(&*log, sized(n)).await.unwrap();
    }
    let mut consumer = log
        .consume("s", crate::suite::durable("c", AckPolicy::All))
        .await
        .unwrap();
    consumer.fetch(10, Duration::from_secs(1)).await.unwrap();
    consumer.ack(7).await.unwrap();
    let bucket = log.bucket("b").await.unwrap();
    for n in 0..50 {
        bucket
            .put(&format!("k{n}"), format!("value {n}").into())
            .await
            .unwrap();
    }
    log.close().await.unwrap();
}

fn sized(n: u64) -> Message {
    let filler = "x".repeat(usize::try_from(n * 37 % 900).unwrap());
    Message {
        headers: vec![("ce-id".into(), n.to_string())],
        ..message(&format!("s.{}", n % 4), format!("{n}:{filler}"))
    }
}

fn is_damage(error: &LogError, path: &Path) -> bool {
    matches!(error, LogError::Corrupt { path: said, reason } if *said == path.display().to_string() && !reason.is_empty())
}

#[tokio::test]
async fn what_is_no_log_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    for bytes in [
        &b"hello"[..],
        &[0; 4096],
        &[7; 100_000],
        b"SQLite format 3\0",
    ] {
        fs::write(&path, bytes).unwrap();
        let error = open(&path).await.unwrap_err();
        assert!(is_damage(&error, &path), "{error:?}");
        // Nothing of it was changed.
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign
        .execute_batch("create table t (x); pragma user_version = 1;")
        .unwrap();
    drop(foreign);
    let error = open(&path).await.unwrap_err();
    assert!(error.to_string().contains("not a Lockstep log"), "{error}");
    // An empty file is a new log.
    let path = folder.path().join("empty.db");
    fs::write(&path, b"").unwrap();
    open(&path).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    written(&path).await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    match open(&path).await.unwrap_err() {
        LogError::Refused(reason) => assert!(reason.contains("format 99"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_truncated_file_is_damage() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    written(&path).await;
    let whole = fs::read(&path).unwrap();
    for kept in [
        whole.len() - 1,
        whole.len() - 4096,
        whole.len() / 2,
        4096,
        150,
        99,
        1,
    ] {
        fs::write(&path, &whole[..kept]).unwrap();
        match open(&path).await {
            Err(error) => assert!(is_damage(&error, &path), "{kept}: {error:?}"),
            Ok(_) => panic!("{kept} of {} bytes are not a log", whole.len()),
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_message_is_found_when_it_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    written(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"150:xxx";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at + 20] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let log = open(&path).await.unwrap();
    assert_eq!(
        text(&log.get("s", 149).await.unwrap().unwrap())[..4],
        *"149:"
    );
    let error = log.get("s", 150).await.unwrap_err();
    assert!(is_damage(&error, &path), "{error:?}");
    // The log still takes messages.
    publish_one(&*log, message("s.a", 1)).await.unwrap();
    log.close().await.unwrap();
}

/// Everything a log holds, as far as it can be read; what can be read must be what was written.
async fn read_all(path: &Path) -> Result<usize> {
    let log = open(path).await?;
    let outcome = read_open(&*log).await;
    // Closing a damaged log may fail, too; it must only not panic.
    let _ = log.close().await;
    outcome
}

async fn read_open(log: &dyn Log) -> Result<usize> {
    let mut seen = 0;
    let mut consumer = log.consume("s", config(AckPolicy::None)).await?;
    loop {
        let messages = consumer.fetch(64, Duration::ZERO).await?;
        if messages.is_empty() {
            break;
        }
        messages.iter().for_each(as_written);
        seen += messages.len();
    }
    for n in 1..=200 {
        if let Some(found) = log.get("s", n).await? {
            as_written(&found);
        }
    }
    log.consume("s", crate::suite::durable("c", AckPolicy::All))
        .await?;
    for entry in log.bucket("b").await?.list("").await? {
        assert_eq!(entry.value, format!("value {}", &entry.key[1..]));
    }
    Ok(seen)
}

fn as_written(found: &Stored) {
    let expected = sized(found.seq);
    assert_eq!(found.subject, expected.subject);
    assert_eq!(found.headers, expected.headers);
    assert_eq!(found.payload, expected.payload);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to the bytes of the file, no wrong message is ever read, none is skipped in silence, and nothing panics.
    #[test]
    fn no_damage_is_read_as_if_it_were_sound(
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6),
        unclean in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("log.db");
            fs::copy(sample(), &path).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            for (at, bits) in hits {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            fs::write(&path, &bytes).unwrap();
            if unclean {
                fs::write(folder.path().join("log.db.lock"), "process 1").unwrap();
            }
            if let Ok(seen) = read_all(&path).await {
                assert_eq!(seen, 200, "messages were skipped in silence");
            }
        });
    }
}

/// A sound log, written once.
fn sample() -> &'static Path {
    static SAMPLE: std::sync::OnceLock<(TempDir, std::path::PathBuf)> = std::sync::OnceLock::new();
    let (_, path) = SAMPLE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log.db");
        let write = || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(written(&path));
        };
        std::thread::scope(|scope| scope.spawn(write).join().unwrap());
        (folder, path)
    });
    path
}

#[tokio::test]
async fn a_second_runtime_in_the_process_is_refused() {
    let fixture = InFolder::fresh().await;
    let path = InFolder::path(&fixture.folder);
    match open(&path).await.unwrap_err() {
        LogError::InUse { holder, .. } => {
            assert_eq!(holder, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    fixture.log.close().await.unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let fixture = InFolder::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    fill(&*log, 1..=3).await;
    let mut consumer = log.consume("s", config(AckPolicy::Explicit)).await.unwrap();
    let bucket = log.bucket("b").await.unwrap();
    let mut watch = bucket.watch("").await.unwrap();
    fixture.log.close().await.unwrap();
    fixture.log.close().await.unwrap();
    assert_eq!(log.get("s", 1).await.unwrap_err(), LogError::Closed);
    assert_eq!(log.last("s", "s.a").await.unwrap_err(), LogError::Closed);
    assert_eq!(log.stream("s").await.unwrap_err(), LogError::Closed);
    assert_eq!(
        consumer.fetch(1, Duration::from_secs(9)).await.unwrap_err(),
        LogError::Closed
    );
    assert_eq!(consumer.ack(1).await.unwrap_err(), LogError::Closed);
    assert_eq!(
        bucket.put("k", "v".into()).await.unwrap_err(),
        LogError::Closed
    );
    assert_eq!(watch.recv().await, None);
    let answer = publish_one(&*log, message("s.a", 1)).await;
    assert!(
        matches!(answer, Err(PublishError::Storage(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_fetch_under_way_ends_when_the_log_closes() {
    let fixture = InFolder::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let waiting = tokio::spawn(async move { consumer.fetch(1, Duration::from_secs(600)).await });
    tokio::task::yield_now().await;
    fixture.log.close().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), LogError::Closed);
}

#[tokio::test]
async fn a_dropped_log_is_closed_soon_after() {
    let fixture = InFolder::fresh().await;
    let path = InFolder::path(&fixture.folder);
    fixture.log.ensure_stream(&stream("s")).await.unwrap();
    fill(&*fixture.log, 1..=10).await;
    let InFolder { folder, log, .. } = fixture;
    drop(log);
    let log = until("the lock is free", || async { open(&path).await.ok() }).await;
    assert_eq!(log.stream("s").await.unwrap().messages, 10);
    drop(folder);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    // A file where a folder should be, a folder where the file should be, a file system that takes no files.
    let occupied = folder.path().join("occupied.db");
    fs::create_dir(&occupied).unwrap();
    for path in [file.join("log.db"), occupied, "/proc/lockstep.db".into()] {
        match open(&path).await.unwrap_err() {
            LogError::Storage(reason) => {
                let named = path.parent().unwrap().display().to_string();
                assert!(reason.contains(&named), "{reason}");
            }
            other => panic!("{path:?}: {other:?}"),
        }
    }
}

/// Publishes until the log refuses; gives how many were stored.
async fn publish_until_full(log: &dyn Log) -> (u64, PublishError) {
    let mut stored = 0;
    loop {
        match publish_one(
            log,
            message("s.a", format!("{stored}:{}", "x".repeat(20_000))),
        )
        .await
        {
            Ok(_) => stored += 1,
            Err(error) => return (stored, error),
        }
        assert!(stored < 100_000, "it never filled up");
    }
}

fn ageing() -> StreamConfig {
    StreamConfig {
        max_age: Some(Duration::from_secs(2)),
        duplicate_window: Duration::from_secs(1),
        ..stream("s")
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    let options = EmbeddedOptions {
        max_bytes: Some(1024 * 1024),
        ..EmbeddedOptions::default()
    };
    let log = Embedded::open(&path, options.clone()).await.unwrap();
    log.ensure_stream(&ageing()).await.unwrap();
    let (stored, error) = publish_until_full(&*log).await;
    assert!(
        matches!(&error, PublishError::Storage(reason) if reason.contains("full")),
        "{error:?}"
    );
    let batch = (0..20)
        .map(|_| message("s.b", "x".repeat(20_000)))
        .collect();
    assert!(log.publish_atomic("s", batch).await.is_err());
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.messages, info.last_seq), (stored, stored));
    assert!(
        log.last("s", "s.b").await.unwrap().is_none(),
        "half a batch was stored"
    );
    // Nothing acknowledged is lost, also for who comes after a crash.
    log.crash().await;
    let log = Embedded::open(&path, options).await.unwrap();
    let info = log.stream("s").await.unwrap();
    assert_eq!(info.last_seq, stored);
    // Age makes room, and its space is used again: as much fits as before.
    for round in 0..3 {
        until("age makes room", || async {
            log.enforce_limits("s").await.unwrap();
            (log.stream("s").await.unwrap().messages == 0).then_some(())
        })
        .await;
        let (again, _) = publish_until_full(&*log).await;
        assert!(again + 2 >= stored, "round {round}: {again} of {stored}");
    }
    assert!(fs::metadata(&path).unwrap().len() <= 1024 * 1024);
}

/// A file system of its own, if this user may mount one.
struct Mount(TempDir);

impl Mount {
    fn new(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }

    fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,size={size}")])
            .arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The same on a file system that really is full; where nobody may mount one, the test above has to do.
#[tokio::test]
async fn a_full_file_system_refuses_and_goes_on_when_there_is_room() {
    let Some(mount) = Mount::new("3m") else {
        return;
    };
    let path = mount.0.path().join("log.db");
    let log = open(&path).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    let (stored, error) = publish_until_full(&*log).await;
    assert!(matches!(&error, PublishError::Storage(_)), "{error:?}");
    let last = log.last("s", "s.a").await.unwrap().unwrap();
    assert_eq!(last.seq, stored);
    mount.resize("12m");
    let ack = publish_one(&*log, expecting("s.a", "more", stored))
        .await
        .unwrap();
    assert_eq!(ack.seq, stored + 1);
    log.crash().await;
    let log = open(&path).await.unwrap();
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let messages = crate::suite::take(&mut *consumer, usize::try_from(stored).unwrap() + 1).await;
    for (n, message) in messages[..usize::try_from(stored).unwrap()]
        .iter()
        .enumerate()
    {
        assert!(text(message).starts_with(&format!("{n}:")));
    }
    log.close().await.unwrap();
}

/// The write-ahead log is cut after a checkpoint, so the folder holds about what the log holds.
#[tokio::test]
async fn the_write_ahead_log_does_not_grow_for_ever() {
    let fixture = InFolder::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut reader = log.consume("s", config(AckPolicy::None)).await.unwrap();
    for n in 0..1200_u32 {
        let frame = Message {
            payload: vec![n as u8; 128 * 1024].into(),
            ..message("s.a", "")
        };
        publish_one(&*log, frame).await.unwrap();
        assert_eq!(
            reader
                .fetch(10, Duration::from_secs(5))
                .await
                .unwrap()
                .len(),
            1
        );
    }
    let wal = fixture.folder.path().join("lockstep.db-wal");
    let size = fs::metadata(&wal).unwrap().len();
    assert!(size <= 64 * 1024 * 1024, "{size}");
    fixture.log.close().await.unwrap();
    assert_eq!(fs::metadata(&wal).map_or(0, |meta| meta.len()), 0);
}
