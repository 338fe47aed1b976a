//! Bodies that are not what was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use lockstep_core::Kind;
use lockstep_http_client::{Bytes, Client, Json, Settings};

use crate::{client, serve, settings};

const PAGE: &str = "<!doctype html><html><head><title>Please sign in</title><style>x</style></head><body>Anna</body></html>";

#[tokio::test]
async fn a_page_instead_of_json_is_told_by_its_first_words() {
    let html = [("content-type", "text/html")];
    let router = Router::new()
        .route("/page", get(move || async move { (html, PAGE) }))
        .route(
            "/gateway",
            get(move || async move { (StatusCode::BAD_GATEWAY, html, PAGE) }),
        )
        .route("/early", get(|| async { r#"{"items": [{"name": "Anna"# }))
        .route("/odd", get(|| async { r#"{"items": Anna}"# }))
        .route("/shape", get(|| async { r#"{"items": "Anna"}"# }))
        .route("/empty", get(|| async { "" }));
    let client = client(serve(router).await);

    let answer = client.get("page").send().await.unwrap();
    let error = answer.json::<serde_json::Value>().unwrap_err();
    assert_eq!(error.kind(), Kind::Unexpected);
    let text = error.to_string();
    assert!(
        text.contains("text/html") && text.contains("Please sign in"),
        "{text}"
    );
    assert_eq!(answer.tree().unwrap_err().to_string(), text);

    let error = client.get("gateway").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);

    for (path, kind) in [
        ("early", Kind::Transient),
        ("odd", Kind::Unexpected),
        ("empty", Kind::Unexpected),
    ] {
        let answer = client.get(path).send().await.unwrap();
        let exact = answer.tree().unwrap_err();
        let typed = answer.json::<serde_json::Value>().unwrap_err();
        for error in [exact, typed] {
            assert_eq!(error.kind(), kind, "{path}: {error}");
            assert!(!error.chain().contains("Anna"), "{}", error.chain());
        }
    }
    let answer = client.get("shape").send().await.unwrap();
    let error = answer
        .json::<std::collections::BTreeMap<String, u8>>()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unexpected);
    assert!(!error.chain().contains("Anna"), "{}", error.chain());
    assert_eq!(
        answer.tree().unwrap().get("items").and_then(Json::as_str),
        Some("Anna")
    );
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let body = move || {
        let count = Arc::clone(&count);
        // 100 MB in pieces, without a stated length.
        let pieces = (0..1600).map(move |_| {
            count.fetch_add(1, SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024]))
        });
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    let told = || async { vec![b'x'; 3_000_000] };
    let router = Router::new()
        .route("/stream", get(move || async move { body() }))
        .route("/told", get(told))
        .route(
            "/error",
            get(move || async move { (StatusCode::BAD_REQUEST, vec![b'x'; 3_000_000]) }),
        );
    let client = Client::new(Settings {
        body_max: 1_000_000,
        ..settings(serve(router).await)
    })
    .unwrap();
    for path in ["stream", "told"] {
        let error = client.get(path).send().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{path}");
        assert!(
            error.to_string().contains("more than 1000000 bytes"),
            "{error}"
        );
    }
    // What was sent beyond the limit lies in the buffers of sockets.
    let pieces = sent.load(SeqCst);
    assert!(pieces < 400, "{pieces} of 1600 pieces were taken");
    let error = client.get("error").send().await.unwrap_err();
    assert!(error.to_string().contains("answered 400"), "{error}");
}

#[tokio::test]
async fn accepted_statuses_are_answers() {
    let router = Router::new().route(
        "/x",
        get(|| async { (StatusCode::CONFLICT, r#"{"amount": 12.500}"#) }),
    );
    let client = client(serve(router).await);
    let answer = client
        .get("x")
        .accept_status(&[404, 409])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 409);
    assert_eq!(answer.tree().unwrap().to_string(), r#"{"amount":12.500}"#);
}
