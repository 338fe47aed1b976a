//! A patch laid over the change of its row that stands in quarantine: what was refused with that change is in no target, so the patch alone would leave it out for ever.
//!
//! Columns are matched by name and type, because the table may have another shape by now.

use lockstep_core::{Cell, Change};

use crate::quarantine::Held;

/// A patch with what it was laid over.
#[derive(Debug)]
pub(super) struct Laid {
    /// The change that brings both.
    pub(super) change: Change,
    /// Columns that neither knows, because what waits was too large to be kept whole or knows no such column.
    pub(super) missing: Vec<String>,
}

/// Lays a patch over what waits; nothing where what waits left no row. Only columns that somebody needs can be missing.
pub(super) fn lay_over(patch: &Change, held: &Held, needed: &[String]) -> Option<Laid> {
    if !held.op.is_upsert() || held.raw.is_some() {
        return None;
    }
    let mut change = patch.clone();
    let mut missing = Vec::new();
    for (column, cell) in patch.shape.columns.iter().zip(&mut change.row.0) {
        if !cell.is_unchanged() {
            continue;
        }
        let below = held.shape.position(&column.name);
        let below = below.filter(|at| held.shape.columns[*at].kind == column.kind);
        *cell = below.map_or(Cell::Unchanged, |at| held.row.cell(at).clone());
        let unknown = cell.is_unchanged() && (held.cut || below.is_none());
        if unknown && needed.contains(&column.name) {
            missing.push(column.name.clone());
        }
    }
    Some(Laid { change, missing })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use lockstep_core::connector::{Emitter, Feed, feed};
    use lockstep_core::log::{Channel, decode, subject};
    use lockstep_core::position::{Mark, Position};
    use lockstep_core::{Column, Op, Row, Shape, Type, Value};

    use super::*;
    use crate::capture::Capture;
    use crate::capture::intake::Intake;
    use crate::capture::outbox::Outbox;
    use crate::capture::publish::Publisher;
    use crate::log::embedded::{Embedded, EmbeddedOptions};
    use crate::log::{AckPolicy, ConsumerConfig, Log, POSITIONS, SETTLED, Start, StreamConfig};
    use crate::plan::Plan;
    use crate::quarantine::{Entry, Quarantine, State};
    use crate::status::Board;

    const LIFE: &str = "i";

    /// The gate of the toy's customers over an embedded log.
    struct Gate {
        capture: Capture,
        publisher: Publisher,
        intake: Intake,
        outbox: Outbox,
        emitter: Emitter,
        feed: Feed,
        commit: u64,
        _folder: tempfile::TempDir,
    }

    impl Gate {
        async fn new() -> Gate {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.db");
            let log: Arc<dyn Log> = Embedded::open(&path, EmbeddedOptions::default())
                .await
                .unwrap();
            for (name, subject, max_per_subject) in [
                (SETTLED, "ls.set.>", None),
                (POSITIONS, "ls.pos.*", Some(1)),
            ] {
                let config = StreamConfig {
                    name: name.to_owned(),
                    subjects: vec![subject.to_owned()],
                    max_age: None,
                    max_bytes: None,
                    max_per_subject,
                    duplicate_window: Duration::from_secs(120),
                };
                log.ensure_stream(&config).await.unwrap();
            }
            let config = crate::config::toy::config();
            let preflight =
                crate::config::preflight(&config, &crate::config::toy::registry()).await;
            let capture = Capture {
                system: "crm".to_owned(),
                entities: Plan::of(&config, &preflight).captures["crm"].clone(),
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
            let publisher = Publisher::take_over(&capture).await.unwrap();
            let (emitter, feed) = feed(None, 4);
            Gate {
                intake: Intake::new(&capture).await.unwrap(),
                outbox: Outbox::new(publisher.slots()),
                publisher,
                capture,
                emitter,
                feed,
                commit: 0,
                _folder: folder,
            }
        }

        /// Takes a row in: its number, its name and its land, as far as they are sent.
        async fn take(&mut self, name: Option<&str>, land: Option<&str>) {
            self.commit += 1;
            let cell = |text: Option<&str>| {
                text.map_or(Cell::Unchanged, |text| Cell::Set(Value::text(text)))
            };
            let change = Change {
                shape: Arc::clone(&self.capture.entities[0].shape),
                op: Op::Updated,
                row: Row(vec![cell(Some("A-1")), cell(name), cell(land)]),
                before: None,
                mark: Mark {
                    commit: self.commit,
                    ordinal: 0,
                },
                committed_at: jiff::Timestamp::UNIX_EPOCH,
                origin: None,
            };
            let position = Position {
                incarnation: LIFE.into(),
                commit: self.commit,
                ordinal: 0,
                cursor: None,
            };
            self.emitter.emit(vec![change], position).await.unwrap();
            let batch = self.feed.batches.recv().await.unwrap();
            let taken = self
                .intake
                .take(&batch, &mut self.publisher, &mut self.outbox)
                .await;
            taken.unwrap();
        }

        /// Makes what was taken in durable.
        async fn land(&mut self) {
            while let Some(segment) = self.outbox.take() {
                let landed = self.publisher.send(Some(segment), None).await.unwrap();
                self.publisher.landed(&landed);
                let mut segment = landed.segment.unwrap();
                self.intake.settled(&mut segment).await.unwrap();
            }
        }

        async fn open(&self) -> Vec<Entry> {
            self.capture.quarantine.list(true).await.unwrap()
        }

        /// What targets hold after every event: name and country by key.
        async fn held(&self) -> BTreeMap<String, [Cell; 2]> {
            let contract = &self.capture.entities[0].contract;
            let channel = Channel::new("crm", Arc::clone(contract));
            let config = ConsumerConfig {
                durable: None,
                filters: vec![subject::settled_lanes("customer", 1)],
                start: Start::All,
                ack: AckPolicy::None,
                ack_wait: Duration::from_secs(30),
                max_ack_pending: 0,
            };
            let mut reader = self.capture.log.consume(SETTLED, config).await.unwrap();
            let mut held = BTreeMap::new();
            let messages = reader.fetch(1000, Duration::from_millis(50)).await.unwrap();
            for message in messages {
                let Ok(decoded) = decode(&channel, &message.headers, &message.payload) else {
                    continue;
                };
                for event in decoded.events {
                    let key = event.key.unwrap().to_string();
                    let row = held
                        .entry(key)
                        .or_insert([Cell::Unchanged, Cell::Unchanged]);
                    for (below, above) in row.iter_mut().zip(&event.change.row.0[1..]) {
                        if !above.is_unchanged() {
                            *below = above.clone();
                        }
                    }
                }
            }
            held
        }
    }

    fn texts(name: &str, country: &str) -> BTreeMap<String, [Cell; 2]> {
        let cell = |text| Cell::Set(Value::text(text));
        BTreeMap::from([("A-1".to_owned(), [cell(name), cell(country)])])
    }

    #[tokio::test]
    async fn a_patch_that_mends_a_refused_record_brings_all_that_was_refused_with_it() {
        for lands_between in [true, false] {
            let mut gate = Gate::new().await;
            gate.take(Some("old"), Some("United States")).await;
            gate.take(Some("new"), Some("Narnia")).await;
            if lands_between {
                gate.land().await;
                assert_eq!(gate.open().await.len(), 1);
            }
            gate.take(None, Some("United States")).await;
            gate.land().await;
            assert_eq!(gate.open().await, []);
            assert_eq!(gate.held().await, texts("new", "US"));
        }
    }

    #[tokio::test]
    async fn a_patch_that_is_refused_itself_leaves_the_whole_record_in_quarantine() {
        let mut gate = Gate::new().await;
        gate.take(Some("new"), Some("Narnia")).await;
        gate.take(None, Some("Utopia")).await;
        gate.land().await;
        let open = gate.open().await;
        assert_eq!(open.len(), 1, "{open:?}");
        assert!(open[0].held.row.is_whole());
        // The same again after a crash, and by a process that knows nothing but the quarantine.
        gate.intake = Intake::new(&gate.capture).await.unwrap();
        gate.commit -= 1;
        gate.take(None, Some("Utopia")).await;
        gate.land().await;
        assert_eq!(gate.open().await, open);
        gate.take(None, Some("United States")).await;
        gate.land().await;
        assert_eq!(gate.open().await, []);
        assert_eq!(gate.held().await, texts("new", "US"));
    }

    #[tokio::test]
    async fn a_record_that_was_too_large_stays_in_quarantine_until_all_of_it_is_known() {
        let mut gate = Gate::new().await;
        gate.take(Some("old"), Some("United States")).await;
        gate.take(
            Some(&"x".repeat(crate::log::MESSAGE_MAX)),
            Some("United States"),
        )
        .await;
        gate.land().await;
        gate.take(None, None).await;
        gate.land().await;
        let open = gate.open().await;
        assert_eq!(
            open.len(),
            1,
            "the entry was closed by a change without the name"
        );
        assert_eq!((open[0].state, open[0].held.cut), (State::Open, true));
        assert!(open[0].reason().contains("does not bring `name` again"));
        assert_eq!(gate.held().await, texts("old", "US"));
        gate.take(Some("short"), None).await;
        gate.land().await;
        assert_eq!(gate.open().await, []);
        assert_eq!(gate.held().await, texts("short", "US"));
    }

    #[test]
    fn columns_are_matched_by_name_in_a_table_that_was_altered() {
        let shape = |names: &[&str]| {
            let columns = names
                .iter()
                .map(|name| Column::new(*name, Type::Text, true));
            Arc::new(Shape {
                name: "t".into(),
                columns: columns.collect(),
                key: vec![0],
            })
        };
        let change = |shape: Arc<Shape>, cells: Vec<Cell>| Change {
            shape,
            op: Op::Updated,
            row: Row(cells),
            before: None,
            mark: Mark::default(),
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        };
        let set = |text| Cell::Set(Value::text(text));
        let held = change(
            shape(&["id", "a", "gone"]),
            vec![set("k"), set("1"), set("2")],
        );
        let patch = change(
            shape(&["id", "new", "other", "a"]),
            vec![set("k"), Cell::Unchanged, Cell::Unchanged, Cell::Unchanged],
        );
        let needed = ["id", "new", "a"].map(str::to_owned);
        let laid = lay_over(&patch, &Held::of(&held, "i/1"), &needed).unwrap();
        assert_eq!(
            laid.change.row.0,
            [set("k"), Cell::Unchanged, Cell::Unchanged, set("1")]
        );
        assert_eq!(laid.missing, ["new"]);
    }
}
