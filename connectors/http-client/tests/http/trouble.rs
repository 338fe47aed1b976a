//! Systems that fail, throttle and vanish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use lockstep_core::Kind;
use lockstep_http_client::{Budget, Client, HttpError, Settings, path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{client, serve, settings, url};

/// A server that fails `times` times with a status and a `Retry-After`, then is fine; counts requests.
fn failing(times: usize, status: u16, retry_after: Option<String>) -> (Router, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let answer = move || {
        let before = seen.fetch_add(1, SeqCst);
        let mut headers = HeaderMap::new();
        if before >= times {
            return (StatusCode::OK, headers, "{}".to_owned());
        }
        if let Some(after) = &retry_after {
            headers.insert("retry-after", after.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        (status, headers, r#"{"reason":"bad day"}"#.to_owned())
    };
    let router = Router::new().route("/x", any(move || async move { answer() }));
    (router, count)
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated() {
    for (status, safe, post, expected) in [
        (500, None, false, 3),
        (502, None, false, 3),
        (429, None, false, 3),
        (408, None, false, 3),
        (500, None, true, 1),
        (500, Some(true), true, 3),
        (500, Some(false), false, 1),
        (404, None, false, 1),
        (400, Some(true), true, 1),
        (501, None, false, 1),
    ] {
        let (router, count) = failing(2, status, None);
        let client = client(serve(router).await);
        let mut request = if post {
            client.post("x")
        } else {
            client.get("x")
        };
        if let Some(safe) = safe {
            request = request.safe_to_repeat(safe);
        }
        let result = request.send().await;
        let case = format!("{status} safe {safe:?} post {post}");
        assert_eq!(count.load(SeqCst), expected, "{case}");
        assert_eq!(result.is_ok(), expected == 3, "{case}");
        if let Err(error) = result {
            let http = HttpError::of(&error).unwrap();
            assert_eq!(
                (http.status, &http.body[..]),
                (status, &br#"{"reason":"bad day"}"#[..])
            );
            assert!(!error.chain().contains("bad day"), "{}", error.chain());
        }
    }
}

#[tokio::test]
async fn tries_come_to_an_end() {
    let (router, count) = failing(usize::MAX, 503, None);
    let error = client(serve(router).await)
        .get("x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(count.load(SeqCst), 5);
}

#[tokio::test]
async fn the_wait_that_was_asked_for_is_kept() {
    let in_two_seconds = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&in_two_seconds)
        .unwrap();
    for after in [date, "1".to_owned()] {
        let (router, count) = failing(1, 429, Some(after.clone()));
        let client = client(serve(router).await);
        let began = Instant::now();
        client.get("x").send().await.unwrap();
        assert_eq!(count.load(SeqCst), 2);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(900), "{after}: {took:?}");
    }
}

#[tokio::test]
async fn a_wait_beyond_patience_is_an_error_that_says_how_long_and_holds_for_all() {
    let (router, count) = failing(1, 429, Some("3600".to_owned()));
    let base = serve(router).await;
    let one = client(base.clone());
    let other = client(base);
    for client in [&one, &other] {
        let error = client.get("x").send().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Throttled);
        let after = error.retry_after().unwrap();
        assert!(after > Duration::from_secs(3500), "{after:?}");
    }
    assert_eq!(count.load(SeqCst), 1, "the other client asked all the same");
}

#[tokio::test]
async fn a_vendors_own_headers_are_learned_from() {
    let router = Router::new().route("/x", get(|| async { ([("x-left", "0")], "{}") }));
    let client = Client::new(Settings {
        pace: Some(Arc::new(|_, headers| {
            let used_up = headers.get("x-left").is_some_and(|left| left == "0");
            used_up.then_some(Duration::from_millis(300))
        })),
        ..settings(serve(router).await)
    })
    .unwrap();
    let began = Instant::now();
    client.get("x").send().await.unwrap();
    client.get("x").send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(280));
}

#[tokio::test]
async fn clients_of_a_system_share_its_budget() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, peak) = (Arc::clone(&now), Arc::clone(&most));
    let answer = move || {
        let (seen, peak) = (Arc::clone(&seen), Arc::clone(&peak));
        async move {
            peak.fetch_max(seen.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(30)).await;
            seen.fetch_sub(1, SeqCst);
            "{}"
        }
    };
    let base = serve(Router::new().route("/x", get(answer))).await;
    let budget = Budget {
        per_second: Some(50.0),
        concurrent: 2,
        burst: 1,
    };
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let client = Client::new(Settings {
            budget,
            ..settings(base.clone())
        })
        .unwrap();
        for _ in 0..5 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move { client.get("x").send().await }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(170), "{took:?}");
    assert_eq!(most.load(SeqCst), 2);
}

/// A server that treats its connections one after the other as the list says, and then as the last.
async fn raw(acts: Vec<&'static [u8]>) -> (lockstep_http_client::Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let act = acts[seen.fetch_add(1, SeqCst).min(acts.len() - 1)];
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            let _ = socket.write_all(act).await;
        }
    });
    (url(address), count)
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const CUT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{\"items\": [";

#[tokio::test]
async fn cut_connections_are_tried_again_where_that_is_harmless() {
    let (base, count) = raw(vec![b"", CUT, FINE]).await;
    client(base).get("x").send().await.unwrap();
    assert_eq!(count.load(SeqCst), 3);

    let (base, count) = raw(vec![CUT, FINE]).await;
    let error = client(base).post("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(count.load(SeqCst), 1, "a write was sent twice");
}

#[tokio::test]
async fn a_system_that_is_not_there_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = url(listener.local_addr().unwrap());
    drop(listener);
    let error = client(base).post("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn silence_ends() {
    let router = Router::new().route(
        "/x",
        get(|| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "{}"
        }),
    );
    let mut settings = settings(serve(router).await);
    settings.timeouts.total = Duration::from_millis(100);
    settings.retry.tries = 2;
    let error = Client::new(settings)
        .unwrap()
        .get(path!["x"])
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert!(error.to_string().contains("in time"), "{error}");
}
