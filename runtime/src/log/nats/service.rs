//! Request and answer over core NATS: nothing is stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use super::link::Trouble;
use crate::log::{LogError, Request, Result, Service, rules};

/// Most requests that wait to be taken.
const QUEUE: usize = 64;

/// How long a plain message may wait for a connection.
const TELL_MAX: Duration = Duration::from_secs(1);

/// Sends a request and waits for its answer.
pub(super) async fn request(
    log: &Inner,
    subject: &str,
    payload: Bytes,
    deadline: Duration,
) -> Result<Bytes> {
    rules::check_subject(subject).map_err(LogError::Refused)?;
    match log.link.request(subject, payload, deadline).await {
        Ok(answer) => Ok(answer.payload),
        Err(Trouble::NoResponders) => Err(LogError::NoResponders(subject.to_owned())),
        Err(Trouble::TimedOut) => Err(LogError::Timeout(subject.to_owned())),
        Err(trouble) => Err(log.link.error(trouble)),
    }
}

/// Sends a plain message; nobody may be listening.
pub(super) async fn tell(log: &Inner, subject: &str, payload: Bytes) -> Result<()> {
    rules::check_subject(subject).map_err(LogError::Refused)?;
    let sent = log.link.client.publish(subject.to_owned(), payload);
    match tokio::time::timeout(TELL_MAX, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LogError::Refused(error.to_string())),
        Err(_) => Err(LogError::Timeout(subject.to_owned())),
    }
}

/// Serves a subject until the service is dropped.
pub(super) async fn serve(log: &Arc<Inner>, subject: &str) -> Result<Service> {
    rules::check_subject(subject).map_err(LogError::Refused)?;
    let ready = log.link.ready().await;
    ready.map_err(|trouble| log.link.error(trouble))?;
    let subscribed = log.link.client.subscribe(subject.to_owned()).await;
    let mut subscriber = subscribed.map_err(|error| LogError::Refused(error.to_string()))?;
    // An answer to a later request on this connection means that the server knows the subscription.
    let round_trip = log.link.api::<Json>("INFO", &json!(null)).await;
    round_trip.map_err(|failed| log.link.failed(failed))?;
    let (sender, requests) = mpsc::channel(QUEUE);
    let client = log.link.client.clone();
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                () = sender.closed() => break,
                message = subscriber.next() => message,
            };
            let Some(message) = message else { break };
            let (reply, answered) = oneshot::channel();
            let request = Request {
                payload: message.payload,
                reply,
            };
            if sender.send(request).await.is_err() {
                break;
            }
            let Some(to) = message.reply else { continue };
            let client = client.clone();
            tokio::spawn(async move {
                if let Ok(answer) = answered.await {
                    // Who asked and is gone is no concern of ours.
                    let _ = client.publish(to, answer).await;
                }
            });
        }
        // A subscription that is already gone needs no end.
        let _ = subscriber.unsubscribe().await;
    });
    Ok(Service { requests })
}

/// A name nobody else has.
pub(super) fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
