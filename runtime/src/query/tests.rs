//! Tests of query capture over a table in memory and the embedded log: whatever happens between chunks, the target ends with the table's rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::capture::listing::Share;
use lockstep_core::capture::watermark::Overlap;
use lockstep_core::connector::{
    Control, DynSource, Feed, Filter, News, OpenContext, Reads, Sign, feed,
};
use lockstep_core::error::Result;
use lockstep_core::position::{Mark, Position};
use lockstep_core::schedule::Schedule;
use lockstep_core::{Change, Op, Shape, Value};
use proptest::prelude::*;

mod known;
mod memory;
mod notices;

use self::memory::{Memory, State, shape};
use super::source::QuerySource;
use super::{Query, QueryTable};
use crate::log::Log;
use crate::log::embedded::{Embedded, EmbeddedOptions};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A system under test: its table, its log, and a target that applies what is told.
struct Case {
    memory: Memory,
    log: Arc<dyn Log>,
    query: Query,
    reads: Reads,
    target: BTreeMap<i64, State>,
    /// Every change that was told, by what it was.
    told: Vec<(Op, i64)>,
    /// What names records, and what they were called before.
    names: BTreeSet<String>,
    renamed: Vec<(i64, String)>,
    marks: BTreeSet<Mark>,
    news: Vec<News>,
    safe: Option<Position>,
    _folder: tempfile::TempDir,
}

/// A source that runs.
struct Life {
    feed: Feed,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Case {
    async fn new(table: QueryTable) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let log = Embedded::open(&path, EmbeddedOptions::default()).await;
        Case {
            memory: Memory::default(),
            log: log.unwrap(),
            query: Query {
                schedule: Schedule::Every(Duration::from_millis(20)),
                chunk_rows: 3,
                share: Share { percent: 50 },
                tables: BTreeMap::from([("orders".to_owned(), table)]),
            },
            reads: Reads {
                columns: Some(["id", "state"].map(str::to_owned).into()),
                filters: Vec::new(),
            },
            target: BTreeMap::new(),
            told: Vec::new(),
            names: BTreeSet::new(),
            renamed: Vec::new(),
            marks: BTreeSet::new(),
            news: Vec::new(),
            safe: None,
            _folder: folder,
        }
    }

    fn source(&self) -> Box<QuerySource> {
        Box::new(QuerySource {
            reader: Box::new(self.memory.clone()),
            cx: OpenContext {
                system: "crm".to_owned(),
                folder: "/".into(),
                tables: vec!["orders".to_owned()],
                reads: BTreeMap::from([("orders".to_owned(), self.reads.clone())]),
            },
            query: self.query.clone(),
            names: super::Names::from([("orders".to_owned(), self.names.clone())]),
            log: Some(Arc::clone(&self.log)),
        })
    }

    fn start(&self) -> Life {
        let (emitter, feed) = feed(self.safe.clone(), 4);
        let task = tokio::spawn(DynSource::run(self.source(), self.safe.clone(), emitter));
        Life { feed, task }
    }

    /// Takes the next batch; it is durable at once.
    async fn take(&mut self, life: &mut Life) {
        let batch = tokio::time::timeout(PATIENCE, life.feed.batches.recv());
        let Some(batch) = batch.await.expect("a batch in time") else {
            panic!("the source ended: {:?}", (&mut life.task).await);
        };
        for change in &batch.changes {
            self.apply(change);
        }
        self.news.extend(batch.news.iter().cloned());
        self.safe = Some(batch.position);
        life.feed.safe.send(self.safe.clone()).unwrap();
    }

    /// Takes the next batch, of which no position becomes durable.
    async fn take_lost(&mut self, life: &mut Life) {
        let batch = tokio::time::timeout(PATIENCE, life.feed.batches.recv());
        let batch = batch.await.expect("a batch in time").expect("a source");
        for change in &batch.changes {
            self.apply(change);
        }
    }

    /// A change that no position covers reaches the target all the same.
    fn apply(&mut self, change: &Change) {
        let Some(Value::Int(id)) = change.row.value(0) else {
            panic!("a change without a key");
        };
        assert!(
            self.marks.insert(change.mark),
            "mark {:?} came twice",
            change.mark
        );
        self.told.push((change.op, *id));
        let before = change.before.as_ref().and_then(|before| before.value(1));
        if let Some(Value::Text(before)) = before {
            self.renamed.push((*id, before.clone()));
        }
        if change.op == Op::Deleted {
            self.target.remove(id);
            return;
        }
        let Some(Value::Text(state)) = change.row.value(1) else {
            panic!("a row without its state");
        };
        assert!(
            change.row.cell(3).is_unchanged(),
            "nobody wants that column"
        );
        self.target.insert(*id, (state.clone(), 0));
    }

    async fn until(&mut self, life: &mut Life, done: impl Fn(&Case) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it did not come to be: {:?}",
                self.told
            );
            self.take(life).await;
        }
    }

    fn is_equal(&self) -> bool {
        let rows = self.memory.rows();
        let states = |rows: &BTreeMap<i64, State>| -> Vec<(i64, String)> {
            rows.iter()
                .map(|(id, (state, _))| (*id, state.clone()))
                .collect()
        };
        states(&rows) == states(&self.target)
    }

    fn times(&self, op: Op, id: i64) -> usize {
        self.told.iter().filter(|told| **told == (op, id)).count()
    }
}

impl Life {
    async fn end(self) {
        self.feed.stop.send(true).unwrap();
        let _ = tokio::time::timeout(PATIENCE, self.task).await.unwrap();
    }

    /// Whatever is in hand is lost.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn watermark(sweep: Option<Duration>) -> QueryTable {
    QueryTable {
        watermark: Some("at".to_owned()),
        overlap: Some(Overlap::Count(5)),
        sweep,
        ..QueryTable::default()
    }
}

#[tokio::test]
async fn a_table_is_copied_once_and_then_only_differences_are_told() {
    let mut case = Case::new(QueryTable::default()).await;
    for id in 0..20 {
        case.memory.put(id, "new", 0);
    }
    let mut life = case.start();
    case.until(&mut life, |case| {
        case.news.contains(&News::Read("orders".to_owned()))
    })
    .await;
    assert!(case.is_equal());
    assert_eq!(case.told.len(), 20);
    case.memory.put(5, "paid", 0);
    case.memory.put(21, "new", 0);
    case.memory.rows().remove(&7);
    case.until(&mut life, Case::is_equal).await;
    life.end().await;
    let later = case.told[20..].iter().collect::<HashSet<_>>();
    assert_eq!(
        later,
        [&(Op::Updated, 5), &(Op::Created, 21), &(Op::Deleted, 7)].into()
    );
    // Nothing of it is told again by the next life.
    let before = case.told.len();
    let mut life = case.start();
    case.memory.put(30, "new", 0);
    case.until(&mut life, Case::is_equal).await;
    life.end().await;
    assert_eq!(case.told[before..], [(Op::Created, 30)]);
}

#[tokio::test]
async fn a_listing_that_lacks_too_much_withholds_deletes_and_tells_the_rest() {
    let mut case = Case::new(QueryTable::default()).await;
    for id in 0..10 {
        case.memory.put(id, "new", 0);
    }
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    let gone: Vec<(i64, State)> = (0..6)
        .map(|id| (id, case.memory.rows().remove(&id).unwrap()))
        .collect();
    case.memory.put(8, "paid", 0);
    let withheld = |case: &Case| {
        case.news.iter().any(|news| matches!(news, News::Withheld { reason: Some(reason), .. } if reason.contains("6 of the 10")))
    };
    case.until(&mut life, withheld).await;
    assert_eq!(case.times(Op::Updated, 8), 1);
    life.end().await;
    // A restart says so again at once, and the rows that come back lift it.
    case.news.clear();
    let mut life = case.start();
    case.until(&mut life, withheld).await;
    assert!(!case.told.iter().any(|(op, _)| *op == Op::Deleted));
    case.memory.rows().extend(gone.into_iter().skip(2));
    let lifted = |case: &Case| {
        case.news
            .iter()
            .any(|news| matches!(news, News::Withheld { reason: None, .. }))
    };
    case.until(&mut life, lifted).await;
    life.end().await;
    assert!(case.is_equal());
    assert_eq!(
        (case.times(Op::Deleted, 0), case.times(Op::Deleted, 1)),
        (1, 1)
    );
}

#[tokio::test]
async fn a_watermark_tells_late_commits_and_ties_once_and_a_sweep_the_deletes() {
    let mut case = Case::new(watermark(None)).await;
    for id in 0..7 {
        case.memory.put(id, "new", 100);
    }
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    // One is later, one commits late with an earlier value, one shares its value with a row that was read.
    case.memory.put(20, "later", 103);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(21, "late", 99);
    case.memory.put(22, "tie", 103);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(3, "paid", 104);
    case.memory.rows().remove(&4);
    case.until(&mut life, |case| case.times(Op::Updated, 3) == 1)
        .await;
    life.end().await;
    for id in [20, 21, 22] {
        assert_eq!(case.times(Op::Updated, id), 1, "{id} was told once");
    }
    assert!(
        case.target.contains_key(&4),
        "a watermark cannot tell deletes"
    );
}

#[tokio::test]
async fn a_sweep_beside_a_watermark_tells_deletes_and_nothing_twice() {
    let mut case = Case::new(watermark(Some(Duration::from_millis(30)))).await;
    for id in 0..9 {
        case.memory.put(id, "new", 100 + id);
    }
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    case.memory.rows().remove(&4);
    case.memory.put(5, "paid", 200);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(6, "sent", 201);
    case.until(&mut life, Case::is_equal).await;
    case.memory.rows().remove(&1);
    case.until(&mut life, Case::is_equal).await;
    life.end().await;
    let later: Vec<(Op, i64)> = case.told[9..].to_vec();
    let distinct: HashSet<_> = later.iter().collect();
    assert_eq!(later.len(), distinct.len(), "{later:?}");
    assert_eq!(
        distinct,
        [
            &(Op::Deleted, 4),
            &(Op::Updated, 5),
            &(Op::Updated, 6),
            &(Op::Deleted, 1)
        ]
        .into()
    );
}

#[tokio::test]
async fn rows_are_read_again_on_demand_in_whole_or_in_part() {
    let mut case = Case::new(QueryTable::default()).await;
    for id in 0..8 {
        case.memory.put(id, if id < 3 { "old" } else { "new" }, 0);
    }
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    let part = Filter::Compare("state".to_owned(), Sign::Equal, Value::text("old"));
    let ask = |filter| Control::Backfill {
        table: "orders".to_owned(),
        filter,
    };
    // The first one is over a column that the role may not read.
    let refused = Filter::Compare("secret".to_owned(), Sign::Equal, Value::text("x"));
    life.feed.control.send(ask(Some(refused))).await.unwrap();
    life.feed.control.send(ask(Some(part))).await.unwrap();
    case.until(&mut life, |case| {
        let part = News::ReadPart("orders".to_owned());
        case.news.iter().filter(|news| **news == part).count() == 2
    })
    .await;
    assert_eq!(
        case.told[8..].iter().collect::<HashSet<_>>(),
        [&(Op::Snapshot, 0), &(Op::Snapshot, 1), &(Op::Snapshot, 2)].into()
    );
    case.news.clear();
    life.feed.control.send(ask(None)).await.unwrap();
    case.until(&mut life, |case| {
        case.news.contains(&News::Read("orders".to_owned()))
    })
    .await;
    life.end().await;
    assert_eq!(case.told.len(), 8 + 3 + 8);
}

#[tokio::test]
async fn a_row_that_leaves_the_filter_is_told_once_as_it_is() {
    let mut case = Case::new(QueryTable::default()).await;
    case.reads.filters = vec!["row.state == 'open'".to_owned()];
    for id in 0..6 {
        case.memory.put(id, "open", 0);
    }
    case.memory.put(9, "closed", 0);
    let mut life = case.start();
    case.until(&mut life, |case| case.target.len() == 6).await;
    case.memory.put(2, "closed", 0);
    case.until(&mut life, |case| case.times(Op::Updated, 2) == 1)
        .await;
    case.memory.put(9, "open", 0);
    case.until(&mut life, |case| case.times(Op::Created, 9) == 1)
        .await;
    life.end().await;
    assert_eq!(case.times(Op::Updated, 2), 1);
}

#[derive(Clone, Debug)]
enum Act {
    Put(i64),
    Remove(i64),
    Batches(usize),
    Kill,
    Lose,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_i64..24).prop_map(Act::Put),
        2 => (0_i64..24).prop_map(Act::Remove),
        4 => (1_usize..9).prop_map(Act::Batches),
        3 => Just(Act::Kill),
        2 => Just(Act::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_killed_and_whenever_the_target_ends_with_the_rows(
        acts in prop::collection::vec(act(), 1..30), by_watermark: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let table = if by_watermark {
                watermark(Some(Duration::from_millis(10)))
            } else {
                QueryTable::default()
            };
            let mut case = Case::new(table).await;
            case.query.schedule = Schedule::Every(Duration::from_millis(1));
            // Here the deletes are wanted, however many they are.
            case.query.share = Share { percent: 100 };
            let mut life = case.start();
            let mut clock = 0;
            for act in acts {
                clock += 1;
                match act {
                    // Few values, so that rows come back with what they had.
                    Act::Put(id) => case.memory.put(id, &format!("state {}", clock % 2), clock),
                    Act::Remove(id) => drop(case.memory.rows().remove(&id)),
                    Act::Batches(count) => {
                        for _ in 0..count {
                            case.take(&mut life).await;
                        }
                    }
                    Act::Kill => {
                        life.kill().await;
                        life = case.start();
                    }
                    Act::Lose => {
                        case.take_lost(&mut life).await;
                        life.kill().await;
                        life = case.start();
                    }
                }
            }
            case.until(&mut life, Case::is_equal).await;
            life.end().await;
        });
    }
}

#[tokio::test]
async fn a_crash_tells_at_most_one_chunk_again() {
    for batches in 2..14 {
        let mut case = Case::new(QueryTable::default()).await;
        for id in 0..20 {
            case.memory.put(id, "new", 0);
        }
        let mut life = case.start();
        for _ in 0..batches {
            case.take(&mut life).await;
        }
        // One more batch reaches the target, but no position says so.
        let safe = case.safe.clone();
        case.take(&mut life).await;
        case.safe = safe;
        life.kill().await;
        let mut life = case.start();
        case.until(&mut life, |case| {
            case.news.contains(&News::Read("orders".to_owned()))
        })
        .await;
        // The listing was not seen from its first row, so the next one comes at once; it finds nothing new.
        let told = case.told.len();
        case.memory.put(50, "last", 0);
        case.until(&mut life, Case::is_equal).await;
        life.end().await;
        assert!(
            told <= 20 + 3 + 3,
            "{told} rows told after {batches} batches"
        );
        let again = case.told.len() - told;
        assert!(again <= 1 + 3, "{again} rows told by the listing after it");
    }
}

#[test]
fn a_key_has_to_be_said_where_the_system_says_none() {
    let view = Arc::new(Shape {
        key: Vec::new(),
        ..(*shape()).clone()
    });
    let error = super::rows::keyed(&view, &QueryTable::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nothing says what identifies a row of `orders`")
    );
    let said = |key: &str| QueryTable {
        key: vec![key.to_owned()],
        ..QueryTable::default()
    };
    assert_eq!(super::rows::keyed(&view, &said("at")).unwrap().key, [2]);
    assert!(
        super::rows::keyed(&view, &said("stat"))
            .unwrap_err()
            .help_text()
            .unwrap()
            .contains("state")
    );
}

#[test]
fn a_text_is_no_watermark() {
    let said = QueryTable {
        watermark: Some("state".to_owned()),
        ..QueryTable::default()
    };
    let error = super::rows::Table::of(shape(), &said, &Reads::default(), &BTreeSet::new());
    assert_eq!(error.unwrap_err().error_code(), Some("LS-Q003"));
    let said = QueryTable {
        overlap: Some(Overlap::Time(Duration::from_secs(1))),
        ..watermark(None)
    };
    let error = super::rows::Table::of(shape(), &said, &Reads::default(), &BTreeSet::new());
    assert!(error.unwrap_err().to_string().contains("overlap"));
}
