//! What must not get out: credentials to other hosts, secrets into messages, requests over untrusted connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get};
use lockstep_core::Kind;
use lockstep_core::connector::Secret;
use lockstep_http_client::{Auth, Client, Settings, Url, path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{client, serve, settings};

/// A server that counts whoever comes.
async fn stranger() -> (Url, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let router = Router::new().fallback(any(move || async move {
        seen.fetch_add(1, SeqCst);
        "{}"
    }));
    (serve(router).await, count)
}

#[tokio::test]
async fn credentials_never_follow_to_another_host() {
    let (other, visits) = stranger().await;
    let target = other.clone();
    let router = Router::new()
        .route(
            "/away",
            any(move || async move { (StatusCode::FOUND, [("location", target.to_string())]) }),
        )
        .route(
            "/near",
            any(|| async { (StatusCode::FOUND, [("location", "/here")]) }),
        )
        .route(
            "/moved",
            any(|| async { (StatusCode::PERMANENT_REDIRECT, [("location", "here")]) }),
        )
        .route(
            "/round",
            any(|| async { (StatusCode::FOUND, [("location", "/round")]) }),
        )
        .route("/here", any(|| async { r#"{"here": true}"# }));
    let client = Client::new(Settings {
        auth: Auth::Bearer(Secret::new("hunter2".to_owned())),
        ..settings(serve(router).await)
    })
    .unwrap();
    let error = client.get("away").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    let error = client.get(other.as_str()).send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert_eq!(visits.load(SeqCst), 0);

    client.get("near").send().await.unwrap();
    client.post("moved").json("x").send().await.unwrap();
    // A write that turned into a listing would look like a success.
    let error = client.post("near").json("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    let error = client.get("round").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    let answer = client.get("here").send().await.unwrap();
    let link = answer.link("/here?page=2").unwrap();
    assert_eq!(client.get(link).send().await.unwrap().status, 200);
}

#[tokio::test]
async fn no_message_and_no_debug_holds_a_secret() {
    let router = Router::new().fallback(any(|| async {
        (StatusCode::BAD_REQUEST, "hunter2 is no password")
    }));
    let base = serve(router).await;
    let dead: Url = "http://127.0.0.1:1/".parse().unwrap();
    let secret = || Secret::new("hunter2".to_owned());
    for auth in [
        Auth::Bearer(secret()),
        Auth::Basic {
            user: "anna".to_owned(),
            password: secret(),
        },
        Auth::Header {
            name: "x-key".to_owned(),
            value: secret(),
        },
        Auth::Query {
            name: "key".to_owned(),
            value: secret(),
        },
    ] {
        for base in [&base, &dead] {
            let mut settings = settings(base.clone());
            settings.auth = auth.clone();
            settings.headers = vec![("x-more".to_owned(), "hunter2".to_owned())];
            settings.retry.tries = 1;
            let shown = format!("{settings:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            let client = Client::new(settings).unwrap();
            let error = client
                .post(path!["things", "hunter2".to_owned()])
                .query(&[("q", "hunter2")])
                .header("x-other", "hunter2")
                .form(&[("password", "hunter2")])
                .send()
                .await
                .unwrap_err();
            let shown = format!("{error:?} {} {client:?}", error.chain());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("system `crm`"), "{shown}");
        }
    }
}

#[tokio::test]
async fn ids_that_would_name_another_resource_are_refused() {
    let (base, visits) = stranger().await;
    let client = client(base);
    for id in ["", ".", ".."] {
        let error = client
            .delete(path!["customers", id])
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
    assert_eq!(visits.load(SeqCst), 0);
    let error = client
        .get("x")
        .header("x-a", "b\r\nx-c: d")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn addresses_with_credentials_are_refused() {
    for base in [
        "https://anna:hunter2@host/",
        "https://host/?key=hunter2",
        "ftp://host/",
    ] {
        let error = Client::new(settings(base.parse().unwrap())).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    }
}

#[tokio::test]
async fn certificates_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, signed.cert.pem()).unwrap();
    let base = tls_server(&signed).await;

    let error = client(base.clone()).get("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    assert!(error.to_string().contains("not trusted"), "{error}");

    let trusting = Client::new(Settings {
        ca_file: Some(ca_file),
        ..settings(base)
    })
    .unwrap();
    trusting.get("x").send().await.unwrap();

    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let error = Client::new(Settings {
        ca_file: Some(empty),
        ..settings("https://localhost/".parse().unwrap())
    });
    assert_eq!(error.unwrap_err().kind(), Kind::Config);
}

async fn tls_server(signed: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Url {
    use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            let fine = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = socket.write_all(fine).await;
            let _ = socket.shutdown().await;
        }
    });
    format!("https://localhost:{port}/").parse().unwrap()
}

#[tokio::test]
async fn a_head_of_the_answer_is_found_by_name() {
    let router = Router::new().route("/x", get(|| async { ([("x-a", "b")], "{}") }));
    let answer = client(serve(router).await).get("x").send().await.unwrap();
    assert_eq!(answer.header("X-A"), Some("b"));
    assert!(!format!("{answer:?}").contains("{}"));
}
