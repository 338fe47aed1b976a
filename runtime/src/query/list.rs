//! A listing: a table from its first key to its last, page by page beside what is known of it.
//!
//! What was told of late goes before what the pages say; once a listing from the first row has ended, they say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::capture::listing::{Known, Left, Page as Kept, Seen, Share, UNSURE, cut, token};
use lockstep_core::capture::watermark;
use lockstep_core::connector::{News, Page};
use lockstep_core::error::{Error, Result};
use lockstep_core::value::Value;
use lockstep_core::{Change, Op, Row};

use super::cursor::{Active, Owed};
use super::known::{Index, Note, Recent, Save, Saves};
use super::rows::Table;
use super::source::Run;

/// Stands for the page of rows that are in none.
const NO_PAGE: u64 = 0;
/// Most rows that are asked for by their keys at once.
pub(super) const ASK_MAX: usize = 500;

/// A listing under way, as far as no position has it.
#[derive(Debug)]
pub(super) struct List {
    index: Index,
    /// Whether this run saw it from its first row.
    fresh: bool,
    /// The rows of the page in work that were not listed yet, and where the page ends.
    page: Option<(Left, Option<Vec<Value>>)>,
    /// Rows that were known and not listed, by their pages.
    missing: Vec<(u64, Known)>,
    /// How many those are, of which only so many are kept as may go.
    missed: u64,
    share: Share,
    /// How many rows the pages had when it began.
    known: u64,
    /// How many rows were known of late only.
    besides: u64,
    /// Most rows that are kept: no fewer than may go.
    bound: u64,
    /// What it found of the rows that were told of late.
    met: HashMap<String, Met>,
}

/// What a listing found of a row that was told of late.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Met {
    /// It is in a page now, and the next window reads it again.
    Window,
    /// It is in a page now.
    Page,
    /// A page has it, but it was not listed.
    Missing,
}

impl List {
    /// A listing from the first row.
    pub(super) fn fresh(index: Index, share: Share, recent: usize) -> List {
        let known = index.rows();
        List {
            share,
            known,
            besides: 0,
            bound: share.of(known.saturating_add(recent as u64)),
            index,
            fresh: true,
            page: None,
            missing: Vec::new(),
            missed: 0,
            met: HashMap::new(),
        }
    }

    /// One that another run began: nobody knows what that one missed.
    fn resumed(index: Index) -> List {
        List {
            fresh: false,
            ..List::fresh(index, Share { percent: 0 }, 0)
        }
    }

    /// Takes note of the rows that a page lacks.
    fn misses(&mut self, page: u64, rows: &[Known], keys: usize, recent: Option<&Recent>) {
        for row in rows {
            let key = token(&row.name[..keys]);
            if recent.is_some_and(|recent| recent.get(&key).is_some()) {
                self.met.insert(key, Met::Missing);
            }
            self.miss(page, row);
        }
    }

    fn miss(&mut self, page: u64, row: &Known) {
        self.missed += 1;
        if self.fresh && self.missed <= self.bound {
            self.missing.push((page, row.clone()));
        } else {
            self.missing = Vec::new();
        }
    }

    fn at(&self, number: u64) -> Option<usize> {
        let mut pages = self.index.pages.iter();
        pages.position(|(page, _)| *page == number)
    }

    /// How many rows were known.
    fn rows(&self) -> u64 {
        self.known.saturating_add(self.besides)
    }

    /// Most that may go.
    fn most(&self) -> u64 {
        self.share.of(self.rows())
    }
}

/// What a chunk of a listing gave.
struct Found {
    changes: Vec<Change>,
    /// The rows of the range, in their order.
    known: Vec<Known>,
    /// The keys of those that are told with other values than before.
    unsure: BTreeSet<String>,
    /// What is to be remembered as told of late.
    told: Vec<Note>,
    /// Whether anything is known otherwise than before.
    changed: bool,
}

impl Run<'_> {
    /// Reads the next rows of a listing and tells what differs.
    pub(super) async fn list_chunk(
        &mut self,
        table: &Arc<Table>,
        number: u64,
        after: Option<Vec<Value>>,
        all: Option<Owed>,
    ) -> Result<()> {
        let name = &table.shape.name;
        let (number, after, mut list) = match self.list.take() {
            Some(list) => (number, after, list),
            None => {
                let list = List::resumed(self.store.index(table).await?);
                let (number, after) = self.resume_at(table, &list.index, number, after).await?;
                (number, after, list)
            }
        };
        let Some(at) = list.at(number) else {
            return self.go_on(None, None);
        };
        let keeps = self.keeps_pages(table);
        let (mut left, until) = match list.page.take() {
            Some(page) => page,
            None if keeps => {
                let Kept { until, rows } = self.store.page(name, number).await?;
                (Left::of(rows, table.keys()), until)
            }
            None => (Left::default(), None),
        };
        let limit = self.chunk_rows().saturating_add(left.len());
        let filter = match &all {
            Some(owed) => owed.filter.clone().or_else(|| table.filter.clone()),
            None => table.filter.clone(),
        };
        let page = Page {
            table: name,
            columns: &table.columns,
            key: table.key(),
            after: after.as_deref(),
            until: until.as_deref(),
            filter: filter.as_ref(),
            backwards: false,
            // One more tells whether the next one has the same key, behind which it would never be read.
            limit: limit.saturating_add(1),
        };
        let mut rows = self.source.reader.scan(page).await?;
        let is_last = rows.len() <= limit;
        let next = rows.split_off(limit.min(rows.len()));
        let last = rows.last().map(|row| table.key_of(row));
        if next.first().map(|row| table.key_of(row)) == last && last.is_some() {
            return Err(twice(table));
        }
        self.reading.next_chunk();
        let found = self
            .compare(table, rows, &mut left, all.is_some(), &mut list)
            .await?;
        let mut saves = Saves::default();
        let next = if is_last {
            let missing = left.into_rows();
            let known = (found.known.len() + missing.len()) as u64;
            let mut end = at;
            if keeps && (found.changed || list.index.pages[at].1 != known) {
                let mut pages = cut(found.known, until.clone(), table.keys(), self.chunk_rows());
                // Nobody knows where in the range they would be.
                if let Some(page) = pages.last_mut() {
                    page.rows.extend(missing.iter().cloned());
                }
                end = self.replace(table, &mut list.index, at, pages, &found.unsure, &mut saves)?;
            }
            let page = list.index.pages[end].0;
            list.misses(page, &missing, table.keys(), self.recent.get(name));
            let next = list.index.pages.get(end + 1);
            (next.map(|(page, _)| *page), until)
        } else {
            // The range has many more rows than were known: those that were read become pages of their own before it.
            let mut end = at;
            if keeps {
                let rest = Kept {
                    until: until.clone(),
                    rows: left.into_rows(),
                };
                let mut pages = cut(found.known, last.clone(), table.keys(), self.chunk_rows());
                pages.push(rest.clone());
                end = self.replace(table, &mut list.index, at, pages, &found.unsure, &mut saves)?;
                left = Left::of(rest.rows, table.keys());
            }
            list.page = Some((left, until));
            (Some(list.index.pages[end].0), last)
        };
        self.remember(table, found.told, &mut saves).await?;
        self.list = Some(list);
        self.go_on(next.0, next.1)?;
        self.tell(found.changes, saves).await
    }

    /// Where a listing goes on that another run began: its last chunk may stand in the pages without being told, so only the key says how far it was.
    async fn resume_at(
        &self,
        table: &Table,
        index: &Index,
        number: u64,
        after: Option<Vec<Value>>,
    ) -> Result<(u64, Option<Vec<Value>>)> {
        let first = index.pages.first().map_or(number, |(page, _)| *page);
        if !self.keeps_pages(table) {
            return Ok((first, after));
        }
        let Some(key) = after.as_deref().map(token) else {
            return Ok((first, None));
        };
        let at = index.pages.iter().position(|(page, _)| *page == number);
        let before = at.unwrap_or(index.pages.len());
        for (i, (page, _)) in index.pages[..before].iter().enumerate().rev() {
            let page = self.store.page(&table.shape.name, *page).await?;
            if page.until.as_deref().map(token).as_ref() == Some(&key)
                && let Some((next, _)) = index.pages.get(i + 1)
            {
                return Ok((*next, after));
            }
        }
        Ok((first, None))
    }

    /// Where the listing goes on.
    fn go_on(&mut self, next: Option<u64>, behind: Option<Vec<Value>>) -> Result<()> {
        if let Some(Active::List { page, after, .. }) = &mut self.reading.cursor.active {
            (*page, *after) = (next, behind);
        }
        Ok(())
    }

    /// Puts pages in the place of one; tells where the last of them stands.
    ///
    /// Many get numbers of their own, so that it is the index that says at once which of them count.
    fn replace(
        &self,
        table: &Table,
        index: &mut Index,
        at: usize,
        pages: Vec<Kept>,
        unsure: &BTreeSet<String>,
        saves: &mut Saves,
    ) -> Result<usize> {
        let name = &table.shape.name;
        let older = index.pages[at].0;
        let count = pages.len();
        let mut entries = Vec::with_capacity(count);
        for mut page in pages {
            let number = if count == 1 { older } else { index.number() };
            entries.push((number, page.rows.len() as u64));
            let told = self.store.save_page(name, number, &page)?;
            if doubt(&mut page, table.keys(), unsure) {
                saves.ahead.push(self.store.save_page(name, number, &page)?);
                saves.after.push(told);
            } else {
                saves.ahead.push(told);
            }
        }
        index.pages.splice(at..=at, entries);
        saves.ahead.push(self.store.save_index(name, index)?);
        if count > 1 {
            saves.ahead.push(self.store.drop_page(name, older));
        }
        Ok(at + count - 1)
    }

    /// Compares rows with what was told of them last.
    async fn compare(
        &mut self,
        table: &Table,
        rows: Vec<Row>,
        left: &mut Left,
        all: bool,
        list: &mut List,
    ) -> Result<Found> {
        let hasher = table.hasher(&list.index.secret);
        let name = &table.shape.name;
        let first = !self.state(name).copied;
        let window = self.window_begins(table);
        let mut found = Found {
            changes: Vec::new(),
            known: Vec::with_capacity(rows.len()),
            unsure: BTreeSet::new(),
            told: Vec::new(),
            changed: false,
        };
        self.recent(table).await?;
        let mut seen = BTreeSet::new();
        for row in rows {
            let key = token(&table.key_of(&row));
            let hash = hasher.hash(&row.0);
            let known = table.known(&row, hash);
            let verdict = left.see(&key, hash);
            if !seen.insert(key.clone()) {
                return Err(twice(table));
            }
            let recent = self.recent.get(name);
            let noted = recent.and_then(|recent| recent.get(&key)).cloned();
            let is_full = recent.is_some_and(Recent::is_full);
            list.besides += u64::from(noted.is_some() && verdict == Seen::New);
            let is_same = match &noted {
                Some(noted) => noted.hash == hash,
                None => verdict == Seen::Same,
            };
            let op = match &verdict {
                _ if all || first => Some(Op::Snapshot),
                _ if is_same => None,
                Seen::New if noted.is_none() => Some(Op::Created),
                _ => Some(Op::Updated),
            };
            let is_read_again = table.watermark_of(&row).is_some_and(|value| {
                let from = window.as_ref();
                from.is_none_or(|from| !watermark::is_later(from, value))
            });
            if noted.is_some() || is_read_again && !is_full {
                let met = if is_read_again {
                    Met::Window
                } else {
                    Met::Page
                };
                list.met.insert(key.clone(), met);
                if noted.as_ref().is_none_or(|noted| noted.hash != hash) {
                    found.told.push(Note::told(known.clone()));
                }
            }
            found.changed |= verdict != Seen::Same || !is_same;
            if !is_same {
                found.unsure.insert(key);
            }
            if let Some(op) = op {
                let before = noted.or(match verdict {
                    Seen::Changed(before) => Some(before),
                    _ => None,
                });
                let mark = self.reading.next();
                let change = table.upsert(op, row, before.as_ref(), mark);
                found.changes.push(change);
            }
            found.known.push(known);
        }
        Ok(found)
    }

    /// From which value of its watermark on rows are read again anyway.
    fn window_begins(&mut self, table: &Table) -> Option<Value> {
        let mark = table.watermark.as_ref()?;
        let began = match &self.reading.cursor.active {
            Some(Active::List { reached, .. }) => reached.clone(),
            _ => None,
        };
        let reached = self.state(&table.shape.name).reached.clone().or(began)?;
        Some(watermark::begins(&reached, mark.overlap))
    }

    /// Remembers what is told now.
    pub(super) async fn remember(
        &mut self,
        table: &Table,
        told: Vec<Note>,
        saves: &mut Saves,
    ) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        self.recent(table).await?;
        let name = &table.shape.name;
        if let Some(recent) = self.recent.get_mut(name) {
            let more = recent.add(&self.store, name, told)?;
            saves.ahead.extend(more.ahead);
            saves.after.extend(more.after);
        }
        Ok(())
    }

    /// Ends a listing: what is missing is gone, if so much may go and nobody finds it.
    pub(super) async fn finish_list(&mut self, table: &Arc<Table>) -> Result<()> {
        let name = &table.shape.name;
        let Some(Active::List {
            since,
            all,
            reached,
            ..
        }) = self.reading.cursor.active.clone()
        else {
            return Ok(());
        };
        self.write().await?;
        let mut list = match self.list.take() {
            Some(list) => list,
            None => List::resumed(self.store.index(table).await?),
        };
        let sweeps = list.fresh && self.keeps_pages(table);
        let done = if sweeps {
            self.miss_recent(table, &mut list).await?
        } else {
            BTreeSet::new()
        };
        let withheld = (list.fresh && list.missed > list.most()).then(|| too_many(table, &list));
        if list.fresh && withheld.is_none() {
            self.delete_missing(table, &mut list).await?;
        }
        let is_first = !self.state(name).copied;
        if is_first || all.is_some() {
            self.news.push(News::Read(name.clone()));
        }
        let state = self.state(name);
        let mark_news = list.fresh && withheld != state.withheld;
        if list.fresh {
            state.withheld.clone_from(&withheld);
            state.listed = Some(since);
        }
        // A listing that another run began says nothing of deletes, so the next one comes at once, unless the rows themselves are all that was wanted.
        state.read = (list.fresh || all.is_some() || is_first).then_some(since);
        if let Some(reached) = reached.filter(|_| is_first || list.fresh) {
            let before = state.reached.as_ref();
            state.reached = watermark::reached(before, &reached, Timestamp::now());
        }
        state.copied = true;
        if mark_news {
            if let Some(reason) = &withheld {
                tracing::error!(table = %name, "{reason}");
            }
            self.news.push(News::Withheld {
                table: name.clone(),
                reason: withheld,
            });
        }
        self.reading.cursor.active = None;
        self.reading.next_chunk();
        let mut ahead = Vec::new();
        if let Some(recent) = self.recent.get_mut(name).filter(|_| sweeps) {
            let is_full = recent.is_full();
            let keeps = |key: &str| match list.met.get(key) {
                Some(Met::Window) => !is_full,
                Some(Met::Page) => false,
                Some(Met::Missing) => true,
                None => !done.contains(key),
            };
            ahead = recent.keep(&self.store, name, keeps)?;
        }
        ahead.extend(self.tidy(table, &mut list)?);
        let after = Vec::new();
        self.tell(Vec::new(), Saves { ahead, after }).await
    }

    /// Counts what was told of late and is in no page, was not listed and is not there as missing; gives what need not be remembered any more.
    async fn miss_recent(
        &mut self,
        table: &Arc<Table>,
        list: &mut List,
    ) -> Result<BTreeSet<String>> {
        let hasher = table.hasher(&list.index.secret);
        let recent = self.recent(table).await?;
        let unseen = recent
            .rows()
            .filter(|(key, _)| !list.met.contains_key(*key));
        let unseen: BTreeMap<String, Known> = unseen
            .map(|(key, known)| (key.clone(), known.clone()))
            .collect();
        let unseen: Vec<(String, Known)> = unseen.into_iter().collect();
        let before = std::mem::take(&mut recent.hidden);
        let (mut hidden, mut done, mut changed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for some in unseen.chunks(ASK_MAX) {
            let keys: Vec<Vec<Value>> = some
                .iter()
                .map(|(_, known)| known.name[..table.keys()].to_vec())
                .collect();
            let (name, columns) = (&table.shape.name, &table.columns);
            let reader = &self.source.reader;
            let rows = reader.fetch(name, columns, table.key(), &keys).await?;
            let there: BTreeMap<String, u64> = rows
                .iter()
                .map(|row| (token(&table.key_of(row)), hasher.hash(&row.0)))
                .collect();
            for (key, known) in some {
                match there.get(key) {
                    None => {
                        list.besides += 1;
                        list.miss(NO_PAGE, known);
                    }
                    Some(hash) if *hash != known.hash => changed.push((NO_PAGE, known.clone())),
                    // Two listings did not want it as it was told, so no target has it.
                    Some(_) if table.filter.is_some() && before.contains(key) => {
                        done.insert(key.clone());
                    }
                    Some(_) => drop(hidden.insert(key.clone())),
                }
            }
        }
        list.missing.extend(changed);
        self.recent(table).await?.hidden = hidden;
        Ok(done)
    }

    /// Tells the rows that are gone, after asking for each of them.
    async fn delete_missing(&mut self, table: &Arc<Table>, list: &mut List) -> Result<()> {
        let missing = std::mem::take(&mut list.missing);
        let hasher = table.hasher(&list.index.secret);
        for some in missing.chunks(ASK_MAX) {
            let keys: Vec<Vec<Value>> = some
                .iter()
                .map(|(_, known)| known.name[..table.keys()].to_vec())
                .collect();
            let name = &table.shape.name;
            let rows = self
                .source
                .reader
                .fetch(name, &table.columns, table.key(), &keys)
                .await?;
            let mut there: BTreeMap<String, Row> = rows
                .into_iter()
                .map(|row| (token(&table.key_of(&row)), row))
                .collect();
            self.reading.next_chunk();
            let mut changes = Vec::with_capacity(some.len());
            let mut told = Vec::new();
            for ((_, known), key) in some.iter().zip(&keys) {
                let mark = self.reading.next();
                let key = token(key);
                let is_noted = self.recent(table).await?.get(&key).is_some();
                match there.remove(&key) {
                    None => {
                        told.extend(is_noted.then(|| Note::gone(known)));
                        changes.push(table.delete(known, mark));
                    }
                    // It came back meanwhile, or is there but not wanted any more, which the gate tells from its values.
                    Some(row) => {
                        told.push(Note::told(table.known(&row, hasher.hash(&row.0))));
                        changes.push(table.upsert(Op::Updated, row, Some(known), mark));
                    }
                }
            }
            let mut saves = self.forget(table, &mut list.index, some).await?;
            self.remember(table, told, &mut saves).await?;
            self.tell(changes, saves).await?;
            // The next ones may be of the same pages.
            self.write().await?;
        }
        Ok(())
    }

    /// Takes rows out of their pages.
    pub(super) async fn forget(
        &self,
        table: &Table,
        index: &mut Index,
        rows: &[(u64, Known)],
    ) -> Result<Saves> {
        let name = &table.shape.name;
        let mut by_page: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for (page, known) in rows.iter().filter(|(page, _)| *page != NO_PAGE) {
            let key = token(&known.name[..table.keys()]);
            by_page.entry(*page).or_default().insert(key);
        }
        let mut saves = Saves::default();
        for (number, keys) in by_page {
            let mut page = self.store.page(name, number).await?;
            if doubt(&mut page, table.keys(), &keys) {
                saves.ahead.push(self.store.save_page(name, number, &page)?);
            }
            page.rows
                .retain(|row| !keys.contains(&token(&row.name[..table.keys()])));
            if let Some(entry) = index.pages.iter_mut().find(|(page, _)| *page == number) {
                entry.1 = page.rows.len() as u64;
            }
            saves.after.push(self.store.save_page(name, number, &page)?);
        }
        saves.after.push(self.store.save_index(name, index)?);
        Ok(saves)
    }

    /// Keeps the index without pages that have no rows: their ranges fall to the pages behind them.
    fn tidy(&self, table: &Table, list: &mut List) -> Result<Vec<Save>> {
        let name = &table.shape.name;
        let pages = std::mem::take(&mut list.index.pages);
        let Some((last, before)) = pages.split_last() else {
            return Ok(Vec::new());
        };
        let (kept, empty): (Vec<_>, Vec<_>) = before.iter().partition(|(_, rows)| *rows > 0);
        list.index.pages = kept.into_iter().copied().chain([*last]).collect();
        let mut saves = vec![self.store.save_index(name, &list.index)?];
        saves.extend(
            empty
                .iter()
                .map(|(page, _)| self.store.drop_page(name, *page)),
        );
        Ok(saves)
    }
}

/// Makes the rows of a page unsure that have these keys; tells whether any has.
fn doubt(page: &mut Kept, keys: usize, unsure: &BTreeSet<String>) -> bool {
    let mut any = false;
    for row in &mut page.rows {
        if unsure.contains(&token(&row.name[..keys])) {
            row.hash = UNSURE;
            any = true;
        }
    }
    any
}

/// Why deletes are withheld, and what to do about it.
fn too_many(table: &Table, list: &List) -> String {
    format!(
        "{} of the {} known rows of `{}` are not there any more, and at most {} may go at once, so deletes are withheld; if they are gone for good, raise `deletes_max_percent` of the table and start again (LS-Q001)",
        list.missed,
        list.rows(),
        table.shape.name,
        list.most()
    )
}

fn twice(table: &Table) -> Error {
    Error::config(format!(
        "two rows of `{}` have one key ({})",
        table.shape.name,
        table.key().join(", ")
    ))
    .code("LS-Q002")
    .help("name columns in `key` that together tell every row from the others, or mend the rows")
}
