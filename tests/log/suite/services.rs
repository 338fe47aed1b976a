//! Promises about request and answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep::log::LogError;

use super::*;

pub(crate) async fn a_request_is_answered<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    let mut service = log.serve("ls.echo").await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = service.requests.recv().await {
            let _ = request
                .reply
                .send([b"re: ", &request.payload[..]].concat().into());
        }
    });
    let asked = (0..50).map(|n: u32| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let answer = log
                .request("ls.echo", n.to_string().into(), DEADLINE)
                .await
                .unwrap();
            assert_eq!(answer, format!("re: {n}"));
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
}

pub(crate) async fn a_subject_nobody_serves_says_so<F: Fixture>() {
    let fixture = F::fresh().await;
    let started = Instant::now();
    let answer = fixture
        .log()
        .request("ls.nobody", Bytes::new(), DEADLINE)
        .await;
    assert_eq!(answer, Err(LogError::NoResponders("ls.nobody".into())));
    assert!(started.elapsed() < DEADLINE / 2);
}

pub(crate) async fn an_unanswered_request_times_out<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    let _silent = log.serve("ls.silent").await.unwrap();
    let answer = log
        .request("ls.silent", Bytes::new(), Duration::from_millis(100))
        .await;
    assert_eq!(answer, Err(LogError::Timeout("ls.silent".into())));
}

pub(crate) async fn a_dropped_service_serves_no_more<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    drop(log.serve("ls.x").await.unwrap());
    until("the service is gone", || async {
        match log.request("ls.x", Bytes::new(), QUIET).await {
            Err(LogError::NoResponders(_)) => Some(()),
            _ => None,
        }
    })
    .await;
    // Another one takes its place.
    let mut service = log.serve("ls.x").await.unwrap();
    tokio::spawn(async move {
        if let Some(request) = service.requests.recv().await {
            let _ = request.reply.send(Bytes::from_static(b"here"));
        }
    });
    assert_eq!(
        log.request("ls.x", Bytes::new(), DEADLINE).await.unwrap(),
        "here"
    );
}

pub(crate) async fn what_is_told_reaches_whoever_listens<F: Fixture>() {
    let fixture = F::fresh().await;
    let log = fixture.log();
    log.tell("me.verdicts", "to nobody".into()).await.unwrap();
    let mut listener = log.serve("me.verdicts").await.unwrap();
    for n in 0..20 {
        log.tell("me.verdicts", n.to_string().into()).await.unwrap();
    }
    for n in 0..20 {
        let told = tokio::time::timeout(DEADLINE, listener.requests.recv());
        assert_eq!(told.await.unwrap().unwrap().payload, n.to_string());
    }
    let refused = log.tell("no subject", Bytes::new()).await;
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
}
