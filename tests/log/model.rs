//! The embedded engine against a model: random publishes, reads, acknowledgements, closings and crashes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lockstep::log::{Ack, AckPolicy, Consumer, Message, PublishError};
use proptest::prelude::*;

use crate::embedded::InFolder;
use crate::suite::{Fixture as _, durable, message, sequences, stream, text};

#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<Sent>),
    Atomic(Vec<Sent>),
    Fetch(usize),
    Ack(prop::sample::Index),
    Reopen,
    Crash,
    Last(u8),
}

#[derive(Clone, Debug)]
enum Sent {
    Plain(u8),
    /// Expecting what is there, or (if `false`) something else.
    Expecting(u8, bool),
    Identified(u8, u8),
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        3 => (0u8..3).prop_map(Sent::Plain),
        2 => (0u8..3, any::<bool>()).prop_map(|(subject, right)| Sent::Expecting(subject, right)),
        2 => (0u8..3, 0u8..12).prop_map(|(subject, id)| Sent::Identified(subject, id)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let several = || prop::collection::vec(sent(), 1..5);
    prop_oneof![
        4 => several().prop_map(Step::Publish),
        3 => several().prop_map(Step::Atomic),
        4 => (1usize..6).prop_map(Step::Fetch),
        4 => any::<prop::sample::Index>().prop_map(Step::Ack),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => (0u8..3).prop_map(Step::Last),
    ]
}

/// What the log should hold.
#[derive(Clone, Default)]
struct Model {
    messages: Vec<(String, String)>,
    last: BTreeMap<String, u64>,
    ids: HashMap<String, u64>,
    acked: BTreeSet<u64>,
    /// Given to the consumer since the log was opened, and not acknowledged.
    given: BTreeSet<u64>,
    sent: u64,
}

impl Model {
    fn message(&mut self, sent: &Sent) -> Message {
        self.sent += 1;
        let plain = |subject: &u8| message(&format!("s.{subject}"), self.sent);
        match sent {
            Sent::Plain(subject) => plain(subject),
            Sent::Expecting(subject, right) => {
                let last = self.last.get(&format!("s.{subject}")).copied().unwrap_or(0);
                Message {
                    expect_last: Some(if *right { last } else { last + 1 }),
                    ..plain(subject)
                }
            }
            Sent::Identified(subject, id) => Message {
                id: Some(format!("id {id}")),
                ..plain(subject)
            },
        }
    }

    fn judge(&self, message: &Message, before: &Self) -> Result<Option<u64>, PublishError> {
        if let Some(known) = message.id.as_ref().and_then(|id| self.ids.get(id)) {
            return Ok(Some(*known));
        }
        let actual = before.last.get(&message.subject).copied().unwrap_or(0);
        match message.expect_last {
            Some(expected) if expected != actual => Err(PublishError::WrongLast {
                subject: message.subject.clone(),
                actual,
            }),
            _ => Ok(None),
        }
    }

    fn store(&mut self, message: &Message) -> Ack {
        let text = std::str::from_utf8(&message.payload).unwrap().to_owned();
        self.messages.push((message.subject.clone(), text));
        let seq = self.messages.len() as u64;
        self.last.insert(message.subject.clone(), seq);
        if let Some(id) = &message.id {
            self.ids.insert(id.clone(), seq);
        }
        Ack {
            seq,
            duplicate: false,
        }
    }

    fn publish(&mut self, message: &Message) -> Result<Ack, PublishError> {
        match self.judge(message, self)? {
            Some(seq) => Ok(Ack {
                seq,
                duplicate: true,
            }),
            None => Ok(self.store(message)),
        }
    }

    /// The index of the first message refused, or all acknowledgements.
    fn atomic(&mut self, messages: &[Message]) -> Result<Vec<Ack>, usize> {
        let mut next = self.clone();
        let mut acks = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            match next.judge(message, self) {
                Ok(None) => acks.push(next.store(message)),
                _ => return Err(at),
            }
        }
        *self = next;
        Ok(acks)
    }
}

async fn consumer(fixture: &InFolder) -> Box<dyn Consumer> {
    fixture
        .log()
        .consume("s", durable("c", AckPolicy::Explicit))
        .await
        .unwrap()
}

async fn follow(steps: Vec<Step>) {
    let mut fixture = InFolder::fresh().await;
    fixture.log().ensure_stream(&stream("s")).await.unwrap();
    let mut reader = consumer(&fixture).await;
    let mut model = Model::default();
    for step in steps {
        let log = fixture.log();
        match step {
            Step::Publish(sent) => {
                let messages: Vec<Message> = sent.iter().map(|sent| model.message(sent)).collect();
                let expected: Vec<_> = messages
                    .iter()
                    .map(|message| model.publish(message))
                    .collect();
                assert_eq!(log.publish("s", messages).await, expected);
            }
            Step::Atomic(sent) => {
                let messages: Vec<Message> = sent.iter().map(|sent| model.message(sent)).collect();
                let expected = model.atomic(&messages);
                let answer = log.publish_atomic("s", messages).await;
                assert_eq!(answer.map_err(|(at, _)| at), expected);
            }
            Step::Fetch(max) => {
                let messages = reader.fetch(max, Duration::ZERO).await.unwrap();
                let waiting = (1..=model.messages.len() as u64)
                    .filter(|seq| !model.acked.contains(seq) && !model.given.contains(seq));
                assert_eq!(sequences(&messages), waiting.take(max).collect::<Vec<_>>());
                for message in messages {
                    let expected = &model.messages[message.seq as usize - 1];
                    assert_eq!(
                        (message.subject.as_str(), text(&message)),
                        (expected.0.as_str(), expected.1.as_str())
                    );
                    model.given.insert(message.seq);
                }
            }
            Step::Ack(which) => {
                if let Some(seq) = model
                    .given
                    .iter()
                    .nth(which.index(model.given.len().max(1)))
                    .copied()
                {
                    reader.ack(seq).await.unwrap();
                    model.given.remove(&seq);
                    model.acked.insert(seq);
                }
            }
            Step::Last(subject) => {
                let subject = format!("s.{subject}");
                let last = log.last("s", &subject).await.unwrap().map(|last| last.seq);
                assert_eq!(last, model.last.get(&subject).copied());
            }
            Step::Reopen | Step::Crash => {
                drop((reader, log));
                fixture = match step {
                    Step::Crash => fixture.killed().await,
                    _ => fixture.reopened().await,
                };
                reader = consumer(&fixture).await;
                model.given.clear();
            }
        }
        let info = fixture.log().stream("s").await.unwrap();
        let count = model.messages.len() as u64;
        assert_eq!(
            (info.first_seq, info.last_seq, info.messages),
            (1, count, count)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_does_what_its_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(follow(steps));
    }
}
