//! Where a delivery goes on: never past what it has not applied.

use std::time::Duration;

use lockstep_core::log::Channel;
use lockstep_servers::nats::{Options, Server};

use super::super::feed::{Feed, Versioned};
use super::*;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::nats::{Nats, NatsOptions};
use crate::log::{Message, StreamConfig};
use crate::versions::{Readings, Versions};

/// Both engines, as far as they are there, keeping messages this long; what keeps them alive comes along.
async fn engines(max_age: Option<Duration>) -> Vec<(Arc<dyn Log>, Box<dyn Send>)> {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(folder.path().join("log.db"), EmbeddedOptions::default()).await;
    let mut engines: Vec<(Arc<dyn Log>, Box<dyn Send>)> =
        vec![(embedded.unwrap(), Box::new(folder))];
    let options = Options {
        sync_always: false,
        ..Options::default()
    };
    if let Some(server) = Server::start(&options) {
        let options = NatsOptions {
            servers: vec![server.url()],
            ..NatsOptions::default()
        };
        engines.push((Nats::open(options).await.unwrap(), Box::new(server)));
    }
    for (log, _) in &engines {
        let config = StreamConfig {
            name: SETTLED.to_owned(),
            subjects: vec!["ls.set.>".to_owned()],
            max_age,
            max_bytes: None,
            max_per_subject: None,
            duplicate_window: Duration::from_secs(1),
        };
        log.ensure_stream(&config).await.unwrap();
    }
    engines
}

fn channel() -> Channel {
    crate::capture::tests::channel()
}

fn lane(lane: u32) -> String {
    subject::settled("thing", 1, lane)
}

fn position(commit: u64) -> Position {
    format!("i/{commit:016x}.00000000").parse().unwrap()
}

async fn publish(log: &dyn Log, subject: String, commit: u64) -> u64 {
    let message = Message {
        subject,
        headers: vec![(POSITION.to_owned(), position(commit).to_string())],
        ..Message::default()
    };
    let mut outcome = log.publish(SETTLED, vec![message]).await;
    outcome.pop().unwrap().unwrap().seq
}

/// What a target that applied these says.
async fn known(log: &dyn Log, steps: &[(u32, u64, u64)]) -> Vec<LaneProgress> {
    let life = log.stream(SETTLED).await.unwrap().created.as_microsecond();
    let step = |(number, reached, commit): &(u32, u64, u64)| LaneProgress {
        lane: format!("{}#{life}", lane(*number)),
        expected: *reached,
        reached: *reached,
        position: Some(position(*commit)),
    };
    steps.iter().map(step).collect()
}

/// Where a delivery whose target applied these goes on; the code of what keeps it from that otherwise.
async fn goes_on(log: &Arc<dyn Log>, steps: &[(u32, u64, u64)]) -> Result<u64, &'static str> {
    let channel = Arc::new(channel());
    let known = known(&**log, steps).await;
    let code = |error: Error| {
        assert!(!error.kind().is_retryable(), "{error}");
        error.error_code().unwrap_or("none")
    };
    let contract = &channel.contract;
    let lanes = BTreeMap::from([(contract.version.major, contract.lanes)]);
    let progress = Progress::of(log, &contract.entity, &lanes, known, None)
        .await
        .map_err(code)?;
    let versioned = Versioned {
        versions: Arc::new(Versions::open(&**log).await.unwrap()),
        readings: Readings::new("crm", Arc::clone(contract)),
        own: Arc::clone(contract),
        pinned: false,
    };
    let feed = Feed::open(&**log, versioned, &lanes, &progress).await;
    feed.map_err(code)?;
    Ok(progress.next())
}

async fn aged_out(log: &dyn Log) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        log.enforce_limits(SETTLED).await.unwrap();
        if log.stream(SETTLED).await.unwrap().messages == 0 {
            return;
        }
        assert!(std::time::Instant::now() < until, "nothing ages out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_aged_out_unapplied_are_an_alarm_and_applied_ones_are_not() {
    for (log, _alive) in engines(Some(Duration::from_secs(2))).await {
        publish(&*log, lane(0), 1).await;
        publish(&*log, lane(1), 2).await;
        publish(&*log, lane(1), 3).await;
        publish(&*log, "ls.set.other.v1.0".to_owned(), 4).await;
        aged_out(&*log).await;
        assert_eq!(goes_on(&log, &[]).await, Err("LS-L003"));
        assert_eq!(goes_on(&log, &[(0, 1, 1)]).await, Err("LS-L003"));
        assert_eq!(goes_on(&log, &[(0, 1, 1), (1, 2, 2)]).await, Err("LS-L003"));
        // The quiet lane is far behind the other, and nothing of it is missing.
        assert_eq!(goes_on(&log, &[(0, 1, 1), (1, 3, 3)]).await, Ok(4));
        publish(&*log, lane(0), 5).await;
        assert_eq!(goes_on(&log, &[(0, 1, 1), (1, 3, 3)]).await, Ok(4));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_behind_its_target_is_an_alarm_even_once_it_has_grown_again() {
    for (log, _alive) in engines(None).await {
        for commit in 1..=3 {
            publish(&*log, lane(1), commit).await;
        }
        publish(&*log, lane(0), 4).await;
        assert_eq!(goes_on(&log, &[(1, 3, 3)]).await, Ok(4));
        assert_eq!(goes_on(&log, &[(1, 3, 3), (0, 4, 4)]).await, Ok(5));
        // It ends before what was applied.
        assert_eq!(goes_on(&log, &[(1, 88, 3)]).await, Err("LS-L010"));
        // It has that sequence, for something else.
        assert_eq!(goes_on(&log, &[(1, 3, 9)]).await, Err("LS-L010"));
        assert_eq!(goes_on(&log, &[(0, 3, 3)]).await, Err("LS-L010"));
        publish(&*log, "ls.set.other.v1.0".to_owned(), 5).await;
        assert_eq!(goes_on(&log, &[(0, 5, 5)]).await, Err("LS-L010"));
    }
}
