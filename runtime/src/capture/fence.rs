//! Tests of the fence, over the embedded log and a real nats-server: a writer that was replaced writes late at every moment, and a writer dies at every message.
//!
//! Nothing here waits for luck: the log under test runs the other writer's act, or dies, at a chosen call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lockstep_core::connector::Boxed;
use lockstep_core::contract::Contract;
use lockstep_core::error::{Kind, Result};
use lockstep_core::log::{Channel, Event, decode, subject};
use lockstep_core::position::{Mark, Position};
use lockstep_servers::nats::{Options, Server};

use super::outbox::{Outbox, Segment};
use super::publish::Publisher;
use super::{Capture, tests};
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::nats::{Nats, NatsOptions};
use crate::log::{
    self, Ack, AckPolicy, Bucket, Consumer, ConsumerConfig, Log, Message, POSITIONS, PublishError,
    SETTLED, Service, Start, Stored, StreamConfig, StreamInfo,
};
use crate::plan::{Captured, Plan};
use crate::quarantine::Quarantine;
use crate::status::Board;

mod foreign;

const LIFE: &str = "i";
/// Messages of a system that the stream of positions keeps.
const KEPT: u64 = 8;
/// Lanes of the entity under test.
const LANES: usize = 2;

/// Both engines, as far as they are there; what keeps them alive comes along.
async fn engines() -> Vec<(Arc<dyn Log>, Box<dyn Send>)> {
    limited(None).await
}

/// Both engines, keeping so many bytes of settled events.
async fn limited(max_bytes: Option<u64>) -> Vec<(Arc<dyn Log>, Box<dyn Send>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let embedded = Embedded::open(&path, EmbeddedOptions::default()).await;
    let mut engines: Vec<(Arc<dyn Log>, Box<dyn Send>)> =
        vec![(embedded.unwrap(), Box::new(folder))];
    let options = Options {
        sync_always: false,
        ..Options::default()
    };
    if let Some(server) = Server::start(&options) {
        let options = NatsOptions {
            servers: vec![server.url()],
            ..NatsOptions::default()
        };
        engines.push((Nats::open(options).await.unwrap(), Box::new(server)));
    }
    for (log, _) in &engines {
        let stream = |name: &str, subject: &str, max_per_subject| StreamConfig {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            max_age: None,
            max_bytes: max_bytes.filter(|_| name == SETTLED),
            max_per_subject,
            duplicate_window: Duration::from_secs(120),
        };
        for config in [
            stream(SETTLED, "ls.set.>", None),
            stream(POSITIONS, "ls.pos.*", Some(KEPT)),
        ] {
            log.ensure_stream(&config).await.unwrap();
        }
    }
    engines
}

/// A system with one entity of two lanes, both of this name.
struct Case {
    name: String,
    channel: Arc<Channel>,
    toy: Captured,
}

impl Case {
    async fn new(name: String) -> Case {
        let config = crate::config::toy::config();
        let registry = crate::config::toy::registry();
        let preflight = crate::config::preflight(&config, &registry).await;
        let toy = Plan::of(&config, &preflight).captures["crm"][0].clone();
        let contract = Contract {
            entity: name.clone(),
            ..(*tests::channel().contract).clone()
        };
        Case {
            channel: Arc::new(Channel::new(&name, Arc::new(contract))),
            name,
            toy,
        }
    }

    /// A writer that takes the system over.
    async fn take_over(&self, log: &Arc<dyn Log>) -> Result<Publisher> {
        let capture = Capture {
            system: self.name.clone(),
            entities: vec![Captured {
                contract: Arc::clone(&self.channel.contract),
                ..self.toy.clone()
            }],
            open: Box::new(|_| Box::pin(async { unreachable!("no source is opened here") })),
            log: Arc::clone(log),
            quarantine: Arc::new(Quarantine::open(Arc::clone(log)).await?),
            board: Arc::new(Board::default()),
            versions: Arc::new(crate::versions::Versions::open(&**log).await.unwrap()),
            backfills: Default::default(),
            direct: Default::default(),
            look_every: Duration::from_secs(600),
            desk: None,
        };
        Publisher::take_over(&capture).await
    }

    fn event(&self, mark: Mark) -> Event {
        let mut event = tests::event(&self.channel, mark.commit * 100 + mark.ordinal);
        event.id = lockstep_core::log::event_id(LIFE, mark).into();
        event.change.mark = mark;
        event
    }

    /// One segment with these changes, each in the lane that it always has.
    fn segment(&self, marks: impl IntoIterator<Item = Mark>) -> Option<Segment> {
        let mut outbox = Outbox::new(LANES);
        for mark in marks {
            let pushed = outbox.push(
                lane_of(mark),
                &self.channel,
                self.event(mark),
                &Arc::from(LIFE),
            );
            pushed.unwrap();
        }
        outbox.take()
    }

    fn lane(&self, lane: usize) -> String {
        subject::settled(&self.name, 1, lane as u32)
    }

    /// Every change in the log, lane by lane and in order.
    async fn written(&self, log: &dyn Log) -> Vec<Vec<Mark>> {
        let mut lanes = Vec::new();
        for lane in 0..LANES {
            let config = ConsumerConfig {
                durable: None,
                filters: vec![self.lane(lane)],
                start: Start::All,
                ack: AckPolicy::None,
                ack_wait: Duration::from_secs(30),
                max_ack_pending: 0,
            };
            let last = log.last(SETTLED, &self.lane(lane)).await.unwrap();
            let last = last.map_or(0, |stored| stored.seq);
            let mut reader = log.consume(SETTLED, config).await.unwrap();
            let (mut reached, mut marks) = (0, Vec::new());
            while reached < last {
                for message in reader.fetch(100, Duration::from_secs(5)).await.unwrap() {
                    reached = message.seq;
                    if let Ok(decoded) = decode(&self.channel, &message.headers, &message.payload) {
                        marks.extend(decoded.events.iter().map(|event| event.change.mark));
                    }
                }
            }
            lanes.push(marks);
        }
        lanes
    }
}

fn at(commit: u64, ordinal: u64) -> Mark {
    Mark { commit, ordinal }
}

fn lane_of(mark: Mark) -> usize {
    ((mark.commit + mark.ordinal) % LANES as u64) as usize
}

fn position(mark: Mark) -> Position {
    Position {
        incarnation: LIFE.into(),
        commit: mark.commit,
        ordinal: mark.ordinal,
        cursor: None,
    }
}

/// What a source gives again to a writer that resumes: everything after the position, of which the lanes hold some already.
fn left(publisher: &Publisher, all: &[Mark]) -> Vec<Mark> {
    let resume = publisher.resume();
    let after = |mark: &&Mark| resume.as_ref().is_none_or(|at| !at.covers(LIFE, **mark));
    all.iter()
        .filter(after)
        .filter(|mark| !publisher.has(lane_of(**mark), LIFE, **mark, false))
        .copied()
        .collect()
}

async fn send(
    publisher: &mut Publisher,
    segment: Option<Segment>,
    position: Option<Position>,
) -> Result<()> {
    let landed = publisher.send(segment, position).await?;
    publisher.landed(&landed);
    Ok(())
}

/// When a replaced writer acts, among the acts of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    BeforeThePositionIsRead,
    BeforeTheEpochIsRaised,
    BeforeTheLaneIsRead,
    BeforeTheLaneIsFenced,
    AfterTheTakeover,
}

const MOMENTS: [Moment; 5] = [
    Moment::BeforeThePositionIsRead,
    Moment::BeforeTheEpochIsRaised,
    Moment::BeforeTheLaneIsRead,
    Moment::BeforeTheLaneIsFenced,
    Moment::AfterTheTakeover,
];

/// What a replaced writer does late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The change of commit 3, or 4 on the other lane.
    Write,
    /// How far it knows everything to be written.
    Position,
}

/// A writer that does not know that it is replaced.
struct Zombie {
    case: Arc<Case>,
    publisher: Publisher,
    late: Mark,
    wrote: bool,
}

impl Zombie {
    async fn act(&mut self, act: Act) {
        match act {
            Act::Write => {
                let segment = self.case.segment([self.late]);
                self.wrote = send(&mut self.publisher, segment, None).await.is_ok();
            }
            Act::Position => {
                // The late change can be said to be covered only where all before it are.
                let covered = if self.wrote && self.late == at(3, 0) {
                    self.late
                } else {
                    at(2, 0)
                };
                let _ = send(&mut self.publisher, None, Some(position(covered))).await;
            }
        }
    }
}

/// A log under which a replaced writer acts at chosen moments of the new writer's takeover.
struct Interleaved {
    inner: Arc<dyn Log>,
    lane: String,
    zombie: tokio::sync::Mutex<Zombie>,
    acts: Mutex<BTreeMap<Moment, Vec<Act>>>,
}

impl Interleaved {
    async fn reach(&self, moment: Moment) {
        let acts = self.acts.lock().unwrap().remove(&moment);
        for act in acts.unwrap_or_default() {
            self.zombie.lock().await.act(act).await;
        }
    }
}

impl Under for Interleaved {
    fn inner(&self) -> &Arc<dyn Log> {
        &self.inner
    }

    async fn before_last(&self, stream: &str, subject: &str) -> Result<(), log::LogError> {
        if stream == POSITIONS {
            self.reach(Moment::BeforeThePositionIsRead).await;
        } else if subject == self.lane {
            self.reach(Moment::BeforeTheLaneIsRead).await;
        }
        Ok(())
    }

    async fn store(&self, stream: &str, messages: Vec<Message>) -> Vec<Result<Ack, PublishError>> {
        if stream == POSITIONS {
            self.reach(Moment::BeforeTheEpochIsRaised).await;
        } else if messages.iter().any(|message| message.subject == self.lane) {
            self.reach(Moment::BeforeTheLaneIsFenced).await;
        }
        self.inner.publish(stream, messages).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_writer_loses_doubles_and_reorders_nothing_whenever_it_writes() {
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        let mut number = 0;
        for late in [at(3, 0), at(4, 0)] {
            for write in MOMENTS {
                for say in MOMENTS {
                    let orders: &[[(Moment, Act); 2]] = &[
                        [(write, Act::Write), (say, Act::Position)],
                        [(say, Act::Position), (write, Act::Write)],
                    ];
                    // The order of the two matters only in one moment.
                    for acts in &orders[..if write == say { 2 } else { 1 }] {
                        number += 1;
                        let name = format!("e{engine}n{number}");
                        interleave(&log, name, late, acts).await;
                    }
                }
            }
        }
    }
}

async fn interleave(log: &Arc<dyn Log>, name: String, late: Mark, acts: &[(Moment, Act)]) {
    let case = Arc::new(Case::new(name).await);
    let all = [at(1, 0), at(2, 0), at(3, 0), at(4, 0), at(5, 0)];
    let mut publisher = case.take_over(log).await.unwrap();
    send(&mut publisher, None, Some(position(at(0, 0))))
        .await
        .unwrap();
    let segment = case.segment([at(1, 0), at(2, 0)]);
    send(&mut publisher, segment, None).await.unwrap();
    let mut planned: BTreeMap<Moment, Vec<Act>> = BTreeMap::new();
    for (moment, act) in acts {
        planned.entry(*moment).or_default().push(*act);
    }
    let interleaved = Arc::new(Interleaved {
        inner: Arc::clone(log),
        lane: case.lane(lane_of(late)),
        zombie: tokio::sync::Mutex::new(Zombie {
            case: Arc::clone(&case),
            publisher,
            late,
            wrote: false,
        }),
        acts: Mutex::new(planned),
    });
    let under: Arc<dyn Log> = Arc::clone(&interleaved) as Arc<dyn Log>;
    let mut new = case.take_over(&under).await.unwrap();
    interleaved.reach(Moment::AfterTheTakeover).await;
    for mark in left(&new, &all) {
        let segment = case.segment([mark]);
        send(&mut new, segment, None).await.unwrap();
    }
    send(&mut new, None, Some(position(at(5, 0))))
        .await
        .unwrap();
    // The old one is fenced everywhere, for good, and knows that it was replaced.
    let zombie = &mut interleaved.zombie.lock().await.publisher;
    for mark in [at(6, 0), at(7, 0)] {
        let error = send(zombie, case.segment([mark]), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Stopped, "{acts:?}: {error}");
    }
    let error = send(zombie, None, Some(position(at(9, 0))))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Stopped, "{acts:?}: {error}");
    assert_eq!(
        case.written(&**log).await,
        [vec![at(2, 0), at(4, 0)], vec![at(1, 0), at(3, 0), at(5, 0)]],
        "{late:?} {acts:?}"
    );
}

/// How a message is under way when its writer dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// It was not stored.
    Before,
    /// It was stored, and nobody heard of it.
    After,
}

/// A log whose user dies at a chosen message.
struct Dying {
    inner: Arc<dyn Log>,
    /// Messages until then.
    left: AtomicI64,
    cut: Cut,
    dead: AtomicBool,
}

impl Dying {
    fn new(inner: &Arc<dyn Log>, after: i64, cut: Cut) -> Arc<Dying> {
        Arc::new(Dying {
            inner: Arc::clone(inner),
            left: AtomicI64::new(after),
            cut,
            dead: AtomicBool::new(false),
        })
    }
}

impl Under for Dying {
    fn inner(&self) -> &Arc<dyn Log> {
        &self.inner
    }

    async fn before_last(&self, _stream: &str, _subject: &str) -> Result<(), log::LogError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(log::LogError::Closed);
        }
        Ok(())
    }

    async fn store(&self, stream: &str, messages: Vec<Message>) -> Vec<Result<Ack, PublishError>> {
        let lost = || PublishError::Unknown("the writer is dead".to_owned());
        let mut outcomes = Vec::new();
        for message in messages {
            if self.dead.load(Ordering::SeqCst) {
                outcomes.push(Err(lost()));
                continue;
            }
            let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
            if dies {
                self.dead.store(true, Ordering::SeqCst);
            }
            let outcome = if dies && self.cut == Cut::Before {
                Err(lost())
            } else {
                self.inner.publish(stream, vec![message]).await.remove(0)
            };
            outcomes.push(if dies { Err(lost()) } else { outcome });
        }
        outcomes
    }
}

/// One life of a writer: takes over, and writes what is left of a transaction in messages of one change each.
async fn live(case: &Case, log: &Arc<dyn Log>, transaction: &[Mark]) -> Result<()> {
    let mut publisher = case.take_over(log).await?;
    if !publisher.can_resume(LIFE) {
        send(&mut publisher, None, Some(position(at(6, 0)))).await?;
    }
    let marks = left(&publisher, transaction);
    for marks in marks.chunks(LANES) {
        // Two of one lane cannot stand in one segment with a message each.
        let (first, second): (Vec<Mark>, Vec<Mark>) = marks
            .iter()
            .partition(|mark| lane_of(**mark) == lane_of(marks[0]));
        for marks in [first, second] {
            for mark in marks {
                send(&mut publisher, case.segment([mark]), None).await?;
            }
        }
    }
    let end = transaction[transaction.len() - 1];
    send(&mut publisher, None, Some(position(end))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_cut_at_any_message_is_written_once() {
    let transaction: Vec<Mark> = (0..6).map(|ordinal| at(7, ordinal)).collect();
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        for cut in [Cut::Before, Cut::After] {
            for after in 0.. {
                let case = Case::new(format!("t{engine}{cut:?}{after}").to_lowercase()).await;
                let dying = Dying::new(&log, after, cut);
                let under: Arc<dyn Log> = Arc::clone(&dying) as Arc<dyn Log>;
                let first = live(&case, &under, &transaction).await;
                // A second life dies as well, a little later.
                let second = Dying::new(&log, after / 2, cut);
                let under: Arc<dyn Log> = Arc::clone(&second) as Arc<dyn Log>;
                let _ = live(&case, &under, &transaction).await;
                live(&case, &log, &transaction).await.unwrap();
                let expected: Vec<Vec<Mark>> = (0..LANES)
                    .map(|lane| {
                        let marks = transaction.iter().copied();
                        marks.filter(|mark| lane_of(*mark) == lane).collect()
                    })
                    .collect();
                assert_eq!(
                    case.written(&*log).await,
                    expected,
                    "cut {cut:?} message {after}"
                );
                if first.is_ok() {
                    assert!(after > 8, "nothing was cut");
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_message_on_a_lane_hides_nothing_that_was_written() {
    let all = [at(1, 0), at(3, 0), at(5, 0)];
    for (engine, (log, _alive)) in engines().await.into_iter().enumerate() {
        let case = Case::new(format!("f{engine}")).await;
        let mut publisher = case.take_over(&log).await.unwrap();
        send(&mut publisher, None, Some(position(at(0, 0))))
            .await
            .unwrap();
        for mark in &all[..2] {
            send(&mut publisher, case.segment([*mark]), None)
                .await
                .unwrap();
        }
        let foreign = Message {
            subject: case.lane(1),
            payload: Bytes::from_static(b"hello"),
            ..Message::default()
        };
        for outcome in log.publish(SETTLED, vec![foreign.clone(), foreign]).await {
            outcome.unwrap();
        }
        // The writer notices, and its next life goes on where its own messages end.
        assert!(
            send(&mut publisher, case.segment([all[2]]), None)
                .await
                .is_err()
        );
        let mut next = case.take_over(&log).await.unwrap();
        assert_eq!(left(&next, &all), [all[2]]);
        send(&mut next, case.segment([all[2]]), None).await.unwrap();
        assert_eq!(case.written(&*log).await[1], all);
    }
}

/// A log under test: what it does itself, and the log it stands on.
trait Under: Send + Sync + 'static {
    fn inner(&self) -> &Arc<dyn Log>;
    fn before_last(
        &self,
        stream: &str,
        subject: &str,
    ) -> impl Future<Output = Result<(), log::LogError>> + Send;
    fn store(
        &self,
        stream: &str,
        messages: Vec<Message>,
    ) -> impl Future<Output = Vec<Result<Ack, PublishError>>> + Send;
}

impl<U: Under> Log for U {
    fn ensure_stream<'a>(&'a self, config: &'a StreamConfig) -> Boxed<'a, log::Result<()>> {
        self.inner().ensure_stream(config)
    }

    fn stream<'a>(&'a self, stream: &'a str) -> Boxed<'a, log::Result<StreamInfo>> {
        self.inner().stream(stream)
    }

    fn publish<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Vec<Result<Ack, PublishError>>> {
        Box::pin(self.store(stream, messages))
    }

    fn publish_atomic<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Result<Vec<Ack>, (usize, PublishError)>> {
        self.inner().publish_atomic(stream, messages)
    }

    fn last<'a>(
        &'a self,
        stream: &'a str,
        subject: &'a str,
    ) -> Boxed<'a, log::Result<Option<Stored>>> {
        Box::pin(async move {
            self.before_last(stream, subject).await?;
            self.inner().last(stream, subject).await
        })
    }

    fn get(&self, stream: &str, seq: u64) -> Boxed<'_, log::Result<Option<Stored>>> {
        self.inner().get(stream, seq)
    }

    fn enforce_limits<'a>(&'a self, stream: &'a str) -> Boxed<'a, log::Result<()>> {
        self.inner().enforce_limits(stream)
    }

    fn consume<'a>(
        &'a self,
        stream: &'a str,
        config: ConsumerConfig,
    ) -> Boxed<'a, log::Result<Box<dyn Consumer>>> {
        self.inner().consume(stream, config)
    }

    fn delete_consumer<'a>(&'a self, stream: &'a str, name: &'a str) -> Boxed<'a, log::Result<()>> {
        self.inner().delete_consumer(stream, name)
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Boxed<'a, log::Result<Box<dyn Bucket>>> {
        self.inner().bucket(name)
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> Boxed<'a, log::Result<Bytes>> {
        self.inner().request(subject, payload, deadline)
    }

    fn tell<'a>(&'a self, subject: &'a str, payload: Bytes) -> Boxed<'a, log::Result<()>> {
        self.inner().tell(subject, payload)
    }

    fn serve<'a>(&'a self, subject: &'a str) -> Boxed<'a, log::Result<Service>> {
        self.inner().serve(subject)
    }
}
