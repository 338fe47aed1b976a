//! Storing messages: many at a time, each on its own terms or all together.
//!
//! Messages of one call are sent in their order over one connection, a bounded number ahead of their answers.
//! An answer that does not come makes the outcome unknown; nothing is sent a second time, except where the server said that it did not store it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::poll;
use tokio::time::Instant;

use super::link::Trouble;
use super::stream::{self, Known};
use super::wire::{self, Answer, Refusal};
use super::{Inner, large, service};
use crate::log::{ATOMIC_MAX, Ack, LogError, Message, PublishError, Result, rules};

/// Most messages of one call that are sent and not answered.
const WINDOW: usize = 256;
/// Most bytes of them.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How long to wait before asking again where another write to the subject is under way.
const BUSY_WAIT: Duration = Duration::from_millis(2);
/// How long to wait before asking again where nobody answers for the stream.
const NOBODY_WAIT: Duration = Duration::from_millis(50);
/// How often at most.
const BUSY_MAX: u32 = 1000;
/// Header: which batch.
const BATCH_ID: &str = "Nats-Batch-Id";
/// Header: its place in the batch, from 1.
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
/// Header: the batch ends here.
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Ack, PublishError>> + Send + 'a>>;

/// Stores messages, each on its own terms.
pub(super) async fn each(
    log: &Inner,
    stream: &str,
    messages: Vec<Message>,
) -> Vec<Result<Ack, PublishError>> {
    let known = match prepared(log, stream).await {
        Ok(known) => known,
        Err(error) => return messages.iter().map(|_| Err(error.clone())).collect(),
    };
    let alone = messages.len() == 1;
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut ahead: VecDeque<(usize, Answering<'_>)> = VecDeque::new();
    let mut bytes = 0;
    for message in messages {
        let size = message.payload.len();
        // Before it is sent, so that nobody finds a message without its object; those before it are sent already.
        let fitted = match check(&known, &message) {
            Ok(()) => Box::pin(large::fitting(log, &known, message)).await,
            Err(error) => Err(error),
        };
        let message = match fitted {
            Ok(message) => message,
            Err(error) => {
                ahead.push_back((0, Box::pin(std::future::ready(Err(error)))));
                continue;
            }
        };
        while ahead.len() == WINDOW || (bytes + size > WINDOW_BYTES && !ahead.is_empty()) {
            bytes -= settle(&mut ahead, &mut outcomes).await;
        }
        let known = &known;
        // Polled here for the first time, so that messages are sent in their order; a budget that runs out would put some behind others.
        let one = tokio::task::unconstrained(one(log, known, message, alone));
        let mut answering: Answering<'_> = Box::pin(one);
        let answering = match poll!(&mut answering) {
            std::task::Poll::Ready(outcome) => Box::pin(std::future::ready(outcome)),
            std::task::Poll::Pending => answering,
        };
        bytes += size;
        ahead.push_back((size, answering));
    }
    while !ahead.is_empty() {
        settle(&mut ahead, &mut outcomes).await;
    }
    outcomes
}

async fn settle(
    ahead: &mut VecDeque<(usize, Answering<'_>)>,
    outcomes: &mut Vec<Result<Ack, PublishError>>,
) -> usize {
    let Some((size, answering)) = ahead.pop_front() else {
        return 0;
    };
    outcomes.push(answering.await);
    size
}

/// The stream's rules and a connection, or why nothing was sent.
async fn prepared(log: &Inner, stream: &str) -> Result<std::sync::Arc<Known>, PublishError> {
    let known = stream::known(log, stream).await.map_err(not_sent)?;
    match log.link.ready().await {
        Ok(_) => Ok(known),
        Err(trouble) => Err(not_sent(log.link.error(trouble))),
    }
}

fn not_sent(error: LogError) -> PublishError {
    match error {
        LogError::Missing { .. } | LogError::Refused(_) => PublishError::Refused(error.to_string()),
        LogError::Denied(subject) => PublishError::Denied(subject),
        error => PublishError::Storage(error.to_string()),
    }
}

fn check(known: &Known, message: &Message) -> Result<(), PublishError> {
    rules::check_message(message).map_err(PublishError::Refused)?;
    let subject = &message.subject;
    if known
        .patterns
        .iter()
        .any(|pattern| pattern.matches(subject))
    {
        return Ok(());
    }
    Err(PublishError::Refused(format!(
        "subject `{subject}` is not one of stream `{}` ({})",
        known.config.name,
        known.config.subjects.join(", ")
    )))
}

/// Stores one message. Where nobody answers for its stream just now, it was not stored; `alone`, it is sent again, because it cannot fall behind others.
async fn one(
    log: &Inner,
    known: &Known,
    message: Message,
    alone: bool,
) -> Result<Ack, PublishError> {
    check(known, &message)?;
    let until = Instant::now() + log.link.patience;
    let stream = &known.config.name;
    let headers = wire::headers(stream, &message).map_err(PublishError::Refused)?;
    for _ in 0..BUSY_MAX {
        let payload = message.payload.clone();
        let asked = ask(log, stream, &message.subject, headers.clone(), payload).await;
        match asked? {
            Err(Refusal::Nobody) if alone && Instant::now() < until => {
                tokio::time::sleep(NOBODY_WAIT).await;
            }
            Err(Refusal::Nobody) => return Err(unknown(log, Trouble::NoResponders)),
            Ok(answer) => {
                return Ok(Ack {
                    seq: answer.seq,
                    duplicate: answer.duplicate,
                });
            }
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Busy) => tokio::time::sleep(BUSY_WAIT).await,
        }
    }
    let reason = format!(
        "other writes to `{}` did not come to an end",
        message.subject
    );
    Err(match message.id {
        // The other write may be this very message, sent earlier.
        Some(_) => PublishError::Unknown(reason),
        None => PublishError::Storage(reason),
    })
}

/// Sends one message and judges the answer.
async fn ask(
    log: &Inner,
    stream: &str,
    subject: &str,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<Result<Answer, Refusal>, PublishError> {
    let patience = log.link.patience;
    let answer = log.link.send(subject, Some(headers), payload, patience);
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(Trouble::NoResponders) => return Ok(Err(Refusal::Nobody)),
        Err(trouble) => return Err(unknown(log, trouble)),
    };
    let answer: Answer = serde_json::from_slice(&answer.payload)
        .map_err(|error| PublishError::Unknown(format!("the answer cannot be read: {error}")))?;
    Ok(match answer.error {
        Some(fault) => Err(wire::refusal(&fault, stream, subject)),
        None => Ok(answer),
    })
}

fn unknown(log: &Inner, trouble: Trouble) -> PublishError {
    match trouble {
        Trouble::Denied(subject) => PublishError::Denied(subject),
        Trouble::Unfit(reason) => PublishError::Refused(reason),
        // Nobody heard it: the stream is gone, or has no leader just now.
        Trouble::NoResponders | Trouble::Down(_) => {
            PublishError::Storage(log.link.error(trouble).to_string())
        }
        Trouble::TimedOut | Trouble::Lost => {
            PublishError::Unknown(log.link.error(trouble).to_string())
        }
    }
}

/// Stores all messages or none.
pub(super) async fn atomic(
    log: &Inner,
    stream: &str,
    messages: Vec<Message>,
) -> Result<Vec<Ack>, (usize, PublishError)> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    if messages.len() > ATOMIC_MAX {
        let error = format!(
            "a batch of {} messages is too large, at most {ATOMIC_MAX} are taken",
            messages.len()
        );
        return Err((ATOMIC_MAX, PublishError::Refused(error)));
    }
    let known = prepared(log, stream).await.map_err(|error| (0, error))?;
    let mut fitted = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let refused = |error| (at, error);
        check(&known, &message).map_err(refused)?;
        let message = large::fitting(log, &known, message).await;
        fitted.push(message.map_err(refused)?);
    }
    let messages = fitted;
    for _ in 0..BUSY_MAX {
        match batch(log, stream, &messages).await? {
            Ok(last) => {
                let first = last + 1 - messages.len() as u64;
                let ack = |seq| Ack {
                    seq,
                    duplicate: false,
                };
                return Ok((first..=last).map(ack).collect());
            }
            Err(Refusal::Nobody) => return Err((0, unknown(log, Trouble::NoResponders))),
            Err(Refusal::Final(error)) => return Err(blamed(log, stream, &messages, error).await),
            Err(Refusal::Busy) => match overtaken(log, stream, &messages).await {
                Some(error) => return Err(error),
                None => tokio::time::sleep(BUSY_WAIT).await,
            },
        }
    }
    let error = "other writes to its subjects did not come to an end".to_owned();
    Err((0, PublishError::Storage(error)))
}

/// Sends a batch; gives the sequence of its last message.
async fn batch(
    log: &Inner,
    stream: &str,
    messages: &[Message],
) -> Result<Result<u64, Refusal>, (usize, PublishError)> {
    let id = service::unique();
    let last = messages.len() - 1;
    for (at, message) in messages.iter().enumerate() {
        let refused = |error| (at, error);
        let mut headers = wire::headers(stream, message)
            .map_err(PublishError::Refused)
            .map_err(refused)?;
        headers.insert(BATCH_ID, id.as_str());
        headers.insert(BATCH_SEQUENCE, (at + 1).to_string());
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        if at == last {
            headers.insert(BATCH_COMMIT, "1");
            let answer = ask(log, stream, &subject, headers, payload).await;
            return Ok(answer.map_err(refused)?.map(|answer| answer.seq));
        }
        let sent = log
            .link
            .client
            .publish_with_headers(subject, headers, payload);
        sent.await
            .map_err(|error| refused(PublishError::Refused(error.to_string())))?;
    }
    Ok(Ok(0))
}

/// Which message a refusal of the whole batch is about: the server does not say.
async fn blamed(
    log: &Inner,
    stream: &str,
    messages: &[Message],
    error: PublishError,
) -> (usize, PublishError) {
    match &error {
        PublishError::WrongLast { .. } => match overtaken(log, stream, messages).await {
            Some(found) => found,
            None => (messages.len() - 1, error),
        },
        PublishError::Refused(_) => {
            let at = messages.iter().position(|message| message.id.is_some());
            (at.unwrap_or(0), error)
        }
        _ => (messages.len() - 1, error),
    }
}

/// The first message whose subject is not where it expects it.
async fn overtaken(
    log: &Inner,
    stream: &str,
    messages: &[Message],
) -> Option<(usize, PublishError)> {
    for (at, message) in messages.iter().enumerate() {
        let Some(expected) = message.expect_last else {
            continue;
        };
        let subject = message.subject.clone();
        let actual = match stream::last(log, stream, &subject).await {
            Ok(last) => last.map_or(0, |stored| stored.seq),
            Err(_) => return None,
        };
        if actual != expected {
            return Some((at, PublishError::WrongLast { subject, actual }));
        }
    }
    None
}
