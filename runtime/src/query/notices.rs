//! Notices: records that a journal or a call of the system named. None is believed; every record is read again, and what it is by then is told.
//!
//! So a notice that comes late, twice or in another order does no harm, and a record that cannot be found any more is gone, whatever notice comes behind that.
//! Invariants: where the journal goes on is part of a position only behind the one that has what it named; a call is taken off the log only once what it named is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::capture::listing::{Known, token};
use lockstep_core::connector::{Call, DynReader, Heard, Notice};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::value::Value;
use lockstep_core::{Op, Row};

use super::known::{Note, Recent, Save, Saves, Store};
use super::list::ASK_MAX;
use super::rows::Table;
use super::source::Run;
use crate::log::Log;

/// How often it is looked whether calls came to any runtime.
pub(super) const LOOK_HEARD: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Where the journal stands before anything is read: what changes from now on is in it.
    pub(super) async fn begin_journal(&mut self) -> Result<()> {
        if self.source.reader.has_journal() && self.reading.cursor.journal.is_none() {
            let noticed = self.source.reader.noticed(None).await?;
            self.reading.cursor.journal = Some(noticed.cursor);
        }
        Ok(())
    }

    /// When the journal is to be read next.
    pub(super) fn journal_due(&self) -> Option<Timestamp> {
        self.reading.cursor.journal.as_ref()?;
        match self.journal_read {
            None => Some(Timestamp::MIN),
            Some(read) => self.source.query.schedule.next(read),
        }
    }

    /// Reads on in the journal, and every record that it names.
    pub(super) async fn journal_chunk(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let cursor = self.reading.cursor.journal.clone();
        let noticed = match self.source.reader.noticed(cursor.as_deref()).await {
            Ok(noticed) => noticed,
            Err(error) if error.kind() == Kind::Invalid => return self.lose_journal(&error).await,
            Err(error) => return Err(error),
        };
        self.look_again(noticed.notices).await?;
        let moved = cursor.as_deref() != Some(noticed.cursor.as_str());
        self.reading.cursor.journal = Some(noticed.cursor);
        self.journal_read = (!noticed.more).then_some(now);
        if moved {
            self.reading.next_chunk();
            self.tell(Vec::new(), Saves::default()).await?;
        }
        Ok(())
    }

    /// The journal does not reach back so far: what it does not tell any more is found by comparing everything.
    async fn lose_journal(&mut self, error: &Error) -> Result<()> {
        tracing::warn!(
            "the journal of the system no longer reaches back to where it was read, so its tables are compared as a whole: {}",
            error.chain()
        );
        let noticed = self.source.reader.noticed(None).await?;
        self.reading.cursor.journal = Some(noticed.cursor);
        for state in self.reading.cursor.tables.values_mut() {
            (state.read, state.listed) = (None, None);
        }
        self.reading.next_chunk();
        self.tell(Vec::new(), Saves::default()).await
    }

    /// Reads what calls named that came since; tells whether there were any.
    pub(super) async fn heard_chunk(&mut self) -> Result<bool> {
        if !self.hears {
            return Ok(false);
        }
        let heard = self.store.heard().await?;
        self.heard_at = tokio::time::Instant::now();
        if heard.is_empty() {
            return Ok(false);
        }
        let mut done = Vec::with_capacity(heard.len());
        let mut notices = Vec::new();
        for (save, named) in heard {
            done.push(save);
            notices.extend(named);
        }
        self.look_again(notices).await?;
        // Behind what they named: a crash before that reads them again.
        self.write().await?;
        self.store.write(done).await?;
        Ok(true)
    }

    /// Reads records again, of whatever tables they are.
    async fn look_again(&mut self, notices: Vec<Notice>) -> Result<()> {
        let mut by_table: BTreeMap<String, BTreeMap<String, Vec<Value>>> = BTreeMap::new();
        for Notice { table, key } in notices {
            if self.source.cx.tables.contains(&table) {
                by_table.entry(table).or_default().insert(token(&key), key);
            }
        }
        for (name, keys) in by_table {
            let table = self.look_at(&name).await?;
            let keys: Vec<Vec<Value>> = keys
                .into_values()
                .filter(|key| key.len() == table.keys())
                .collect();
            for some in keys.chunks(ASK_MAX) {
                self.read_again(&table, some).await?;
            }
        }
        Ok(())
    }

    /// Tells records as they are by now.
    async fn read_again(&mut self, table: &Arc<Table>, keys: &[Vec<Value>]) -> Result<()> {
        let name = &table.shape.name;
        let reader = &self.source.reader;
        let rows = reader
            .fetch(name, &table.columns, table.key(), keys)
            .await?;
        let mut index = self.store.index(table).await?;
        let hasher = table.hasher(&index.secret);
        let mut gone: BTreeSet<String> = keys.iter().map(|key| token(key)).collect();
        self.reading.next_chunk();
        let (mut changes, mut told) = (Vec::new(), Vec::new());
        self.recent(table).await?;
        let mut names = self.names_of(table, &rows).await?;
        for row in rows {
            let key = token(&table.key_of(&row));
            gone.remove(&key);
            let known = table.known(&row, hasher.hash(&row.0));
            let noted = self.recent.get(name).and_then(|recent| recent.get(&key));
            if noted.is_some_and(|noted| noted.hash == known.hash) {
                continue;
            }
            let noted = noted.cloned().or_else(|| names.remove(&key));
            told.push(Note::told(known));
            let mark = self.reading.next();
            changes.push(table.upsert(Op::Updated, row, noted.as_ref(), mark));
        }
        let mut saves = Saves::default();
        if !gone.is_empty() {
            let paged = self.in_pages(table, &index.pages, &gone).await?;
            saves = self.forget(table, &mut index, &paged).await?;
            let mut paged: BTreeMap<String, Known> = paged
                .into_iter()
                .map(|(_, known)| (token(&known.name[..table.keys()]), known))
                .collect();
            let recent = self.recent.get(name);
            let forgets = !self.keeps_pages(table) || recent.is_some_and(Recent::is_full);
            let missing = keys.iter().filter(|key| gone.contains(&token(key)));
            for key in missing {
                let token = token(key);
                let noted = self.recent.get(name).and_then(|recent| recent.get(&token));
                let is_noted = noted.is_some();
                let known = noted.cloned().or_else(|| paged.remove(&token));
                // Of a record that was never told there is nothing to tell.
                let known = known.or_else(|| table.named_by_key(key).filter(|_| forgets));
                let Some(known) = known else { continue };
                told.extend(is_noted.then(|| Note::gone(&known)));
                let mark = self.reading.next();
                changes.push(table.delete(&known, mark));
            }
        }
        let more = {
            let mut more = Saves::default();
            self.remember(table, told, &mut more).await?;
            more
        };
        saves.ahead.extend(more.ahead);
        saves.after.extend(more.after);
        self.tell(changes, saves).await
    }

    /// By key, how rows were named when a listing saw them, where more than the key names a row: one that gets another name is not left under the older one.
    pub(super) async fn names_of(
        &mut self,
        table: &Table,
        rows: &[Row],
    ) -> Result<BTreeMap<String, Known>> {
        if !table.may_be_renamed() {
            return Ok(BTreeMap::new());
        }
        let recent = self.recent(table).await?;
        let keys = rows.iter().map(|row| token(&table.key_of(row)));
        let keys: BTreeSet<String> = keys.filter(|key| recent.get(key).is_none()).collect();
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let index = self.store.index(table).await?;
        let paged = self.in_pages(table, &index.pages, &keys).await?;
        let named = paged.into_iter();
        Ok(named
            .map(|(_, known)| (token(&known.name[..table.keys()]), known))
            .collect())
    }

    /// The rows of these keys that pages have, with the numbers of the pages.
    async fn in_pages(
        &self,
        table: &Table,
        pages: &[(u64, u64)],
        keys: &BTreeSet<String>,
    ) -> Result<Vec<(u64, Known)>> {
        let mut found = Vec::new();
        if !self.keeps_pages(table) {
            return Ok(found);
        }
        for (number, _) in pages.iter().filter(|(_, rows)| *rows > 0) {
            let page = self.store.page(&table.shape.name, *number).await?;
            let rows = page.rows.into_iter();
            let rows = rows.filter(|row| keys.contains(&token(&row.name[..table.keys()])));
            found.extend(rows.map(|row| (*number, row)));
            if found.len() == keys.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether a connector takes calls of its system at all.
pub(crate) fn hears(reader: &dyn DynReader) -> bool {
    let nothing = Call {
        method: "POST".to_owned(),
        url: String::new(),
        headers: BTreeMap::new(),
        body: Vec::new(),
        at: Timestamp::UNIX_EPOCH,
    };
    let answer = reader.hear(&nothing);
    !answer.is_err_and(|error| error.kind() == Kind::Unsupported)
}

/// Takes a call of a system and keeps what it named, so that the system need not tell it again; gives what it wants answered.
///
/// # Errors
/// What [`Reader::hear`](lockstep_core::connector::Reader::hear) says against it, and a log that cannot be written.
pub(crate) async fn take(
    reader: &dyn DynReader,
    log: &Arc<dyn Log>,
    system: &str,
    call: &Call,
) -> Result<Option<String>> {
    let Heard { notices, answer } = reader.hear(call)?;
    if !notices.is_empty() {
        let store = Store::open(log, system).await?;
        store.keep_heard(&notices).await?;
    }
    Ok(answer)
}

impl Store {
    /// Keeps what a call named.
    async fn keep_heard(&self, notices: &[Notice]) -> Result<()> {
        let value = serde_json::to_vec(notices)
            .map_err(|error| Error::unexpected("a call cannot be kept").because(error))?;
        // Sorted by when they came.
        let key = format!("{}{}", self.heard_prefix(), uuid::Uuid::now_v7().simple());
        self.put(&key, Bytes::from(value)).await
    }

    /// What calls named, the oldest first, each with what takes it off the log.
    async fn heard(&self) -> Result<Vec<(Save, Vec<Notice>)>> {
        let entries = self.entries(&self.heard_prefix()).await?;
        let read = |(key, value): (String, Bytes)| {
            // What cannot be read names nothing that could be read again.
            let notices = serde_json::from_slice(&value).unwrap_or_default();
            (Save::gone(key), notices)
        };
        Ok(entries.into_iter().map(read).collect())
    }
}
