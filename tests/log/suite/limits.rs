//! Promises about what is kept: sizes, ages, states, leases, and that a loss is told.

use std::time::{Duration, Instant};

use lockstep::log::{
    AckPolicy, ConsumerConfig, LogError, Message, PublishError, Start, StreamConfig, StreamInfo,
};

use super::*;

const AGE: Duration = Duration::from_secs(1);

async fn limited<F: Fixture>(config: StreamConfig) -> (F, Arc<dyn Log>) {
    let fixture = F::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&config).await.unwrap();
    (fixture, log)
}

fn ageing() -> StreamConfig {
    StreamConfig {
        max_age: Some(AGE),
        duplicate_window: AGE,
        ..stream("s")
    }
}

async fn aged_out(log: &dyn Log) -> StreamInfo {
    until("old messages are gone", || async {
        log.enforce_limits("s").await.unwrap();
        let info = log.stream("s").await.unwrap();
        (info.messages == 0).then_some(info)
    })
    .await
}

pub(crate) async fn a_full_stream_refuses_and_keeps_the_old<F: Fixture>() {
    let small = StreamConfig {
        max_bytes: Some(10_000),
        ..stream("s")
    };
    let (_fixture, log) = limited::<F>(small).await;
    let large = || message("s.a", "x".repeat(1000));
    let mut stored = 0;
    let refused = loop {
        match publish_one(&*log, large()).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 20);
    };
    assert!(
        matches!(&refused, PublishError::Full { stream, .. } if stream == "s"),
        "{refused:?}"
    );
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first_seq, info.messages), (1, stored));
    assert!(info.bytes <= 10_000 && stored >= 5, "{info:?}");
    let batch = log
        .publish_atomic("s", vec![message("s.a", 1), large()])
        .await;
    assert!(
        matches!(batch, Err((1, PublishError::Full { .. }))),
        "{batch:?}"
    );
    assert_eq!(log.stream("s").await.unwrap(), info);
}

pub(crate) async fn old_messages_go_and_the_first_sequence_moves<F: Fixture>() {
    let (fixture, log) = limited::<F>(ageing()).await;
    fill(&*log, 1..=2500).await;
    assert_eq!(log.stream("s").await.unwrap().messages, 2500);
    let info = aged_out(&*log).await;
    assert_eq!((info.first_seq, info.last_seq, info.bytes), (2501, 2500, 0));
    assert!(log.get("s", 1).await.unwrap().is_none());
    fill(&*log, 2501..=2502).await;
    drop(log);
    let fixture = fixture.killed().await;
    // A restart may take so long that these have aged as well.
    let info = fixture.log().stream("s").await.unwrap();
    assert!(info.first_seq >= 2501 && info.last_seq == 2502, "{info:?}");
    assert_eq!(info.first_seq + info.messages, 2503);
}

pub(crate) async fn a_full_stream_takes_more_once_age_makes_room<F: Fixture>() {
    let both = StreamConfig {
        max_bytes: Some(5_000),
        ..ageing()
    };
    let (_fixture, log) = limited::<F>(both).await;
    let large = || message("s.a", "x".repeat(1000));
    while publish_one(&*log, large()).await.is_ok() {}
    until("there is room again", || async {
        publish_one(&*log, large()).await.ok()
    })
    .await;
    assert!(log.stream("s").await.unwrap().bytes <= 5_000);
}

pub(crate) async fn a_reader_that_lost_messages_is_told<F: Fixture>() {
    let (_fixture, log) = limited::<F>(ageing()).await;
    fill(&*log, 1..=10).await;
    let mut behind = log
        .consume("s", durable("behind", AckPolicy::All))
        .await
        .unwrap();
    take(&mut *behind, 5).await;
    behind.ack(5).await.unwrap();
    let mut done = log
        .consume("s", durable("done", AckPolicy::All))
        .await
        .unwrap();
    take(&mut *done, 10).await;
    done.ack(10).await.unwrap();
    aged_out(&*log).await;
    fill(&*log, 11..=11).await;
    let gap = |answer: Result<_, LogError>, wanted: u64| match answer {
        Err(LogError::Gap {
            first,
            wanted: found,
            ..
        }) => assert_eq!((first, found), (11, wanted)),
        Err(other) => panic!("{other:?}"),
        Ok(()) => panic!("the gap at {wanted} was not told"),
    };
    let mut next = 6;
    // A copy that still has the lost messages may give them; none is skipped.
    while F::COPIES_LAG && next < 11 {
        match behind.fetch(1, DEADLINE).await {
            Ok(messages) => {
                assert_eq!(sequences(&messages), [next]);
                next += 1;
            }
            told => {
                gap(told.map(drop), next);
                break;
            }
        }
    }
    if !F::COPIES_LAG {
        gap(behind.fetch(1, DEADLINE).await.map(drop), 6);
    }
    drop(behind);
    gap(
        log.consume("s", durable("behind", AckPolicy::All))
            .await
            .map(drop),
        6,
    );
    let start = ConsumerConfig {
        start: Start::Seq(3),
        ..config(AckPolicy::None)
    };
    gap(log.consume("s", start).await.map(drop), 3);
    gap(done.reset(10).await, 10);
    // Who had read everything goes on.
    assert_eq!(sequences(&take(&mut *done, 1).await), [11]);
}

pub(crate) async fn a_reader_of_other_subjects_lost_nothing<F: Fixture>() {
    let (_fixture, log) = limited::<F>(ageing()).await;
    let quiet = ConsumerConfig {
        filters: vec!["s.quiet".into()],
        ..durable("quiet", AckPolicy::All)
    };
    publish_one(&*log, message("s.quiet", 1)).await.unwrap();
    let mut consumer = log.consume("s", quiet.clone()).await.unwrap();
    take(&mut *consumer, 1).await;
    consumer.ack(1).await.unwrap();
    drop(consumer);
    fill(&*log, 2..=10).await;
    aged_out(&*log).await;
    publish_one(&*log, message("s.quiet", 11)).await.unwrap();
    let mut consumer = log.consume("s", quiet).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [11]);
}

pub(crate) async fn a_subject_keeps_its_last_messages<F: Fixture>() {
    let states = StreamConfig {
        max_per_subject: Some(2),
        ..stream("s")
    };
    let (fixture, log) = limited::<F>(states).await;
    let mut reader = log
        .consume("s", durable("c", AckPolicy::All))
        .await
        .unwrap();
    for n in 1..=9 {
        publish_one(&*log, message(&format!("s.{}", n % 3), n))
            .await
            .unwrap();
    }
    publish_one(&*log, message("s.once", 10)).await.unwrap();
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first_seq, info.last_seq, info.messages), (4, 10, 7));
    let mut given = Vec::new();
    while given.last() != Some(&10) {
        given.extend(sequences(&take(&mut *reader, 1).await));
    }
    assert!(given.is_sorted_by(|one, next| one < next), "{given:?}");
    // A copy that has not heard of the newer ones yet gives older ones too.
    given.retain(|seq| !F::COPIES_LAG || *seq >= info.first_seq);
    assert_eq!(given, [4, 5, 6, 7, 8, 9, 10]);
    drop((reader, log));
    let fixture = fixture.killed().await;
    let log = fixture.log();
    assert_eq!(log.stream("s").await.unwrap(), info);
    assert_eq!(log.last("s", "s.0").await.unwrap().unwrap().seq, 9);
    publish_one(&*log, expecting("s.0", 11, 9)).await.unwrap();
    assert!(log.get("s", 6).await.unwrap().is_none());
    assert!(log.get("s", 9).await.unwrap().is_some());
}

pub(crate) async fn a_subject_that_aged_out_starts_at_zero<F: Fixture>() {
    let (_fixture, log) = limited::<F>(ageing()).await;
    fill(&*log, 1..=3).await;
    aged_out(&*log).await;
    assert!(log.last("s", "s.a").await.unwrap().is_none());
    let stale = publish_one(&*log, expecting("s.a", 4, 3)).await;
    assert!(
        matches!(stale, Err(PublishError::WrongLast { actual: 0, .. })),
        "{stale:?}"
    );
    assert_eq!(
        publish_one(&*log, expecting("s.a", 4, 0))
            .await
            .unwrap()
            .seq,
        4
    );
}

fn lease(holder: &str, last: u64, ttl: u64) -> Message {
    Message {
        ttl: Some(Duration::from_secs(ttl)),
        ..expecting("s.lease", holder, last)
    }
}

async fn leases<F: Fixture>() -> (F, Arc<dyn Log>) {
    limited::<F>(StreamConfig {
        max_per_subject: Some(1),
        ..stream("s")
    })
    .await
}

pub(crate) async fn a_lease_ends_by_itself<F: Fixture>() {
    let (_fixture, log) = leases::<F>().await;
    let started = Instant::now();
    publish_one(&*log, lease("one", 0, 1)).await.unwrap();
    let rival = publish_one(&*log, lease("two", 0, 1)).await;
    assert!(matches!(
        rival,
        Err(PublishError::WrongLast { actual: 1, .. })
    ));
    until("the lease is over", || async {
        publish_one(&*log, lease("two", 0, 60)).await.ok()
    })
    .await;
    let held = started.elapsed();
    assert!(
        held >= Duration::from_millis(990) && held < Duration::from_secs(5),
        "{held:?}"
    );
    assert_eq!(
        text(&log.last("s", "s.lease").await.unwrap().unwrap()),
        "two"
    );
    let short = Message {
        ttl: Some(Duration::from_millis(999)),
        ..message("s.lease", "x")
    };
    assert!(matches!(
        publish_one(&*log, short).await,
        Err(PublishError::Refused(_))
    ));
}

pub(crate) async fn a_lease_is_renewed_by_its_holder_alone<F: Fixture>() {
    let (fixture, log) = leases::<F>().await;
    let mut held = publish_one(&*log, lease("one", 0, 1)).await.unwrap().seq;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        held = publish_one(&*log, lease("one", held, 1)).await.unwrap().seq;
        assert!(publish_one(&*log, lease("two", 0, 1)).await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        text(&log.last("s", "s.lease").await.unwrap().unwrap()),
        "one"
    );
    // The clock runs on while the log is down.
    drop(log);
    let fixture = fixture.killed().await;
    let log = fixture.log();
    until("the lease is over", || async {
        log.last("s", "s.lease")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    publish_one(&*log, lease("two", 0, 1)).await.unwrap();
}

pub(crate) async fn sequences_are_never_given_twice<F: Fixture>() {
    let (fixture, log) = limited::<F>(ageing()).await;
    fill(&*log, 1..=3).await;
    aged_out(&*log).await;
    drop(log);
    let fixture = fixture.killed().await;
    let log = fixture.log();
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first_seq, info.last_seq, info.messages), (4, 3, 0));
    assert_eq!(publish_one(&*log, message("s.a", 4)).await.unwrap().seq, 4);
}
