//! What was acknowledged survives SIGKILL: a real process publishes, is killed at a random moment, and its log is read.
//!
//! The process is this test program, started again with [`CHILD`] set; it says what was acknowledged, line by line.
//! Every round goes on with the same file, so later rounds also find what earlier kills left behind.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lockstep::log::embedded::{Embedded, EmbeddedOptions};
use lockstep::log::{AckPolicy, Log, LogError, Stored};
use tempfile::TempDir;

use crate::suite::{DEADLINE, config, expecting, message, stream, take, text};

const CHILD: &str = "LOCKSTEP_TEST_LOG";
const ROUNDS: u32 = 12;
const BATCH: u64 = 7;

/// A child process that is killed with its handle.
struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Child {
    fn start(log: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["crash::publish_until_killed", "--exact", "--nocapture"])
            .env(CHILD, log)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, lines }
    }

    /// Kills it (SIGKILL) and gives everything it said since.
    fn kill(&mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }

    fn first_line(&self) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(DEADLINE)
                .expect("the child says something in time");
            if line.starts_with("acked ") {
                return line;
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child's part; a test that does nothing unless it was started by another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_until_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let log = Embedded::open(path, EmbeddedOptions::default())
        .await
        .unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut tasks = Vec::new();
    for writer in 0..3 {
        let log = Arc::clone(&log);
        tasks.push(tokio::spawn(async move {
            singles(&*log, &format!("s.{writer}")).await;
        }));
    }
    tasks.push(tokio::spawn(async move {
        batches(&*log).await;
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

/// Counts on one subject, guarded by its last sequence, from where an earlier process left off.
async fn singles(log: &dyn Log, subject: &str) {
    let last = log.last("s", subject).await.unwrap();
    let (mut seq, mut number) = match &last {
        Some(last) => (last.seq, text(last).parse::<u64>().unwrap()),
        None => (0, 0),
    };
    loop {
        number += 1;
        let answer = log
            .publish("s", vec![expecting(subject, number, seq)])
            .await
            .remove(0);
        seq = answer.unwrap().seq;
        println!("acked {subject} {number} {seq} .");
    }
}

/// Atomic batches on one subject, each message with the batch's number and its own.
async fn batches(log: &dyn Log) {
    let last = log.last("s", "s.batch").await.unwrap();
    let mut batch: u64 = last.map_or(0, |last| {
        text(&last).split_once('/').unwrap().0.parse().unwrap()
    });
    loop {
        batch += 1;
        let messages = (0..BATCH)
            .map(|n| message("s.batch", format!("{batch}/{n}")))
            .collect();
        let acks = log.publish_atomic("s", messages).await.unwrap();
        for (n, ack) in acks.iter().enumerate() {
            println!("acked s.batch {batch}/{n} {} .", ack.seq);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_killed_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    let mut acked = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Child::start(&path);
        let first = child.first_line();
        // The moment is random; whatever it is, the promise is the same.
        let moment = Duration::from_millis(random() % 120);
        tokio::time::sleep(moment).await;
        assert!(
            child.process.try_wait().unwrap().is_none(),
            "the child ended by itself"
        );
        let lines = child.kill();
        for line in std::iter::once(first).chain(lines) {
            if let Some((payload, seq)) = parse(&line) {
                assert_eq!(
                    acked.insert(seq, payload),
                    None,
                    "sequence {seq} was given twice"
                );
            }
        }
        let log = Embedded::open(&path, EmbeddedOptions::default())
            .await
            .unwrap();
        check(&*log, &acked, round).await;
        log.close().await.unwrap();
    }
    assert!(
        acked.len() > ROUNDS as usize,
        "the children did next to nothing"
    );
}

/// A number nobody chose.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A line may be cut where the kill hit it; a whole one ends with a dot.
fn parse(line: &str) -> Option<((String, String), u64)> {
    let mut words = line.strip_prefix("acked ")?.strip_suffix(" .")?.split(' ');
    let (subject, payload, seq) = (words.next()?, words.next()?, words.next()?);
    Some(((subject.to_owned(), payload.to_owned()), seq.parse().ok()?))
}

async fn check(log: &dyn Log, acked: &BTreeMap<u64, (String, String)>, round: u32) {
    let info = log.stream("s").await.unwrap();
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let count = usize::try_from(info.messages).unwrap();
    let messages = take(&mut *consumer, count).await;
    assert_eq!(messages.first().map(|message| message.seq), Some(1));
    assert_eq!(
        messages.last().map(|message| message.seq),
        Some(info.last_seq)
    );
    let by_seq: BTreeMap<u64, &Stored> = messages
        .iter()
        .map(|message| (message.seq, message))
        .collect();
    assert_eq!(by_seq.len(), count);
    for (seq, (subject, payload)) in acked {
        let found = by_seq
            .get(seq)
            .unwrap_or_else(|| panic!("round {round}: {seq} is lost"));
        assert_eq!(
            (&found.subject, text(found)),
            (subject, payload.as_str()),
            "round {round}: {seq}"
        );
    }
    for writer in 0..3 {
        let subject = format!("s.{writer}");
        let numbers = messages.iter().filter(|message| message.subject == subject);
        let numbers: Vec<u64> = numbers
            .map(|message| text(message).parse().unwrap())
            .collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "round {round}: each once and in order");
    }
    let batched: Vec<&Stored> = messages
        .iter()
        .filter(|message| message.subject == "s.batch")
        .collect();
    assert_eq!(
        batched.len() as u64 % BATCH,
        0,
        "round {round}: a torn batch"
    );
    for (batch, whole) in (1..).zip(batched.chunks(BATCH as usize)) {
        for (n, message) in whole.iter().enumerate() {
            assert_eq!(text(message), format!("{batch}/{n}"), "round {round}");
            assert_eq!(
                message.seq,
                whole[0].seq + n as u64,
                "round {round}: a gap in a batch"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_keeps_the_log_until_it_dies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.db");
    let mut child = Child::start(&path);
    child.first_line();
    let refused = Embedded::open(&path, EmbeddedOptions::default())
        .await
        .unwrap_err();
    let holder = format!("process {}", child.process.id());
    assert_eq!(
        refused,
        LogError::InUse {
            path: path.display().to_string(),
            holder
        }
    );
    child.kill();
    // The lock died with it.
    Embedded::open(&path, EmbeddedOptions::default())
        .await
        .unwrap();
}
