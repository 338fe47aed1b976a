//! The list of events, read as a journal: which objects may have changed.
//!
//! Events come neither in the order of their times nor at once, so the last part of what was read is read again each time; those that were seen there are not told twice.
//! Stripe keeps them for 30 days; a cursor from before that is refused, and the runtime compares whole tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockstep_core::connector::{Notice, Noticed};
use lockstep_core::{Error, Result};
use lockstep_http_client::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::client::Api;
use crate::convert::text;
use crate::hear::notice;

/// How long events are kept, less an hour for those who are about to be forgotten.
const KEPT_S: i64 = 30 * 24 * 3600 - 3600;
/// Most pages of one reading.
const PAGES_MAX: usize = 10;
/// Most events that a cursor remembers as told; more are told again.
const TOLD_MAX: usize = 200;

/// How far the events were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The second from which the next reading begins.
    since: i64,
    /// The event that the reading under way goes on behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Events from `since` on that were told: the ends of their ids, and their seconds.
    #[serde(default)]
    told: BTreeMap<String, i64>,
}

/// The objects that events name behind a cursor.
pub(crate) async fn noticed(
    api: &Api,
    tables: &[String],
    overlap_s: u32,
    cursor: Option<&str>,
) -> Result<Noticed> {
    let overlap = i64::from(overlap_s);
    let now = api.now(path()).await?.as_second();
    let Some(cursor) = cursor else {
        let begin = Cursor {
            since: now - overlap,
            ..Cursor::default()
        };
        return Ok(Noticed {
            notices: Vec::new(),
            cursor: begin.text()?,
            more: false,
        });
    };
    let mut at = Cursor::parse(cursor)?;
    if at.since < now - KEPT_S {
        return Err(
            Error::invalid("the events behind the cursor are no longer kept")
                .with(
                    "since",
                    Timestamp::from_second(at.since).unwrap_or_default(),
                )
                .help("Stripe keeps events for 30 days; whole tables are compared instead"),
        );
    }
    let mut notices: Vec<Notice> = Vec::new();
    for _ in 0..PAGES_MAX {
        let since = [("created[gte]", at.since.to_string())];
        let page = match api.page(path(), &since, at.after.as_deref()).await? {
            Ok(page) => page,
            // The event that the page was to begin behind is kept no longer.
            Err(refusal) if at.after.is_some() && refusal.is_missing() => {
                at.after = None;
                continue;
            }
            Err(refusal) => return Err(refusal.into_error("the list of events")),
        };
        for event in &page.data {
            at.see(event, tables, &mut notices);
        }
        let last = page.data.last().and_then(|event| text(event, "id"));
        match last {
            Some(last) if page.has_more && at.after.as_deref() != Some(last) => {
                at.after = Some(last.to_owned());
            }
            _ => {
                at.end(now, overlap);
                return Ok(Noticed {
                    notices,
                    cursor: at.text()?,
                    more: false,
                });
            }
        }
    }
    Ok(Noticed {
        notices,
        cursor: at.text()?,
        more: true,
    })
}

fn path() -> Path {
    Path::default().then("v1/events")
}

impl Cursor {
    fn parse(text: &str) -> Result<Cursor> {
        serde_json::from_str(text).map_err(|error| {
            Error::invalid("a cursor of the events cannot be read")
                .help("whole tables are compared instead")
                .because(error)
        })
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::unexpected("a cursor cannot be written").because(error))
    }

    fn see(&mut self, event: &Json, tables: &[String], notices: &mut Vec<Notice>) {
        let created = event.get("created").and_then(Json::as_i64).unwrap_or(0);
        let id = text(event, "id").unwrap_or_default();
        let end: String = id.chars().rev().take(12).collect();
        if self.told.insert(end, created).is_some() {
            return;
        }
        if let Some(notice) = notice(event, tables)
            && !notices.contains(&notice)
        {
            notices.push(notice);
        }
    }

    /// Everything was read that was there at a time by the server's clock: the one before the reading began.
    fn end(&mut self, now: i64, overlap: i64) {
        // A quiet account moves on as well, so that its cursor does not grow older than the events are kept.
        self.since = self.since.max(now - overlap);
        self.after = None;
        let since = self.since;
        self.told.retain(|_, created| *created >= since);
        while self.told.len() > TOLD_MAX {
            self.told.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, created: i64, object: &str) -> Json {
        json!({"id": id, "created": created, "data": {"object": {"object": "customer", "id": object}}})
    }

    #[test]
    fn an_event_in_the_overlap_is_told_once() {
        let tables = ["customers".to_owned()];
        let mut cursor = Cursor {
            since: 100,
            ..Cursor::default()
        };
        let mut notices = Vec::new();
        for (id, created) in [("evt_a", 110), ("evt_b", 120), ("evt_a", 110)] {
            cursor.see(&event(id, created, id), &tables, &mut notices);
        }
        assert_eq!(notices.len(), 2);
        cursor.end(130, 15);
        assert_eq!(cursor.since, 115);
        let mut cursor = Cursor::parse(&cursor.text().unwrap()).unwrap();
        let mut notices = Vec::new();
        // One comes late, with a time before others that were told.
        for (id, created) in [("evt_b", 120), ("evt_c", 118)] {
            cursor.see(&event(id, created, id), &tables, &mut notices);
        }
        assert_eq!(notices.len(), 1);
        assert!(cursor.told.len() <= 3);
    }

    #[test]
    fn a_cursor_that_is_none_is_invalid() {
        for text in ["", "1", "{}x", "[]"] {
            let error = Cursor::parse(text).unwrap_err();
            assert_eq!(error.kind(), lockstep_core::Kind::Invalid);
        }
    }
}
