//! Whatever dies between an event and its copy: subscribers of either major get every change once, in its order.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::connector::{Emitter, Feed, feed};
use lockstep_core::contract::{Field, Migration, Step};
use lockstep_core::gate::{FieldMap, Mapping, ReadPlan};
use lockstep_core::log::{KIND, decode, subject};
use lockstep_core::position::{Mark, Position};
use lockstep_core::{Op, Row, Type, Value};
use proptest::prelude::*;

use super::*;
use crate::capture::Capture;
use crate::capture::intake::Intake;
use crate::capture::outbox::Outbox;
use crate::capture::publish::Publisher;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::{AckPolicy, ConsumerConfig, Log, POSITIONS, SETTLED, Start, StreamConfig};
use crate::plan::Captured;
use crate::quarantine::Quarantine;
use crate::versions::{Kept, Versions};

const LIFE: &str = "i";

fn contract(version: &str, name: &str) -> Arc<Contract> {
    let fields = vec![Field::new("id", Type::Int), Field::new(name, Type::Text)];
    let migration = Migration {
        from: "1.0.0".parse().unwrap(),
        to: "2.0.0".parse().unwrap(),
        up: vec![Step::Rename {
            from: "name".to_owned(),
            to: "title".to_owned(),
        }],
        down: vec![Step::Rename {
            from: "title".to_owned(),
            to: "name".to_owned(),
        }],
    };
    Arc::new(Contract {
        lanes: 2,
        migrations: vec![migration],
        ..Contract::new("thing", version.parse().unwrap(), fields)
    })
}

/// A source of things under major 2, with subscribers of major 1.
struct World {
    capture: Capture,
    publisher: Publisher,
    intake: Intake,
    outbox: Outbox,
    emitter: Emitter,
    feed: Feed,
    /// The key of every change, from commit 1 on.
    changes: Vec<i64>,
    /// Everything up to this commit is safe, and is not told again.
    safe: u64,
    older: Arc<Contract>,
    _folder: tempfile::TempDir,
}

fn position(commit: u64) -> Position {
    Position {
        incarnation: LIFE.into(),
        commit,
        ordinal: 0,
        cursor: None,
    }
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let log: Arc<dyn Log> = Embedded::open(&path, EmbeddedOptions::default())
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
        let (older, newer) = (contract("1.0.0", "name"), contract("2.0.0", "title"));
        let versions = Versions::open(&*log).await.unwrap();
        for contract in [&older, &newer] {
            versions
                .enter(Kept::of(Arc::clone(contract)))
                .await
                .unwrap();
        }
        let column = |field: &Field| (field.name.clone(), FieldMap::Column(field.name.clone()));
        let mapping = Mapping {
            table: "thing".to_owned(),
            fields: newer.fields.iter().map(column).collect(),
            ..Mapping::default()
        };
        let (values, shape) = (BTreeMap::new(), newer.shape());
        let read = ReadPlan::compile(&mapping, &shape, &newer, &values, false).unwrap();
        let capture = Capture {
            system: "crm".to_owned(),
            entities: vec![Captured {
                contract: newer,
                found: Arc::clone(&shape),
                policy: Default::default(),
                publish: vec![1],
                direct: None,
                shape,
                read: Arc::new(read),
                mapping,
                values: Arc::new(values),
            }],
            open: Box::new(|_| Box::pin(async { unreachable!("no source is opened here") })),
            log: Arc::clone(&log),
            quarantine: Arc::new(Quarantine::open(log).await.unwrap()),
            board: Arc::new(Board::default()),
            versions: Arc::new(versions),
            backfills: Default::default(),
            direct: Default::default(),
            look_every: Duration::from_secs(600),
            desk: None,
        };
        let mut publisher = Publisher::take_over(&capture).await.unwrap();
        let landed = publisher.send(None, Some(position(0))).await.unwrap();
        publisher.landed(&landed);
        let (emitter, feed) = feed(None, 4);
        World {
            intake: Intake::new(&capture).await.unwrap(),
            outbox: Outbox::new(publisher.slots()),
            publisher,
            capture,
            emitter,
            feed,
            changes: Vec::new(),
            safe: 0,
            older,
            _folder: folder,
        }
    }

    /// Takes the change of a commit in.
    async fn take(&mut self, commit: u64) {
        let key = self.changes[commit as usize - 1];
        let change = Change {
            shape: Arc::clone(&self.capture.entities[0].shape),
            op: Op::Updated,
            row: Row::of([Value::Int(key), Value::text(format!("at {commit}"))]),
            before: None,
            mark: Mark { commit, ordinal: 0 },
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        };
        self.emitter
            .emit(vec![change], position(commit))
            .await
            .unwrap();
        let batch = self.feed.batches.recv().await.unwrap();
        self.intake
            .take(&batch, &mut self.publisher, &mut self.outbox)
            .await
            .unwrap();
    }

    async fn lands(&mut self) {
        while let Some(segment) = self.outbox.take() {
            let landed = self.publisher.send(Some(segment), None).await.unwrap();
            self.publisher.landed(&landed);
        }
        self.safe = self.changes.len() as u64;
    }

    /// The process dies; of the segment on its way only the events are stored, only their copies, or both or none.
    async fn dies(&mut self, events: bool, copies: bool) {
        if let Some(mut segment) = self.outbox.take() {
            let stored = |slot| {
                if self.publisher.takes_copies(slot) {
                    copies
                } else {
                    events
                }
            };
            segment.lanes.retain(|outgoing| stored(outgoing.slot));
            self.publisher.send(Some(segment), None).await.unwrap();
        }
        self.publisher = Publisher::take_over(&self.capture).await.unwrap();
        self.intake = Intake::new(&self.capture).await.unwrap();
        self.outbox = Outbox::new(self.publisher.slots());
        for commit in self.safe + 1..=self.changes.len() as u64 {
            self.take(commit).await;
        }
    }

    /// What a subscriber of a major has heard of each key: the commits, in order.
    async fn heard(&self, contract: &Arc<Contract>) -> BTreeMap<i64, Vec<u64>> {
        let channel = Channel::new("crm", Arc::clone(contract));
        let config = ConsumerConfig {
            durable: None,
            filters: vec![subject::settled_lanes("thing", contract.version.major)],
            start: Start::All,
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 0,
        };
        let mut reader = self.capture.log.consume(SETTLED, config).await.unwrap();
        let mut heard: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        loop {
            let wait = Duration::from_millis(5);
            let messages = reader.fetch(1000, wait).await.unwrap();
            if messages.is_empty() {
                return heard;
            }
            for message in messages {
                // An ordinary subscriber knows only the announcement of a writer.
                let mut headers = message.headers.clone();
                headers.retain(|(name, value)| name != KIND || value == "epoch");
                let decoded = decode(&channel, &headers, &message.payload).unwrap();
                for event in decoded.events {
                    let Some(Value::Int(key)) = event.change.row.value(0) else {
                        panic!("no key")
                    };
                    let commit = event.change.mark.commit;
                    assert_eq!(
                        event.change.row.value(1),
                        Some(&Value::text(format!("at {commit}")))
                    );
                    heard.entry(*key).or_default().push(commit);
                }
            }
        }
    }
}

/// What happens to the world.
#[derive(Clone, Debug)]
enum Happens {
    Comes(i64),
    Lands,
    Dies { events: bool, copies: bool },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        5 => (0i64..4).prop_map(Happens::Comes),
        2 => Just(Happens::Lands),
        3 => any::<(bool, bool)>().prop_map(|(events, copies)| Happens::Dies { events, copies }),
    ]
}

fn run(happens: Vec<Happens>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        let mut expected: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for one in happens {
            match one {
                Happens::Comes(key) => {
                    world.changes.push(key);
                    let commit = world.changes.len() as u64;
                    expected.entry(key).or_default().push(commit);
                    world.take(commit).await;
                }
                Happens::Lands => world.lands().await,
                Happens::Dies { events, copies } => world.dies(events, copies).await,
            }
        }
        world.lands().await;
        let newer = Arc::clone(&world.capture.entities[0].contract);
        assert_eq!(world.heard(&newer).await, expected, "the newer major");
        assert_eq!(world.heard(&world.older).await, expected, "the older major");
    });
}

#[test]
fn a_copy_without_its_event_never_stands_for_it() {
    let dies = |events, copies| Happens::Dies { events, copies };
    run(vec![
        Happens::Comes(1),
        dies(false, true),
        Happens::Comes(2),
        dies(true, false),
        dies(false, true),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_change_is_heard_once_under_each_major(happens in prop::collection::vec(happens(), 1..16)) {
        run(happens);
    }
}

#[tokio::test]
async fn copies_are_no_events_for_deliveries_and_are_counted() {
    let mut world = World::new().await;
    world.changes.push(1);
    world.take(1).await;
    world.lands().await;
    let channel = Channel::new("crm", Arc::clone(&world.older));
    let mut found = 0;
    for lane in 0..2 {
        let subject = subject::settled("thing", 1, lane);
        let last = world.capture.log.last(SETTLED, &subject).await.unwrap();
        let last = last.unwrap();
        if last.header(KIND) == Some("copy") {
            found += 1;
            let decoded = decode(&channel, &last.headers, &last.payload).unwrap();
            assert!(decoded.events.is_empty());
            assert_eq!(decoded.position.unwrap().commit, 1);
        }
    }
    assert_eq!(found, 1);
    let majors = world.capture.board.older_majors();
    assert_eq!((majors[0].major, majors[0].published), (1, 1));
}
