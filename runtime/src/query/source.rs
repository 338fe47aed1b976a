//! The source: one chunk after another, of whatever is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lockstep_core::capture::watermark::{self, Overlap};
use lockstep_core::connector::{
    Boxed, Control, DynReader, DynSource, Emitter, Filter, Finding, Need, News, OpenContext, Page,
    Sign,
};
use lockstep_core::diagnostic::Severity;
use lockstep_core::error::{Error, Result};
use lockstep_core::position::Position;
use lockstep_core::value::Value;
use lockstep_core::{Change, Row, Shape};

use super::cursor::{Active, Owed, Reading, State};
use super::known::{Recent, Save, Saves, Store};
use super::list::List;
use super::notices::{self, LOOK_HEARD};
use super::rows::{Table, keyed};
use super::{Names, Query, QueryTable};
use crate::log::Log;

/// A source that has nothing to do looks at the clock no less often than this.
const REST_MAX: Duration = Duration::from_secs(3600);

/// A system that is captured by query, opened.
pub(super) struct QuerySource {
    pub(super) reader: Box<dyn DynReader>,
    pub(super) cx: OpenContext,
    pub(super) query: Query,
    pub(super) names: Names,
    pub(super) log: Option<Arc<dyn Log>>,
}

impl DynSource for QuerySource {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(self.shapes())
    }

    fn check<'a>(&'a self, needs: &'a [Need]) -> Boxed<'a, Result<Vec<Finding>>> {
        Box::pin(self.look(needs))
    }

    fn run(self: Box<Self>, resume: Option<Position>, out: Emitter) -> Boxed<'static, Result<()>> {
        Box::pin(async move {
            let stopped = out.clone();
            tokio::select! {
                biased;
                () = stopped.stopped() => Err(Error::stopped()),
                ended = self.session(resume, out) => ended,
            }
        })
    }
}

impl QuerySource {
    async fn shapes(&self) -> Result<Vec<Arc<Shape>>> {
        let shapes = self.reader.discover().await?;
        let keyed = |shape: &Arc<Shape>| keyed(shape, self.said(&shape.name));
        shapes.iter().map(keyed).collect()
    }

    /// What is special about a table.
    fn said(&self, table: &str) -> &QueryTable {
        static USUAL: QueryTable = QueryTable {
            key: Vec::new(),
            watermark: None,
            overlap: None,
            sweep: None,
            share: None,
        };
        self.query.tables.get(table).unwrap_or(&USUAL)
    }

    fn table(&self, shape: Arc<Shape>) -> Result<Table> {
        let said = self.said(&shape.name);
        let reads = self.cx.reads(&shape.name);
        let naming = self.names.get(&shape.name).cloned().unwrap_or_default();
        Table::of(shape, said, &reads, &naming)
    }

    /// Looks whether the tables can be read as they are to be read.
    async fn look(&self, _needs: &[Need]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for name in self.query.tables.keys() {
            if !self.cx.tables.contains(name) {
                findings.push(Finding {
                    severity: Severity::Warning,
                    message: format!(
                        "no flow reads `{name}`, of which `query.tables` says how it is read"
                    ),
                    help: lockstep_core::diagnostic::suggestion(
                        name,
                        self.cx.tables.iter().map(String::as_str),
                    ),
                });
            }
        }
        for shape in self.shapes().await? {
            let name = shape.name.clone();
            let said = self.said(&name);
            let looked = async {
                let table = self.table(shape)?;
                // What cannot be read shows now and not in the night.
                let newest = self.newest(&table).await?;
                self.window(&table, newest.as_ref(), None, 1).await?;
                Ok(table)
            };
            match looked.await {
                Ok(table) => findings.extend(remarks(&table, said)),
                Err(error) => {
                    let error: Error = error;
                    if error.kind().is_retryable() {
                        return Err(error);
                    }
                    findings.push(Finding {
                        severity: Severity::Error,
                        message: format!("`{name}` cannot be read by query: {}", error.chain()),
                        help: error.help_text().unwrap_or("see the message").to_owned(),
                    });
                }
            }
        }
        Ok(findings)
    }

    /// The largest value of a table's watermark, as far as the clock is.
    pub(super) async fn newest(&self, table: &Table) -> Result<Option<Value>> {
        let Some(mark) = &table.watermark else {
            return Ok(None);
        };
        let key = [mark.column.clone()];
        let page = Page {
            table: &table.shape.name,
            columns: &table.columns,
            key: &key,
            backwards: true,
            limit: 1,
            ..Page::default()
        };
        let rows = self.reader.scan(page).await?;
        let newest = rows.first().and_then(|row| table.watermark_of(row));
        Ok(newest.and_then(|newest| watermark::reached(None, newest, Timestamp::now())))
    }

    /// Rows of a table in the order of its watermark, from a value of it on.
    pub(super) async fn window(
        &self,
        table: &Table,
        from: Option<&Value>,
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let mut key = Vec::new();
        let mut filter = None;
        if let Some(mark) = &table.watermark {
            key.push(mark.column.clone());
            filter = from.map(|from| {
                // A cursor of an older version may have parts of a second that the column cannot hold.
                let from = watermark::begins(from, Overlap::Count(0));
                Filter::Compare(mark.column.clone(), Sign::GreaterOrEqual, from)
            });
        }
        let others = table.key().iter().filter(|column| !key.contains(column));
        key.extend(others.cloned().collect::<Vec<_>>());
        let page = Page {
            table: &table.shape.name,
            columns: &table.columns,
            key: &key,
            after,
            filter: filter.as_ref(),
            limit,
            ..Page::default()
        };
        self.reader.scan(page).await
    }

    async fn session(self: Box<Self>, resume: Option<Position>, out: Emitter) -> Result<()> {
        let Some(log) = self.log.clone() else {
            return Err(Error::unexpected(
                "the source was opened to be looked at only",
            ));
        };
        let store = Store::open(&log, &self.cx.system).await?;
        let named = uuid::Uuid::new_v4().simple().to_string();
        let mut run = Run {
            reading: Reading::after(resume.as_ref(), &named),
            tables: BTreeMap::new(),
            recent: BTreeMap::new(),
            source: &self,
            list: None,
            out,
            store,
            on_the_way: None,
            news: Vec::new(),
            journal_read: None,
            hears: notices::hears(&*self.reader),
            heard_at: tokio::time::Instant::now(),
        };
        run.begin().await?;
        loop {
            while let Some(control) = asked(&run.out).await {
                run.obey(control)?;
            }
            if run.reading.cursor.active.is_none() && !run.choose().await? {
                run.rest().await?;
                continue;
            }
            if run.reading.cursor.active.is_some() {
                run.step().await?;
            }
        }
    }
}

/// What is worth knowing of how a table is read.
fn remarks(table: &Table, said: &QueryTable) -> Vec<Finding> {
    let Some(mark) = &table.watermark else {
        return Vec::new();
    };
    let mut remarks = Vec::new();
    let name = &table.shape.name;
    let at = table.shape.position(&mark.column);
    if at.is_some_and(|at| table.shape.columns[at].nullable) {
        remarks.push(Finding {
            severity: Severity::Warning,
            message: format!("column `{}` of `{name}` may be null, and changes of such rows are seen only when the whole table is read", mark.column),
            help: "declare it NOT NULL, or set `sweep` to a shorter time".to_owned(),
        });
    }
    if said.sweep.is_none() {
        remarks.push(Finding {
            severity: Severity::Warning,
            message: format!(
                "deletes in `{name}` are not told: it is read by `{}` only",
                mark.column
            ),
            help: "set `sweep = \"1d\"` to have the whole table compared that often".to_owned(),
        });
    }
    remarks
}

/// A run under way.
pub(super) struct Run<'s> {
    pub(super) source: &'s QuerySource,
    pub(super) reading: Reading,
    pub(super) out: Emitter,
    pub(super) store: Store,
    /// The tables as they were when they were last looked at.
    tables: BTreeMap<String, Arc<Table>>,
    pub(super) recent: BTreeMap<String, Recent>,
    /// The listing under way.
    pub(super) list: Option<List>,
    /// What is to be written once the position of the last chunk is safe.
    on_the_way: Option<(Position, Vec<Save>)>,
    /// What became of tables since the last batch.
    pub(super) news: Vec<News>,
    /// When this run read the journal to its end.
    pub(super) journal_read: Option<Timestamp>,
    /// Whether the system may call.
    pub(super) hears: bool,
    /// When it was looked last whether it did.
    pub(super) heard_at: tokio::time::Instant,
}

impl Run<'_> {
    /// Stores where this life begins, before anything is told in it.
    async fn begin(&mut self) -> Result<()> {
        self.begin_journal().await?;
        let tables = &self.source.cx.tables;
        let cursor = &mut self.reading.cursor;
        cursor.tables.retain(|name, _| tables.contains(name));
        cursor.owed.retain(|owed| tables.contains(&owed.table));
        if cursor
            .active
            .as_ref()
            .is_some_and(|active| !tables.iter().any(|t| t == active.table()))
        {
            cursor.active = None;
        }
        let beginning = self.reading.position();
        self.out.emit(Vec::new(), beginning.clone()).await?;
        self.out.until_safe(&beginning).await?;
        for (table, state) in &self.reading.cursor.tables {
            let table = table.clone();
            let reason = state.withheld.clone();
            self.news.extend(reason.map(|reason| News::Withheld {
                table,
                reason: Some(reason),
            }));
        }
        // So that it is known that the system was looked at.
        self.tell(Vec::new(), Saves::default()).await
    }

    /// Takes note of a request; what has it is the next position.
    fn obey(&mut self, control: Control) -> Result<()> {
        let Control::Backfill { table, filter } = control else {
            tracing::warn!(
                ?control,
                "a system that is captured by query cannot do what was asked"
            );
            return Ok(());
        };
        if !self.source.cx.tables.contains(&table) {
            tracing::warn!(%table, known = ?self.source.cx.tables, "no flow reads the table that was to be read again");
            return Ok(());
        }
        let owed = Owed { table, filter };
        let cursor = &mut self.reading.cursor;
        if owed.is_whole() {
            // What is under way told rows before the request came.
            if matches!(&cursor.active, Some(Active::List { table, all: Some(_), .. }) if *table == owed.table)
            {
                cursor.active = None;
                self.list = None;
            }
            cursor
                .owed
                .retain(|known| known.table != owed.table || !known.is_whole());
        }
        if !cursor.owed.contains(&owed) {
            cursor.owed.push(owed);
        }
        Ok(())
    }

    /// Chooses what is read next; tells whether anything is due.
    async fn choose(&mut self) -> Result<bool> {
        let now = Timestamp::now();
        if !self.reading.cursor.owed.is_empty() {
            let owed = self.reading.cursor.owed.remove(0);
            let table = self.look_at(&owed.table).await?;
            self.reading.cursor.active = Some(if owed.is_whole() {
                self.listing(&table, Some(owed), now).await?
            } else {
                self.news.push(News::Reading {
                    table: owed.table.clone(),
                    of: None,
                });
                Active::Part {
                    owed,
                    named: table.named(),
                    after: None,
                }
            });
            return Ok(true);
        }
        if self.heard_chunk().await? {
            return Ok(true);
        }
        if self.journal_due().is_some_and(|at| at <= now) {
            self.journal_chunk().await?;
            return Ok(true);
        }
        let due = self.due().into_iter().next();
        let Some((_, name)) = due.filter(|(at, _)| *at <= now) else {
            return Ok(false);
        };
        let table = self.look_at(&name).await?;
        let state = self.state(&name).clone();
        let journal = self.reading.cursor.journal.is_some();
        let sweeps = match (&table.watermark, self.source.said(&name).sweep) {
            // The journal tells what is new, and listings only what it did not.
            (None, None) if journal => !state.copied || state.listed.is_none(),
            (None, Some(every)) if journal => !state.copied || is_due(state.listed, every, now),
            (None, _) => true,
            (Some(_), None) => !state.copied,
            (Some(_), Some(every)) => !state.copied || is_due(state.listed, every, now),
        };
        self.reading.cursor.active = Some(if sweeps {
            self.listing(&table, None, now).await?
        } else if table.watermark.is_none() {
            self.state(&name).read = Some(now);
            return Ok(true);
        } else {
            let overlap = table.watermark.as_ref().map(|mark| mark.overlap);
            let from = state.reached.as_ref().zip(overlap);
            Active::Window {
                table: name,
                named: table.named(),
                since: now,
                from: from.map(|(reached, overlap)| watermark::begins(reached, overlap)),
                after: None,
                high: None,
            }
        });
        Ok(true)
    }

    async fn listing(
        &mut self,
        table: &Table,
        all: Option<Owed>,
        since: Timestamp,
    ) -> Result<Active> {
        // How far it is before the first row is read: what changes meanwhile is read once more.
        let reached = self.source.newest(table).await?;
        let name = table.shape.name.clone();
        let index = self.store.index(table).await?;
        let is_copied = self.state(&name).copied;
        if all.is_some() || !is_copied {
            let of = is_copied.then(|| index.rows());
            self.news.push(News::Reading {
                table: name.clone(),
                of,
            });
        }
        let page = index.pages.first().map(|(page, _)| *page);
        let recent = self.recent(table).await?.len();
        self.list = Some(List::fresh(index, self.share(&name), recent));
        Ok(Active::List {
            table: name,
            named: table.named(),
            since,
            page,
            after: None,
            all,
            reached,
        })
    }

    /// When each table is to be read next, the earliest first.
    fn due(&self) -> Vec<(Timestamp, String)> {
        let mut due: Vec<(Timestamp, String)> = Vec::new();
        for name in &self.source.cx.tables {
            let read = self
                .reading
                .cursor
                .tables
                .get(name)
                .and_then(|state| state.read);
            let at = match read {
                None => Some(Timestamp::MIN),
                Some(read) => self.source.query.schedule.next(read),
            };
            due.extend(at.map(|at| (at, name.clone())));
        }
        due.sort();
        due
    }

    /// Waits until something is due, or somebody asks for something.
    async fn rest(&mut self) -> Result<()> {
        self.write().await?;
        if !self.news.is_empty() {
            return self.tell(Vec::new(), Saves::default()).await;
        }
        let next = self.due().into_iter().next();
        let journal = self.journal_due().map(|at| (at, String::new()));
        let next = next.into_iter().chain(journal).min();
        let now = Timestamp::now();
        // What became due a moment ago is due at once.
        let pause = next.map_or(REST_MAX, |(at, _)| {
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        });
        let mut pause = pause.min(REST_MAX);
        if self.hears {
            pause = pause.min(LOOK_HEARD.saturating_sub(self.heard_at.elapsed()));
        }
        tokio::select! {
            control = self.out.control() => {
                self.obey(control)?;
                // A request counts once a position has it.
                self.tell(Vec::new(), Saves::default()).await
            }
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn step(&mut self) -> Result<()> {
        let Some(active) = self.reading.cursor.active.clone() else {
            return Ok(());
        };
        let table = match self.tables.get(active.table()) {
            Some(table) => Arc::clone(table),
            None => self.look_at(active.table()).await?,
        };
        if active.named() != table.named() {
            // Where it stands is said in columns or types that the table has no longer.
            self.reading.cursor.active = None;
            self.list = None;
            return Ok(());
        }
        match active {
            Active::List { page: None, .. } => self.finish_list(&table).await,
            Active::List {
                page: Some(page),
                after,
                all,
                ..
            } => self.list_chunk(&table, page, after, all).await,
            Active::Window {
                from,
                after,
                high,
                since,
                ..
            } => self.window_chunk(&table, from, after, high, since).await,
            Active::Part { owed, after, .. } => self.part_chunk(&table, owed, after).await,
        }
    }

    /// Looks at a table as it is now, and says when it is another one.
    pub(super) async fn look_at(&mut self, name: &str) -> Result<Arc<Table>> {
        for shape in self.source.shapes().await? {
            let known = self.tables.get(&shape.name);
            if known.is_some_and(|known| known.shape == shape) {
                continue;
            }
            if known.is_some() {
                self.news.push(News::Shape(Arc::clone(&shape)));
            }
            let table = self.source.table(Arc::clone(&shape))?;
            self.tables.insert(shape.name.clone(), Arc::new(table));
        }
        self.tables.get(name).cloned().ok_or_else(|| {
            Error::unexpected("the reader does not know a table that it was opened for")
                .with("table", name)
        })
    }

    /// What is known of a table as a whole.
    pub(super) fn state(&mut self, table: &str) -> &mut State {
        self.reading
            .cursor
            .tables
            .entry(table.to_owned())
            .or_default()
    }

    /// How much of a table may go at once.
    pub(super) fn share(&self, table: &str) -> lockstep_core::capture::listing::Share {
        self.source
            .said(table)
            .share
            .unwrap_or(self.source.query.share)
    }

    /// Most rows that are read at once.
    pub(super) fn chunk_rows(&self) -> usize {
        self.source.query.chunk_rows
    }

    /// Whether the pages of a table are ever compared with.
    pub(super) fn keeps_pages(&self, table: &Table) -> bool {
        table.watermark.is_none() || self.source.said(&table.shape.name).sweep.is_some()
    }

    /// What was told of a table of late.
    pub(super) async fn recent(&mut self, table: &Table) -> Result<&mut Recent> {
        let name = &table.shape.name;
        let named = table.named();
        if self
            .recent
            .get(name)
            .is_none_or(|known| known.named != named)
        {
            let recent = self.store.recent(table).await?;
            self.recent.insert(name.clone(), recent);
        }
        Ok(self
            .recent
            .entry(name.clone())
            .or_insert_with(|| Recent::of(table)))
    }

    /// Tells changes and how far that is; what was told is written once the position is safe.
    ///
    /// The chunk before is written first, so a crash never tells more than one again.
    /// That the rows are known is written before they can be durable anywhere: they may be gone when the next run reads, and then nothing else knows of them.
    pub(super) async fn tell(&mut self, changes: Vec<Change>, saves: Saves) -> Result<()> {
        self.write().await?;
        self.store.write(saves.ahead).await?;
        let position = self.reading.position();
        let slot = self.out.room().await?;
        slot.tell(changes, position.clone(), std::mem::take(&mut self.news))?;
        if !saves.after.is_empty() {
            self.on_the_way = Some((position, saves.after));
        }
        Ok(())
    }

    /// Writes what is known by the last chunk, once that is durable.
    pub(super) async fn write(&mut self) -> Result<()> {
        let Some((position, saves)) = self.on_the_way.take() else {
            return Ok(());
        };
        self.out.until_safe(&position).await?;
        self.store.write(saves).await
    }
}

/// Whether so much time has passed.
fn is_due(last: Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
    last.is_none_or(|last| now.duration_since(last) >= every)
}

/// What the runtime has asked for by now.
async fn asked(out: &Emitter) -> Option<Control> {
    tokio::select! {
        biased;
        control = out.control() => Some(control),
        () = std::future::ready(()) => None,
    }
}
