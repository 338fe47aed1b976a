//! Promises about acknowledgements: what comes again, when, and how it is counted.

use std::time::{Duration, Instant};

use lockstep::log::{AckPolicy, ConsumerConfig, LogError};

use super::*;

const WAIT: Duration = Duration::from_secs(1);

fn waiting(ack: AckPolicy) -> ConsumerConfig {
    ConsumerConfig {
        ack_wait: WAIT,
        ..durable("c", ack)
    }
}

pub(crate) async fn what_is_not_acknowledged_comes_again_and_is_counted<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    let mut consumer = log
        .consume("s", waiting(AckPolicy::Explicit))
        .await
        .unwrap();
    let started = Instant::now();
    take(&mut *consumer, 3).await;
    consumer.ack(2).await.unwrap();
    for deliveries in [2, 3] {
        let again = take(&mut *consumer, 2).await;
        assert_eq!(sequences(&again), [1, 3]);
        assert!(again.iter().all(|message| message.deliveries == deliveries));
    }
    assert!(started.elapsed() >= WAIT * 2 - Duration::from_millis(50));
    consumer.ack(1).await.unwrap();
    consumer.ack(3).await.unwrap();
    assert!(consumer.fetch(1, WAIT + QUIET).await.unwrap().is_empty());
}

pub(crate) async fn an_acknowledgement_of_all_covers_what_came_before<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=6).await;
    let mut consumer = log.consume("s", waiting(AckPolicy::All)).await.unwrap();
    take(&mut *consumer, 6).await;
    consumer.ack(4).await.unwrap();
    assert_eq!(consumer.pending().await.unwrap(), (0, 2));
    assert_eq!(sequences(&take(&mut *consumer, 2).await), [5, 6]);
}

pub(crate) async fn explicit_acknowledgements_stand_alone<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=6).await;
    let mut consumer = log
        .consume("s", waiting(AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *consumer, 6).await;
    consumer.ack(4).await.unwrap();
    // Twice is once.
    consumer.ack(4).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 5).await), [1, 2, 3, 5, 6]);
}

pub(crate) async fn a_refusal_comes_again_after_its_delay<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=2).await;
    let mut consumer = log
        .consume("s", durable("c", AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *consumer, 2).await;
    let started = Instant::now();
    consumer.nak(1, Duration::from_millis(300)).await.unwrap();
    consumer.nak(2, Duration::ZERO).await.unwrap();
    let first = take(&mut *consumer, 1).await;
    assert_eq!((first[0].seq, first[0].deliveries), (2, 2));
    assert!(started.elapsed() < Duration::from_millis(290));
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [1]);
    assert!(started.elapsed() >= Duration::from_millis(290));
}

pub(crate) async fn a_termination_never_comes_again<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=2).await;
    let mut consumer = log
        .consume("s", waiting(AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *consumer, 2).await;
    consumer.term(1).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [2]);
    assert_eq!(consumer.pending().await.unwrap(), (0, 1));
    assert!(log.get("s", 1).await.unwrap().is_some());
}

pub(crate) async fn progress_puts_redelivery_off<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=1).await;
    let mut consumer = log
        .consume("s", waiting(AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *consumer, 1).await;
    let started = Instant::now();
    for _ in 0..4 {
        assert!(consumer.fetch(1, WAIT / 2).await.unwrap().is_empty());
        consumer.in_progress(1).await.unwrap();
    }
    assert!(started.elapsed() > WAIT);
    assert_eq!(take(&mut *consumer, 1).await[0].deliveries, 2);
}

pub(crate) async fn no_more_is_in_flight_than_agreed<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=10).await;
    let narrow = ConsumerConfig {
        max_ack_pending: 3,
        ..durable("c", AckPolicy::Explicit)
    };
    let mut consumer = log.consume("s", narrow.clone()).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 3).await), [1, 2, 3]);
    nothing(&mut *consumer).await;
    // An acknowledgement by another worker makes room for the one that waits.
    let mut other = log.consume("s", narrow).await.unwrap();
    let waiting = tokio::spawn(async move { take(&mut *consumer, 1).await });
    tokio::task::yield_now().await;
    other.ack(2).await.unwrap();
    assert_eq!(sequences(&waiting.await.unwrap()), [4]);
    let zero = ConsumerConfig {
        max_ack_pending: 0,
        ..config(AckPolicy::Explicit)
    };
    assert!(matches!(
        log.consume("s", zero).await,
        Err(LogError::Refused(_))
    ));
}

pub(crate) async fn a_reset_goes_back_and_forgets<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=10).await;
    let mut consumer = log
        .consume("s", durable("c", AckPolicy::All))
        .await
        .unwrap();
    take(&mut *consumer, 10).await;
    consumer.ack(8).await.unwrap();
    consumer.reset(4).await.unwrap();
    assert_eq!(
        sequences(&take(&mut *consumer, 7).await),
        (4..=10).collect::<Vec<_>>()
    );
    consumer.reset(11).await.unwrap();
    nothing(&mut *consumer).await;
    assert_eq!(consumer.pending().await.unwrap(), (0, 0));
    for seq in [0, 12] {
        assert!(
            matches!(consumer.reset(seq).await, Err(LogError::Refused(_))),
            "{seq}"
        );
    }
}

pub(crate) async fn a_takeover_sees_newer_before_older<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=15).await;
    let mut first = log.consume("s", waiting(AckPolicy::All)).await.unwrap();
    assert_eq!(
        sequences(&take(&mut *first, 10).await),
        (1..=10).collect::<Vec<_>>()
    );
    // It dies without a word.
    drop(first);
    let mut second = log.consume("s", waiting(AckPolicy::All)).await.unwrap();
    assert_eq!(
        sequences(&take(&mut *second, 5).await),
        (11..=15).collect::<Vec<_>>()
    );
    let late = take(&mut *second, 10).await;
    assert_eq!(sequences(&late), (1..=10).collect::<Vec<_>>());
    assert!(late.iter().all(|message| message.deliveries == 2));
}

pub(crate) async fn two_workers_share_a_consumer<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let workers = (0..2).map(|_| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut worker = log
                .consume("s", durable("c", AckPolicy::Explicit))
                .await
                .unwrap();
            let mut seen = Vec::new();
            loop {
                let messages = worker.fetch(7, Duration::from_secs(2)).await.unwrap();
                if messages.is_empty() {
                    return seen;
                }
                for message in messages {
                    worker.ack(message.seq).await.unwrap();
                    seen.push(message.seq);
                }
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for n in 1..=50 {
        fill(&*log, n..=n).await;
    }
    let mut seen = Vec::new();
    for worker in workers {
        seen.extend(worker.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
}
