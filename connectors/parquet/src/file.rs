//! Rows of a table, and writing them as Parquet files.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::{Error, Result, Value};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use uuid::Uuid;

use crate::form::{Buffer, Form, own, schema};
use crate::order;
use crate::state::{DataFile, Table};

/// Most characters of a key that lists of files tell.
const KEY_MAX: usize = 512;
/// The name under which a file tells the first and last key of each row group.
pub(crate) const BOUNDS: &str = "lockstep.keys";

/// The first and the last key of something, where they are known.
pub(crate) type Keys = Option<(Vec<Value>, Vec<Value>)>;

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) op: Op,
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
    /// By the table's columns, or by those that are read; null where the row says nothing.
    pub(crate) values: Vec<Value>,
}

/// Sorts rows as files hold them.
pub(crate) fn sort(table: &Table, rows: &mut [Record]) {
    rows.sort_by(|a, b| {
        let (left, right) = (table.shape.key.iter(), &b.values);
        left.map(|at| order::values(&a.values[*at], &right[*at]))
            .find(|side| side.is_ne())
            .unwrap_or_else(|| a.version.cmp(&b.version))
    });
}

/// Writes sorted rows as files of at most about `file_max` bytes.
pub(crate) struct Writer {
    table: Arc<Table>,
    forms: Vec<Form>,
    group_rows: usize,
    file_max: usize,
    run: Uuid,
    waiting: Vec<Record>,
    open: Option<Open>,
    made: Vec<(Bytes, DataFile)>,
}

/// A file that is being written.
struct Open {
    writer: SerializedFileWriter<Vec<u8>>,
    groups: Vec<Keys>,
    rows: u64,
    versions: (i64, i64),
    first: Vec<Value>,
    last: Vec<Value>,
}

impl Writer {
    pub(crate) fn new(table: Arc<Table>, group_rows: usize, file_max: usize) -> Writer {
        Writer {
            forms: forms(&table),
            table,
            group_rows,
            file_max,
            run: Uuid::now_v7(),
            waiting: Vec::new(),
            open: None,
            made: Vec::new(),
        }
    }

    /// Adds a row; rows come sorted.
    pub(crate) fn push(&mut self, row: Record) -> Result<()> {
        // The rows of a key stay in one file: then files of a run hold different keys.
        let is_full =
            (self.open.as_ref()).is_some_and(|open| open.writer.bytes_written() >= self.file_max);
        if is_full && self.waiting.is_empty() {
            let key = self.key(&row);
            let is_new = |open: &Open| order::compare(&open.last, &key).is_ne();
            if self.open.as_ref().is_some_and(is_new) {
                self.close()?;
            }
        }
        self.waiting.push(row);
        if self.waiting.len() >= self.group_rows {
            self.group()?;
        }
        Ok(())
    }

    /// Files that are complete and not taken yet.
    pub(crate) fn take(&mut self) -> Vec<(Bytes, DataFile)> {
        std::mem::take(&mut self.made)
    }

    /// Completes what is left.
    pub(crate) fn finish(&mut self) -> Result<Vec<(Bytes, DataFile)>> {
        self.group()?;
        self.close()?;
        Ok(self.take())
    }

    fn key(&self, row: &Record) -> Vec<Value> {
        self.table
            .key_of(&row.values)
            .into_iter()
            .cloned()
            .collect()
    }

    fn group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let (first, last) = (self.key(first), self.key(last));
        if self.open.is_none() {
            self.open = Some(Open {
                writer: self.begin().map_err(unwritable)?,
                groups: Vec::new(),
                rows: 0,
                versions: (i64::MAX, i64::MIN),
                first: first.clone(),
                last: last.clone(),
            });
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let mut group = open.writer.next_row_group().map_err(unwritable)?;
        let mut columns: Vec<(Form, Vec<&Value>)> = Vec::with_capacity(self.forms.len());
        for (place, form) in self.forms.iter().enumerate() {
            columns.push((*form, rows.iter().map(|row| &row.values[place]).collect()));
        }
        let own_values: Vec<[Value; 3]> = rows
            .iter()
            .map(|row| {
                [
                    Value::text(row.op.name()),
                    Value::Int(row.version),
                    Value::Timestamp(row.at),
                ]
            })
            .collect();
        for (place, (_, form)) in own().into_iter().enumerate() {
            columns.push((form, own_values.iter().map(|row| &row[place]).collect()));
        }
        for (place, (form, values)) in columns.into_iter().enumerate() {
            let Some(mut column) = group.next_column().map_err(unwritable)? else {
                return Err(Error::unexpected("a file has fewer columns than its table"));
            };
            write(column.untyped(), form, &values, place < self.forms.len())?;
            column.close().map_err(unwritable)?;
        }
        group.close().map_err(unwritable)?;
        open.rows += rows.len() as u64;
        for row in &rows {
            open.versions.0 = open.versions.0.min(row.version);
            open.versions.1 = open.versions.1.max(row.version);
        }
        open.groups.push(told(&first, &last));
        open.last = last;
        Ok(())
    }

    fn begin(&self) -> std::result::Result<SerializedFileWriter<Vec<u8>>, ParquetError> {
        let schema = schema(&self.table.shape, &self.forms)
            .map_err(|error| ParquetError::General(error.chain()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_created_by(concat!("lockstep ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        SerializedFileWriter::new(Vec::new(), schema, properties.into())
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let bounds = serde_json::to_string(&open.groups).map_err(unwritable)?;
        let note = KeyValue::new(BOUNDS.to_owned(), bounds);
        open.writer.append_key_value_metadata(note);
        let bytes: Bytes = open.writer.into_inner().map_err(unwritable)?.into();
        let file = DataFile {
            run: self.run,
            rows: open.rows,
            bytes: bytes.len() as u64,
            versions: open.versions,
            keys: told(&open.first, &open.last),
        };
        self.made.push((bytes, file));
        Ok(())
    }
}

/// The forms of a table's columns.
pub(crate) fn forms(table: &Table) -> Vec<Form> {
    let columns = table.shape.columns.iter();
    columns
        .map(|column| Form::of(column.kind, table.timestamps))
        .collect()
}

/// The keys, where they are short enough to be told and compared: a not-a-number is not.
fn told(first: &[Value], last: &[Value]) -> Keys {
    let is_short = |key: &[Value]| {
        let lengths = key.iter().map(|value| match value {
            Value::Text(text) => text.len(),
            Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null => KEY_MAX + 1,
            _ => 16,
        });
        lengths.sum::<usize>() <= KEY_MAX
    };
    (is_short(first) && is_short(last)).then(|| (first.to_vec(), last.to_vec()))
}

fn write(to: &mut ColumnWriter<'_>, form: Form, values: &[&Value], optional: bool) -> Result<()> {
    let mut buffer = form.buffer();
    let mut levels = Vec::with_capacity(values.len());
    for value in values {
        levels.push(i16::from(form.push(&mut buffer, value)?));
    }
    let levels = optional.then_some(levels.as_slice());
    let written = match (to, &buffer) {
        (ColumnWriter::BoolColumnWriter(to), Buffer::Bool(from)) => {
            to.write_batch(from, levels, None)
        }
        (ColumnWriter::Int32ColumnWriter(to), Buffer::Int32(from)) => {
            to.write_batch(from, levels, None)
        }
        (ColumnWriter::Int64ColumnWriter(to), Buffer::Int64(from)) => {
            to.write_batch(from, levels, None)
        }
        (ColumnWriter::DoubleColumnWriter(to), Buffer::Double(from)) => {
            to.write_batch(from, levels, None)
        }
        (ColumnWriter::ByteArrayColumnWriter(to), Buffer::Bytes(from)) => {
            to.write_batch(from, levels, None)
        }
        (ColumnWriter::FixedLenByteArrayColumnWriter(to), Buffer::Fixed(from)) => {
            to.write_batch(from, levels, None)
        }
        _ => {
            return Err(Error::unexpected(
                "a column is of another type than its table says",
            ));
        }
    };
    written.map(|_| ()).map_err(unwritable)
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unexpected("a file cannot be written").because(error)
}
