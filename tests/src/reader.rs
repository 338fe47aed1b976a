//! What every reader promises.

use std::future::Future;

use lockstep_core::connector::{DynReader, Filter, Page, Sign};
use lockstep_core::{Row, Value};

use crate::fold::key;
use crate::{State, System, ok};

/// A system whose reader is tested.
pub trait ReaderHarness: System {
    /// Puts `count` rows into the first table, with keys that are not in their order and, where the system has them, composite ones.
    fn fill(&self, count: usize) -> impl Future<Output = ()> + Send;

    /// The rows of the first table, whole and in its discovered shape, in the system's order of the key.
    fn rows_by_key(&self) -> impl Future<Output = Vec<Row>> + Send;

    /// A key that no row has.
    fn missing_key(&self) -> Vec<Value>;
}

/// Makes a test of every reader check.
#[macro_export]
macro_rules! reader_conformance {
    ($harness:ty) => {
        $crate::__checks!(
            reader,
            $harness,
            pages_are_complete_and_in_key_order,
            pages_are_bounded_filtered_and_read_backwards,
            rows_fetched_are_the_rows_scanned,
            missing_keys_are_left_out,
            columns_come_as_they_are_asked_for,
        );
    };
}

/// A reader with its first table's columns and key by name.
struct Reading {
    reader: Box<dyn DynReader>,
    shape: std::sync::Arc<lockstep_core::Shape>,
    columns: Vec<String>,
    key: Vec<String>,
}

impl Reading {
    async fn of<H: ReaderHarness>(system: &H) -> Reading {
        let reader = H::connector()
            .open_reader(system.config(), system.context())
            .await;
        let reader = ok(reader, "open the reader");
        let shape = ok(reader.discover().await, "discover the tables").remove(0);
        let name = |column: &usize| shape.columns[*column].name.clone();
        Reading {
            columns: shape.names().map(str::to_owned).collect(),
            key: shape.key.iter().map(name).collect(),
            reader,
            shape,
        }
    }

    async fn page(&self, after: Option<&[Value]>, limit: usize) -> Vec<Row> {
        let page = Page {
            table: &self.shape.name,
            columns: &self.columns,
            key: &self.key,
            after,
            limit,
            ..Page::default()
        };
        ok(self.reader.scan(page).await, "scan a page")
    }

    async fn all(&self, limit: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let after = rows.last().map(|row| self.key_of(row));
            let page = self.page(after.as_deref(), limit).await;
            let last = page.len() < limit;
            assert!(
                page.len() <= limit,
                "a page of {} rows where {limit} were asked for",
                page.len()
            );
            rows.extend(page);
            if last {
                return rows;
            }
        }
    }

    fn key_of(&self, row: &Row) -> Vec<Value> {
        let value = |column: &usize| row.value(*column).cloned().unwrap_or(Value::Null);
        self.shape.key.iter().map(value).collect()
    }

    async fn fetch(&self, keys: &[Vec<Value>]) -> Vec<Row> {
        let rows = self
            .reader
            .fetch(&self.shape.name, &self.columns, &self.key, keys)
            .await;
        ok(rows, "fetch rows")
    }
}

/// Whatever the size of the pages, they hold every row once, in the order of the key.
pub async fn pages_are_complete_and_in_key_order<H: ReaderHarness>() {
    let system = H::start().await;
    let empty = Reading::of(&system).await;
    assert!(empty.all(10).await.is_empty());
    system.fill(53).await;
    let truth = system.rows_by_key().await;
    for limit in [1, 2, 7, 53, 54, 1000] {
        let reading = Reading::of(&system).await;
        assert_eq!(reading.all(limit).await, truth, "pages of {limit}");
    }
}

/// A page may end at a key, be read from the last row backwards, and hold only rows that fulfil something; whatever of these is asked together.
pub async fn pages_are_bounded_filtered_and_read_backwards<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(23).await;
    let truth = system.rows_by_key().await;
    let reading = Reading::of(&system).await;
    let keys: Vec<Vec<Value>> = truth.iter().map(|row| reading.key_of(row)).collect();
    let scan = async |page: Page<'_>| {
        let page = Page {
            table: &reading.shape.name,
            columns: &reading.columns,
            key: &reading.key,
            ..page
        };
        ok(reading.reader.scan(page).await, "scan a page")
    };
    for (after, until) in [
        (None, 0),
        (None, 22),
        (Some(3), 9),
        (Some(9), 9),
        (Some(0), 22),
    ] {
        let page = Page {
            after: after.map(|at: usize| keys[at].as_slice()),
            until: Some(&keys[until]),
            limit: 100,
            ..Page::default()
        };
        let first = after.map_or(0, |after| after + 1);
        assert_eq!(
            scan(page).await,
            truth[first..=until],
            "after {after:?} until {until}"
        );
        let short = Page { limit: 2, ..page };
        let last = (first + 2).min(until + 1);
        assert_eq!(scan(short).await, truth[first..last], "a short page");
    }
    let page = Page {
        backwards: true,
        limit: 4,
        ..Page::default()
    };
    let mut last = scan(page).await;
    last.reverse();
    assert_eq!(last, truth[19..], "the last rows");
    let column = &reading.key[0];
    let at = |at: usize, sign| Filter::Compare(column.clone(), sign, keys[at][0].clone());
    let every = Filter::All(vec![Filter::IsNotNull(column.clone()), Filter::every()]);
    let same = |row: &Row| reading.key_of(row)[0] == keys[5][0];
    let of_five: Vec<Row> = truth.iter().filter(|row| same(row)).cloned().collect();
    for (filter, expected) in [
        (every.clone(), truth.clone()),
        (Filter::Any(Vec::new()), Vec::new()),
        (Filter::IsNull(column.clone()), Vec::new()),
        (
            Filter::All(vec![every, at(5, Sign::Equal)]),
            of_five.clone(),
        ),
        (
            Filter::Any(vec![at(5, Sign::Equal), Filter::IsNull(column.clone())]),
            of_five,
        ),
    ] {
        let page = Page {
            filter: Some(&filter),
            limit: 100,
            ..Page::default()
        };
        assert_eq!(scan(page).await, expected, "{filter:?}");
    }
}

/// A row fetched by its key is the row that a scan gives.
pub async fn rows_fetched_are_the_rows_scanned<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(53).await;
    let reading = Reading::of(&system).await;
    let scanned = reading.all(20).await;
    let keys: Vec<Vec<Value>> = scanned.iter().map(|row| reading.key_of(row)).collect();
    let fetched = reading.fetch(&keys).await;
    let (scanned, fetched) = (
        State::of(&reading.shape, scanned),
        State::of(&reading.shape, fetched),
    );
    assert!(scanned == fetched, "{}", scanned.difference(&fetched));
    assert!(reading.fetch(&[]).await.is_empty());
}

/// A key that no row has is no row, and no error.
pub async fn missing_keys_are_left_out<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(5).await;
    let reading = Reading::of(&system).await;
    let first = reading.page(None, 1).await;
    let keys = [system.missing_key(), reading.key_of(&first[0])];
    let fetched = reading.fetch(&keys).await;
    assert_eq!(fetched, first);
}

/// Columns come in the order of the request, which may leave some out.
pub async fn columns_come_as_they_are_asked_for<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(5).await;
    let mut reading = Reading::of(&system).await;
    let whole = reading.all(10).await;
    reading.columns.reverse();
    let reversed = reading.page(None, 10).await;
    assert_eq!(reversed.len(), whole.len());
    for (row, reversed) in whole.iter().zip(reversed) {
        let back = Row(reversed.0.into_iter().rev().collect());
        assert_eq!(*row, back, "key {}", key(&reading.shape, row));
    }
    reading.columns.truncate(1);
    assert!(
        reading
            .page(None, 10)
            .await
            .iter()
            .all(|row| row.0.len() == 1)
    );
}
