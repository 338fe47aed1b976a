//! Promises about bad days: what an engine that can show a fault shows, so that those who use a log can be tested against it.

use std::time::{Duration, Instant};

use lockstep::log::{AckPolicy, LogError, PublishError};

use super::*;

pub(crate) async fn a_lost_acknowledgement_leaves_the_message<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    if !fixture.inject(Fault::LoseAck) {
        return;
    }
    let answer = publish_one(&*log, expecting("s.a", 1, 0)).await;
    assert!(
        matches!(answer, Err(PublishError::Unknown(_))),
        "{answer:?}"
    );
    // The writer finds out by reading, as it must.
    let last = log.last("s", "s.a").await.unwrap().unwrap();
    assert_eq!(text(&last), "1");
    let again = publish_one(&*log, expecting("s.a", 1, 0)).await;
    assert!(
        matches!(again, Err(PublishError::WrongLast { actual: 1, .. })),
        "{again:?}"
    );
}

pub(crate) async fn a_failed_commit_leaves_nothing<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    let before = log.stream("s").await.unwrap();
    if !fixture.inject(Fault::FailCommit) {
        return;
    }
    let answer = publish_one(&*log, message("s.new", 1)).await;
    assert!(
        matches!(answer, Err(PublishError::Storage(_))),
        "{answer:?}"
    );
    assert_eq!(log.stream("s").await.unwrap(), before);
    assert!(log.last("s", "s.new").await.unwrap().is_none());
    assert_eq!(
        publish_one(&*log, message("s.new", 1)).await.unwrap().seq,
        4
    );
}

pub(crate) async fn a_delivery_may_come_twice<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    if !fixture.inject(Fault::DoubleFetch) {
        return;
    }
    let mut consumer = log.consume("s", config(AckPolicy::Explicit)).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 3).await), [1, 2, 3]);
    let again = take(&mut *consumer, 3).await;
    assert_eq!(sequences(&again), [1, 2, 3]);
    assert!(again.iter().all(|message| message.deliveries == 2));
    nothing(&mut *consumer).await;
}

pub(crate) async fn a_read_may_be_stale<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    if !fixture.inject(Fault::StaleRead) {
        return;
    }
    assert_eq!(log.last("s", "s.a").await.unwrap().unwrap().seq, 2);
    assert_eq!(log.last("s", "s.a").await.unwrap().unwrap().seq, 3);
}

pub(crate) async fn a_cut_connection_is_an_error_once<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    let mut consumer = log.consume("s", config(AckPolicy::Explicit)).await.unwrap();
    if !fixture.inject(Fault::FailFetch) {
        return;
    }
    assert!(matches!(
        consumer.fetch(3, DEADLINE).await,
        Err(LogError::Storage(_) | LogError::Unreachable { .. })
    ));
    assert_eq!(sequences(&take(&mut *consumer, 3).await), [1, 2, 3]);
}

pub(crate) async fn a_slow_commit_is_waited_for<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    let delay = Duration::from_millis(200);
    if !fixture.inject(Fault::SlowCommit(delay)) {
        return;
    }
    let started = Instant::now();
    publish_one(&*log, message("s.a", 1)).await.unwrap();
    assert!(started.elapsed() >= delay);
    // Who comes meanwhile shares the next commit.
    let started = Instant::now();
    let publishers = (0..20).map(|n| {
        let log = Arc::clone(&log);
        tokio::spawn(async move { publish_one(&*log, message("s.a", n)).await.unwrap() })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    assert!(started.elapsed() < delay * 10, "{:?}", started.elapsed());
}

pub(crate) async fn a_fenced_writer_learns_it<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let old = publish_one(&*log, expecting("s.pos", "epoch 1", 0))
        .await
        .unwrap()
        .seq;
    let new = publish_one(&*log, expecting("s.pos", "epoch 2", old))
        .await
        .unwrap()
        .seq;
    let zombie = vec![message("s.a", "late"), expecting("s.pos", "epoch 1", old)];
    let refused = log.publish_atomic("s", zombie).await;
    assert_eq!(
        refused,
        Err((
            1,
            PublishError::WrongLast {
                subject: "s.pos".into(),
                actual: new
            }
        ))
    );
    assert!(log.last("s", "s.a").await.unwrap().is_none());
}
