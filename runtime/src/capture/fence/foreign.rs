//! What a writer makes of messages that are not Lockstep's, and of a log that is not the one it knew.

use lockstep_core::log::{EPOCH, LIFE as SETTLED_LIFE, POSITION};

use super::*;

fn message(subject: String, headers: &[(&str, &str)], body: &'static str) -> Message {
    let headers = headers.iter();
    Message {
        subject,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        payload: Bytes::from_static(body.as_bytes()),
        ..Message::default()
    }
}

async fn publish(log: &dyn Log, stream: &str, message: Message) {
    for outcome in log.publish(stream, vec![message]).await {
        outcome.unwrap();
    }
}

/// A system of which this much was read and written.
async fn written(log: &Arc<dyn Log>, name: String) -> (Case, Publisher) {
    let case = Case::new(name).await;
    let mut publisher = case.take_over(log).await.unwrap();
    send(&mut publisher, None, Some(position(at(0, 0))))
        .await
        .unwrap();
    let segment = case.segment([at(1, 0), at(2, 0)]);
    send(&mut publisher, segment, None).await.unwrap();
    send(&mut publisher, None, Some(position(at(2, 0))))
        .await
        .unwrap();
    (case, publisher)
}

async fn code(case: &Case, log: &Arc<dyn Log>) -> Option<&'static str> {
    let Err(error) = case.take_over(log).await else {
        panic!("the system was taken over");
    };
    assert!(!error.kind().is_retryable(), "{error}");
    error.error_code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_messages_never_stand_for_a_position() {
    let strays: [(&[(&str, &str)], &str); 6] = [
        (&[], "hello"),
        (&[(EPOCH, "18446744073709551615")], ""),
        (&[(EPOCH, "7"), (POSITION, "no position")], ""),
        (&[(EPOCH, "99")], "a body"),
        (&[(EPOCH, "99")], ""),
        (&[(EPOCH, "7"), (SETTLED_LIFE, "no life")], ""),
    ];
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        let (case, _) = written(&log, format!("s{engine}")).await;
        let subject = subject::position(&case.name);
        for (headers, body) in strays {
            publish(&*log, POSITIONS, message(subject.clone(), headers, body)).await;
            let next = case.take_over(&log).await.unwrap();
            assert_eq!(next.resume(), Some(position(at(2, 0))), "{headers:?}");
        }
        // Where nothing of ours is left, nothing is read, and no lane is touched.
        for _ in 0..KEPT {
            publish(&*log, POSITIONS, message(subject.clone(), &[], "hello")).await;
        }
        let before = log.stream(SETTLED).await.unwrap();
        assert_eq!(code(&case, &log).await, Some("LS-L011"));
        assert_eq!(log.stream(SETTLED).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_messages_on_a_lane_neither_stop_a_writer_nor_hide_what_is_written() {
    let strays: [(&[(&str, &str)], u64); 3] = [
        (&[(EPOCH, "18446744073709551615")], 0),
        (&[(EPOCH, "3"), (POSITION, "no position")], 0),
        (&[(EPOCH, "1099511627776")], 1_099_511_627_776),
    ];
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        let (case, mut older) = written(&log, format!("l{engine}")).await;
        for (headers, above) in strays {
            publish(&*log, SETTLED, message(case.lane(1), headers, "hello")).await;
            let next = case.take_over(&log).await.unwrap();
            assert!(next.epoch() > above.max(older.epoch()), "{headers:?}");
            assert!(next.epoch() < u64::MAX / 4, "{headers:?}");
            assert_eq!(left(&next, &[at(1, 0), at(2, 0)]), [], "{headers:?}");
            assert!(next.has(1, LIFE, at(1, 0), false), "{headers:?}");
            let late = send(&mut older, case.segment([at(3, 0)]), None).await;
            assert_eq!(late.unwrap_err().kind(), Kind::Stopped, "{headers:?}");
            older = next;
        }
        send(&mut older, case.segment([at(3, 0)]), None)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_means_nothing_for_another_life_of_the_log_or_a_shorter_one() {
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        let (case, _) = written(&log, format!("o{engine}")).await;
        let stream = log.stream(SETTLED).await.unwrap();
        let (created, last) = (stream.created.as_microsecond(), stream.last_seq);
        let said = |life: String| {
            let at = position(at(2, 0)).to_string();
            let headers = [(EPOCH, "1"), (POSITION, &*at), (SETTLED_LIFE, &*life)];
            message(subject::position(&case.name), &headers, "")
        };
        // What was written is said with the position.
        let stored = log.last(POSITIONS, &subject::position(&case.name)).await;
        let life = stored.unwrap().unwrap();
        let life = life.header(SETTLED_LIFE).map(str::to_owned);
        assert_eq!(life, Some(format!("{created}/{last}")));
        publish(&*log, POSITIONS, said(format!("{created}/{}", last + 1))).await;
        assert_eq!(code(&case, &log).await, Some("LS-L010"));
        publish(&*log, POSITIONS, said(format!("{created}/{last}"))).await;
        let next = case.take_over(&log).await.unwrap();
        assert_eq!(next.resume(), Some(position(at(2, 0))));
        publish(&*log, POSITIONS, said(format!("{}/1", created - 1))).await;
        let next = case.take_over(&log).await.unwrap();
        assert_eq!(next.resume(), None);
        // For good, until the source says where its next life begins.
        assert_eq!(case.take_over(&log).await.unwrap().resume(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_takes_a_key_change_whole_or_not_at_all() {
    for (engine, (log, _alive)) in limited(Some(40_000)).await.into_iter().enumerate() {
        let case = Case::new(format!("k{engine}")).await;
        let mut publisher = case.take_over(&log).await.unwrap();
        send(&mut publisher, None, Some(position(at(0, 0))))
            .await
            .unwrap();
        let before = log.stream(SETTLED).await.unwrap();
        let mut outbox = Outbox::new(LANES);
        outbox.begin();
        // Too much for one lane, and little for the other.
        for (lane, marks) in [(0, 2..202), (1, 202..203)] {
            for commit in marks {
                let event = case.event(at(commit, 0));
                let pushed = outbox.push(lane, &case.channel, event, &Arc::from(LIFE));
                pushed.unwrap();
            }
        }
        outbox.seal();
        let segment = outbox.take().unwrap();
        assert_eq!(segment.lanes.len(), LANES);
        let error = send(&mut publisher, Some(segment), None).await.unwrap_err();
        assert_eq!(error.error_code(), Some("LS-L002"), "{error}");
        assert_eq!(log.stream(SETTLED).await.unwrap(), before);
    }
}
