//! From events of the binary log to changes with their marks: transactions are opened and closed, rows are fitted to their tables, snapshot rows find their place.
//!
//! No socket and no clock: whoever owns those feeds it, so its rules can be read and tested alone.
//!
//! Invariants: marks never decrease; the cursor's place is never inside a transaction; a change that the resume position covers is not told again; a transaction that a Lockstep sink wrote is not told at all.

mod apply;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::{Filter, News};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Op, Result};

use crate::binlog::table_map::TableMap;
use crate::binlog::{Event, Header};
use crate::ddl::{self, Case, Effect, Statement};
use crate::position::{Place, Reading};
use crate::progress;
use crate::snapshot::{Chunk, size};
use crate::tables::{Captured, Layout};

/// What has been read and not yet been emitted, and all that it takes to read on.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The tables.
    pub(crate) tables: Vec<Captured>,
    /// How the server compares their names.
    case: Case,
    /// How far everything is read that `batch` and what was emitted before hold.
    pub(crate) reading: Reading,
    /// Changes to be emitted.
    pub(crate) batch: Vec<Change>,
    /// About how many bytes they take.
    pub(crate) bytes: usize,
    /// Changes of the last event that the batch had no room for.
    backlog: VecDeque<Change>,
    /// Rows that wait for their place.
    pub(crate) chunk: Option<Chunk>,
    placed: Option<Placed>,
    /// Per number of the log: a table that is captured, one that is ours, or one that nobody asked for.
    layouts: HashMap<u64, Known>,
    covered: Mark,
    open: Option<Open>,
    /// The file that is being read.
    file: String,
    /// When the server began it.
    born: Option<u32>,
    /// How far the server says it has read.
    end: Place,
    /// Where the last transaction ended that was read, whosever it was.
    told: Place,
    /// What became of tables since the last batch.
    pub(crate) news: Vec<News>,
}

/// A table of the log.
#[derive(Clone, Debug)]
enum Known {
    Captured(Arc<Layout>),
    /// The table in which a sink keeps its progress: who writes there is a sink.
    Ours,
    Other,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Open {
    commit: u64,
    at: Timestamp,
    /// How many bytes of it were read.
    read: u64,
    name: Name,
    /// Whether a sink of Lockstep wrote it.
    ours: bool,
    /// Whether it is one event alone.
    standalone: bool,
    /// Whether a statement said that it begins.
    begun: bool,
    xa: bool,
    /// Tables of which rows were told.
    touched: Vec<usize>,
}

/// What the server calls a transaction.
#[derive(Clone, Copy, Debug)]
enum Name {
    Maria(u32, u32, u64),
    Mysql([u8; 16], u64),
    None,
}

/// Snapshot rows whose place has come.
#[derive(Debug)]
struct Placed {
    chunk: Chunk,
    mark: Mark,
    at: Timestamp,
}

/// What an event asks of whoever feeds the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing.
    Nothing,
    /// To look at these tables again, because their declaration changed. Feed the event again afterwards where it was one of rows.
    Look(Vec<usize>),
}

impl Stream {
    /// A stream that goes on after `reading`.
    pub(crate) fn new(tables: Vec<Captured>, reading: Reading, case: Case) -> Stream {
        let place = reading.cursor.place();
        Stream {
            covered: reading.mark,
            file: reading.cursor.file.clone(),
            born: reading.cursor.born,
            end: place,
            told: place,
            tables,
            case,
            reading,
            batch: Vec::new(),
            bytes: 0,
            backlog: VecDeque::new(),
            chunk: None,
            placed: None,
            layouts: HashMap::new(),
            open: None,
            news: Vec::new(),
        }
    }

    /// Takes one event. None may be taken while [`Stream::is_waiting`].
    pub(crate) fn take(&mut self, header: &Header, body: &[u8]) -> Result<Ask> {
        let event = Event::parse(header, body)?;
        let mut ask = Ask::Nothing;
        match event {
            Event::Rotate { file } => {
                self.rotate(file)?;
                return Ok(ask);
            }
            Event::Heartbeat { file, place } => {
                let at = place.unwrap_or(header.end.into());
                if let Ok(file) = std::str::from_utf8(file)
                    && let Some(place) = Place::of(file, at)
                {
                    if self.file != file {
                        self.file = file.to_owned();
                        self.born = None;
                    }
                    self.reach(place);
                }
                return Ok(ask);
            }
            _ => {}
        }
        let begin = self.after(header, header.end.wrapping_sub(header.size));
        match event {
            Event::MariaGtid {
                domain,
                sequence,
                standalone,
                xa,
            } => self.begin(
                header,
                begin,
                Name::Maria(domain, header.server, sequence),
                standalone,
                xa,
            ),
            Event::MysqlGtid { source, sequence } => {
                self.begin(header, begin, Name::Mysql(source, sequence), false, false);
            }
            Event::NoGtid => self.begin(header, begin, Name::None, false, false),
            Event::Query { database, text } => ask = self.statement(&database, &text)?,
            Event::TableMap(body) => ask = self.table_map(body)?,
            Event::Rows(event) => self.rows(&event)?,
            Event::Commit => self.commit(header),
            Event::Description => self.born = Some(header.at),
            Event::XaPrepare => {
                self.ended();
            }
            Event::Partial => return Err(partial()),
            Event::Incident => {
                return Err(Error::config(
                    "the server lost events of its binary log: changes are missing",
                )
                .with("life", &self.reading.incarnation)
                .help(accept(&self.reading.incarnation)));
            }
            Event::Rotate { .. } | Event::Heartbeat { .. } | Event::Other => {}
        }
        if let Some(open) = &mut self.open {
            open.read += u64::from(header.size);
            // What stands alone has nothing that ends it.
            let alone = open.standalone && matches!(header.kind, 2 | 38 | 165);
            if alone {
                self.commit(header);
            }
        } else if !header.is_artificial() {
            let end = self.after(header, header.end);
            self.reach(end);
        }
        Ok(ask)
    }

    /// The place that an event's 32 bits mean.
    fn after(&self, header: &Header, low: u32) -> Place {
        if header.is_artificial() {
            return self.end;
        }
        Place {
            file: self.end.file,
            at: low.into(),
        }
    }

    fn rotate(&mut self, file: &[u8]) -> Result<()> {
        let file = String::from_utf8_lossy(file).into_owned();
        let place = Place::of(&file, 4).ok_or_else(|| {
            Error::unsupported("the binary log has files whose names end with no number")
                .help("let log_bin be a name to which the server adds numbers")
        })?;
        self.layouts.clear();
        if self.file != file {
            self.file = file;
            self.born = None;
        }
        if place.file != self.end.file {
            self.open = None;
            self.reach(place);
        }
        Ok(())
    }

    /// Takes note that everything before a place has been read.
    fn reach(&mut self, place: Place) {
        if place > self.end {
            self.end = place;
        }
        self.settle();
    }

    /// Lets rows that wait take their place, if it has come.
    pub(crate) fn settle(&mut self) {
        let come = self.open.is_none()
            && self
                .chunk
                .as_ref()
                .is_some_and(|chunk| chunk.place <= self.end);
        if come && let Some(chunk) = self.chunk.take() {
            let mut mark = Mark {
                commit: chunk.place.commit(),
                ordinal: 0,
            };
            // Another chunk may stand at the same place, where nothing happened since.
            mark = mark.max(self.reading.mark);
            self.placed = Some(Placed {
                at: Timestamp::UNIX_EPOCH,
                mark,
                chunk,
            });
        }
    }

    fn begin(&mut self, header: &Header, begin: Place, name: Name, standalone: bool, xa: bool) {
        self.open = Some(Open {
            commit: begin.commit() + 1,
            at: Timestamp::from_second(header.at.into()).unwrap_or(Timestamp::UNIX_EPOCH),
            read: 0,
            name,
            ours: false,
            standalone,
            begun: false,
            xa,
            touched: Vec::new(),
        });
    }

    fn commit(&mut self, header: &Header) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.name {
            Name::Maria(domain, server, sequence) => {
                self.reading.gtids.add_maria(domain, server, sequence);
            }
            Name::Mysql(source, sequence) => self.reading.gtids.add_mysql(source, sequence),
            Name::None => {}
        }
        let end = self.after(header, header.end);
        self.end = self.end.max(end);
        self.told = self.end;
        self.move_to(self.end);
        self.reach(self.end);
    }

    /// Moves on to a place before which everything is told.
    fn move_to(&mut self, place: Place) {
        let cursor = &mut self.reading.cursor;
        if place >= cursor.place() {
            cursor.file = self.file.clone();
            cursor.at = place.at;
            cursor.born = self.born;
        }
    }

    /// How far the server says it has read.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    /// Whether the position can move on over a part of the log in which nothing is for us.
    pub(crate) fn is_ahead(&self, told: Place) -> bool {
        self.open.is_none() && !self.is_waiting() && self.end > told
    }

    /// Moves on over it.
    pub(crate) fn skip(&mut self) {
        if self.open.is_none() && !self.is_waiting() {
            self.move_to(self.end);
            let mark = Mark {
                commit: self.end.commit(),
                ordinal: 0,
            };
            self.reading.mark = self.reading.mark.max(mark);
        }
    }

    /// Whether rows have to be told before anything else is taken.
    pub(crate) fn is_waiting(&self) -> bool {
        self.placed.is_some() || !self.backlog.is_empty()
    }

    /// Tells rows that wait, up to the bounds of a batch.
    pub(crate) fn tell(&mut self, changes_max: usize, bytes_max: usize, now: Timestamp) {
        while self.batch.len() < changes_max && self.bytes < bytes_max {
            let Some(change) = self.backlog.pop_front() else {
                break;
            };
            self.bytes += size(&change.row) + change.before.as_ref().map_or(0, size);
            self.reading.mark = self.reading.mark.max(change.mark);
            self.batch.push(change);
        }
        if self.backlog.is_empty() {
            self.place(changes_max, bytes_max, now);
        }
    }

    fn place(&mut self, changes_max: usize, bytes_max: usize, now: Timestamp) {
        let Some(placed) = &mut self.placed else {
            return;
        };
        if placed.at == Timestamp::UNIX_EPOCH {
            placed.at = now;
        }
        let shape = &self.tables[placed.chunk.table].shape;
        while self.batch.len() < changes_max && self.bytes < bytes_max {
            let Some((key, row)) = placed.chunk.rows.pop_front() else {
                break;
            };
            placed.mark.ordinal += 1;
            self.bytes += size(&row);
            self.batch.push(Change {
                shape: Arc::clone(shape),
                op: Op::Snapshot,
                row,
                before: None,
                mark: placed.mark,
                committed_at: placed.at,
                origin: None,
            });
            self.reading.cursor.after = Some(key);
        }
        self.reading.mark = self.reading.mark.max(placed.mark);
        if !placed.chunk.rows.is_empty() {
            return;
        }
        let Some(placed) = self.placed.take() else {
            return;
        };
        let name = &self.tables[placed.chunk.table].spelled;
        let cursor = &mut self.reading.cursor;
        if placed.chunk.complete && cursor.todo.first() == Some(name) {
            tracing::info!(table = %name, "the table's snapshot is complete");
            cursor.after = None;
            cursor.todo.remove(0);
            cursor.done.push(name.clone());
            self.news.push(cursor.parts.complete(name));
        }
    }

    /// Whether a transaction was told already that a chunk does not contain: a server shows the log a little before it lets others see the rows.
    pub(crate) fn told_more_than(&self, chunk: &Chunk) -> bool {
        self.open.is_some()
            || self.told > chunk.place
            || self.reading.mark.commit > chunk.place.commit()
    }

    /// Whether a transaction is being read.
    pub(crate) fn is_inside(&self) -> bool {
        self.open.is_some()
    }

    /// Reads a table anew from its first row.
    pub(crate) fn read_again(&mut self, table: usize) {
        self.read_part(table, None);
    }

    /// Reads rows of a table anew: those that fulfil something, or all.
    pub(crate) fn read_part(&mut self, table: usize, filter: Option<Filter>) {
        let name = &self.tables[table].spelled;
        let cursor = &mut self.reading.cursor;
        let is_due = cursor.todo.contains(name);
        cursor.parts.ask(name, filter, is_due);
        if cursor.todo.first() == Some(name) {
            cursor.after = None;
        } else if !cursor.todo.contains(name) {
            cursor.done.retain(|done| done != name);
            cursor.todo.push(name.clone());
        }
        self.forget_chunk(table);
    }

    fn forget_chunk(&mut self, table: usize) {
        if self
            .chunk
            .as_ref()
            .is_some_and(|chunk| chunk.table == table)
        {
            self.chunk = None;
        }
        if self
            .placed
            .as_ref()
            .is_some_and(|placed| placed.chunk.table == table)
        {
            self.placed = None;
        }
    }

    /// Takes note of what the catalog says of a table by now.
    pub(crate) fn replace(&mut self, table: usize, newer: Captured) {
        let known = &mut self.reading.cursor.known;
        let stamp = newer.stamp();
        let was = known.insert(newer.spelled.clone(), stamp);
        let rewritten = was.is_some_and(|was| was.is_rewritten(&newer));
        // Its rows have the columns of before; they are read again.
        self.forget_chunk(table);
        self.layouts.clear();
        self.tables[table] = newer;
        if rewritten {
            tracing::warn!(table = %self.tables[table].spelled, "the table's columns changed, which changes do not tell: it is read again");
            self.read_again(table);
        }
    }

    /// What has been read, to be emitted.
    pub(crate) fn batch(&mut self) -> Vec<Change> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn statement(&mut self, database: &[u8], text: &[u8]) -> Result<Ask> {
        let text = String::from_utf8_lossy(text);
        let session = String::from_utf8_lossy(database);
        match ddl::read(&text) {
            Statement::Begin => {
                if let Some(open) = &mut self.open {
                    open.begun = true;
                }
            }
            Statement::Commit => return Ok(self.ended()),
            Statement::Rollback { partly } => self.taken_back(partly),
            Statement::Savepoint | Statement::Other => return Ok(self.ended_unless_begun()),
            Statement::Xa { ends } => {
                if let Some(open) = &mut self.open {
                    open.xa = true;
                    open.begun = true;
                    open.standalone |= ends;
                }
            }
            Statement::Rows(words) => self.told_as_statement(&words)?,
            Statement::Unknown(words) => {
                let inside = self.open.as_ref().is_some_and(|open| {
                    open.begun || (matches!(open.name, Name::Maria(..)) && !open.standalone)
                });
                if inside {
                    self.told_as_statement(&words)?;
                }
                return Ok(self.ended_unless_begun());
            }
            Statement::Tables(effects) => {
                let mut look = Vec::new();
                for (effect, name) in effects {
                    for table in 0..self.tables.len() {
                        if !name.is(&self.tables[table].name, &session, self.case) {
                            continue;
                        }
                        self.affected(table, effect);
                        if effect != Effect::Truncated && !look.contains(&table) {
                            look.push(table);
                        }
                    }
                }
                self.ended_unless_begun();
                return Ok(if look.is_empty() {
                    Ask::Nothing
                } else {
                    Ask::Look(look)
                });
            }
            Statement::Database(name) => {
                let gone: Vec<usize> = (0..self.tables.len())
                    .filter(|table| self.case.same(&self.tables[*table].name.database, &name))
                    .collect();
                for table in &gone {
                    self.affected(*table, Effect::Replaced);
                }
                self.ended_unless_begun();
                return Ok(if gone.is_empty() {
                    Ask::Nothing
                } else {
                    Ask::Look(gone)
                });
            }
        }
        Ok(Ask::Nothing)
    }

    /// A statement that no transaction surrounds ends what its name began; MariaDB marks such ones itself.
    fn ended_unless_begun(&mut self) -> Ask {
        if let Some(open) = &mut self.open
            && !open.begun
            && matches!(open.name, Name::Mysql(..) | Name::None)
        {
            open.standalone = true;
        }
        Ask::Nothing
    }

    fn ended(&mut self) -> Ask {
        if let Some(open) = &mut self.open {
            open.standalone = true;
        }
        Ask::Nothing
    }

    /// What was told of a transaction did not happen: its tables are read again from nothing.
    fn taken_back(&mut self, partly: bool) {
        let touched = self
            .open
            .as_mut()
            .map(|open| std::mem::take(&mut open.touched))
            .unwrap_or_default();
        for table in touched {
            tracing::warn!(table = %self.tables[table].spelled, "the log tells rows that were taken back, because a table without transactions took part: the table is read again");
            self.affected(table, Effect::Replaced);
        }
        if !partly {
            self.ended();
        }
    }

    fn told_as_statement(&mut self, words: &[String]) -> Result<()> {
        let named = |table: &&Captured| {
            words
                .iter()
                .any(|word| self.case.same(word, &table.name.table))
        };
        match self.tables.iter().find(named) {
            None => Ok(()),
            Some(table) => Err(Error::config(format!(
                "the binary log tells changes of table `{}` as a statement, not as rows",
                table.spelled
            ))
            .with("life", &self.reading.incarnation)
            .help(format!(
                "let an administrator run: SET GLOBAL binlog_format = 'ROW', and keep sessions from changing it; {}",
                accept(&self.reading.incarnation)
            ))),
        }
    }

    fn table_map(&mut self, body: &[u8]) -> Result<Ask> {
        let Some((id, database, table)) = TableMap::name(body) else {
            return TableMap::parse(body).map(|_| Ask::Nothing);
        };
        if table == progress::TABLE.as_bytes() {
            self.layouts.insert(id, Known::Ours);
            return Ok(Ask::Nothing);
        }
        let is = |known: &Captured| {
            known.name.database.as_bytes() == database && known.name.table.as_bytes() == table
        };
        let Some(place) = self.tables.iter().position(is) else {
            self.layouts.insert(id, Known::Other);
            return Ok(Ask::Nothing);
        };
        let map = TableMap::parse(body)?;
        let (layout, same) = Layout::of(&map, place, &self.tables[place])?;
        // A column that the catalog knows and the log does not: the row is older than the column. The other way round, too, there is nothing to look for, because the log tells of every change of a declaration.
        if !same {
            tracing::debug!(table = %self.tables[place].spelled, "rows of the log are older than the table's columns");
        }
        self.layouts.insert(id, Known::Captured(Arc::new(layout)));
        Ok(Ask::Nothing)
    }
}

/// Says that nothing is skipped silently.
pub(crate) fn accept(life: &str) -> String {
    format!(
        "nothing is skipped silently: to accept the gap, set `accept_gap_of = \"{life}\"` for the system; a new life then begins with a snapshot, and `lockstep verify` names the deletes that fell into the gap"
    )
}

fn partial() -> Error {
    Error::config("the binary log tells JSON documents as differences")
        .help("let an administrator run: SET GLOBAL binlog_row_value_options = ''; differences that were written before that cannot be read, so a new life has to begin with a snapshot")
}

fn no_xa(table: &Captured, life: &str) -> Error {
    Error::unsupported(format!(
        "a distributed transaction (XA) holds rows of table `{}`",
        table.spelled
    ))
    .with("life", life)
    .help(format!(
        "let the program that writes the table use ordinary transactions; {}",
        accept(life)
    ))
}
