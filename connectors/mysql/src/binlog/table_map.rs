//! What the log says of a table before it tells its rows.

use lockstep_core::{Error, Result};

use super::reader::Reader;

/// Most columns of a table, by the system's own limit.
const COLUMNS_MAX: usize = 4096;

/// Column types of the log.
pub(crate) mod kind {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    /// MariaDB's compressed columns.
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A table of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMap {
    /// The number by which rows refer to it.
    pub(crate) id: u64,
    /// Its database.
    pub(crate) database: String,
    /// Its name.
    pub(crate) table: String,
    /// Its columns.
    pub(crate) columns: Vec<MapColumn>,
}

/// A column of a table of the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct MapColumn {
    /// Its name, where the log tells names.
    pub(crate) name: Option<String>,
    /// Its type, one of [`kind`]; what hides in a `STRING` is taken out of it.
    pub(crate) kind: u8,
    /// What the type's values look like: lengths and digits.
    pub(crate) meta: u16,
    /// The values of an `enum` or `set`, as bytes of the column's character set.
    pub(crate) members: Vec<Vec<u8>>,
}

impl TableMap {
    /// Only whose rows follow: number, database and name. What nobody asked for need not be read further.
    pub(crate) fn name(body: &[u8]) -> Option<(u64, &[u8], &[u8])> {
        let mut r = Reader::new(body);
        let id = r.uint(6)?;
        r.take(2)?;
        let mut text = || {
            let length = usize::from(r.u8()?);
            let text = r.take(length)?;
            r.take(1)?;
            Some(text)
        };
        Some((id, text()?, text()?))
    }

    /// Reads the whole of it.
    ///
    /// # Errors
    /// Bytes that are no table map.
    pub(crate) fn parse(body: &[u8]) -> Result<TableMap> {
        TableMap::read(body).ok_or_else(|| {
            Error::unexpected("a table map of the binary log cannot be read")
                .with("bytes", body.len())
        })
    }

    fn read(body: &[u8]) -> Option<TableMap> {
        let (id, database, table) = TableMap::name(body)?;
        let mut r = Reader::new(body);
        r.take(8 + 1 + database.len() + 1 + 1 + table.len() + 1)?;
        let width = usize::try_from(r.packed()?)
            .ok()
            .filter(|width| *width <= COLUMNS_MAX)?;
        let kinds = r.take(width)?;
        let mut meta = Reader::new(r.counted()?);
        let mut columns = Vec::with_capacity(width);
        for code in kinds {
            columns.push(MapColumn::read(*code, &mut meta)?);
        }
        r.take(width.div_ceil(8))?;
        optional(&mut r, &mut columns)?;
        Some(TableMap {
            id,
            database: String::from_utf8(database.to_vec()).ok()?,
            table: String::from_utf8(table.to_vec()).ok()?,
            columns,
        })
    }
}

impl MapColumn {
    fn read(code: u8, meta: &mut Reader<'_>) -> Option<MapColumn> {
        let mut column = MapColumn {
            kind: code,
            ..MapColumn::default()
        };
        match code {
            kind::STRING => {
                // Two bits of a char's length hide in its type.
                let (first, second) = (meta.u8()?, meta.u8()?);
                if matches!(first, kind::ENUM | kind::SET) {
                    column.kind = first;
                    column.meta = second.into();
                } else {
                    let high = u16::from(!first & 0x30) << 4;
                    column.meta = high | u16::from(second);
                }
            }
            kind::NEWDECIMAL => column.meta = u16::from_be_bytes(meta.take(2)?.try_into().ok()?),
            kind::VARCHAR
            | kind::VARCHAR_COMPRESSED
            | kind::BIT
            | kind::ENUM
            | kind::SET
            | kind::VAR_STRING => {
                column.meta = meta.u16()?;
            }
            kind::FLOAT
            | kind::DOUBLE
            | kind::TIMESTAMP2
            | kind::DATETIME2
            | kind::TIME2
            | kind::JSON
            | kind::VECTOR
            | kind::TINY_BLOB..=kind::BLOB
            | kind::BLOB_COMPRESSED
            | kind::GEOMETRY => column.meta = meta.u8()?.into(),
            _ => {}
        }
        Some(column)
    }
}

/// Reads what `binlog_row_metadata = FULL` adds.
fn optional(r: &mut Reader<'_>, columns: &mut [MapColumn]) -> Option<()> {
    while !r.is_empty() {
        let field = r.u8()?;
        let mut value = Reader::new(r.counted()?);
        match field {
            4 => {
                for column in columns.iter_mut() {
                    let name = value.counted()?;
                    column.name = Some(String::from_utf8(name.to_vec()).ok()?);
                }
            }
            5 | 6 => {
                let wanted = if field == 5 { kind::SET } else { kind::ENUM };
                for column in columns.iter_mut().filter(|column| column.kind == wanted) {
                    let count = value.packed()?;
                    for _ in 0..count {
                        column.members.push(value.counted()?.to_vec());
                    }
                }
            }
            _ => {}
        }
    }
    Some(())
}
