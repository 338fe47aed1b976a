//! What every reader promises.

use std::cmp::Ordering;
use std::future::Future;

use lockstep_core::connector::{Call, DynReader, Filter, Page, Sign};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Row, Value};

use crate::fold::key;
use crate::manifest::declared;
use crate::{State, System, ok};

/// A system whose reader is tested.
pub trait ReaderHarness: System {
    /// Puts `count` rows into the first table, with keys that are not in their order and, where the system has them, composite ones.
    fn fill(&self, count: usize) -> impl Future<Output = ()> + Send;

    /// The rows of the first table, whole and in its discovered shape, in the system's order of the key.
    fn rows_by_key(&self) -> impl Future<Output = Vec<Row>> + Send;

    /// A key that no row has.
    fn missing_key(&self) -> Vec<Value>;

    /// Puts rows into the empty first table whose values are at their limits (long decimals, an empty text beside a null), and gives them as they have to be read.
    fn fill_odd(&self) -> impl Future<Output = Option<Vec<Row>>> + Send {
        async { None }
    }
}

/// Makes a test of every reader check.
#[macro_export]
macro_rules! reader_conformance {
    ($harness:ty) => {
        $crate::__checks!(
            reader,
            $harness,
            what_is_declared_is_so,
            pages_are_complete_and_in_key_order,
            a_scan_goes_on_behind_every_row,
            windows_over_the_growing_column_are_complete,
            values_keep_every_digit_and_empty_is_not_null,
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
    /// Where the columns of `key` stand.
    order: Vec<usize>,
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
            order: shape.key.clone(),
            reader,
            shape,
        }
    }

    async fn page(&self, after: Option<&[Value]>, limit: usize) -> Vec<Row> {
        self.page_of(None, after, limit).await
    }

    async fn page_of(
        &self,
        filter: Option<&Filter>,
        after: Option<&[Value]>,
        limit: usize,
    ) -> Vec<Row> {
        let page = Page {
            filter,
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
        self.all_of(None, limit).await
    }

    async fn all_of(&self, filter: Option<&Filter>, limit: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let after = rows.last().map(|row| self.key_of(row));
            let page = self.page_of(filter, after.as_deref(), limit).await;
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
        self.order.iter().map(value).collect()
    }

    async fn fetch(&self, keys: &[Vec<Value>]) -> Vec<Row> {
        let rows = self
            .reader
            .fetch(&self.shape.name, &self.columns, &self.key, keys)
            .await;
        ok(rows, "fetch rows")
    }
}

/// The reader is what its manifest says.
pub async fn what_is_declared_is_so<H: ReaderHarness>() {
    let system = H::start().await;
    let reading = Reading::of(&system).await;
    let manifest = H::manifest();
    let growing = reading.reader.growing(&reading.shape.name);
    assert_eq!(growing.is_some(), manifest.growing, "{growing:?}");
    assert_eq!(reading.reader.has_journal(), manifest.journal);
    let call = Call {
        method: "POST".to_owned(),
        url: "https://example.com/".to_owned(),
        headers: Default::default(),
        body: b"{}".to_vec(),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    match reading.reader.hear(&call) {
        Ok(heard) => panic!("a call without a signature is taken: {heard:?}"),
        Err(error) => assert_eq!(
            error.kind() != Kind::Unsupported,
            manifest.calls,
            "{error:?}"
        ),
    }
    let findings = ok(reading.reader.check().await, "check the system");
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
}

/// Whoever comes after a crash goes on behind any row, knowing nothing but its key.
pub async fn a_scan_goes_on_behind_every_row<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(13).await;
    let truth = system.rows_by_key().await;
    for (at, row) in truth.iter().enumerate() {
        let reading = Reading::of(&system).await;
        let after = reading.key_of(row);
        let rest = reading.page(Some(&after), 1000).await;
        assert_eq!(rest, truth[at + 1..], "behind row {at}");
    }
}

/// Windows over the growing column hold every row that fulfils them, in their order, however small the pages; the newest value is told.
pub async fn windows_over_the_growing_column_are_complete<H: ReaderHarness>() {
    let system = H::start().await;
    system.fill(17).await;
    let mut reading = Reading::of(&system).await;
    let Some(growing) = reading.reader.growing(&reading.shape.name) else {
        return declared("the system has no growing column");
    };
    let truth = reading.all(100).await;
    let position = reading.shape.position(&growing.column);
    let Some(position) = position else {
        panic!(
            "the growing column `{}` is none of the table's",
            growing.column
        );
    };
    let value = |row: &Row| row.value(position).cloned().unwrap_or(Value::Null);
    let mut values: Vec<Value> = truth.iter().map(value).collect();
    values.sort_by(order);
    reading.key.insert(0, growing.column.clone());
    reading.order.insert(0, position);
    let from = values[values.len() / 2].clone();
    let filter = Filter::Compare(growing.column, Sign::GreaterOrEqual, from.clone());
    let inside = |row: &Row| order(&value(row), &from).is_ge();
    let expected = State::of(
        &reading.shape,
        truth.iter().filter(|row| inside(row)).cloned(),
    );
    for limit in [2, 7, 1000] {
        let rows = reading.all_of(Some(&filter), limit).await;
        let sorted = rows
            .windows(2)
            .all(|pair| order(&value(&pair[0]), &value(&pair[1])).is_le());
        assert!(
            sorted,
            "pages of {limit} are not in the order of the growing column"
        );
        let told = State::of(&reading.shape, rows);
        assert!(
            told == expected,
            "pages of {limit}: {}",
            told.difference(&expected)
        );
    }
    let newest = Page {
        table: &reading.shape.name,
        columns: &reading.columns,
        key: &reading.key,
        backwards: true,
        limit: 1,
        ..Page::default()
    };
    let newest = ok(reading.reader.scan(newest).await, "read the newest row");
    assert_eq!(
        newest.iter().map(value).collect::<Vec<_>>(),
        values[values.len() - 1..]
    );
}

/// The order of growing values, which are numbers, instants or texts.
fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        _ => panic!("{} and {} do not grow", a.type_name(), b.type_name()),
    }
}

/// No digit is lost on the way, and an empty text is not a null.
pub async fn values_keep_every_digit_and_empty_is_not_null<H: ReaderHarness>() {
    let system = H::start().await;
    let Some(expected) = system.fill_odd().await else {
        return declared("the harness makes no odd values");
    };
    let reading = Reading::of(&system).await;
    let read = reading.all(100).await;
    let shown = |rows: &[Row]| {
        rows.iter()
            .map(|row| format!("{row:?}"))
            .collect::<Vec<_>>()
    };
    // As text: decimals are equal whatever their scale, and the scale has to come through.
    assert_eq!(shown(&read), shown(&expected));
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
    // A reader that declares no bounds may refuse them; what it answers is right all the same.
    let scan = async |page: Page<'_>, expected: &[Row], what: &str| {
        let page = Page {
            table: &reading.shape.name,
            columns: &reading.columns,
            key: &reading.key,
            ..page
        };
        match reading.reader.scan(page).await {
            Err(error) if error.kind() == Kind::Unsupported && !H::manifest().bounds => {
                declared("pages are not bounded, filtered or read backwards");
            }
            Err(error) => panic!("scan {what}: {error:?}"),
            Ok(mut rows) => {
                if page.backwards {
                    rows.reverse();
                }
                assert_eq!(rows, expected, "{what}");
            }
        }
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
        let what = format!("after {after:?} until {until}");
        scan(page, &truth[first..=until], &what).await;
        let short = Page { limit: 2, ..page };
        let last = (first + 2).min(until + 1);
        scan(short, &truth[first..last], "a short page").await;
    }
    let page = Page {
        backwards: true,
        limit: 4,
        ..Page::default()
    };
    scan(page, &truth[19..], "the last rows").await;
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
        scan(page, &expected, &format!("{filter:?}")).await;
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
