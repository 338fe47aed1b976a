//! Listings: page after page, whatever the paging, until every record was seen once.
//!
//! Where records can move between pages while they are read (offsets and page numbers), that is noticed, and the listing begins again; one that never holds still is an error, so that nobody takes a record for gone that only moved.

use std::collections::{HashMap, HashSet};

use lockstep_core::{Error, Key, Result, Row, Value};
use lockstep_http_client::{Answer, Json, Request};

use crate::client::{Kind, part};
use crate::describe::Paging;

/// How often a listing whose records move is begun again.
const PASSES_MAX: usize = 6;
/// Most pages of one listing: a system that never ends is not followed for ever.
const PAGES_MAX: usize = 100_000;

/// A walk over the pages of one listing.
pub(crate) struct Walk<'a> {
    kind: Kind<'a>,
    extra: &'a [(String, String)],
    next: Next,
    pages: usize,
    /// Cursors that were given already: one that comes again is a circle.
    given: HashSet<String>,
    total: Option<i64>,
    /// Records moved while they were read.
    moved: bool,
    /// The last record of the page before.
    anchor: Option<Json>,
    seen: u64,
}

/// Where the next page is.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    First,
    Cursor(String),
    Offset(u64),
    Number(u64),
    Url(String),
    None,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(kind: Kind<'a>, extra: &'a [(String, String)]) -> Walk<'a> {
        Walk {
            kind,
            extra,
            next: Next::First,
            pages: 0,
            given: HashSet::new(),
            total: None,
            moved: false,
            anchor: None,
            seen: 0,
        }
    }

    /// What the next page is asked for with, for people; none behind the last.
    pub(crate) fn cursor(&self) -> Option<String> {
        match &self.next {
            Next::First | Next::None => None,
            Next::Cursor(cursor) | Next::Url(cursor) => Some(cursor.clone()),
            Next::Offset(number) | Next::Number(number) => Some(number.to_string()),
        }
    }

    /// The records of the next page; none behind the last.
    pub(crate) async fn page(&mut self) -> Result<Option<Vec<Json>>> {
        if self.next == Next::None {
            return Ok(None);
        }
        self.pages += 1;
        if self.pages > PAGES_MAX {
            return Err(self.wrong(&format!("has more than {PAGES_MAX} pages")));
        }
        let numbered = matches!(self.next, Next::Number(_)) && self.pages > 1;
        // Behind the last of numbered pages some systems know no page.
        let accepted: &[u16] = if numbered { &[404] } else { &[] };
        let answer = self.request().accept_status(accepted).send().await?;
        if answer.status == 404 {
            self.next = Next::None;
            return Ok(None);
        }
        let path = &self.kind.table.list.records;
        let Json::List(mut records) = part(&answer, path, &format!("`{}`", self.kind.name))? else {
            return Err(self.wrong(&format!("gives no list under `{path}`")));
        };
        self.next = self.behind(&answer, &records)?;
        if let Next::Cursor(cursor) | Next::Url(cursor) = &self.next
            && !self.given.insert(cursor.clone())
        {
            return Err(self.wrong("gives the same cursor twice"));
        }
        self.anchored(&mut records);
        self.seen += records.len() as u64;
        Ok(Some(records))
    }

    fn request(&self) -> Request {
        let list = &self.kind.table.list;
        let client = &self.kind.api.client;
        if let Next::Url(url) = &self.next {
            return client.get(url);
        }
        let mut query: Vec<(&str, String)> = Vec::new();
        let given = list
            .query
            .iter()
            .chain(self.extra.iter().map(|(n, v)| (n, v)));
        for (name, value) in given {
            query.retain(|(other, _)| other != name);
            query.push((name, value.clone()));
        }
        let (at, size) = match &list.page {
            Paging::None | Paging::Link | Paging::Url { .. } => (None, None),
            Paging::Cursor {
                query,
                size_query,
                size,
                ..
            } => {
                let cursor = match &self.next {
                    Next::Cursor(cursor) => Some((query, cursor.clone())),
                    _ => None,
                };
                (cursor, size_query.as_ref().zip(*size))
            }
            Paging::Offset {
                query,
                size_query,
                size,
                ..
            } => {
                let offset = match self.next {
                    Next::Offset(offset) => offset,
                    _ => 0,
                };
                (Some((query, offset.to_string())), Some((size_query, *size)))
            }
            Paging::Number {
                query,
                first,
                size_query,
                size,
                ..
            } => {
                let number = match self.next {
                    Next::Number(number) => number,
                    _ => *first,
                };
                (
                    Some((query, number.to_string())),
                    size_query.as_ref().zip(*size),
                )
            }
        };
        query.extend(at.map(|(name, value)| (name.as_str(), value)));
        query.extend(size.map(|(name, size)| (name.as_str(), size.to_string())));
        client.get(list.path.as_str()).query(&query)
    }

    /// Where the page behind this one is.
    fn behind(&mut self, answer: &Answer, records: &[Json]) -> Result<Next> {
        let tree = answer.tree()?;
        let text = |path: &str| {
            tree.at(path)
                .and_then(Json::plain)
                .filter(|t| !t.is_empty())
        };
        Ok(match &self.kind.table.list.page {
            Paging::None => Next::None,
            Paging::Link => match answer.header("link").and_then(next_link) {
                Some(link) => Next::Url(answer.link(link)?),
                None => Next::None,
            },
            Paging::Url { next } => match text(next) {
                Some(link) => Next::Url(answer.link(&link)?),
                None => Next::None,
            },
            Paging::Cursor {
                next, last, more, ..
            } => {
                let ended = more.as_ref().is_some_and(|more| {
                    let more = tree.at(more);
                    more.is_none_or(|more| matches!(more, Json::Null | Json::Bool(false)))
                });
                let cursor = match (next, last) {
                    (Some(next), _) => text(next),
                    (None, Some(last)) => {
                        records.last().and_then(|record| record.at(last)?.plain())
                    }
                    (None, None) => None,
                };
                cursor.filter(|_| !ended).map_or(Next::None, Next::Cursor)
            }
            Paging::Offset { total, .. } => {
                self.count(&tree, total.as_deref());
                let before = match self.next {
                    Next::Offset(offset) => offset,
                    _ => 0,
                };
                // The last record is asked for again: where it is not the first of the next page, records moved.
                let is_end = records.len() < 2 && (before > 0 || records.is_empty());
                let step = (records.len() as u64).saturating_sub(1).max(1);
                if is_end {
                    Next::None
                } else {
                    Next::Offset(before + step)
                }
            }
            Paging::Number { total, first, .. } => {
                self.count(&tree, total.as_deref());
                let number = match self.next {
                    Next::Number(number) => number,
                    _ => *first,
                };
                let complete = self.total.is_some_and(|total| {
                    total >= 0 && self.seen + records.len() as u64 >= total.unsigned_abs()
                });
                if records.is_empty() || complete {
                    Next::None
                } else {
                    Next::Number(number + 1)
                }
            }
        })
    }

    /// Takes note of the total; one that changes says that records came or went.
    fn count(&mut self, tree: &Json, total: Option<&str>) {
        let told = total.and_then(|path| tree.at(path)?.plain()?.parse().ok());
        if let Some(told) = told {
            self.moved |= self.total.is_some_and(|total| total != told);
            self.total = Some(told);
        }
    }

    /// Compares the overlap of two pages and takes it out.
    fn anchored(&mut self, records: &mut Vec<Json>) {
        if !matches!(self.kind.table.list.page, Paging::Offset { .. }) {
            return;
        }
        let last = records.last().cloned();
        if let Some(anchor) = self.anchor.take() {
            let id = |record: &Json| {
                let row = self.kind.columns.read(record).ok()?;
                self.kind.columns.key(&row, &self.kind.columns.shape.key)
            };
            match records.first() {
                Some(first) if id(first) == id(&anchor) => {
                    records.remove(0);
                }
                _ => self.moved = true,
            }
        }
        self.anchor = last;
    }

    fn wrong(&self, what: &str) -> Error {
        Error::unexpected(format!("the listing of `{}` {what}", self.kind.name))
            .help("check `list` in the description; `lockstep connectors try` shows what it reads")
    }
}

/// Every row of a listing, once, in the order of the system; the description's other parameters in `extra`.
pub(crate) async fn all(kind: Kind<'_>, extra: &[(String, String)]) -> Result<Vec<Row>> {
    let mut before: Option<HashSet<String>> = None;
    for _ in 0..PASSES_MAX {
        let (rows, walk) = pass(kind, extra).await?;
        let keys = rows.iter().map(|row| identity(kind, row));
        let keys: HashSet<String> = keys.collect::<Result<_>>()?;
        let missed = walk.total.is_some_and(|total| total != rows.len() as i64);
        let is_steady = match &kind.table.list.page {
            Paging::Number { total: None, .. } if walk.pages > 2 => {
                !walk.moved && before.as_ref() == Some(&keys)
            }
            Paging::Number { .. } | Paging::Offset { .. } => !walk.moved && !missed,
            _ => true,
        };
        if is_steady {
            return Ok(rows);
        }
        before = (!walk.moved).then_some(keys);
    }
    Err(Error::transient(format!(
        "the records of `{}` moved between pages each of {PASSES_MAX} times that they were listed",
        kind.name
    ))
    .help("sort the listing by something that does not change, such as the time of creation, or use a cursor"))
}

/// One walk from the first page to the last.
async fn pass<'a>(kind: Kind<'a>, extra: &'a [(String, String)]) -> Result<(Vec<Row>, Walk<'a>)> {
    let most = kind.api.described.limits.rows_max;
    let mut walk = Walk::new(kind, extra);
    let mut rows: Vec<Row> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let can_move = matches!(
        kind.table.list.page,
        Paging::Offset { .. } | Paging::Number { .. }
    );
    while let Some(records) = walk.page().await? {
        for record in &records {
            let row = kind.columns.read(record)?;
            match places.entry(identity(kind, &row)?) {
                std::collections::hash_map::Entry::Occupied(place) => {
                    walk.moved = true;
                    rows[*place.get()] = row;
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(rows.len());
                    rows.push(row);
                }
            }
        }
        if walk.moved && can_move {
            break;
        }
        if rows.len() > most {
            return Err(Error::unsupported(format!(
                "`{}` has more than {most} records",
                kind.name
            ))
            .help("raise `limits.rows_max` in the description if there is memory for them"));
        }
    }
    Ok((rows, walk))
}

/// The own id of a row as text.
fn identity(kind: Kind<'_>, row: &Row) -> Result<String> {
    let shape = &kind.columns.shape;
    let values = shape.key.iter().map(|column| row.value(*column));
    Key::encode(values).map(|key| key.to_string()).map_err(|_| {
        Error::invalid(format!("a record of `{}` has no id", kind.name))
            .help("check `key` and its fields in the description")
    })
}

/// The address of `rel="next"` in a `Link` header.
fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        });
        is_next.then_some(address)
    })
}

/// The parameters that ask for records from a value of the growing field on.
pub(crate) fn since(kind: Kind<'_>, from: &Value) -> Option<Vec<(String, String)>> {
    let incremental = kind.table.incremental.as_ref()?;
    let text = match from {
        Value::Timestamp(at) => crate::convert::plain_instant(*at, incremental.format),
        other => other.to_string(),
    };
    let value = crate::template::fill(&incremental.value, |name| {
        (name == "value").then(|| text.clone())
    });
    Some(vec![(incremental.query.clone(), value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_links_are_found_among_others() {
        for (header, expected) in [
            (
                r#"<https://a/?p=2>; rel="next", <https://a/?p=9>; rel="last""#,
                Some("https://a/?p=2"),
            ),
            (r#"<https://a/?p=1>; rel="prev""#, None),
            ("</x?page=2>; title=\"t\"; rel=next", Some("/x?page=2")),
            ("nonsense", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }
}
