//! Promises about storing: sequences, rules, ids, expectations, batches, survival.

use std::time::Duration;

use bytes::Bytes;
use lockstep::log::{
    ATOMIC_MAX, AckPolicy, HEADERS_MAX, LogError, MESSAGE_MAX, Message, PAYLOAD_MAX, PublishError,
    StreamConfig,
};

use super::*;

pub(crate) async fn sequences_count_from_one_without_holes<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let empty = log.stream("s").await.unwrap();
    assert_eq!((empty.first_seq, empty.last_seq, empty.messages), (1, 0, 0));
    for expected in 1..=5 {
        let ack = publish_one(&*log, message("s.a", expected)).await.unwrap();
        assert_eq!((ack.seq, ack.duplicate), (expected, false));
    }
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first_seq, info.last_seq, info.messages), (1, 5, 5));
    assert_eq!(text(&log.get("s", 3).await.unwrap().unwrap()), "3");
    assert!(log.get("s", 6).await.unwrap().is_none());
    assert!(log.get("s", 0).await.unwrap().is_none());
    assert!(matches!(
        log.get("none", 1).await,
        Err(LogError::Missing { .. })
    ));
}

pub(crate) async fn a_call_keeps_its_order<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let messages = (1..=300)
        .map(|n| message(&format!("s.{}", n % 7), n))
        .collect();
    let acks = log.publish("s", messages).await;
    let given: Vec<u64> = acks.into_iter().map(|ack| ack.unwrap().seq).collect();
    assert_eq!(given, (1..=300).collect::<Vec<_>>());
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let texts: Vec<String> = take(&mut *consumer, 300)
        .await
        .iter()
        .map(|m| text(m).to_owned())
        .collect();
    assert_eq!(texts, (1..=300).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub(crate) async fn headers_come_back_in_order_and_repeated<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let headers = [
        ("ce-id", "1"),
        ("x", "a"),
        ("x", "b"),
        ("ce-source", "größe %20"),
    ];
    let headers: Vec<(String, String)> = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let sent = Message {
        headers: headers.clone(),
        payload: Bytes::from_static(&[0, 255, 10]),
        ..message("s.a", "")
    };
    publish_one(&*log, sent).await.unwrap();
    let stored = log.last("s", "s.a").await.unwrap().unwrap();
    // Names may come back in another order, the values of one name may not.
    let sorted = |mut headers: Vec<(String, String)>| {
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        headers
    };
    assert_eq!(sorted(stored.headers.clone()), sorted(headers));
    assert_eq!(stored.header("CE-ID"), Some("1"));
    assert_eq!(stored.payload, &[0, 255, 10][..]);
}

pub(crate) async fn a_message_id_is_stored_once_in_its_window<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    let first = publish_one(&*log, identified("s.a", 1, "crm:1"))
        .await
        .unwrap();
    let again = publish_one(&*log, identified("s.a", 1, "crm:1"))
        .await
        .unwrap();
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    // In one call, too, and after a restart.
    let both = vec![identified("s.a", 2, "crm:2"), identified("s.a", 2, "crm:2")];
    let acks: Vec<_> = log
        .publish("s", both)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!((acks[0].duplicate, acks[1].duplicate), (false, true));
    drop(log);
    let fixture = fixture.killed().await;
    let log = fixture.log();
    let again = publish_one(&*log, identified("s.a", 1, "crm:1"))
        .await
        .unwrap();
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    assert_eq!(log.stream("s").await.unwrap().messages, 2);
}

pub(crate) async fn a_message_id_counts_for_the_whole_stream<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    publish_one(&*log, identified("s.a", 1, "same"))
        .await
        .unwrap();
    assert!(
        publish_one(&*log, identified("s.b", 2, "same"))
            .await
            .unwrap()
            .duplicate
    );
}

pub(crate) async fn a_message_id_is_forgotten_after_its_window<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    let short = StreamConfig {
        duplicate_window: Duration::from_millis(200),
        ..stream("s")
    };
    log.ensure_stream(&short).await.unwrap();
    publish_one(&*log, identified("s.a", 1, "x")).await.unwrap();
    until("the id is forgotten", || async {
        let ack = publish_one(&*log, identified("s.a", 1, "x")).await.unwrap();
        (!ack.duplicate).then_some(())
    })
    .await;
}

pub(crate) async fn an_id_and_an_expectation_together_are_refused<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let both = Message {
        expect_last: Some(0),
        ..identified("s.a", 1, "x")
    };
    let answer = publish_one(&*log, both.clone()).await;
    assert!(
        matches!(answer, Err(PublishError::Refused(_))),
        "{answer:?}"
    );
    let answer = log.publish_atomic("s", vec![message("s.a", 0), both]).await;
    assert!(
        matches!(answer, Err((1, PublishError::Refused(_)))),
        "{answer:?}"
    );
    assert_eq!(log.stream("s").await.unwrap().messages, 0);
}

pub(crate) async fn of_two_writers_with_one_expectation_one_wins<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let mut last = 0;
    for round in 0..20 {
        let rivals = (0..8).map(|rival| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                publish_one(&*log, expecting("s.a", format!("{round}/{rival}"), last)).await
            })
        });
        let mut winner = None;
        let mut refused = Vec::new();
        for rival in rivals.collect::<Vec<_>>() {
            match rival.await.unwrap() {
                Ok(ack) => assert_eq!(winner.replace(ack.seq), None, "two winners"),
                Err(PublishError::WrongLast { subject, actual }) => {
                    assert_eq!(subject, "s.a");
                    refused.push(actual);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        last = winner.unwrap();
        assert_eq!(refused, vec![last; 7]);
    }
    assert_eq!(log.stream("s").await.unwrap().messages, 20);
}

pub(crate) async fn an_expectation_of_zero_means_nothing_is_there<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    publish_one(&*log, message("s.other", 1)).await.unwrap();
    let ack = publish_one(&*log, expecting("s.a", 1, 0)).await.unwrap();
    let again = publish_one(&*log, expecting("s.a", 2, 0)).await;
    let refused = PublishError::WrongLast {
        subject: "s.a".into(),
        actual: ack.seq,
    };
    assert_eq!(again, Err(refused));
    publish_one(&*log, expecting("s.a", 2, ack.seq))
        .await
        .unwrap();
}

pub(crate) async fn a_batch_is_stored_whole_and_without_gaps<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let publishers = (0..4).map(|batch| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let messages = (0..50).map(|n| message(&format!("s.{batch}"), n)).collect();
            log.publish_atomic("s", messages).await.unwrap()
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        let acks = publisher.await.unwrap();
        let first = acks[0].seq;
        for (at, ack) in acks.iter().enumerate() {
            assert_eq!(ack.seq, first + at as u64);
        }
    }
    assert!(
        log.publish_atomic("s", Vec::new())
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn a_batch_with_one_refusal_stores_nothing<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let position = publish_one(&*log, message("s.pos", 0)).await.unwrap().seq;
    publish_one(&*log, message("s.pos", 1)).await.unwrap();
    publish_one(&*log, identified("s.a", 1, "known"))
        .await
        .unwrap();
    let before = log.stream("s").await.unwrap();
    let stale = vec![
        message("s.new", 1),
        message("s.new", 2),
        expecting("s.pos", 2, position),
    ];
    let (at, error) = log.publish_atomic("s", stale).await.unwrap_err();
    assert_eq!(at, 2);
    assert!(
        matches!(error, PublishError::WrongLast { actual: 2, .. }),
        "{error:?}"
    );
    let known = vec![message("s.new", 1), identified("s.a", 1, "known")];
    assert!(matches!(
        log.publish_atomic("s", known).await,
        Err((1, PublishError::Refused(_)))
    ));
    let foreign = vec![message("s.new", 1), message("t.a", 1)];
    assert!(matches!(
        log.publish_atomic("s", foreign).await,
        Err((1, PublishError::Refused(_)))
    ));
    assert_eq!(log.stream("s").await.unwrap(), before);
    assert!(log.last("s", "s.new").await.unwrap().is_none());
}

pub(crate) async fn a_batch_is_judged_by_what_was_there_before<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let last = publish_one(&*log, message("s.pos", 0)).await.unwrap().seq;
    let batch = vec![
        message("s.a", 1),
        message("s.a", 2),
        expecting("s.pos", 1, last),
    ];
    let acks = log.publish_atomic("s", batch).await.unwrap();
    assert_eq!(acks[2].seq, last + 3);
    let next = vec![message("s.a", 3), expecting("s.pos", 2, acks[2].seq)];
    log.publish_atomic("s", next).await.unwrap();
}

pub(crate) async fn a_batch_has_a_limit<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let batch = |count: usize| (0..count).map(|n| message("s.a", n)).collect::<Vec<_>>();
    assert!(matches!(
        log.publish_atomic("s", batch(ATOMIC_MAX + 1)).await,
        Err((_, PublishError::Refused(_)))
    ));
    assert_eq!(
        log.publish_atomic("s", batch(ATOMIC_MAX))
            .await
            .unwrap()
            .len(),
        ATOMIC_MAX
    );
}

pub(crate) async fn what_breaks_a_rule_is_refused<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let header = |name: &str, value: String| Message {
        headers: vec![(name.to_owned(), value)],
        ..message("s.a", 1)
    };
    let cases = [
        message("", 1),
        message("t.a", 1),
        message("s.*", 1),
        message("s.>", 1),
        message("s..a", 1),
        message("s.a b", 1),
        message("s.a\n", 1),
        header("", "x".into()),
        header("a:b", "x".into()),
        header("a", "x\r\ny".into()),
        header("Nats-Rollup", "all".into()),
        header("big", "x".repeat(HEADERS_MAX)),
        Message {
            payload: vec![0; MESSAGE_MAX + 1].into(),
            ..message("s.a", 1)
        },
        identified("s.a", 1, ""),
    ];
    for case in cases {
        let shown = (
            case.subject.clone(),
            case.headers.first().map(|header| header.0.clone()),
        );
        let answer = log.publish("s", vec![case]).await.remove(0);
        assert!(
            matches!(answer, Err(PublishError::Refused(_))),
            "{shown:?}: {answer:?}"
        );
    }
    // What is exactly at the limit is taken.
    let largest = Message {
        headers: vec![("big".into(), "x".repeat(HEADERS_MAX - 100))],
        payload: vec![7; PAYLOAD_MAX].into(),
        ..message("s.a", 1)
    };
    publish_one(&*log, largest).await.unwrap();
    assert_eq!(
        log.last("s", "s.a").await.unwrap().unwrap().payload.len(),
        PAYLOAD_MAX
    );
    let answer = log
        .publish("none", vec![message("none.a", 1)])
        .await
        .remove(0);
    assert!(
        matches!(answer, Err(PublishError::Refused(_))),
        "{answer:?}"
    );
    for name in ["", "a b", "a.b", "a*"] {
        let bad = StreamConfig {
            name: name.to_owned(),
            subjects: vec!["x.>".into()],
            ..stream("x")
        };
        assert!(
            matches!(log.ensure_stream(&bad).await, Err(LogError::Refused(_))),
            "{name}"
        );
    }
}

pub(crate) async fn the_last_message_of_a_subject_is_found<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=3).await;
    publish_one(&*log, message("s.b", "b")).await.unwrap();
    let last = log.last("s", "s.a").await.unwrap().unwrap();
    assert_eq!((last.seq, text(&last)), (3, "3"));
    assert!(log.last("s", "s.c").await.unwrap().is_none());
    assert!(matches!(
        log.last("s", "s.*").await,
        Err(LogError::Refused(_))
    ));
}

pub(crate) async fn many_publishers_share_one_order<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    let publishers = (0..16).map(|publisher| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut given = Vec::new();
            for n in 0..40 {
                let sent = message(&format!("s.{publisher}"), n);
                given.push(publish_one(&*log, sent).await.unwrap().seq);
            }
            assert!(given.is_sorted());
            given
        })
    });
    let mut all = Vec::new();
    for publisher in publishers.collect::<Vec<_>>() {
        all.extend(publisher.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=640).collect::<Vec<_>>());
}

pub(crate) async fn a_stream_is_compared_with_its_declaration<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    log.ensure_stream(&stream("s")).await.unwrap();
    let other = StreamConfig {
        max_bytes: Some(1000),
        ..stream("s")
    };
    match log.ensure_stream(&other).await {
        Err(LogError::Differs {
            stream,
            differences,
        }) => {
            assert_eq!(stream, "s");
            assert!(differences.contains("max_bytes"), "{differences}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn streams_do_not_share_subjects<F: Fixture>() {
    let (_fixture, log) = with_stream::<F>().await;
    for subjects in [vec!["s.x"], vec!["*.a"], vec!["y.a", "y.*"]] {
        let other = StreamConfig {
            subjects: subjects
                .iter()
                .map(|subject| (*subject).to_owned())
                .collect(),
            ..stream("y")
        };
        let answer = log.ensure_stream(&other).await;
        assert!(
            matches!(answer, Err(LogError::Refused(_))),
            "{subjects:?}: {answer:?}"
        );
    }
    log.ensure_stream(&stream("y")).await.unwrap();
}

pub(crate) async fn what_was_acknowledged_survives_a_restart<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=100).await;
    let before = log.stream("s").await.unwrap();
    drop(log);
    let fixture = fixture.reopened().await;
    survived(&*fixture.log(), before).await;
}

pub(crate) async fn what_was_acknowledged_survives_a_kill<F: Fixture>() {
    let (fixture, log) = with_stream::<F>().await;
    fill(&*log, 1..=100).await;
    let before = log.stream("s").await.unwrap();
    drop(log);
    let fixture = fixture.killed().await;
    survived(&*fixture.log(), before).await;
}

async fn survived(log: &dyn Log, before: lockstep::log::StreamInfo) {
    assert_eq!(log.stream("s").await.unwrap(), before);
    assert_eq!(log.last("s", "s.a").await.unwrap().unwrap().seq, 100);
    let refused = publish_one(log, expecting("s.a", 0, 99)).await;
    assert!(matches!(
        refused,
        Err(PublishError::WrongLast { actual: 100, .. })
    ));
    assert_eq!(
        publish_one(log, expecting("s.a", 101, 100))
            .await
            .unwrap()
            .seq,
        101
    );
    let mut consumer = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let messages = take(&mut *consumer, 101).await;
    for (at, message) in messages.iter().enumerate() {
        assert_eq!(text(message), (at + 1).to_string());
    }
}
