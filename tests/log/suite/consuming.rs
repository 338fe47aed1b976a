//! Promises about reading: where a consumer starts, what it reads, how it goes on.

use std::time::{Duration, Instant};

use lockstep::log::{AckPolicy, ConsumerConfig, LogError, Start};

use super::*;

fn starting(start: Start) -> ConsumerConfig {
    ConsumerConfig {
        start,
        ..config(AckPolicy::None)
    }
}

fn filtered(filters: &[&str]) -> ConsumerConfig {
    ConsumerConfig {
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        ..config(AckPolicy::Explicit)
    }
}

pub(crate) async fn a_consumer_reads_all_in_order<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=10).await;
    let mut consumer = log.consume("s", config(AckPolicy::Explicit)).await.unwrap();
    let messages = consumer.fetch(4, DEADLINE).await.unwrap();
    assert_eq!(sequences(&messages), [1, 2, 3, 4]);
    assert!(
        messages
            .iter()
            .all(|message| message.deliveries == 1 && message.subject == "s.a")
    );
    assert!(messages.is_sorted_by_key(|message| message.at));
    assert_eq!(
        sequences(&take(&mut *consumer, 6).await),
        [5, 6, 7, 8, 9, 10]
    );
    nothing(&mut *consumer).await;
}

pub(crate) async fn a_consumer_starts_where_it_is_told<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=5).await;
    let mut new = log.consume("s", starting(Start::New)).await.unwrap();
    for (start, expected) in [(Start::All, 1), (Start::Seq(1), 1), (Start::Seq(4), 4)] {
        let mut consumer = log.consume("s", starting(start)).await.unwrap();
        assert_eq!(
            consumer.fetch(1, DEADLINE).await.unwrap()[0].seq,
            expected,
            "{start:?}"
        );
    }
    let mut next = log.consume("s", starting(Start::Seq(6))).await.unwrap();
    nothing(&mut *new).await;
    fill(&*log, 6..=6).await;
    assert_eq!(sequences(&take(&mut *new, 1).await), [6]);
    assert_eq!(sequences(&take(&mut *next, 1).await), [6]);
}

pub(crate) async fn a_consumer_starts_at_a_time<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=20).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    fill(&*log, 21..=40).await;
    let at = log.get("s", 21).await.unwrap().unwrap().at;
    let mut consumer = log.consume("s", starting(Start::Time(at))).await.unwrap();
    assert_eq!(consumer.fetch(1, DEADLINE).await.unwrap()[0].seq, 21);
    let long_ago = log.get("s", 1).await.unwrap().unwrap().at - Duration::from_secs(3600);
    let mut consumer = log
        .consume("s", starting(Start::Time(long_ago)))
        .await
        .unwrap();
    assert_eq!(consumer.fetch(1, DEADLINE).await.unwrap()[0].seq, 1);
    let later = at + Duration::from_secs(3600);
    let mut consumer = log
        .consume("s", starting(Start::Time(later)))
        .await
        .unwrap();
    nothing(&mut *consumer).await;
}

pub(crate) async fn a_consumer_starts_with_the_last_of_each_subject<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for n in 1..=9 {
        publish_one(&*log, message(&format!("s.{}", n % 3), n))
            .await
            .unwrap();
    }
    let last = ConsumerConfig {
        start: Start::LastPerSubject,
        ..config(AckPolicy::Explicit)
    };
    let mut consumer = log.consume("s", last.clone()).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 3).await), [7, 8, 9]);
    nothing(&mut *consumer).await;
    publish_one(&*log, message("s.1", 10)).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [10]);
    let one = ConsumerConfig {
        filters: vec!["s.2".into()],
        ..last
    };
    let mut consumer = log.consume("s", one).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [8]);
}

pub(crate) async fn a_start_beyond_the_end_is_refused<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    for seq in [0, 5] {
        let answer = log.consume("s", starting(Start::Seq(seq))).await;
        assert!(matches!(answer, Err(LogError::Refused(_))), "{seq}");
    }
    assert!(matches!(
        log.consume("none", config(AckPolicy::None)).await,
        Err(LogError::Missing { what: "stream", .. })
    ));
}

pub(crate) async fn filters_choose_subjects_also_later_ones<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for (subject, n) in [("s.a.1", 1), ("s.b.1", 2), ("s.a.2", 3), ("s.c", 4)] {
        publish_one(&*log, message(subject, n)).await.unwrap();
    }
    let mut consumer = log.consume("s", filtered(&["s.a.*", "s.c"])).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 3).await), [1, 3, 4]);
    publish_one(&*log, message("s.b.7", 5)).await.unwrap();
    publish_one(&*log, message("s.a.7", 6)).await.unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 1).await), [6]);
    nothing(&mut *consumer).await;
}

pub(crate) async fn overlapping_filters_are_refused<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for filters in [
        &["s.>", "s.a"][..],
        &["s.*", "s.a"],
        &["t.a"],
        &["s.>.a"],
        &[""],
    ] {
        let answer = log.consume("s", filtered(filters)).await;
        assert!(matches!(answer, Err(LogError::Refused(_))), "{filters:?}");
    }
}

pub(crate) async fn a_waiting_fetch_is_woken_by_a_publish<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let waiting = tokio::spawn(async move { take(&mut *consumer, 1).await });
    tokio::task::yield_now().await;
    let started = Instant::now();
    fill(&*log, 1..=1).await;
    assert_eq!(sequences(&waiting.await.unwrap()), [1]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

pub(crate) async fn an_idle_fetch_ends_empty_when_its_time_is_up<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let started = Instant::now();
    assert!(
        consumer
            .fetch(1, Duration::from_millis(100))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(started.elapsed() >= Duration::from_millis(95));
}

pub(crate) async fn a_large_backlog_comes_once_and_in_order<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for start in (1..=30_000).step_by(1000) {
        let messages = (start..start + 1000)
            .map(|n| message(&format!("s.{}", n % 8), n))
            .collect();
        assert!(log.publish("s", messages).await.iter().all(Result::is_ok));
    }
    let mut all = log.consume("s", config(AckPolicy::None)).await.unwrap();
    assert_eq!(
        sequences(&take(&mut *all, 30_000).await),
        (1..=30_000).collect::<Vec<_>>()
    );
    let two = ConsumerConfig {
        ack: AckPolicy::None,
        ..filtered(&["s.3", "s.5"])
    };
    let mut two = log.consume("s", two).await.unwrap();
    let expected: Vec<u64> = (1..=30_000).filter(|n| matches!(n % 8, 3 | 5)).collect();
    assert_eq!(sequences(&take(&mut *two, expected.len()).await), expected);
    nothing(&mut *two).await;
}

pub(crate) async fn a_durable_consumer_goes_on_after_a_restart<F: Fixture>() {
    let fixture = progressed::<F>().await;
    went_on(&*fixture.reopened().await.log(), true).await;
}

pub(crate) async fn a_durable_consumer_goes_on_after_a_kill<F: Fixture>() {
    let fixture = progressed::<F>().await;
    went_on(&*fixture.killed().await.log(), F::ACKS_SURVIVE).await;
}

async fn progressed<F: Fixture>() -> F {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=10).await;
    let mut explicit = log
        .consume("s", durable("explicit", AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *explicit, 6).await;
    for seq in [1, 2, 4, 6] {
        explicit.ack(seq).await.unwrap();
    }
    let mut all = log
        .consume("s", durable("all", AckPolicy::All))
        .await
        .unwrap();
    take(&mut *all, 8).await;
    all.ack(5).await.unwrap();
    fixture
}

async fn went_on(log: &dyn Log, acks_survive: bool) {
    for (name, ack, expected) in [
        ("explicit", AckPolicy::Explicit, vec![3, 5, 7, 8, 9, 10]),
        ("all", AckPolicy::All, vec![6, 7, 8, 9, 10]),
    ] {
        let short = ConsumerConfig {
            ack_wait: Duration::from_secs(1),
            ..durable(name, ack)
        };
        let mut consumer = log.consume("s", short).await.unwrap();
        // Engines may give the undelivered first and the unacknowledged when their time is up.
        let mut seen = std::collections::BTreeSet::new();
        while !expected.iter().all(|seq| seen.contains(seq)) {
            seen.extend(sequences(&take(&mut *consumer, 1).await));
        }
        if acks_survive {
            assert_eq!(Vec::from_iter(seen), expected, "{name}");
        }
    }
}

pub(crate) async fn a_consumer_without_acknowledgements_moves_on<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=10).await;
    let mut consumer = log
        .consume("s", durable("none", AckPolicy::None))
        .await
        .unwrap();
    assert_eq!(sequences(&take(&mut *consumer, 4).await), [1, 2, 3, 4]);
    consumer.ack(2).await.unwrap();
    drop((consumer, log));
    let fixture = fixture.reopened().await;
    let mut consumer = fixture
        .log()
        .consume("s", durable("none", AckPolicy::None))
        .await
        .unwrap();
    assert_eq!(
        sequences(&take(&mut *consumer, 6).await),
        [5, 6, 7, 8, 9, 10]
    );
}

pub(crate) async fn a_deleted_consumer_is_gone<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    let mut old = log
        .consume("s", durable("c", AckPolicy::Explicit))
        .await
        .unwrap();
    take(&mut *old, 3).await;
    old.ack(2).await.unwrap();
    log.delete_consumer("s", "c").await.unwrap();
    assert!(matches!(
        log.delete_consumer("s", "c").await,
        Err(LogError::Missing {
            what: "consumer",
            ..
        })
    ));
    assert!(old.fetch(1, DEADLINE).await.is_err());
    let mut new = log
        .consume("s", durable("c", AckPolicy::Explicit))
        .await
        .unwrap();
    assert_eq!(sequences(&take(&mut *new, 3).await), [1, 2, 3]);
}

pub(crate) async fn a_durable_consumer_keeps_its_settings<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    log.consume("s", durable("c", AckPolicy::Explicit))
        .await
        .unwrap();
    let other = ConsumerConfig {
        filters: vec!["s.x".into()],
        ..durable("c", AckPolicy::Explicit)
    };
    assert!(matches!(
        log.consume("s", other).await,
        Err(LogError::Differs { .. })
    ));
    let other = durable("c", AckPolicy::All);
    assert!(matches!(
        log.consume("s", other).await,
        Err(LogError::Differs { .. })
    ));
}

pub(crate) async fn pending_counts_what_is_left<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for n in 1..=20 {
        publish_one(&*log, message(&format!("s.{}", n % 2), n))
            .await
            .unwrap();
    }
    let mut all = log.consume("s", config(AckPolicy::Explicit)).await.unwrap();
    let mut odd = log.consume("s", filtered(&["s.1"])).await.unwrap();
    assert_eq!(all.pending().await.unwrap(), (20, 0));
    assert_eq!(odd.pending().await.unwrap(), (10, 0));
    take(&mut *all, 5).await;
    take(&mut *odd, 4).await;
    all.ack(1).await.unwrap();
    assert_eq!(all.pending().await.unwrap(), (15, 4));
    assert_eq!(odd.pending().await.unwrap(), (6, 4));
    publish_one(&*log, message("s.1", 21)).await.unwrap();
    // Where a server beside the stream's leader keeps the consumer, it hears of the message a little later.
    let deadline = Instant::now() + DEADLINE;
    while odd.pending().await.unwrap() != (7, 4) {
        assert!(Instant::now() < deadline, "the new message is not counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    take(&mut *odd, 7).await;
    assert_eq!(odd.pending().await.unwrap(), (0, 11));
}

pub(crate) async fn a_dropped_fetch_loses_nothing<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let short = ConsumerConfig {
        ack_wait: Duration::from_secs(1),
        ..config(AckPolicy::Explicit)
    };
    let mut consumer = log.consume("s", short).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..=40 {
        fill(&*log, n..=n).await;
        // Cut off after a time that often falls into the middle of a fetch.
        let cut = Duration::from_micros(n * 40);
        if let Ok(messages) = tokio::time::timeout(cut, consumer.fetch(10, DEADLINE)).await {
            for seq in sequences(&messages.unwrap()) {
                consumer.ack(seq).await.unwrap();
                seen.insert(seq);
            }
        }
    }
    while seen.len() < 40 {
        for message in take(&mut *consumer, 1).await {
            assert!(
                seen.insert(message.seq),
                "{} came again after its acknowledgement",
                message.seq
            );
            consumer.ack(message.seq).await.unwrap();
        }
    }
}

pub(crate) async fn a_message_larger_than_a_server_takes_comes_whole_and_in_its_place<
    F: Fixture,
>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let messages = vec![
        message("s.a", 1),
        Message {
            payload: large.clone().into(),
            headers: vec![("kind".into(), "large".into())],
            expect_last: Some(1),
            ..message("s.a", 2)
        },
        message("s.b", 3),
    ];
    for answer in log.publish("s", messages.clone()).await {
        answer.unwrap();
    }
    let mut together = messages;
    together
        .iter_mut()
        .for_each(|message| message.expect_last = None);
    log.publish_atomic("s", together).await.unwrap();
    for ack in [AckPolicy::None, AckPolicy::Explicit] {
        let mut reader = log.consume("s", config(ack)).await.unwrap();
        let seen = take(&mut *reader, 6).await;
        assert_eq!(sequences(&seen), [1, 2, 3, 4, 5, 6]);
        for at in [1, 4] {
            assert!(seen[at].payload == large, "the payload is another one");
            assert_eq!(seen[at].headers, [("kind".to_owned(), "large".to_owned())]);
        }
    }
    // What only looks at headers needs no payload.
    let last = log.last("s", "s.a").await.unwrap().unwrap();
    assert_eq!(last.header("kind"), Some("large"));
}
