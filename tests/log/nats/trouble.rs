//! What goes wrong around a log on servers: gone, strange, full, changed by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep::log::nats::survey::{Sync, monitor, survey};
use lockstep::log::nats::{Nats, NatsOptions};
use lockstep::log::{AckPolicy, ConsumerConfig, Log, LogError, PublishError, Start, StreamConfig};
use lockstep_servers::nats::{Options, Server};

use super::{OnServer, at, options};
use crate::suite::{
    Fixture as _, config, expecting, fill, message, publish_one, sequences, stream, take, text,
    until,
};

fn server() -> Option<Server> {
    Server::start(&options())
}

fn quick(server: &Server) -> NatsOptions {
    NatsOptions {
        patience: Duration::from_millis(500),
        ..at(server.url())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_named() {
    let Some(mut server) = server() else { return };
    server.stop().unwrap();
    let error = Nats::open(at(server.url())).await.unwrap_err();
    let LogError::Unreachable { servers, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(servers, server.url());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_waited_for() {
    let Some(mut server) = server() else { return };
    let log = Nats::open(quick(&server)).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut reader = log.consume("s", config(AckPolicy::None)).await.unwrap();
    fill(&*log, 1..=10).await;
    assert_eq!(take(&mut *reader, 5).await.len(), 5);
    server.kill().unwrap();
    let outcome = publish_one(&*log, message("s.a", "lost?")).await;
    assert!(
        matches!(
            outcome,
            Err(PublishError::Unknown(_) | PublishError::Storage(_))
        ),
        "{outcome:?}"
    );
    let error = log.last("s", "s.a").await.unwrap_err();
    assert!(matches!(error, LogError::Unreachable { .. }), "{error:?}");
    server.restart().unwrap();
    until("the log works again", || async {
        publish_one(&*log, message("s.a", "again")).await.ok()
    })
    .await;
    // The reader goes on where it was, without a hole and without a repetition.
    let mut seen = Vec::new();
    until("the reader has all", || {
        let log = Arc::clone(&log);
        async move { log.stream("s").await.ok() }
    })
    .await;
    let last = log.stream("s").await.unwrap().last_seq;
    let started = Instant::now();
    while seen.last() != Some(&last) {
        assert!(started.elapsed() < crate::suite::DEADLINE, "{seen:?}");
        if let Ok(messages) = reader.fetch(100, Duration::from_millis(500)).await {
            seen.extend(sequences(&messages));
        }
    }
    assert_eq!(seen, (6..=last).collect::<Vec<_>>());
}

/// What a server leaves that is killed while it makes a stream: settings without their checksum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_making_was_interrupted_is_whole_again_once_declared() {
    let Some(mut server) = server() else { return };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    fill(&*log, 1..=10).await;
    log.close().await;
    server.kill().unwrap();
    std::fs::remove_file(server.stream_folder("s").join("meta.sum")).unwrap();
    server.restart().unwrap();
    let log = Nats::open(at(server.url())).await.unwrap();
    let error = log.stream("s").await.unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error:?}");
    log.ensure_stream(&stream("s")).await.unwrap();
    assert_eq!(log.stream("s").await.unwrap().messages, 10);
    log.close().await;
    server.kill().unwrap();
    server.restart().unwrap();
    let log = Nats::open(at(server.url())).await.unwrap();
    assert_eq!(log.stream("s").await.unwrap().messages, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_connection_is_cut_again_and_again_reads_each_message_once() {
    if !super::is_there() {
        return;
    }
    let fixture = OnServer::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut reader = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let writer = {
        let log = Nats::open(at(fixture.server.url())).await.unwrap();
        tokio::spawn(async move {
            for start in (1..=4000).step_by(100) {
                fill(&*log, start..=start + 99).await;
            }
        })
    };
    let mut seen = Vec::new();
    let started = Instant::now();
    let mut cuts = 0;
    while seen.len() < 4000 {
        assert!(
            started.elapsed() < crate::suite::DEADLINE,
            "{} seen",
            seen.len()
        );
        if let Ok(messages) = reader.fetch(50, Duration::from_secs(1)).await {
            seen.extend(sequences(&messages));
        }
        if seen.len() > cuts * 400 {
            cuts += 1;
            fixture.proxy.cut();
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, (1..=4000).collect::<Vec<_>>());
    assert!(cuts >= 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_resolved_by_reading() {
    if !super::is_there() {
        return;
    }
    let fixture = OnServer::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    let mut last = 0;
    for n in 1..=20 {
        fixture.proxy.lose_next_answer();
        let outcome = publish_one(&*log, expecting("s.a", n, last)).await;
        assert!(
            matches!(outcome, Err(PublishError::Unknown(_))),
            "{outcome:?}"
        );
        let stored = log.last("s", "s.a").await.unwrap().unwrap();
        assert_eq!(text(&stored), n.to_string());
        last = stored.seq;
    }
    assert_eq!(log.stream("s").await.unwrap().messages, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_limits_are_put_in_force_and_other_drift_is_told() {
    let Some(server) = server() else { return };
    let declared = |max_bytes| StreamConfig {
        max_age: Some(Duration::from_secs(3600)),
        max_bytes,
        ..stream("s")
    };
    let open = |max_bytes| {
        let options = NatsOptions {
            limits: vec![declared(max_bytes)],
            ..at(server.url())
        };
        Nats::open(options)
    };
    let log = open(None).await.unwrap();
    log.ensure_stream(&declared(None)).await.unwrap();
    fill(&*log, 1..=3).await;
    let drift = survey(at(server.url()), &[declared(Some(1_000_000))])
        .await
        .unwrap()
        .drift;
    let [(name, differences)] = &drift[..] else {
        panic!("{drift:?}");
    };
    assert_eq!(name, "s");
    assert!(
        differences[0].starts_with("max_bytes is -1"),
        "{differences:?}"
    );
    let log = open(Some(1_000_000)).await.unwrap();
    log.ensure_stream(&declared(Some(1_000_000))).await.unwrap();
    assert_eq!(log.stream("s").await.unwrap().messages, 3);
    // Somebody makes the stream drop old messages: that is for people to mend.
    let admin = async_nats::connect(server.url()).await.unwrap();
    let stream = async_nats::jetstream::new(admin.clone());
    let mut changed = stream
        .get_stream("s")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    changed.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
    stream.update_stream(&changed).await.unwrap();
    let error = log
        .ensure_stream(&declared(Some(1_000_000)))
        .await
        .unwrap_err();
    let LogError::Differs { differences, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(differences.contains("discard is \"old\""), "{differences}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_every_stream_of_ours_follow_the_configuration() {
    let Some(server) = server() else { return };
    let inbox = |seconds| StreamConfig {
        name: "LS_INBOX".to_owned(),
        subjects: vec!["ls.inbox.>".to_owned()],
        max_age: Some(Duration::from_secs(seconds)),
        duplicate_window: Duration::from_secs(seconds.min(120)),
        ..stream("s")
    };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&inbox(3600)).await.unwrap();
    let declared = [inbox(60)];
    let drift = async || survey(at(server.url()), &declared).await.unwrap().drift;
    let found = drift().await;
    assert!(found[0].1[1].contains("duplicate_window"), "{found:?}");
    // Who only looks changes nothing, and makes nothing.
    let looker = Nats::open(NatsOptions {
        looks: true,
        ..at(server.url())
    });
    let looker = looker.await.unwrap();
    looker.ensure_stream(&declared[0]).await.unwrap();
    let missing = looker.ensure_stream(&stream("s")).await.unwrap_err();
    assert!(matches!(missing, LogError::Missing { .. }), "{missing:?}");
    let bucket = looker.bucket("LS_QUARANTINE").await.map(drop);
    assert!(matches!(bucket, Err(LogError::Missing { .. })));
    looker.close().await;
    assert_eq!(drift().await.len(), 1);
    log.ensure_stream(&declared[0]).await.unwrap();
    assert_eq!(drift().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_server_is_gone_or_frozen_is_closed_all_the_same() {
    let Some(mut server) = server() else { return };
    let ageing = StreamConfig {
        max_age: Some(Duration::from_secs(3600)),
        ..stream("s")
    };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&ageing).await.unwrap();
    let other = Nats::open(at(server.url())).await.unwrap();
    other.ensure_stream(&ageing).await.unwrap();
    let started = Instant::now();
    server.freeze().unwrap();
    log.close().await;
    server.thaw().unwrap();
    server.kill().unwrap();
    other.close().await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_anew_is_not_read_on() {
    let Some(server) = server() else { return };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    fill(&*log, 1..=10).await;
    let mut reader = log.consume("s", config(AckPolicy::None)).await.unwrap();
    take(&mut *reader, 10).await;
    let admin = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    admin.delete_stream("s").await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    fill(&*log, 1..=3).await;
    let started = Instant::now();
    let error = loop {
        match reader.fetch(10, Duration::from_secs(1)).await {
            Ok(messages) => assert!(messages.is_empty(), "{messages:?}"),
            Err(error) => break error,
        }
        assert!(started.elapsed() < crate::suite::DEADLINE);
    };
    assert!(error.to_string().contains("made anew"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_reader_is_told_of_a_loss_and_only_of_a_loss() {
    let Some(server) = server() else { return };
    let ageing = StreamConfig {
        max_age: Some(Duration::from_secs(1)),
        duplicate_window: Duration::from_secs(1),
        ..stream("s")
    };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&ageing).await.unwrap();
    let reading = |subject: &str, from| ConsumerConfig {
        filters: vec![subject.to_owned()],
        start: Start::Seq(from),
        ..config(AckPolicy::None)
    };
    publish_one(&*log, message("s.quiet", 1)).await.unwrap();
    fill(&*log, 2..=9).await;
    let gone = |first: u64| {
        let log = Arc::clone(&log);
        async move {
            until("messages are gone", || async {
                let info = log.stream("s").await.unwrap();
                (info.first_seq >= first).then_some(())
            })
            .await;
        }
    };
    gone(10).await;
    // Who had read the quiet subject's only message lost nothing, also long after everything is gone.
    drop(log.consume("s", reading("s.quiet", 2)).await.unwrap());
    fill(&*log, 10..=12).await;
    gone(13).await;
    let mut reader = log.consume("s", reading("s.quiet", 2)).await.unwrap();
    publish_one(&*log, message("s.quiet", 13)).await.unwrap();
    assert_eq!(sequences(&take(&mut *reader, 1).await), [13]);
    // Who had not read it lost it, and who reads the loud one lost that.
    for (subject, from) in [("s.quiet", 1), ("s.a", 5), ("s.a", 12)] {
        let answer = log.consume("s", reading(subject, from)).await.map(drop);
        let Err(LogError::Gap { wanted, .. }) = answer else {
            panic!("{subject} from {from}: {answer:?}");
        };
        assert_eq!(wanted, from);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_while_it_reads_is_told() {
    let Some(server) = server() else { return };
    let ageing = StreamConfig {
        max_age: Some(Duration::from_secs(1)),
        duplicate_window: Duration::from_secs(1),
        ..stream("s")
    };
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&ageing).await.unwrap();
    fill(&*log, 1..=2000).await;
    for filters in [vec![], vec!["s.a".to_owned()]] {
        let slow = ConsumerConfig {
            filters,
            start: Start::Seq(log.stream("s").await.unwrap().first_seq),
            ..config(AckPolicy::None)
        };
        let mut reader = log.consume("s", slow).await.unwrap();
        let first = take(&mut *reader, 1).await[0].seq;
        let last = log.stream("s").await.unwrap().last_seq;
        until("messages are gone", || async {
            let info = log.stream("s").await.unwrap();
            (info.first_seq > last).then_some(())
        })
        .await;
        fill(&*log, last + 1..=last + 2000).await;
        // What it had read ahead it may still give; then it must say what is missing.
        let mut expected = first + 1;
        let error = loop {
            match reader.fetch(1000, Duration::from_secs(1)).await {
                Ok(messages) => {
                    for seq in sequences(&messages) {
                        assert_eq!(seq, expected, "skipped in silence");
                        expected += 1;
                    }
                }
                Err(error) => break error,
            }
            assert!(expected <= last, "nothing was said");
        };
        let LogError::Gap { wanted, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(wanted, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_says_of_its_disk_and_clock_is_heard() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let address = server.monitor_url();
    let said = monitor(Some(&address)).await;
    assert_eq!(said.sync, Sync::Always);
    assert!(said.skew.unwrap().as_secs().abs() < 5, "{said:?}");
    let log = Nats::open(at(server.url())).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    let found = survey(at(server.url()), &[stream("s")]).await.unwrap();
    assert!(found.skew.unwrap().as_secs().abs() < 5, "{found:?}");
    assert!(matches!(monitor(None).await.sync, Sync::Unknown(_)));
    let nobody = monitor(Some("http://127.0.0.1:1")).await;
    assert!(matches!(nobody.sync, Sync::Unknown(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_jetstream_is_named() {
    let extra =
        "accounts { A: { users: [ { user: me, password: x } ] }, B: { jetstream: enabled } }";
    let options = Options {
        extra: extra.to_owned(),
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    let options = NatsOptions {
        user: Some("me".to_owned()),
        password: Some(lockstep_core::connector::Secret::new("x".to_owned())),
        ..quick(&server)
    };
    let error = survey(options, &[]).await.unwrap_err();
    let LogError::Unreachable { reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("JetStream"), "{reason}");
}
