//! Whatever breaks, halts, crashes and is decided: every change of a record is in the log once at most, in its order, and none that is good is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Emitter, Feed, feed};
use lockstep_core::contract::{Contract, NoLibrary, load};
use lockstep_core::gate::{FieldMap, Mapping, ReadPlan};
use lockstep_core::log::{Channel, decode};
use lockstep_core::position::{Mark, Position};
use lockstep_core::{Change, Op, Row, Value};
use proptest::prelude::*;

use crate::capture::Capture;
use crate::capture::intake::Intake;
use crate::capture::outbox::Outbox;
use crate::capture::publish::Publisher;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::{
    AckPolicy, ConsumerConfig, Log, POSITIONS, Request, SETTLED, Start, StreamConfig,
};
use crate::plan::Captured;
use crate::quarantine::{Answer, Ask, Closing, Edit, Entry, Quarantine, State};
use crate::status::Board;

const LIFE: &str = "i";

/// A rule per outcome.
const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: thing
name: Things
version: 1.0.0
status: active
schema:
  - name: thing
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: crm}
      - {property: lockstep.lanes, value: 2}
    quality:
      - {name: waits, type: custom, engine: cel, implementation: kind != 'quarantine'}
      - name: refused
        type: custom
        engine: cel
        implementation: kind != 'reject'
        customProperties: [{property: lockstep.outcome, value: reject}]
      - name: stops
        type: custom
        engine: cel
        implementation: kind != 'halt'
        customProperties: [{property: lockstep.outcome, value: halt}]
      - name: noted
        type: custom
        engine: cel
        implementation: kind != 'warn'
        customProperties: [{property: lockstep.outcome, value: warn}]
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: kind, logicalType: string, required: true}
"#;

/// What a change is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    Warn,
    Quarantine,
    Reject,
    Halt,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Good => "good",
            Kind::Warn => "warn",
            Kind::Quarantine => "quarantine",
            Kind::Reject => "reject",
            Kind::Halt => "halt",
        }
    }

    fn goes_on(self) -> bool {
        matches!(self, Kind::Good | Kind::Warn)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A change of a record.
    Comes(i64, Kind),
    /// What was taken becomes durable.
    Lands,
    /// Somebody corrects, sends again or drops one of the open entries.
    Edits(usize),
    Retries(usize),
    Drops(usize),
    /// Whose turn it is goes on, though what was taken may not be durable.
    Moves,
    /// The log says how far the source is durable, but for so many changes.
    Says(u64),
    /// The process dies before what was taken is durable: of the entries on their way these were stored.
    Dies(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        5 => Just(Kind::Good),
        1 => Just(Kind::Warn),
        2 => Just(Kind::Quarantine),
        1 => Just(Kind::Reject),
        1 => Just(Kind::Halt),
    ];
    prop_oneof![
        8 => (0i64..3, kind).prop_map(|(key, kind)| Step::Comes(key, kind)),
        3 => Just(Step::Lands),
        2 => (0usize..4).prop_map(Step::Edits),
        1 => (0usize..4).prop_map(Step::Retries),
        1 => (0usize..4).prop_map(Step::Drops),
        2 => Just(Step::Moves),
        2 => (0u64..4).prop_map(Step::Says),
        1 => any::<u64>().prop_map(Step::Dies),
    ]
}

/// A capture without its loop.
struct Gate {
    capture: Capture,
    publisher: Publisher,
    intake: Intake,
    outbox: Outbox,
    emitter: Emitter,
    feed: Feed,
    contract: Arc<Contract>,
    /// Every change so far, by its commit minus one.
    changes: Vec<(i64, Kind)>,
    /// Changes that somebody corrected, by commit.
    edited: BTreeSet<u64>,
    /// Everything up to this commit is durable.
    durable: u64,
    /// The log says that everything up to this commit is.
    said: u64,
    _folder: tempfile::TempDir,
}

impl Gate {
    async fn new() -> Gate {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> =
            Embedded::open(&folder.path().join("log.db"), EmbeddedOptions::default())
                .await
                .unwrap();
        for (name, subject, most) in [
            (SETTLED, "ls.set.>", None),
            (POSITIONS, "ls.pos.*", Some(8)),
        ] {
            let config = StreamConfig {
                name: name.to_owned(),
                subjects: vec![subject.to_owned()],
                max_age: None,
                max_bytes: None,
                max_per_subject: most,
                duplicate_window: Duration::from_secs(120),
            };
            log.ensure_stream(&config).await.unwrap();
        }
        let contract = load("thing.odcs.yaml", CONTRACT, &NoLibrary)
            .unwrap()
            .contract;
        let contract = Arc::new(contract);
        let fields = contract.fields.iter();
        let column = |name: &String| (name.clone(), FieldMap::Column(name.clone()));
        let mapping = Mapping {
            table: "thing".to_owned(),
            fields: fields.map(|field| column(&field.name)).collect(),
            ..Mapping::default()
        };
        let values = BTreeMap::new();
        let shape = contract.shape();
        let read = ReadPlan::compile(&mapping, &shape, &contract, &values, false).unwrap();
        let capture = Capture {
            system: "crm".to_owned(),
            entities: vec![Captured {
                contract: Arc::clone(&contract),
                found: Arc::clone(&shape),
                policy: Default::default(),
                publish: Vec::new(),
                direct: None,
                shape,
                read: Arc::new(read),
                mapping,
                values: Arc::new(values),
            }],
            open: Box::new(|_| Box::pin(async { unreachable!("no source is opened here") })),
            log: Arc::clone(&log),
            quarantine: Arc::new(Quarantine::open(Arc::clone(&log)).await.unwrap()),
            board: Arc::new(Board::default()),
            versions: Arc::new(crate::versions::Versions::open(&*log).await.unwrap()),
            backfills: Default::default(),
            direct: Default::default(),
            look_every: Duration::from_secs(600),
            desk: None,
        };
        let mut publisher = Publisher::take_over(&capture).await.unwrap();
        let begins = position(0);
        let landed = publisher.send(None, Some(begins)).await.unwrap();
        publisher.landed(&landed);
        let (emitter, feed) = feed(None, 4);
        Gate {
            intake: Intake::new(&capture).await.unwrap(),
            outbox: Outbox::new(publisher.slots()),
            publisher,
            capture,
            emitter,
            feed,
            contract,
            changes: Vec::new(),
            edited: BTreeSet::new(),
            durable: 0,
            said: 0,
            _folder: folder,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Comes(key, kind) => {
                self.changes.push((key, kind));
                self.take(self.changes.len() as u64).await;
            }
            Step::Lands => self.land().await,
            Step::Edits(n) => {
                if let Some(entry) = self.open(n).await {
                    self.edit(&entry).await;
                }
            }
            Step::Retries(n) => {
                if let Some(entry) = self.open(n).await {
                    let id = entry.id;
                    let answer = self.ask(&Ask::Retry { id, by: None }).await;
                    assert!(answer != Answer::Done, "nothing was mended: {answer:?}");
                }
            }
            Step::Drops(n) => {
                if let Some(entry) = self.open(n).await {
                    self.drop(&entry).await;
                }
            }
            Step::Moves => self.move_on().await,
            Step::Says(but) => self.say(but).await,
            Step::Dies(stored) => self.die(stored).await,
        }
    }

    /// Takes the change of a commit in.
    async fn take(&mut self, commit: u64) {
        let (key, kind) = self.changes[commit as usize - 1];
        let change = Change {
            shape: Arc::clone(&self.capture.entities[0].shape),
            op: Op::Updated,
            row: Row::of([Value::Int(key), Value::text(kind.text())]),
            before: None,
            mark: mark(commit),
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        };
        self.emitter
            .emit(vec![change], position(commit))
            .await
            .unwrap();
        let batch = self.feed.batches.recv().await.unwrap();
        let (publisher, outbox) = (&mut self.publisher, &mut self.outbox);
        self.intake.take(&batch, publisher, outbox).await.unwrap();
    }

    /// Lets through whoever's turn it is, and makes everything durable.
    async fn land(&mut self) {
        loop {
            while let Some(segment) = self.outbox.take() {
                let landed = self.publisher.send(Some(segment), None).await.unwrap();
                self.publisher.landed(&landed);
                self.intake
                    .settled(&mut landed.segment.unwrap())
                    .await
                    .unwrap();
            }
            if !self.intake.moves() {
                break;
            }
            self.move_on().await;
        }
        self.durable = self.changes.len() as u64;
    }

    async fn move_on(&mut self) {
        let (publisher, outbox) = (&self.publisher, &mut self.outbox);
        self.intake.release(publisher, outbox).await.unwrap();
    }

    async fn say(&mut self, but: u64) {
        self.said = self.said.max(self.durable.saturating_sub(but));
        let said = Some(position(self.said));
        let landed = self.publisher.send(None, said).await.unwrap();
        self.publisher.landed(&landed);
    }

    async fn open(&self, n: usize) -> Option<Entry> {
        let open = self.capture.quarantine.list(true).await.unwrap();
        let n = n.checked_rem(open.len())?;
        open.into_iter().nth(n)
    }

    async fn open_after_landing(&mut self) -> Entry {
        self.land().await;
        self.open(0).await.unwrap()
    }

    async fn edit(&mut self, entry: &Entry) {
        let edit = Edit {
            at: jiff::Timestamp::now(),
            by: "somebody".to_owned(),
            reason: None,
            columns: vec!["kind".to_owned()],
            row: Row(vec![
                entry.held.row.0[0].clone(),
                lockstep_core::Cell::Set(Value::text("good")),
            ]),
        };
        let id = entry.id.clone();
        if self.ask(&Ask::Edit { id, edit }).await == Answer::Done {
            self.edited.insert(entry.held.mark.commit);
        }
    }

    async fn drop(&mut self, entry: &Entry) {
        let quarantine = Arc::clone(&self.capture.quarantine);
        let closing = Closing::default();
        let answer = quarantine.discard(&entry.id, &closing).await.unwrap();
        assert_eq!(answer, Answer::Done);
        // Nobody serves requests here, so the capture is told by hand.
        let id = entry.id.clone();
        self.ask(&Ask::Closed { id }).await;
    }

    async fn ask(&mut self, ask: &Ask) -> Answer {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let request = Request {
            payload: ask.to_bytes(),
            reply,
        };
        let (publisher, outbox) = (&self.publisher, &mut self.outbox);
        self.intake.request(request, publisher, outbox).await;
        self.land().await;
        serde_json::from_slice(&answer.await.unwrap()).unwrap()
    }

    async fn die(&mut self, stored: u64) {
        // What a segment sends goes after its entries, so nothing of those behind the first one is there.
        if let Some(segment) = self.outbox.take() {
            let entries = segment.quarantined.into_iter().enumerate();
            let some = entries.filter(|(at, _)| stored >> (at % 64) & 1 == 1);
            let some: Vec<Entry> = some.map(|(_, entry)| entry).collect();
            self.capture.quarantine.put(&some).await.unwrap();
        }
        self.publisher = Publisher::take_over(&self.capture).await.unwrap();
        self.outbox = Outbox::new(self.publisher.slots());
        self.intake = Intake::new(&self.capture).await.unwrap();
        self.intake.reached(&self.publisher.resume().unwrap());
        for commit in self.said + 1..=self.changes.len() as u64 {
            // The line does not wait for the source.
            self.move_on().await;
            self.take(commit).await;
        }
    }

    /// Commits in the log, in its order, by key.
    async fn sent(&self) -> BTreeMap<i64, Vec<(u64, String)>> {
        let config = ConsumerConfig {
            durable: None,
            filters: vec!["ls.set.>".to_owned()],
            start: Start::All,
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 0,
        };
        let log = &self.capture.log;
        let mut reader = log.consume(SETTLED, config).await.unwrap();
        let last = log.stream(SETTLED).await.unwrap().last_seq;
        let channel = Channel::new("crm", Arc::clone(&self.contract));
        let mut sent: BTreeMap<i64, Vec<(u64, String)>> = BTreeMap::new();
        let mut reached = 0;
        while reached < last {
            for message in reader
                .fetch(1000, Duration::from_millis(100))
                .await
                .unwrap()
            {
                reached = message.seq;
                let decoded = decode(&channel, &message.headers, &message.payload).unwrap();
                for event in decoded.events {
                    let Some(Value::Int(key)) = event.change.row.value(0) else {
                        panic!("an event without a key");
                    };
                    let kind = event.change.row.value(1).unwrap().to_string();
                    let commit = event.change.mark.commit;
                    sent.entry(*key).or_default().push((commit, kind));
                }
            }
        }
        sent
    }
}

fn mark(commit: u64) -> Mark {
    Mark { commit, ordinal: 0 }
}

fn position(commit: u64) -> Position {
    Position {
        incarnation: LIFE.into(),
        commit,
        ordinal: 0,
        cursor: None,
    }
}

async fn holds(steps: Vec<Step>) {
    let mut gate = Gate::new().await;
    for step in steps {
        gate.step(step).await;
    }
    gate.land().await;
    // Whoever halts the entity at last is done without.
    loop {
        let open = gate.capture.quarantine.list(true).await.unwrap();
        let Some(halting) = open.iter().find(|entry| entry.halts()) else {
            break;
        };
        gate.drop(halting).await;
    }
    let sent = gate.sent().await;
    let mut expected: BTreeMap<i64, Vec<(u64, String)>> = BTreeMap::new();
    for (at, (key, kind)) in gate.changes.iter().enumerate() {
        let commit = at as u64 + 1;
        if kind.goes_on() {
            let sent = (commit, kind.text().to_owned());
            expected.entry(*key).or_default().push(sent);
        } else if gate.edited.contains(&commit) {
            let sent = (commit, "good".to_owned());
            expected.entry(*key).or_default().push(sent);
        }
    }
    assert_eq!(sent, expected, "of {:?}", gate.changes);
    let all = gate.capture.quarantine.all().await.unwrap();
    for entry in all {
        assert!(entry.state != State::Waiting, "{entry:?}");
        let (_, kind) = gate.changes[entry.held.mark.commit as usize - 1];
        let rejected = kind == Kind::Reject && entry.state == State::Rejected;
        assert!(kind != Kind::Reject || rejected || entry.state == State::Superseded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn every_good_change_is_sent_once_and_in_its_order_whatever_is_decided_and_dies(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(holds(steps));
    }
}

#[tokio::test]
async fn an_older_entry_that_a_crash_kept_out_is_not_opened_beside_the_newer_one() {
    holds(vec![
        Step::Comes(2, Kind::Quarantine),
        Step::Comes(2, Kind::Quarantine),
        // Of the two entries only the second one was stored.
        Step::Dies(0b10),
        Step::Comes(2, Kind::Good),
        Step::Lands,
        Step::Says(0),
        Step::Dies(0),
        Step::Edits(1),
    ])
    .await;
}

#[tokio::test]
async fn a_change_of_a_halted_entity_that_is_dropped_in_line_stays_there() {
    let mut gate = Gate::new().await;
    for kind in [Kind::Halt, Kind::Good] {
        gate.step(Step::Comes(1, kind)).await;
    }
    gate.land().await;
    let all = gate.capture.quarantine.all().await.unwrap();
    let waiting = all.iter().find(|entry| entry.state == State::Waiting);
    let closing = Closing::default();
    let quarantine = &gate.capture.quarantine;
    let answer = quarantine.discard(&waiting.unwrap().id, &closing).await;
    assert!(matches!(answer.unwrap(), Answer::Failed { .. }));
    let id = waiting.unwrap().id.clone();
    let answer = gate.ask(&Ask::Retry { id, by: None }).await;
    assert!(matches!(answer, Answer::Failed { .. }));
}

#[tokio::test]
async fn a_line_that_is_full_asks_for_nothing_more_and_is_decided_about_all_the_same() {
    let mut gate = Gate::new().await;
    gate.step(Step::Comes(1, Kind::Halt)).await;
    gate.land().await;
    let shape = Arc::clone(&gate.capture.entities[0].shape);
    let change = |commit: u64| Change {
        shape: Arc::clone(&shape),
        op: Op::Updated,
        row: Row::of([Value::Int(1), Value::text("good")]),
        before: None,
        mark: mark(commit),
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    };
    let most = super::super::line::LINE_MAX as u64;
    let changes: Vec<Change> = (2..most + 3).map(change).collect();
    gate.emitter
        .emit(changes, position(most + 2))
        .await
        .unwrap();
    let batch = gate.feed.batches.recv().await.unwrap();
    let (publisher, outbox) = (&mut gate.publisher, &mut gate.outbox);
    gate.intake.take(&batch, publisher, outbox).await.unwrap();
    assert!(gate.intake.is_full());
    let halting = gate.open_after_landing().await;
    gate.drop(&halting).await;
    assert!(!gate.intake.is_full());
    let sent = gate.sent().await;
    assert_eq!(sent[&1].len() as u64, most + 1);
    assert!(sent[&1].is_sorted());
}
