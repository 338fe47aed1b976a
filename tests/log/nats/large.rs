//! Payloads beyond the server's limit: stored once, found whole, and never missed silently.

use std::time::Duration;

use lockstep::log::nats::Nats;
use lockstep::log::{AckPolicy, Consumer, Log, LogError, Message, Start, Stored, StreamConfig};
use lockstep_servers::nats::Server;
use serde_json::{Value, json};

use super::{at, options};
use crate::suite::{config, fill, message, publish_one, stream};

const LARGE: usize = 5 * 1024 * 1024;

fn large(fill: u8) -> Message {
    Message {
        payload: vec![fill; LARGE].into(),
        headers: vec![("kind".into(), "large".into())],
        ..message("s.a", 1)
    }
}

async fn started(aged: bool) -> Option<(Server, std::sync::Arc<Nats>)> {
    let server = Server::start(&options())?;
    let log = Nats::open(at(server.url())).await.unwrap();
    let declared = StreamConfig {
        max_age: aged.then_some(Duration::from_secs(3600)),
        ..stream("s")
    };
    log.ensure_stream(&declared).await.unwrap();
    Some((server, log))
}

/// Somebody with a client of their own.
async fn api(server: &Server, subject: &str, body: Value) -> Value {
    let client = async_nats::connect(server.url()).await.unwrap();
    let answer = client.request(format!("$JS.API.{subject}"), body.to_string().into());
    serde_json::from_slice(&answer.await.unwrap().payload).unwrap()
}

async fn stored(server: &Server) -> (u64, u64) {
    let info = api(server, "STREAM.INFO.OBJ_s", Value::Null).await;
    let state = &info["state"];
    (
        state["messages"].as_u64().unwrap(),
        state["bytes"].as_u64().unwrap(),
    )
}

async fn first(log: &Nats) -> Result<Vec<Stored>, LogError> {
    let config = lockstep::log::ConsumerConfig {
        start: Start::All,
        ..config(AckPolicy::None)
    };
    let mut reader: Box<dyn Consumer> = log.consume("s", config).await.unwrap();
    reader.fetch(10, Duration::from_secs(10)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_was_stored_by_a_writer_that_died_is_not_stored_again() {
    let Some((server, log)) = started(true).await else {
        return;
    };
    // The expectation is refused after the object was stored, as a kill would leave it.
    let refused = Message {
        expect_last: Some(77),
        ..large(1)
    };
    publish_one(&*log, refused).await.unwrap_err();
    assert_eq!(log.stream("s").await.unwrap().messages, 0);
    let before = stored(&server).await;
    assert!(before.1 > LARGE as u64, "{before:?}");
    publish_one(&*log, large(1)).await.unwrap();
    publish_one(&*log, large(1)).await.unwrap();
    assert_eq!(stored(&server).await, before);
    let info = api(&server, "STREAM.INFO.OBJ_s", Value::Null).await;
    let age = Duration::from_nanos(info["config"]["max_age"].as_u64().unwrap());
    assert!(
        age > Duration::from_secs(3600),
        "objects outlive their messages"
    );
    let messages = first(&log).await.unwrap();
    assert_eq!(messages[0].payload, large(1).payload);
    assert_eq!(messages[0].headers, large(1).headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_brings_few_large_messages_at_a_time() {
    let Some((_server, log)) = started(false).await else {
        return;
    };
    for n in 0..4 {
        publish_one(&*log, large(n)).await.unwrap();
    }
    fill(&*log, 1..=3).await;
    let mut reader = log.consume("s", config(AckPolicy::None)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let messages = reader.fetch(100, Duration::from_secs(10)).await.unwrap();
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        assert!(bytes <= 2 * LARGE, "{bytes} bytes at a time");
        seen.extend(messages.into_iter().map(|message| message.seq));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_missing_object_is_an_error_that_names_the_message() {
    let Some((server, log)) = started(false).await else {
        return;
    };
    publish_one(&*log, large(1)).await.unwrap();
    let last = log.last("s", "s.a").await.unwrap().unwrap();
    let reference = last.header("lockstep-object").unwrap().to_owned();
    let name = reference.strip_prefix("sha256:").unwrap();
    let name = name.split(' ').next().unwrap();
    let encoded = base64_url(name);
    // The layout is the one that the object stores of other clients have.
    let which = json!({ "last_by_subj": format!("$O.s.M.{encoded}") });
    let found = api(&server, "STREAM.MSG.GET.OBJ_s", which).await;
    assert!(found["message"]["data"].is_string(), "{found}");

    // Somebody says that the object is another one.
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let forged = json!({
        "name": name, "bucket": "s", "nuid": "forged", "size": 3, "chunks": 1,
        "digest": "SHA-256=", "mtime": "2026-01-01T00:00:00Z",
    });
    context
        .publish("$O.s.C.forged", vec![9_u8; LARGE / 8].into())
        .await
        .unwrap()
        .await
        .unwrap();
    let meta = context.publish(format!("$O.s.M.{encoded}"), forged.to_string().into());
    meta.await.unwrap().await.unwrap();
    let error = first(&log).await.unwrap_err();
    let LogError::Object {
        stream,
        seq: 1,
        reason,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(stream, "s");
    assert!(reason.contains(name), "{reason}");

    api(&server, "STREAM.DELETE.OBJ_s", Value::Null).await;
    let error = first(&log).await.unwrap_err();
    assert!(
        matches!(error, LogError::Object { seq: 1, .. }),
        "{error:?}"
    );
}

fn base64_url(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            encoded.push(if at <= three.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    encoded
}
