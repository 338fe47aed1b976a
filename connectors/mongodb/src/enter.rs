//! Where a run begins: behind the position it is given, or with another life.
//!
//! A position is trusted where it is of the same replica set, whose elections have not gone back, and not of a time to come; the server itself says whether it still knows what comes next, a dropped collection included.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::position::Mark;
use lockstep_core::{Error, Position, Result};
use mongodb::bson::Timestamp;

use crate::catalog::{Kind, PROGRESS};
use crate::client::{Client, Deployment, failure, is_lost, to_instant, to_number};
use crate::columns::{ID, IdForm, Table};
use crate::config::{Config, OnLost, Snapshot};
use crate::convert::Form;
use crate::position::{Cursor, Reading, incarnation, is_of, time_of};
use crate::stream::{From, Stream, Wanted};

/// The oldest server whose change streams tell enough.
pub(crate) const OLDEST: (i32, i32) = (6, 0);
/// How far a position may be ahead of what a server has heard of: a life begins behind the last thing that happened.
const AHEAD_MAX: u64 = 60 << 32;
/// Stands for the replica set's name where a router hides several.
const SHARDED: &str = "sharded";

/// A run that can begin.
pub(crate) struct Entered {
    pub(crate) stream: Stream,
    pub(crate) reading: Reading,
    /// Whether the life is a new one.
    pub(crate) begins: bool,
    /// Whether several shards tell their changes.
    pub(crate) sharded: bool,
}

/// Finds where to begin, and opens the stream there.
pub(crate) async fn enter(
    client: &Client,
    config: &Config,
    tables: &mut [Table],
    resume: Option<&Position>,
) -> Result<Entered> {
    let deployment = client.deployment().await?;
    must_stream(&deployment)?;
    tables.iter().try_for_each(must_be_capturable)?;
    let trusted = resume.and_then(|position| {
        let cursor = Cursor::of(position)?;
        match distrust(&deployment, position, &cursor) {
            None => Some((position, cursor)),
            Some(why) => {
                tracing::warn!(%position, why, "the position is of another life of the system: everything is read again");
                None
            }
        }
    });
    if let Some((position, cursor)) = trusted {
        keep_ids(tables, &cursor)?;
        let from = From::Token(cursor.token.clone());
        let known = cursor.known.clone();
        match Stream::open(client, wanted(tables, &deployment), from).await {
            Ok((stream, _)) => {
                let reading = Reading {
                    incarnation: Arc::clone(&position.incarnation),
                    mark: position.mark(),
                    cursor: go_on(cursor, &deployment, tables, config.snapshot),
                };
                return Ok(Entered {
                    stream,
                    reading,
                    begins: false,
                    sharded: deployment.sharded,
                });
            }
            Err(error) if is_lost(&error) && are_others(tables, &known) => {
                tracing::warn!(%position, "each of the position's collections is another one of that name: everything is read again");
            }
            Err(error) if is_lost(&error) && config.on_lost == OnLost::Fail => {
                return Err(forgotten(&error));
            }
            Err(error) if is_lost(&error) => {
                tracing::warn!(%position, "the server has forgotten the changes that come next: everything is read again");
            }
            Err(error) => return Err(failure("cannot open the change stream", &error)),
        }
    }
    begin(client, config, tables, &deployment).await
}

/// Another life, which begins now or where the configuration says.
async fn begin(
    client: &Client,
    config: &Config,
    tables: &[Table],
    deployment: &Deployment,
) -> Result<Entered> {
    let from = match &config.start_at {
        Some(text) => start(text)?,
        // Behind the last thing that happened, which a snapshot holds.
        None => From::Time(
            deployment
                .now
                .map(|now| to_instant(to_number(now) + 1))
                .ok_or_else(|| {
                    Error::unexpected("the server did not say what time it is in the cluster")
                })?,
        ),
    };
    let opened = Stream::open(client, wanted(tables, deployment), from).await;
    let (stream, token) = opened.map_err(|error| {
        let lost = is_lost(&error);
        let error = failure("cannot open the change stream", &error);
        if lost {
            return error.help("the server keeps no changes from `start_at` on: choose a later time, or leave it out");
        }
        error
    })?;
    let time = time_of(&token).ok_or_else(|| {
        Error::unsupported("the server's resume tokens do not begin with a time")
            .help("check that `url` names MongoDB 6.0 or later")
    })?;
    let set = deployment.set.as_deref().unwrap_or(SHARDED);
    let cursor = Cursor {
        token,
        ..Cursor::default()
    };
    let reading = Reading {
        incarnation: incarnation(set, time),
        mark: Mark {
            commit: time.saturating_sub(1),
            ordinal: 0,
        },
        cursor: go_on(cursor, deployment, tables, config.snapshot),
    };
    Ok(Entered {
        stream,
        reading,
        begins: true,
        sharded: deployment.sharded,
    })
}

/// The error of a place that the server has forgotten.
pub(crate) fn forgotten(error: &mongodb::error::Error) -> Error {
    Error::config("the server has forgotten the changes that come next: its log of changes is too small for how long nobody read it, or it was restored")
        .because(failure("cannot open the change stream", error))
        .help("set `on_lost = \"resnapshot\"` to read everything again, then run `lockstep verify`, because deletes of the time between are not told; a larger log: db.adminCommand({replSetResizeOplog: 1, size: <megabytes>})")
}

/// What the stream is asked for: the tables, and the sinks' progress, by which our own transactions are known.
fn wanted(tables: &[Table], deployment: &Deployment) -> Wanted {
    let names = tables.iter().map(|table| table.collection.name.clone());
    Wanted {
        collections: names.chain([PROGRESS.to_owned()]).collect(),
        version: deployment.version,
    }
}

/// Why a position is not one of this system as it is.
fn distrust(deployment: &Deployment, position: &Position, cursor: &Cursor) -> Option<&'static str> {
    let set = deployment.set.as_deref().unwrap_or(SHARDED);
    if !is_of(&position.incarnation, set) {
        return Some("it is another replica set");
    }
    if deployment.term != 0 && deployment.term < cursor.term {
        return Some("its elections have gone back, so it was restored from a backup");
    }
    let now = deployment.now.map(to_number);
    if now.is_some_and(|now| time_of(&cursor.token).is_some_and(|time| time > now + AHEAD_MAX)) {
        return Some("the position is of a time that has not come");
    }
    None
}

/// Whether there are collections that were known, and each is another one now. While the server still has the changes of between, they say so themselves.
fn are_others(tables: &[Table], known: &BTreeMap<String, String>) -> bool {
    let uuids = tables.iter().filter_map(|table| {
        let known = known.get(&table.collection.name)?;
        Some(table.collection.uuid.as_ref()? == known)
    });
    let (same, other): (Vec<bool>, Vec<bool>) = uuids.partition(|same| *same);
    same.is_empty() && !other.is_empty()
}

/// Has every `_id` told as it was told before, whatever documents show now.
fn keep_ids(tables: &mut [Table], cursor: &Cursor) -> Result<()> {
    for table in tables {
        let name = &table.collection.name;
        let is_another = cursor
            .known
            .get(name)
            .is_some_and(|known| table.collection.uuid.as_ref() != Some(known));
        let (Some(kept), false) = (cursor.ids.get(name).copied(), is_another) else {
            continue;
        };
        // Without a form the rule for all types holds, to which every other one adds something.
        if table.id == IdForm::Said && kept != Form::Any {
            if kept.kind() == table.id_form().kind()
                && (kept == Form::Text) == (table.id_form() == Form::Text)
            {
                continue;
            }
            return Err(Error::config(format!(
                "`{ID}` of `{name}` was told as {} and is now to be told as {}, which would give every document another key",
                kept.label(),
                table.id_form().label(),
            ))
            .help(format!(
                "say in `columns.{name}` what it was, or let another flow begin with everything, into an empty target"
            )));
        }
        if table.id != IdForm::Said {
            table.keep_id_form(kept);
        }
    }
    Ok(())
}

/// The note of a run that goes on, fitted to the tables of now.
fn go_on(
    mut cursor: Cursor,
    deployment: &Deployment,
    tables: &[Table],
    snapshot: Snapshot,
) -> Cursor {
    let is_ours = |name: &String| tables.iter().any(|table| table.collection.name == *name);
    if !cursor.todo.first().is_some_and(&is_ours) {
        cursor.after = None;
    }
    cursor.todo.retain(is_ours);
    cursor.done.retain(is_ours);
    cursor.known.retain(|name, _| is_ours(name));
    cursor.ids.retain(|name, _| is_ours(name));
    cursor.term = cursor.term.max(deployment.term);
    for table in tables {
        let name = &table.collection.name;
        if let Some(uuid) = &table.collection.uuid {
            cursor.known.insert(name.clone(), uuid.clone());
        }
        if table.id != IdForm::Assumed {
            cursor.ids.insert(name.clone(), table.id_form());
        }
        let is_read = cursor.done.contains(name) || cursor.todo.contains(name);
        match snapshot {
            Snapshot::Never => {}
            Snapshot::Initial if is_read => {}
            Snapshot::Initial | Snapshot::Always => cursor.read_again(name),
        }
    }
    cursor
}

/// Where a configuration says that changes begin.
fn start(text: &str) -> Result<From> {
    if time_of(text).is_some() {
        return Ok(From::Token(text.to_owned()));
    }
    let at: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| {
        Error::config(format!(
            "`start_at = \"{text}\"` is neither a time nor the data of a resume token"
        ))
        .because(error)
        .help("write it as 2024-12-31T23:59:00Z, or as the long hexadecimal number of a token")
    })?;
    let time = u32::try_from(at.as_second()).map_err(|_| {
        Error::config(format!(
            "`start_at = \"{text}\"` is a time that no change has"
        ))
        .help("the server keeps changes of the last hours or days")
    })?;
    Ok(From::Time(Timestamp { time, increment: 1 }))
}

fn must_stream(deployment: &Deployment) -> Result<()> {
    if !deployment.is_replicated() {
        return Err(Error::unsupported(
            "the server stands alone, and only replica sets tell their changes",
        )
        .help(ALONE_HELP));
    }
    if deployment.version < OLDEST {
        let (major, minor) = deployment.version;
        return Err(Error::unsupported(format!(
            "the server is MongoDB {major}.{minor}, which tells too little of its changes"
        ))
        .help("use MongoDB 6.0 or later"));
    }
    Ok(())
}

/// What makes a replica set of a server that stands alone.
pub(crate) const ALONE_HELP: &str =
    "start it with --replSet rs0, then run rs.initiate() once: a replica set may have one member";

/// Whether a collection's changes can be told.
pub(crate) fn must_be_capturable(table: &Table) -> Result<()> {
    let name = &table.collection.name;
    let what = match table.collection.kind {
        Kind::View => "is a view, which has no changes of its own",
        Kind::TimeSeries => "is a time series, whose changes the server does not tell",
        Kind::Plain | Kind::Capped => return Ok(()),
    };
    Err(Error::unsupported(format!("`{name}` {what}"))
        .help("map the collection that it is made of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        Deployment {
            set: Some("rs0".to_owned()),
            sharded: false,
            term: 5,
            now: Some(Timestamp {
                time: 100,
                increment: 1,
            }),
            clock_ms: None,
            version: (6, 0),
        }
    }

    fn table(name: &str, uuid: &str) -> Table {
        let mut table = Table::made(&[("_id", Form::Text)]);
        table.collection.name = name.to_owned();
        table.collection.uuid = Some(uuid.to_owned());
        table
    }

    fn cursor(time: u32, term: u64, known: &[(&str, &str)]) -> Cursor {
        Cursor {
            token: format!("82{time:08X}00000001"),
            term,
            known: known
                .iter()
                .map(|(n, u)| ((*n).to_owned(), (*u).to_owned()))
                .collect(),
            ..Cursor::default()
        }
    }

    #[test]
    fn a_position_of_another_life_is_not_trusted() {
        let tables = [table("a", "1"), table("b", "2")];
        let own: Position = "rs0-7/0.0".parse().unwrap();
        let foreign: Position = "rs1-7/0.0".parse().unwrap();
        let why = |position, cursor| distrust(&deployment(), position, &cursor);
        let known = |list: &[(&str, &str)]| cursor(99, 5, list).known;
        assert!(!are_others(&tables, &known(&[("a", "1"), ("b", "9")])));
        assert!(!are_others(&tables, &known(&[])));
        assert!(are_others(&tables, &known(&[("a", "8"), ("b", "9")])));
        assert_eq!(why(&own, cursor(99, 5, &[])), None);
        assert!(why(&foreign, cursor(99, 5, &[])).is_some());
        assert!(why(&own, cursor(99, 6, &[])).is_some());
        assert!(why(&own, cursor(200, 5, &[])).is_some());
    }

    #[test]
    fn an_identity_is_told_as_before() {
        let mut old = cursor(99, 5, &[("a", "1")]);
        old.ids.insert("a".to_owned(), Form::ObjectId);
        let mut tables = [table("a", "1")];
        let error = keep_ids(&mut tables, &old).unwrap_err();
        assert!(error.to_string().contains("`_id` of `a`"), "{error}");
        tables[0].id = IdForm::Seen;
        keep_ids(&mut tables, &old).unwrap();
        assert_eq!(tables[0].id_form(), Form::ObjectId);
        // Another collection of the name begins anew.
        let mut others = [table("a", "2")];
        keep_ids(&mut others, &old).unwrap();
        assert_eq!(others[0].id_form(), Form::Text);
        old.ids.insert("a".to_owned(), Form::Any);
        let mut said = [table("a", "1")];
        keep_ids(&mut said, &old).unwrap();
        assert_eq!(said[0].id_form(), Form::Text);
    }

    #[test]
    fn a_note_is_fitted_to_the_tables_of_now() {
        let old = Cursor {
            done: vec!["a".to_owned(), "gone".to_owned()],
            todo: vec!["gone2".to_owned()],
            after: Some("00".to_owned()),
            ..cursor(99, 5, &[])
        };
        let tables = [table("a", "1"), table("new", "2")];
        let fitted = |mode| go_on(old.clone(), &deployment(), &tables, mode);
        let now = fitted(Snapshot::Initial);
        assert_eq!(
            (now.done, now.todo, now.after),
            (vec!["a".to_owned()], vec!["new".to_owned()], None)
        );
        assert_eq!(fitted(Snapshot::Always).todo, ["a", "new"]);
        assert!(fitted(Snapshot::Never).todo.is_empty());
    }

    #[test]
    fn a_start_is_a_time_or_a_token() {
        assert!(matches!(start("82000000010000000229"), Ok(From::Token(_))));
        let Ok(From::Time(at)) = start("1970-01-01T00:01:00Z") else {
            panic!("no time");
        };
        assert_eq!(at.time, 60);
        for text in ["", "yesterday", "1900-01-01T00:00:00Z"] {
            assert!(start(text).is_err(), "{text}");
        }
    }
}
