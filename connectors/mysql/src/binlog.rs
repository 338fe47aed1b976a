//! Events of the binary log, read from their bytes.
//!
//! The driver frames events and takes checksums off; what is inside them is read here, because the driver knows neither MariaDB's events nor what our values look like.
//! Pure, and every length is checked: no bytes panic.

mod json;
pub(crate) mod reader;
pub(crate) mod rows;
pub(crate) mod table_map;

#[cfg(test)]
mod tests;

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use lockstep_core::{Error, Result};

use reader::Reader;

/// Most bytes that one compressed event may unfold to: the most that one packet of the protocol could carry.
const UNFOLDED_MAX: u64 = 1 << 30;

/// What precedes every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// When the statement began, in seconds since 1970.
    pub(crate) at: u32,
    /// What kind of event it is.
    pub(crate) kind: u8,
    /// The server on which it was born.
    pub(crate) server: u32,
    /// Its size in the log, header included.
    pub(crate) size: u32,
    /// Where the next event begins, modulo 2³²; 0 for an event that is in no file.
    pub(crate) end: u32,
    /// Flags.
    pub(crate) flags: u16,
}

impl Header {
    /// The body without the checksum at its end, where there is one: whoever has not been told what events look like can only try.
    pub(crate) fn without_checksum<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        let Some((inner, sum)) = body.split_last_chunk::<4>() else {
            return body;
        };
        let mut crc = flate2::Crc::new();
        crc.update(&self.at.to_le_bytes());
        crc.update(&[self.kind]);
        crc.update(&self.server.to_le_bytes());
        crc.update(&self.size.to_le_bytes());
        crc.update(&self.end.to_le_bytes());
        crc.update(&self.flags.to_le_bytes());
        crc.update(inner);
        if crc.sum() == u32::from_le_bytes(*sum) {
            inner
        } else {
            body
        }
    }

    /// Whether the server made it up for this stream.
    pub(crate) fn is_artificial(&self) -> bool {
        self.flags & 0x20 != 0 || self.end == 0
    }
}

/// An event, as far as this connector cares.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Another file begins.
    Rotate {
        /// Its name.
        file: &'a [u8],
    },
    /// A transaction of MariaDB begins.
    MariaGtid {
        /// Where its sequence counts.
        domain: u32,
        /// Its place in the sequence.
        sequence: u64,
        /// Whether it is one event that is not part of a transaction, such as a change of a table's declaration.
        standalone: bool,
        /// Whether it is a part of a distributed transaction.
        xa: bool,
    },
    /// A transaction of MySQL begins.
    MysqlGtid {
        /// The server on which it was born.
        source: [u8; 16],
        /// Its place in that server's sequence.
        sequence: u64,
    },
    /// A transaction without a name begins, on a server that gives none.
    NoGtid,
    /// A statement.
    Query {
        /// The database it was said in.
        database: Vec<u8>,
        /// Its text.
        text: Vec<u8>,
    },
    /// What rows of a table look like from now on.
    TableMap(&'a [u8]),
    /// Rows.
    Rows(RowsEvent<'a>),
    /// The transaction is committed.
    Commit,
    /// The transaction is prepared for a commit that another one will tell.
    XaPrepare,
    /// The server was at this place of this file when nothing happened.
    Heartbeat {
        /// The file.
        file: &'a [u8],
        /// The place, where the event's header has no room for it.
        place: Option<u64>,
    },
    /// A row whose JSON is told as a difference.
    Partial,
    /// Something went wrong on the server, so that changes may be missing.
    Incident,
    /// What events of the file look like; stands at its beginning, and is as old as it.
    Description,
    /// Nothing that matters here.
    Other,
}

/// Rows of one table that were written, updated or deleted together.
#[derive(Debug)]
pub(crate) struct RowsEvent<'a> {
    /// The number that the table's map gave.
    pub(crate) table: u64,
    /// What happened.
    pub(crate) op: RowOp,
    /// How many columns the table has.
    pub(crate) width: usize,
    /// Which of them the first image holds.
    pub(crate) present: &'a [u8],
    /// Which of them the second image of an update holds.
    pub(crate) present_after: &'a [u8],
    /// The rows, maybe compressed.
    data: &'a [u8],
    compressed: bool,
}

/// What happened to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOp {
    /// They are new.
    Write,
    /// They have other values: two images each.
    Update,
    /// They are gone.
    Delete,
}

impl<'a> Event<'a> {
    /// Reads the body of an event.
    ///
    /// # Errors
    /// Bytes that are no such event.
    pub(crate) fn parse(header: &Header, body: &'a [u8]) -> Result<Event<'a>> {
        let mut reader = Reader::new(body);
        let event = Event::read(header.kind, &mut reader);
        event.ok_or_else(|| {
            Error::unexpected(format!(
                "an event of kind {} in the binary log cannot be read",
                header.kind
            ))
            .with("bytes", body.len())
            .with("end", header.end)
        })
    }

    fn read(kind: u8, r: &mut Reader<'a>) -> Option<Event<'a>> {
        Some(match kind {
            2 => query(r, false)?,
            165 => query(r, true)?,
            4 => {
                r.take(8)?;
                Event::Rotate { file: r.rest() }
            }
            15 => Event::Description,
            16 => Event::Commit,
            38 => Event::XaPrepare,
            // The text of `LOAD DATA`, told as a statement, has its own fields between the header and the query's.
            18 => load(r)?,
            19 => Event::TableMap(r.rest()),
            23 | 30 | 166 | 169 => rows(r, kind, RowOp::Write)?,
            24 | 31 | 167 | 170 => rows(r, kind, RowOp::Update)?,
            25 | 32 | 168 | 171 => rows(r, kind, RowOp::Delete)?,
            26 => Event::Incident,
            27 => Event::Heartbeat {
                file: r.rest(),
                place: None,
            },
            41 => heartbeat(r)?,
            33 => {
                r.take(1)?;
                let source = r.take(16)?.try_into().ok()?;
                Event::MysqlGtid {
                    source,
                    sequence: r.u64()?,
                }
            }
            34 => Event::NoGtid,
            39 => Event::Partial,
            162 => {
                let (sequence, domain) = (r.u64()?, r.u32()?);
                let flags = r.u8()?;
                Event::MariaGtid {
                    domain,
                    sequence,
                    standalone: flags & 1 != 0,
                    xa: flags & (64 | 128) != 0,
                }
            }
            _ => Event::Other,
        })
    }
}

fn query<'a>(r: &mut Reader<'a>, compressed: bool) -> Option<Event<'a>> {
    r.take(8)?;
    let database = r.u8()?;
    r.take(2)?;
    let status = r.u16()?;
    r.take(usize::from(status))?;
    let database = r.take(usize::from(database))?.to_vec();
    r.take(1)?;
    let text = if compressed {
        unfold(r.rest())?
    } else {
        r.rest().to_vec()
    };
    Some(Event::Query { database, text })
}

/// `EXECUTE_LOAD_QUERY`: a query with thirteen more bytes in its fixed part.
fn load<'a>(r: &mut Reader<'a>) -> Option<Event<'a>> {
    r.take(8)?;
    let database = r.u8()?;
    r.take(2)?;
    let status = r.u16()?;
    r.take(13)?;
    r.take(usize::from(status))?;
    let database = r.take(usize::from(database))?.to_vec();
    r.take(1)?;
    Some(Event::Query {
        database,
        text: r.rest().to_vec(),
    })
}

fn rows<'a>(r: &mut Reader<'a>, kind: u8, op: RowOp) -> Option<Event<'a>> {
    let table = r.uint(6)?;
    r.take(2)?;
    // The second version of the event has room for more, whose length counts itself.
    if matches!(kind, 30..=32 | 169..=171) {
        let extra = usize::from(r.u16()?);
        r.take(extra.checked_sub(2)?)?;
    }
    let width = usize::try_from(r.packed()?)
        .ok()
        .filter(|width| *width <= 4096)?;
    let present = r.take(width.div_ceil(8))?;
    let present_after = match op {
        RowOp::Update => r.take(width.div_ceil(8))?,
        _ => present,
    };
    Some(Event::Rows(RowsEvent {
        table,
        op,
        width,
        present,
        present_after,
        data: r.rest(),
        compressed: kind >= 160,
    }))
}

/// The second version of the event: fields by number and length.
fn heartbeat<'a>(r: &mut Reader<'a>) -> Option<Event<'a>> {
    let (mut file, mut place) = (&[][..], None);
    while !r.is_empty() {
        let field = r.u8()?;
        if field == 0 {
            break;
        }
        let length = usize::try_from(r.packed()?).ok()?;
        let mut value = Reader::new(r.take(length)?);
        match field {
            1 => file = value.rest(),
            2 => place = Some(value.packed()?),
            _ => {}
        }
    }
    Some(Event::Heartbeat { file, place })
}

impl RowsEvent<'_> {
    /// The rows' bytes.
    ///
    /// # Errors
    /// A compressed event that is broken.
    pub(crate) fn bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>> {
        if !self.compressed {
            return Ok(self.data.into());
        }
        let unfolded = unfold(self.data).ok_or_else(|| {
            Error::unexpected("a compressed event of the binary log cannot be read")
                .with("bytes", self.data.len())
        })?;
        Ok(unfolded.into())
    }

    /// How many bytes its rows have when unfolded, by the event's own word.
    pub(crate) fn size(&self) -> u64 {
        if self.compressed {
            unfolded(&mut Reader::new(self.data)).map_or(0, |(_, size)| size)
        } else {
            self.data.len() as u64
        }
    }
}

/// MariaDB's envelope of compressed bytes: how, and how long they will be.
fn unfolded(r: &mut Reader<'_>) -> Option<(u8, u64)> {
    let head = r.u8()?;
    let bytes = r.take(usize::from(head & 7))?;
    let size = bytes
        .iter()
        .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    Some(((head & 0x70) >> 4, size))
}

fn unfold(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let (how, size) = unfolded(&mut reader)?;
    if how != 0 || size > UNFOLDED_MAX {
        return None;
    }
    let mut out = Vec::new();
    // One more would be too many.
    let mut decoder = ZlibDecoder::new(reader.rest()).take(size + 1);
    decoder.read_to_end(&mut out).ok()?;
    (out.len() as u64 == size).then_some(out)
}
