//! Reading rows of Parquet files, a part of a row group at a time.
//!
//! Decoding runs on threads that may block, and a file that makes the decoder panic is an error like any other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use lockstep_core::change::Op;
use lockstep_core::{Error, Kind, Result, Value};
use parquet::column::page::PageReader;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::file::{BOUNDS, Keys, Record};
use crate::form::{Buffer, Form, own};
use crate::order;
use crate::state::DataFile;
use crate::store::Store;

/// Rows that are decoded at once.
const STEP: usize = 1024;
/// What is read of a file's end before its footer's length is known.
const TAIL: u64 = 64 * 1024;
/// Most bytes of a footer.
const FOOTER_MAX: u64 = 256 * 1024 * 1024;
/// Most footers that are remembered.
const FOOTERS_MAX: usize = 512;
/// Footers of files, which never change once they are written.
#[derive(Debug, Default)]
pub(crate) struct Footers(Mutex<VecDeque<(String, Arc<Footer>)>>);

/// What a file says of itself.
#[derive(Debug)]
struct Footer {
    meta: ParquetMetaData,
    groups: Vec<Keys>,
    /// How many rows each row group has.
    rows: Vec<usize>,
    /// Where the bytes of each column of each row group are.
    ranges: Vec<Vec<(u64, u64)>>,
    /// Columns by name.
    places: BTreeMap<String, usize>,
}

impl Footers {
    async fn of(&self, store: &Store, path: &str, file: &DataFile) -> Result<Arc<Footer>> {
        let known = self.lock().iter().find(|(known, _)| known == path).cloned();
        if let Some((_, footer)) = known {
            return Ok(footer);
        }
        let footer = Arc::new(Footer::read(store, path, file).await?);
        let mut known = self.lock();
        if known.len() >= FOOTERS_MAX {
            known.pop_front();
        }
        known.push_back((path.to_owned(), Arc::clone(&footer)));
        Ok(footer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Arc<Footer>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Footer {
    async fn read(store: &Store, path: &str, file: &DataFile) -> Result<Footer> {
        let (size, rows) = (file.bytes, file.rows);
        let mut wanted = TAIL.min(size);
        loop {
            let tail = store.range(path, size - wanted, wanted).await?;
            let length = match tail.last_chunk::<8>() {
                Some([a, b, c, d, b'P', b'A', b'R', b'1']) => {
                    u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
                }
                _ => return Err(unreadable(path, "it does not end as a Parquet file does")),
            };
            let needed = length + 8;
            if needed > size || needed > FOOTER_MAX {
                return Err(unreadable(
                    path,
                    "its footer is longer than the file may be",
                ));
            }
            if needed > wanted {
                wanted = needed;
                continue;
            }
            let from = (wanted - needed) as usize;
            let bytes = tail.slice(from..tail.len() - 8);
            let place = path.to_owned();
            return blocking(path, move || Footer::decode(&bytes, &place, size, rows)).await;
        }
    }

    /// Decodes a footer; what it says of the file's size and rows has to be so.
    fn decode(bytes: &[u8], path: &str, size: u64, rows: u64) -> Result<Footer> {
        let meta =
            ParquetMetaDataReader::decode_metadata(bytes).map_err(|error| broken(path, error))?;
        let notes = meta.file_metadata().key_value_metadata();
        let note = notes.and_then(|notes| notes.iter().find(|note| note.key == BOUNDS));
        let groups: Option<Vec<Keys>> =
            note.and_then(|note| serde_json::from_str(note.value.as_deref()?).ok());
        let count = meta.num_row_groups();
        let columns = meta.file_metadata().schema_descr().columns();
        let (mut counts, mut ranges) = (Vec::new(), Vec::new());
        for group in meta.row_groups() {
            counts.push(usize::try_from(group.num_rows()).unwrap_or(usize::MAX));
            let each: Vec<(u64, u64)> = group
                .columns()
                .iter()
                .map(|column| column.byte_range())
                .collect();
            let is_inside = |(start, length): &(u64, u64)| {
                start.checked_add(*length).is_some_and(|end| end <= size)
            };
            if each.len() != columns.len() || !each.iter().all(is_inside) {
                return Err(unreadable(path, "a column lies outside of it"));
            }
            ranges.push(each);
        }
        let all = counts
            .iter()
            .fold(0u64, |sum, count| sum.saturating_add(*count as u64));
        if all != rows {
            return Err(unreadable(
                path,
                "it holds another number of rows than were written",
            ));
        }
        let places = columns.iter().enumerate();
        Ok(Footer {
            groups: groups
                .filter(|groups| groups.len() == count)
                .unwrap_or_else(|| vec![None; count]),
            rows: counts,
            ranges,
            places: places
                .map(|(at, column)| (column.name().to_owned(), at))
                .collect(),
            meta,
        })
    }
}

/// What is read of a file.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// Columns and their forms, in the order in which values are wanted.
    pub(crate) columns: Arc<Vec<(String, Form)>>,
    /// The keys between which rows are wanted, both included.
    pub(crate) from: Option<Vec<Value>>,
    pub(crate) until: Option<Vec<Value>>,
    /// Only groups that may hold one of these, in the order of keys.
    pub(crate) keys: Option<Arc<Vec<Vec<Value>>>>,
    pub(crate) backwards: bool,
}

impl Want {
    /// Whether keys between these are wanted.
    pub(crate) fn touches(&self, keys: &Keys) -> bool {
        let Some((first, last)) = keys else {
            return true;
        };
        let behind = |until: &Vec<Value>| order::compare(first, until).is_gt();
        let before = |from: &Vec<Value>| order::compare(last, from).is_lt();
        let has_one = |keys: &Arc<Vec<Vec<Value>>>| {
            let at = keys.partition_point(|key| order::compare(key, first).is_lt());
            keys.get(at)
                .is_some_and(|key| order::compare(key, last).is_le())
        };
        !self.until.as_ref().is_some_and(behind)
            && !self.from.as_ref().is_some_and(before)
            && self.keys.as_ref().is_none_or(has_one)
    }
}

/// Rows of a file, one after the other.
pub(crate) struct Cursor {
    store: Arc<Store>,
    path: String,
    footer: Arc<Footer>,
    want: Want,
    /// Row groups that are still to be read, the next one last.
    groups: Vec<usize>,
    group: Option<Group>,
    ready: VecDeque<Record>,
}

impl Cursor {
    pub(crate) async fn open(
        store: &Arc<Store>,
        footers: &Footers,
        path: &str,
        file: &DataFile,
        want: Want,
    ) -> Result<Cursor> {
        let footer = footers.of(store, path, file).await?;
        let mut groups: Vec<usize> = (0..footer.groups.len())
            .filter(|group| want.touches(&footer.groups[*group]))
            .collect();
        if !want.backwards {
            groups.reverse();
        }
        Ok(Cursor {
            store: Arc::clone(store),
            path: path.to_owned(),
            footer,
            want,
            groups,
            group: None,
            ready: VecDeque::new(),
        })
    }

    /// The next row.
    pub(crate) async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            match self.group.take() {
                Some(group) => self.decode(group).await?,
                None => match self.groups.pop() {
                    Some(group) => self.group = Some(self.fetch(group).await?),
                    None => return Ok(None),
                },
            }
        }
    }

    /// Reads the bytes of a row group's columns.
    async fn fetch(&self, group: usize) -> Result<Group> {
        let mut wanted = Vec::new();
        let columns = self.want.columns.iter();
        let columns = columns.map(|(name, form)| (name.as_str(), *form));
        for (name, form) in columns.chain(own()) {
            wanted.push((self.footer.places.get(name).copied(), form));
        }
        let ranges = &self.footer.ranges[group];
        let (mut start, mut end) = (u64::MAX, 0);
        for (from, length) in wanted.iter().filter_map(|(place, _)| ranges.get((*place)?)) {
            start = start.min(*from);
            end = end.max(from + length);
        }
        let length = end.saturating_sub(start);
        let bytes = self.store.range(&self.path, start, length).await?;
        let window = Arc::new(Window { start, bytes });
        let (footer, path) = (Arc::clone(&self.footer), self.path.clone());
        blocking(&self.path, move || {
            Group::new(&footer, group, &window, wanted, &path)
        })
        .await
    }

    async fn decode(&mut self, group: Group) -> Result<()> {
        let step = if self.want.backwards {
            usize::MAX
        } else {
            STEP
        };
        let path = self.path.clone();
        let (group, mut rows) = blocking(&self.path, move || group.step(step, &path)).await?;
        if self.want.backwards {
            rows.reverse();
        }
        self.ready.extend(rows);
        self.group = (group.left > 0).then_some(group);
        Ok(())
    }
}

/// A column's values, and whether nulls are among them.
type Values = (Mutex<ColumnReader>, bool);

/// A row group of which some rows are read.
struct Group {
    /// Absent where the file is older than the column; behind locks only because readers cannot be shared.
    columns: Vec<(Form, Option<Values>)>,
    left: usize,
}

impl Group {
    fn new(
        footer: &Footer,
        group: usize,
        window: &Arc<Window>,
        wanted: Vec<(Option<usize>, Form)>,
        path: &str,
    ) -> Result<Group> {
        let (meta, rows) = (footer.meta.row_group(group), footer.rows[group]);
        let mut columns = Vec::with_capacity(wanted.len());
        for (place, form) in wanted {
            let Some(place) = place else {
                columns.push((form, None));
                continue;
            };
            let column = footer.meta.file_metadata().schema_descr().column(place);
            if column.max_rep_level() > 0 || column.max_def_level() > 1 {
                return Err(unreadable(path, "a column in it is a list or a structure"));
            }
            let optional = column.max_def_level() > 0;
            let pages =
                SerializedPageReader::new(Arc::clone(window), meta.column(place), rows, None);
            let pages: Box<dyn PageReader> = Box::new(pages.map_err(|error| broken(path, error))?);
            let reader = Mutex::new(get_column_reader(column, pages));
            columns.push((form, Some((reader, optional))));
        }
        Ok(Group {
            columns,
            left: rows,
        })
    }

    fn step(mut self, most: usize, path: &str) -> Result<(Group, Vec<Record>)> {
        let count = self.left.min(most);
        let width = self.columns.len() - own().len();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (form, reader) in &mut self.columns {
            columns.push(match reader {
                None => vec![Value::Null; count],
                Some((reader, optional)) => {
                    let reader = reader.get_mut().unwrap_or_else(PoisonError::into_inner);
                    read(reader, *optional, *form, count)
                        .map_err(|error| error.with("file", path))?
                }
            });
        }
        self.left -= count;
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            let mut values: Vec<Value> = columns.iter_mut().filter_map(Iterator::next).collect();
            let own = values.split_off(width.min(values.len()));
            let [Value::Text(op), Value::Int(version), Value::Timestamp(at)] = own.as_slice()
            else {
                return Err(unreadable(
                    path,
                    "it lacks columns that every file of a table has",
                ));
            };
            rows.push(Record {
                op: operation(op)
                    .ok_or_else(|| unreadable(path, "it holds an unknown operation"))?,
                version: *version,
                at: *at,
                values,
            });
        }
        Ok((self, rows))
    }
}

fn read(reader: &mut ColumnReader, optional: bool, form: Form, count: usize) -> Result<Vec<Value>> {
    macro_rules! records {
        ($reader:expr, $buffer:path) => {{
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let mut read = 0;
            while read < count {
                let to = optional.then_some(&mut levels);
                let (records, _, _) = $reader
                    .read_records(count - read, to, None, &mut values)
                    .map_err(|error| Error::unexpected("a column cannot be read").because(error))?;
                if records == 0 {
                    return Err(Error::unexpected("a column ends early"));
                }
                read += records;
            }
            ($buffer(values), levels)
        }};
    }
    let (buffer, levels) = match reader {
        ColumnReader::BoolColumnReader(reader) => records!(reader, Buffer::Bool),
        ColumnReader::Int32ColumnReader(reader) => records!(reader, Buffer::Int32),
        ColumnReader::Int64ColumnReader(reader) => records!(reader, Buffer::Int64),
        ColumnReader::DoubleColumnReader(reader) => records!(reader, Buffer::Double),
        ColumnReader::ByteArrayColumnReader(reader) => records!(reader, Buffer::Bytes),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => records!(reader, Buffer::Fixed),
        ColumnReader::Int96ColumnReader(_) | ColumnReader::FloatColumnReader(_) => {
            return Err(Error::unexpected("a column is of a type that no table has"));
        }
    };
    let mut next = 0;
    let mut values = Vec::with_capacity(count);
    for place in 0..count {
        if optional && levels.get(place).copied().unwrap_or(0) == 0 {
            values.push(Value::Null);
            continue;
        }
        values.push(form.value(&buffer, next)?);
        next += 1;
    }
    Ok(values)
}

fn operation(text: &str) -> Option<Op> {
    [
        Op::Snapshot,
        Op::Created,
        Op::Updated,
        Op::Deleted,
        Op::Truncated,
    ]
    .into_iter()
    .find(|op| op.name() == text)
}

/// A part of a file, addressed as if it were the whole.
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Window {
    fn slice(&self, start: u64, length: Option<usize>) -> std::result::Result<Bytes, ParquetError> {
        let outside = || ParquetError::EOF("a page lies outside its column".to_owned());
        let from = start.checked_sub(self.start).ok_or_else(outside)?;
        let from = usize::try_from(from)
            .ok()
            .filter(|from| *from <= self.bytes.len());
        let from = from.ok_or_else(outside)?;
        let end = length.map_or(Some(self.bytes.len()), |length| from.checked_add(length));
        let end = end
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(outside)?;
        Ok(self.bytes.slice(from..end))
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        self.slice(start, Some(length))
    }
}

/// Runs what may block, and what a broken file may make panic.
async fn blocking<T: Send + 'static>(
    path: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => Err(unreadable(path, "decoding it fails")),
        Err(_) => Err(Error::stopped()),
    }
}

fn broken(path: &str, error: ParquetError) -> Error {
    unreadable(path, "it is broken").because(error)
}

fn unreadable(path: &str, why: &str) -> Error {
    Error::new(Kind::Unexpected, format!("file `{path}` cannot be read: {why}"))
        .help("files of a lake are never changed once they are written; bring this one back from a copy, or have the table read again")
}
