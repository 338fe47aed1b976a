//! A listing: the rows of a table in the order of a key, held while they are read page by page.
//!
//! Many APIs list records in an order of their own, which nothing but the records themselves tells; a key that is gone has no place in it, and rows move between pages while they are read.
//! So a listing is taken whole, every record once, and put in order here: any key has a place then, be there a row or not.
//! What is read again by its id meanwhile takes the place of what was listed, so that no page tells an older state than one that was told already.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use lockstep_core::connector::{Filter, Page, Sign};
use lockstep_core::{Row, Value};

/// A key that can be put in order with others.
#[derive(Clone, Debug)]
pub struct Key(Vec<Value>);

/// The rows of a table.
#[derive(Debug)]
pub struct Listing {
    /// What its rows hold: the columns that were asked for, then those of the key and of filters, then the id.
    columns: Vec<String>,
    /// The columns of the key among them.
    key: Vec<usize>,
    /// The id, as the last of a key, keeps rows of one key apart.
    rows: BTreeMap<Key, Row>,
    /// Under which key each id stands.
    ids: BTreeMap<String, Key>,
    /// When it was begun or last read.
    used: Instant,
}

impl Listing {
    /// An empty listing of rows with these columns, the last of which is the id, in the order of some of them.
    #[must_use]
    pub fn new(columns: Vec<String>, key: &[String]) -> Listing {
        let place = |name: &String| columns.iter().position(|column| column == name);
        Listing {
            key: key.iter().filter_map(place).collect(),
            columns,
            rows: BTreeMap::new(),
            ids: BTreeMap::new(),
            used: Instant::now(),
        }
    }

    /// What its rows hold.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// When it was last read.
    #[must_use]
    fn used(&self) -> Instant {
        self.used
    }

    /// Puts a row in its place, or takes it away where there is none any more.
    pub fn put(&mut self, id: &str, row: Option<Row>) {
        if let Some(before) = self.ids.remove(id) {
            self.rows.remove(&before);
        }
        let Some(row) = row else { return };
        let value = |at: &usize| row.value(*at).cloned().unwrap_or(Value::Null);
        let mut key: Vec<Value> = self.key.iter().map(value).collect();
        // A row whose key holds a null is in no page.
        if key.iter().any(Value::is_null) {
            return;
        }
        key.push(Value::text(id));
        let key = Key(key);
        self.ids.insert(id.to_owned(), key.clone());
        self.rows.insert(key, row);
    }

    /// A page of its rows, each with the columns that are asked for.
    pub fn page(&mut self, page: &Page<'_>) -> Vec<Row> {
        self.used = Instant::now();
        let wanted = |row: &&Row| {
            page.filter.is_none_or(|filter| {
                holds(filter, &|column| {
                    let at = self.columns.iter().position(|known| known == column)?;
                    row.value(at)
                })
            })
        };
        let beside =
            |key: &Key, bound: &[Value]| compare(&key.0[..bound.len().min(key.0.len())], bound);
        let from = page.after.map(|after| Key(after.to_vec()));
        let rows: Box<dyn Iterator<Item = (&Key, &Row)>> = match (page.backwards, from) {
            // Keys that begin as the bound does are longer, and so behind it.
            (true, Some(from)) => Box::new(self.rows.range(..from).rev()),
            (true, None) => Box::new(self.rows.iter().rev()),
            (false, Some(from)) => Box::new(self.rows.range(from..)),
            (false, None) => Box::new(self.rows.iter()),
        };
        let (before, beyond) = match page.backwards {
            true => (Ordering::Greater, Ordering::Less),
            false => (Ordering::Less, Ordering::Greater),
        };
        let not_yet = |key: &Key| {
            page.after
                .is_some_and(|after| matches!(beside(key, after), side if side == before || side == Ordering::Equal))
        };
        let in_time = |key: &Key| page.until.is_none_or(|until| beside(key, until) != beyond);
        let width = page.columns.len();
        rows.skip_while(|(key, _)| not_yet(key))
            .take_while(|(key, _)| in_time(key))
            .map(|(_, row)| row)
            .filter(wanted)
            .take(page.limit)
            .map(|row| Row(row.0.iter().take(width).cloned().collect()))
            .collect()
    }
}

/// How long a listing is kept that nobody goes on reading.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Most listings that are held at once.
const LISTINGS_MAX: usize = 4;

/// The listings that are being read, by what tells them apart.
#[derive(Debug)]
pub struct Listings<K>(HashMap<K, Listing>);

impl<K> Default for Listings<K> {
    fn default() -> Self {
        Listings(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Listings<K> {
    /// Whether a listing has to be taken for a page; if so, there is room for it.
    pub fn lacks(&mut self, name: &K, page: &Page<'_>) -> bool {
        self.0
            .retain(|_, listing| listing.used().elapsed() < IDLE_MAX);
        // Whoever begins with the first row wants what is there now.
        if page.after.is_some() && self.0.contains_key(name) {
            return false;
        }
        self.0.remove(name);
        while self.0.len() >= LISTINGS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, listing)| listing.used());
            let Some(oldest) = oldest.map(|(oldest, _)| oldest.clone()) else {
                break;
            };
            self.0.remove(&oldest);
        }
        true
    }

    /// Holds a listing.
    pub fn insert(&mut self, name: K, listing: Listing) {
        self.0.insert(name, listing);
    }

    /// A page of a listing, which goes with its last one.
    pub fn page(&mut self, name: &K, page: &Page<'_>) -> Vec<Row> {
        let Some(listing) = self.0.get_mut(name) else {
            return Vec::new();
        };
        let rows = listing.page(page);
        if rows.len() < page.limit && page.until.is_none() {
            self.0.remove(name);
        }
        rows
    }

    /// All that are held.
    pub fn held(&mut self) -> &mut HashMap<K, Listing> {
        &mut self.0
    }
}

/// The columns that a filter looks at and a page does not ask for, and those of its key, then the id.
#[must_use]
pub fn columns_of(page: &Page<'_>, id: &str) -> Vec<String> {
    let mut columns = page.columns.to_vec();
    let mut others: BTreeSet<&str> = page.key.iter().map(String::as_str).collect();
    others.extend(page.filter.iter().flat_map(|filter| filter.columns()));
    for other in others {
        if !columns.iter().any(|column| column == other) {
            columns.push(other.to_owned());
        }
    }
    columns.push(id.to_owned());
    columns
}

/// Whether a row fulfils a filter.
pub fn holds<'r>(filter: &Filter, value: &impl Fn(&str) -> Option<&'r Value>) -> bool {
    let known = |column: &str| value(column).filter(|value| !value.is_null());
    match filter {
        Filter::IsNull(column) => known(column).is_none(),
        Filter::IsNotNull(column) => known(column).is_some(),
        Filter::All(parts) => parts.iter().all(|part| holds(part, value)),
        Filter::Any(parts) => parts.iter().any(|part| holds(part, value)),
        Filter::Compare(column, sign, with) => known(column).is_some_and(|value| {
            let side = order(value, with);
            match sign {
                Sign::Equal => side == Ordering::Equal,
                Sign::NotEqual => side != Ordering::Equal,
                Sign::Less => side == Ordering::Less,
                Sign::LessOrEqual => side != Ordering::Greater,
                Sign::Greater => side == Ordering::Greater,
                Sign::GreaterOrEqual => side != Ordering::Less,
            }
        }),
    }
}

fn compare(left: &[Value], right: &[Value]) -> Ordering {
    let pairs = left.iter().zip(right);
    let first = pairs.map(|(left, right)| order(left, right));
    first
        .into_iter()
        .find(|side| *side != Ordering::Equal)
        .unwrap_or_else(|| left.len().cmp(&right.len()))
}

/// The order of two values: of one type by what they are, numbers with one another, others by their texts.
fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => left.total_cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => left.to_big().cmp(&right.to_big()),
        (Value::Int(left), Value::Decimal(right)) => lockstep_core::Decimal::from(*left)
            .to_big()
            .cmp(&right.to_big()),
        (Value::Decimal(left), Value::Int(right)) => left
            .to_big()
            .cmp(&lockstep_core::Decimal::from(*right).to_big()),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (left, right) => left
            .type_name()
            .cmp(right.type_name())
            .then_with(|| left.to_string().cmp(&right.to_string())),
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn listing(rows: &[(&str, i64)]) -> Listing {
        let mut listing = Listing::new(names(&["n", "id"]), &names(&["id"]));
        for (id, n) in rows {
            listing.put(id, Some(Row::of([Value::Int(*n), Value::text(*id)])));
        }
        listing
    }

    fn numbers(rows: &[Row]) -> Vec<i64> {
        let number = |row: &Row| match row.value(0) {
            Some(Value::Int(number)) => *number,
            other => panic!("{other:?}"),
        };
        rows.iter().map(number).collect()
    }

    #[test]
    fn keys_that_are_gone_have_a_place_all_the_same() {
        let mut listing = listing(&[("c", 3), ("a", 1), ("d", 4), ("e", 5)]);
        let (columns, key) = (names(&["n"]), names(&["id"]));
        let (b, d) = ([Value::text("b")], [Value::text("dd")]);
        let page = Page {
            columns: &columns,
            key: &key,
            after: Some(&b),
            until: Some(&d),
            limit: 10,
            ..Page::default()
        };
        assert_eq!(numbers(&listing.page(&page)), [3, 4]);
        let back = Page {
            until: None,
            after: Some(&d),
            backwards: true,
            limit: 2,
            ..page
        };
        assert_eq!(numbers(&listing.page(&back)), [4, 3]);
    }

    #[test]
    fn what_is_read_again_takes_the_place_of_what_was_listed() {
        let mut listing = listing(&[("a", 1), ("b", 2)]);
        listing.put("a", Some(Row::of([Value::Int(9), Value::text("a")])));
        listing.put("b", None);
        let columns = names(&["n"]);
        let page = Page {
            columns: &columns,
            limit: 10,
            ..Page::default()
        };
        assert_eq!(numbers(&listing.page(&page)), [9]);
        assert_eq!(listing.len(), 1);
    }

    #[test]
    fn rows_of_one_key_are_told_apart_and_those_without_are_left_out() {
        let mut listing = Listing::new(names(&["m", "id"]), &names(&["m"]));
        for (id, m) in [("1", "x"), ("2", "x"), ("3", "")] {
            let value = if m.is_empty() {
                Value::Null
            } else {
                Value::text(m)
            };
            listing.put(id, Some(Row::of([value, Value::text(id)])));
        }
        let columns = names(&["m"]);
        let page = Page {
            columns: &columns,
            limit: 10,
            ..Page::default()
        };
        assert_eq!(listing.page(&page).len(), 2);
    }
}
