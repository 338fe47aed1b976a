//! Deletes, read as a journal: which records may be gone, or hold what another one held.
//!
//! The recycle bin tells at once, and into which record one was merged; what left the bin is in the list of deletes, of which only minutes count and which is therefore read now and then.
//! Both are kept for 15 days at most; a cursor from before that is refused, and the runtime compares whole tables.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lockstep_core::connector::{Notice, Noticed};
use lockstep_core::{Error, Result, Value};
use lockstep_http_client::Json;
use serde::{Deserialize, Serialize};

use crate::client::Api;
use crate::convert::{Form, read};
use crate::id;
use crate::read::{Reading, unread};
use crate::soql::Order;
use crate::table::{DELETED, ID, MASTER, Table};
use crate::tables::Tables;

/// How long deletes are told, less a day: the vendor says 15 days and counts them by the calendar.
const KEPT_S: i64 = 14 * 24 * 3600;
/// How often the list of deletes is read.
const LISTED_S: i64 = 300;
/// Most records of one reading of the bin.
const PAGE_MAX: usize = 2000;
/// Most records of a table that a cursor remembers as told; more are told again.
const TOLD_MAX: usize = 200;

/// How far the deletes of each table were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor(BTreeMap<String, Place>);

/// How far those of one table were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// From when on the bin is read next, in seconds.
    since: i64,
    /// The record that the reading under way goes on behind: when it was deleted, and its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<(i64, String)>,
    /// Until when the list of deletes was read, in seconds.
    listed: i64,
    /// Records that were told, and when they were deleted.
    #[serde(default)]
    told: BTreeMap<String, i64>,
}

/// One reading of the journal.
struct Round<'a> {
    api: &'a Api,
    tables: &'a Tables,
    overlap: i64,
    notices: Vec<Notice>,
    more: bool,
}

/// The records that deletes name behind a cursor.
pub(crate) async fn noticed(
    api: &Api,
    tables: &Tables,
    names: &[String],
    overlap: i64,
    cursor: Option<&str>,
) -> Result<Noticed> {
    // What time it is there is told with every answer.
    if cursor.is_none() {
        api.is_offered().await?;
    }
    let now = api.now().as_second();
    let before = cursor.map(Cursor::parse).transpose()?.unwrap_or_default();
    let mut next = Cursor::default();
    let mut round = Round {
        api,
        tables,
        overlap,
        notices: Vec::new(),
        more: false,
    };
    for name in names {
        let place = match before.0.get(name) {
            None => Place {
                since: now - overlap,
                listed: now,
                ..Place::default()
            },
            Some(place) if place.since < now - KEPT_S || place.listed < now - KEPT_S => {
                return Err(lost(name, place.since.min(place.listed)));
            }
            Some(place) => round.read(name, place.clone(), now).await?,
        };
        next.0.insert(name.clone(), place);
    }
    Ok(Noticed {
        notices: round.notices,
        cursor: next.text()?,
        more: round.more,
    })
}

/// The deletes of a table are not told as far back as they were read.
fn lost(table: &str, since: i64) -> Error {
    Error::invalid(format!(
        "the deletes of `{table}` behind the cursor are no longer told"
    ))
    .with("since", Timestamp::from_second(since).unwrap_or_default())
    .help("Salesforce tells deletes for 15 days, or until somebody empties the recycle bin; whole tables are compared instead")
}

impl Round<'_> {
    async fn read(&mut self, name: &str, mut place: Place, now: i64) -> Result<Place> {
        let table = self.tables.get(name).await?;
        let has_bin = table.field(DELETED).is_ok_and(|field| field.is_filterable);
        if has_bin && let Some(growing) = table.growing() {
            self.bin(&table, growing, &mut place, now).await?;
        } else {
            place.since = now;
        }
        if !table.may.replicate {
            place.listed = now;
        } else if now - place.listed >= LISTED_S {
            self.list(&table, &mut place, now).await?;
        }
        Ok(place)
    }

    /// Reads on in the recycle bin.
    async fn bin(
        &mut self,
        table: &Table,
        growing: &str,
        place: &mut Place,
        now: i64,
    ) -> Result<()> {
        let mut fields = vec![ID.to_owned(), growing.to_owned()];
        let is_merged = table.has(MASTER);
        fields.extend(is_merged.then(|| MASTER.to_owned()));
        let order = Order::Time(growing.to_owned());
        let since = [Value::Timestamp(instant(place.since))];
        let reading = Reading {
            api: self.api,
            tables: self.tables,
            table,
            fields,
            conditions: vec![
                format!("{DELETED} = true"),
                order.beside(&since, true, true)?,
            ],
            order,
            backwards: false,
            all: true,
        };
        let after = place.after.as_ref();
        let after = after.map(|(at, id)| [Value::Timestamp(instant(*at)), Value::text(id)]);
        let step = reading
            .step(after.as_ref().map(<[Value; 2]>::as_slice), PAGE_MAX)
            .await?;
        for record in &step.records {
            let at = time(record.get(growing)).unwrap_or(now);
            self.tell(table, place, record.get(ID), at);
            if is_merged {
                self.tell(table, place, record.get(MASTER), at);
            }
        }
        match step.last.as_deref() {
            Some([Value::Timestamp(at), Value::Text(id)]) if !step.is_end => {
                place.after = Some((at.as_second(), id.clone()));
                self.more = true;
            }
            _ => place.end(now - self.overlap),
        }
        Ok(())
    }

    /// Reads on in the list of deletes, where those are that left the bin.
    async fn list(&mut self, table: &Table, place: &mut Place, now: i64) -> Result<()> {
        // Only minutes count, and late commits come behind those before them.
        let from = minute(place.listed) - 60;
        let mut until = minute(now);
        let told = loop {
            match self
                .api
                .deleted(&table.name, instant(from), instant(until))
                .await?
            {
                Ok(told) => break told,
                Err(refusal) if refusal.code == "EXCEEDED_ID_LIMIT" && until - from > 240 => {
                    until = minute(from + (until - from) / 2);
                    self.more = true;
                }
                Err(refusal) if refusal.code == "INVALID_REPLICATION_DATE" => {
                    return Err(lost(&table.name, from));
                }
                Err(refusal) if refusal.is_passing() => {
                    return Err(unread(self.tables, table, &refusal));
                }
                // There is no such list of this object, whatever its description says: comparing it as a whole tells the rest.
                Err(_) => {
                    place.listed = now;
                    return Ok(());
                }
            }
        };
        if time(told.get("earliestDateAvailable")).is_some_and(|earliest| earliest > place.listed) {
            return Err(lost(&table.name, place.listed));
        }
        let all = told.get("deletedRecords").and_then(Json::as_list);
        for record in all.into_iter().flatten() {
            let at = time(record.get("deletedDate")).unwrap_or(until);
            self.tell(table, place, record.get("id"), at);
        }
        let covered = time(told.get("latestDateCovered")).unwrap_or(until);
        place.listed = place.listed.max(covered.min(until));
        Ok(())
    }

    fn tell(&mut self, table: &Table, place: &mut Place, id: Option<&Json>, at: i64) {
        let id = id.and_then(Json::as_str).and_then(id::full);
        let Some(id) = id.filter(|id| !is_empty(id)) else {
            return;
        };
        if place.told.get(&id).is_some_and(|told| *told >= at) {
            return;
        }
        let notice = Notice {
            table: table.name.clone(),
            key: vec![Value::text(&id)],
        };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
        place.told.insert(id, at);
    }
}

impl Place {
    /// Everything was read that was in the bin until now.
    fn end(&mut self, since: i64) {
        self.after = None;
        self.since = self.since.max(since);
        let kept = self.since.min(self.listed - 120);
        self.told.retain(|_, at| *at >= kept);
        while self.told.len() > TOLD_MAX {
            self.told.pop_first();
        }
    }
}

impl Cursor {
    fn parse(text: &str) -> Result<Cursor> {
        serde_json::from_str(text).map_err(|error| {
            Error::invalid("a cursor of the deletes cannot be read")
                .help("whole tables are compared instead")
                .because(error)
        })
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::unexpected("a cursor cannot be written").because(error))
    }
}

/// Salesforce writes an id of zeros where there is none.
fn is_empty(id: &str) -> bool {
    id.starts_with("000000000000000")
}

fn instant(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .checked_add(SignedDuration::from_secs(second))
        .unwrap_or_default()
}

fn minute(second: i64) -> i64 {
    second - second.rem_euclid(60)
}

/// The second of an instant in an answer.
fn time(value: Option<&Json>) -> Option<i64> {
    match read(value?, Form::Instant) {
        Value::Timestamp(at) => Some(at.as_second()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_is_none_is_invalid() {
        for text in ["", "1", "{}x", "[]", r#"{"Account": 5}"#] {
            let error = Cursor::parse(text).unwrap_err();
            assert_eq!(error.kind(), lockstep_core::Kind::Invalid);
        }
        let cursor = Cursor([("Account".to_owned(), Place::default())].into());
        assert_eq!(Cursor::parse(&cursor.text().unwrap()).unwrap(), cursor);
    }

    #[test]
    fn a_place_forgets_what_cannot_be_told_again() {
        let mut place = Place {
            since: 100,
            listed: 1000,
            told: (0..300).map(|n| (format!("{n:04}"), n * 10)).collect(),
            ..Place::default()
        };
        place.end(900);
        assert_eq!(place.since, 900);
        assert!(place.told.len() <= TOLD_MAX && place.told.values().all(|at| *at >= 880));
    }
}
