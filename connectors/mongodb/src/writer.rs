//! Writes changes inside a transaction, a whole run of them with each command.
//!
//! Changes are cut into runs in which no key occurs twice, so that inside a run the order does not matter: first deletes, then everything else, one command each.
//! A key change stands alone, because what is written depends on what is there.
//! Knows nothing of progress or lanes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::{Cell, Change, Key, Row, Shape, Value};
use mongodb::ClientSession;
use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use crate::client::Client;
use crate::columns::{Field, ID, Table};
use crate::convert::write;
use crate::refusal::{Failed, answered, is_refusal, refused, rejected};

/// Most bytes of statements that one command sends; the server takes 16 MB in all.
const RUN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest statement; a document may be larger, but not be sent.
const STATEMENT_MAX: usize = 15 * 1024 * 1024;
/// Most statements that one command sends.
const RUN_MAX: usize = 10_000;
/// Most keys whose documents are looked through at a time.
const OPENED_MAX: usize = 500;
const PARTIAL: &str = "the target has no such document, and only some of its columns were sent: a whole row is needed";

/// A shape of changes, and where its columns stand in a collection's documents.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) shape: Arc<Shape>,
    collection: String,
    fields: Vec<Field>,
}

/// Changes of one target that are written together.
#[derive(Debug)]
pub(crate) enum Run {
    /// Every document goes.
    Clear(Arc<Target>),
    /// A document gets another key.
    Move(Arc<Target>, Box<Move>),
    /// Changes among which no key occurs twice.
    Rows(Rows),
}

#[derive(Debug)]
pub(crate) struct Rows {
    target: Arc<Target>,
    deletes: Vec<RawDocumentBuf>,
    puts: Vec<Put>,
    keys: HashSet<Key>,
    bytes: usize,
}

/// A document to be written.
#[derive(Debug)]
struct Put {
    /// The change's place in the batch.
    place: usize,
    key: Document,
    statement: RawDocumentBuf,
    whole: bool,
}

#[derive(Debug)]
pub(crate) struct Move {
    place: usize,
    old: Document,
    new: Document,
    update: Document,
    whole: bool,
}

impl Target {
    pub(crate) fn new(table: &Table, shape: &Arc<Shape>) -> Target {
        Target {
            shape: Arc::clone(shape),
            collection: shape.name.clone(),
            fields: shape.names().map(|name| table.field(name)).collect(),
        }
    }

    /// Whether it was made for a shape.
    pub(crate) fn is_for(&self, shape: &Arc<Shape>) -> bool {
        Arc::ptr_eq(&self.shape, shape) || self.shape == *shape
    }

    fn name(&self, column: usize) -> &str {
        &self.shape.columns[column].name
    }

    fn bson(&self, column: usize, value: &Value) -> Result<Bson, String> {
        let written = write(value, self.fields[column].form);
        written.map_err(|why| format!("column `{}`: {why}", self.name(column)))
    }

    /// The fields above its columns, each after those above it.
    fn parents(&self) -> BTreeSet<String> {
        let of = |field: &Field| {
            let parts = field.path.clone();
            (1..parts.len()).map(move |depth| parts[..depth].join("."))
        };
        self.fields.iter().flat_map(of).collect()
    }

    /// What finds the row of a key.
    fn filter(&self, row: &Row) -> Result<Document, String> {
        let mut filter = Document::new();
        for column in &self.shape.key {
            let value = row.value(*column).unwrap_or(&Value::Null);
            // Written as a comparison, because the value may be a document that looks like one.
            filter.insert(
                self.name(*column),
                doc! { "$eq": self.bson(*column, value)? },
            );
        }
        Ok(filter)
    }

    fn key(&self, row: &Row) -> Result<Key, String> {
        let values = self.shape.key.iter().map(|column| row.value(*column));
        Key::encode(values).map_err(|error| {
            let names: Vec<&str> = self.shape.key.iter().map(|at| self.name(*at)).collect();
            format!("{error} (key: {})", names.join(", "))
        })
    }

    /// What makes a document out of one that has the key: columns that were sent, a null as a field that is not there unless the collection insists on it.
    fn update(&self, row: &Row) -> Result<Document, String> {
        let (mut set, mut unset) = (Document::new(), Document::new());
        for (column, field) in self.fields.iter().enumerate() {
            if self.shape.key.contains(&column) {
                continue;
            }
            match row.cell(column) {
                Cell::Unchanged => {}
                Cell::Set(Value::Null) if !field.required => {
                    unset.insert(self.name(column), "");
                }
                Cell::Set(value) => {
                    set.insert(self.name(column), self.bson(column, value)?);
                }
            }
        }
        let mut update = doc! { "$set": set };
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        Ok(update)
    }

    fn is_whole(&self, row: &Row) -> bool {
        (0..self.fields.len()).all(|column| row.value(column).is_some())
    }
}

/// Cuts a batch into runs, in order, without the changes that are left out. Those that cannot even be sent are refused, all of them.
pub(crate) fn runs(
    changes: &[Change],
    left_out: &HashMap<usize, lockstep_core::connector::Outcome>,
    targets: &[Arc<Target>],
) -> Result<Vec<Run>, Vec<(usize, String)>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut refused = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        if left_out.contains_key(&place) {
            continue;
        }
        let target = targets.iter().find(|target| target.is_for(&change.shape));
        let Some(target) = target else { continue };
        if let Err(reason) = add(&mut runs, target, place, change) {
            refused.push((place, reason));
        }
    }
    if refused.is_empty() {
        Ok(runs)
    } else {
        Err(refused)
    }
}

fn add(
    runs: &mut Vec<Run>,
    target: &Arc<Target>,
    place: usize,
    change: &Change,
) -> Result<(), String> {
    if change.op == Op::Truncated {
        runs.push(Run::Clear(Arc::clone(target)));
        return Ok(());
    }
    let now = target.key(&change.row)?;
    let new = match target.filter(&change.row) {
        Ok(filter) => filter,
        // No document has a key that the column cannot hold.
        Err(_) if change.op == Op::Deleted => return Ok(()),
        Err(reason) => return Err(reason),
    };
    if change.op == Op::Deleted {
        let statement = raw(&doc! { "q": new, "limit": 1 })?;
        let rows = open(runs, target, &now, statement.as_bytes().len());
        rows.deletes.push(statement);
        rows.keys.insert(now);
        return Ok(());
    }
    let update = target.update(&change.row)?;
    let whole = target.is_whole(&change.row);
    let before = change.before.as_ref();
    let moved = before.filter(|before| target.key(before).is_ok_and(|old| old != now));
    if let Some(before) = moved {
        raw(&doc! { "q": new.clone(), "u": update.clone() })?;
        let moved = Move {
            place,
            old: target.filter(before)?,
            new,
            update,
            whole,
        };
        runs.push(Run::Move(Arc::clone(target), Box::new(moved)));
        return Ok(());
    }
    let statement = raw(&doc! { "q": new.clone(), "u": update, "upsert": whole })?;
    let rows = open(runs, target, &now, statement.as_bytes().len());
    rows.puts.push(Put {
        place,
        key: new,
        statement,
        whole,
    });
    rows.keys.insert(now);
    Ok(())
}

/// A statement as it is sent.
fn raw(statement: &Document) -> Result<RawDocumentBuf, String> {
    let raw = RawDocumentBuf::try_from(statement);
    let raw = raw.map_err(|_| "it holds a name that MongoDB does not take".to_owned())?;
    if raw.as_bytes().len() > STATEMENT_MAX {
        return Err(
            "the document is larger than 15 MB, and MongoDB takes no more than 16".to_owned(),
        );
    }
    Ok(raw)
}

/// The run that takes a change, a new one where the last does not.
fn open<'r>(runs: &'r mut Vec<Run>, target: &Arc<Target>, key: &Key, bytes: usize) -> &'r mut Rows {
    let fits = match runs.last() {
        Some(Run::Rows(rows)) => {
            Arc::ptr_eq(&rows.target, target)
                && !rows.keys.contains(key)
                && rows.bytes + bytes <= RUN_BYTES_MAX
                && rows.keys.len() < RUN_MAX
        }
        _ => false,
    };
    if !fits {
        runs.push(Run::Rows(Rows {
            target: Arc::clone(target),
            deletes: Vec::new(),
            puts: Vec::new(),
            keys: HashSet::new(),
            bytes: 0,
        }));
    }
    match runs.last_mut() {
        Some(Run::Rows(rows)) => {
            rows.bytes += bytes;
            rows
        }
        _ => unreachable!("the last run was made for rows"),
    }
}

impl Run {
    /// Writes the run; `opens` says that a null above a column is made a document first.
    pub(crate) async fn write(
        &self,
        client: &Client,
        session: &mut ClientSession,
        opens: bool,
    ) -> Result<(), Failed> {
        match self {
            Run::Clear(target) => {
                let all = [raw_or_empty(&doc! { "q": {}, "limit": 0 })];
                deletes(client, session, &target.collection, &all).await
            }
            Run::Move(target, moved) => {
                if opens {
                    let keys = [&moved.old, &moved.new];
                    open_parents(client, session, target, keys.into_iter()).await?;
                }
                moved.write(client, session, target).await
            }
            Run::Rows(rows) => {
                if opens {
                    let keys = rows.puts.iter().map(|put| &put.key);
                    open_parents(client, session, &rows.target, keys).await?;
                }
                rows.write(client, session).await
            }
        }
    }
}

impl Rows {
    async fn write(&self, client: &Client, session: &mut ClientSession) -> Result<(), Failed> {
        let collection = &self.target.collection;
        if !self.deletes.is_empty() {
            deletes(client, session, collection, &self.deletes).await?;
        }
        if self.puts.is_empty() {
            return Ok(());
        }
        let statements = self.puts.iter().map(|put| &put.statement);
        let places: Vec<usize> = self.puts.iter().map(|put| put.place).collect();
        let count = updates(client, session, collection, statements, &places).await?;
        if count == self.puts.len() {
            return Ok(());
        }
        for put in self.puts.iter().filter(|put| !put.whole) {
            if one(client, session, collection, &put.key).await?.is_none() {
                return Err(Failed::Refused(put.place, rejected(PARTIAL)));
            }
        }
        Ok(())
    }
}

impl Move {
    async fn write(
        &self,
        client: &Client,
        session: &mut ClientSession,
        target: &Target,
    ) -> Result<(), Failed> {
        let collection = &target.collection;
        let old = one(client, session, collection, &self.old).await?;
        let new = one(client, session, collection, &self.new).await?;
        let places = [self.place];
        let new_id = self.new.get_document(ID).ok().and_then(|id| id.get("$eq"));
        match (old, new, new_id) {
            (Some(_), None, None) => {
                // The document stays, and its key is a field like others.
                let mut update = self.update.clone();
                if let Ok(set) = update.get_document_mut("$set") {
                    for (name, is) in &self.new {
                        if let Some(value) = is.as_document().and_then(|is| is.get("$eq")) {
                            set.insert(name, value.clone());
                        }
                    }
                }
                let statement = raw_or_empty(&doc! { "q": self.old.clone(), "u": update });
                updates(client, session, collection, [&statement], &places).await?;
                return Ok(());
            }
            (Some(document), None, Some(id)) => {
                // What nobody maps moves along.
                self.remove_old(client, session, collection).await?;
                let moved = with_id(&document, id);
                insert(client, session, collection, &moved, self.place).await?;
            }
            (Some(_), Some(_), _) => self.remove_old(client, session, collection).await?,
            (None, _, _) => {}
        }
        let statement =
            doc! { "q": self.new.clone(), "u": self.update.clone(), "upsert": self.whole };
        let statement = raw_or_empty(&statement);
        match updates(client, session, collection, [&statement], &places).await? {
            0 => Err(Failed::Refused(self.place, rejected(PARTIAL))),
            _ => Ok(()),
        }
    }

    async fn remove_old(
        &self,
        client: &Client,
        session: &mut ClientSession,
        collection: &str,
    ) -> Result<(), Failed> {
        let statement = raw_or_empty(&doc! { "q": self.old.clone(), "limit": 1 });
        deletes(client, session, collection, &[statement]).await
    }
}

/// Makes documents of the nulls above the columns of these keys' documents, so that columns can be set within them; other values stay, and stay in the way.
async fn open_parents<'k>(
    client: &Client,
    session: &mut ClientSession,
    target: &Target,
    keys: impl Iterator<Item = &'k Document> + Clone,
) -> Result<(), Failed> {
    for parent in target.parents() {
        for some in keys.clone().collect::<Vec<_>>().chunks(OPENED_MAX) {
            let any: Vec<Bson> = some.iter().map(|key| Bson::from((*key).clone())).collect();
            let is_null = doc! { "$or": any, &parent: { "$type": "null" } };
            let statement = doc! { "q": is_null, "u": { "$set": { &parent: {} } }, "multi": true };
            let collection = &target.collection;
            updates(
                client,
                session,
                collection,
                [&raw_or_empty(&statement)],
                &[],
            )
            .await?;
        }
    }
    Ok(())
}

/// Statements were made raw once to see that they can be, so this does not fail.
fn raw_or_empty(statement: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(statement).unwrap_or_default()
}

/// A document with another identity.
fn with_id(document: &RawDocumentBuf, id: &Bson) -> RawDocumentBuf {
    let mut moved = match RawDocumentBuf::try_from(&doc! { ID: id.clone() }) {
        Ok(moved) => moved,
        Err(_) => RawDocumentBuf::new(),
    };
    for element in document.iter_elements().flatten() {
        if element.key().as_str() != ID
            && let Ok(value) = element.value()
        {
            moved.append(element.key(), value);
        }
    }
    moved
}

async fn updates<'s>(
    client: &Client,
    session: &mut ClientSession,
    collection: &str,
    statements: impl IntoIterator<Item = &'s RawDocumentBuf>,
    places: &[usize],
) -> Result<usize, Failed> {
    let mut all = RawArrayBuf::new();
    statements
        .into_iter()
        .for_each(|statement| all.push(statement.clone()));
    let mut command = rawdoc! { "update": collection };
    command.append(cstr!("updates"), all);
    command.append(cstr!("ordered"), true);
    run(client, session, command, places).await
}

async fn deletes(
    client: &Client,
    session: &mut ClientSession,
    collection: &str,
    statements: &[RawDocumentBuf],
) -> Result<(), Failed> {
    let mut all = RawArrayBuf::new();
    statements
        .iter()
        .for_each(|statement| all.push(statement.clone()));
    let mut command = rawdoc! { "delete": collection };
    command.append(cstr!("deletes"), all);
    command.append(cstr!("ordered"), true);
    run(client, session, command, &[]).await?;
    Ok(())
}

async fn insert(
    client: &Client,
    session: &mut ClientSession,
    collection: &str,
    document: &RawDocumentBuf,
    place: usize,
) -> Result<(), Failed> {
    let mut all = RawArrayBuf::new();
    all.push(document.clone());
    let mut command = rawdoc! { "insert": collection };
    command.append(cstr!("documents"), all);
    run(client, session, command, &[place]).await?;
    Ok(())
}

/// Runs a write command; `places` are those of the changes that its statements are of.
async fn run(
    client: &Client,
    session: &mut ClientSession,
    command: RawDocumentBuf,
    places: &[usize],
) -> Result<usize, Failed> {
    let only = match places {
        [place] => Some(*place),
        _ => None,
    };
    let reply = client.db.run_raw_command(command).session(session).await;
    let reply = reply.map_err(|error| Failed::command(error, only))?;
    let answer = answered(&reply);
    let Some((index, code, reason)) = answer.refused else {
        return Ok(answer.count);
    };
    match places.get(index) {
        Some(place) if is_refusal(code) => Err(refused(*place, code, reason)),
        _ => Err(Failed::Stop(lockstep_core::Error::unexpected(format!(
            "the server did not write: {reason}"
        )))),
    }
}

/// The document that a filter finds.
async fn one(
    client: &Client,
    session: &mut ClientSession,
    collection: &str,
    filter: &Document,
) -> Result<Option<RawDocumentBuf>, Failed> {
    let found = client
        .db
        .collection::<RawDocumentBuf>(collection)
        .find_one(filter.clone())
        .session(session)
        .await;
    found.map_err(|error| Failed::command(error, None))
}
