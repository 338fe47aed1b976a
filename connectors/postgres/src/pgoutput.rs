//! What the output plug-in `pgoutput` says; pure.
//!
//! A [`Message`] is one of version 1 of its protocol; what version 2 puts around them is a [`Frame`].
//! Messages borrow the bytes they were read from, so that a row costs no copy before its values are made.
//! Nothing here knows tables or types beyond their numbers.
//!
//! Invariant: no bytes panic, and what is read claims no more than what is there.

mod frame;
#[cfg(test)]
mod tests;

use lockstep_core::{Error, Result};

pub(crate) use frame::Frame;

/// One message.
#[derive(Debug, PartialEq)]
pub(crate) enum Message<'a> {
    /// A transaction begins.
    Begin {
        /// Where its commit stands in the server's log.
        commit: u64,
        /// When it committed: microseconds since 2000.
        at: i64,
        /// Its number.
        xid: u32,
    },
    /// The transaction ends.
    Commit {
        /// Where its commit stands.
        commit: u64,
        /// Where the server's log goes on behind it.
        end: u64,
    },
    /// The transaction was replicated into this server by somebody.
    Origin {
        /// The name under which they did it.
        name: &'a str,
    },
    /// What a table looks like; comes before its first row, and again whenever it may have changed.
    Relation(Relation<'a>),
    /// What a type is called; not needed, because types are known by number.
    Type,
    /// A new row.
    Insert {
        /// The table's number.
        table: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// Other values for a row.
    Update {
        /// The table's number.
        table: u32,
        /// What the row was, as far as the table's replica identity tells.
        old: Option<Old<'a>>,
        /// What it is.
        new: Tuple<'a>,
    },
    /// A row goes.
    Delete {
        /// The table's number.
        table: u32,
        /// What it was.
        old: Old<'a>,
    },
    /// All rows of tables go.
    Truncate {
        /// The tables' numbers.
        tables: Vec<u32>,
    },
    /// A message that a program wrote into the log.
    Note {
        /// Whether it belongs to the transaction that is under way; else it stands by itself.
        transactional: bool,
        /// Where it stands.
        at: u64,
        /// What kind of message its writer calls it.
        prefix: &'a [u8],
        /// What it says.
        content: &'a [u8],
    },
}

/// What a table looks like.
#[derive(Debug, PartialEq)]
pub(crate) struct Relation<'a> {
    /// Its number.
    pub(crate) table: u32,
    /// Its schema's name; empty for `pg_catalog`.
    pub(crate) schema: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its replica identity, in the catalog's letter: `d`, `n`, `f`, `i`.
    pub(crate) identity: u8,
    /// Its columns, in the order of every row.
    pub(crate) columns: Vec<Attribute<'a>>,
}

/// A column of a table.
#[derive(Debug, PartialEq)]
pub(crate) struct Attribute<'a> {
    /// Whether it is part of the replica identity.
    pub(crate) identifies: bool,
    /// Its name.
    pub(crate) name: &'a str,
    /// The number of its type.
    pub(crate) kind: u32,
    /// What its type is bounded by, such as the digits of a decimal.
    pub(crate) modifier: i32,
}

/// A row as it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Old<'a> {
    /// Only the columns of the replica identity are right; the others stand as null.
    Key(Tuple<'a>),
    /// The whole row.
    Full(Tuple<'a>),
}

/// The columns of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tuple<'a> {
    count: u16,
    bytes: &'a [u8],
}

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datum<'a> {
    /// Null.
    Null,
    /// Stored apart from the row, not touched, and so not sent.
    Unchanged,
    /// Its text.
    Text(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// Bytes that are no message of the protocol's first version.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Message<'a>> {
        let mut input = Input { rest: bytes };
        let tag = input.byte();
        let message = tag.and_then(|tag| input.message(tag));
        message.ok_or_else(|| {
            let tag = tag.map(|tag| tag.escape_ascii().to_string());
            Error::unexpected(format!(
                "the replication stream holds {} bytes with the tag `{}` that are no message of pgoutput",
                bytes.len(),
                tag.unwrap_or_default()
            ))
            .help("check that the slot's plug-in is pgoutput, and report this")
        })
    }
}

impl<'a> Tuple<'a> {
    /// The columns, in the order of the table's [`Relation`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = Datum<'a>> + use<'a> {
        let mut input = Input { rest: self.bytes };
        (0..self.count).map_while(move |_| input.datum())
    }

    /// How many bytes they take.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl<'a> Old<'a> {
    /// The columns.
    pub(crate) fn tuple(&self) -> Tuple<'a> {
        match self {
            Old::Key(tuple) | Old::Full(tuple) => *tuple,
        }
    }
}

/// Bytes that are still to be read.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn message(&mut self, tag: u8) -> Option<Message<'a>> {
        Some(match tag {
            b'B' => Message::Begin {
                commit: self.u64()?,
                at: self.u64()?.cast_signed(),
                xid: self.u32()?,
            },
            b'C' => {
                self.byte()?;
                Message::Commit {
                    commit: self.u64()?,
                    end: self.u64()?,
                }
            }
            b'O' => {
                self.u64()?;
                Message::Origin { name: self.name()? }
            }
            b'R' => Message::Relation(self.relation()?),
            b'Y' => Message::Type,
            b'I' => {
                let table = self.u32()?;
                self.expect(b'N')?;
                Message::Insert {
                    table,
                    new: self.tuple()?,
                }
            }
            b'U' => {
                let table = self.u32()?;
                let old = match self.byte()? {
                    b'N' => None,
                    kind => {
                        let old = self.old(kind)?;
                        self.expect(b'N')?;
                        Some(old)
                    }
                };
                Message::Update {
                    table,
                    old,
                    new: self.tuple()?,
                }
            }
            b'D' => {
                let table = self.u32()?;
                let kind = self.byte()?;
                Message::Delete {
                    table,
                    old: self.old(kind)?,
                }
            }
            b'T' => {
                let count = self.u32()?;
                self.byte()?;
                // A lying count ends the list early instead of taking memory.
                let tables: Option<Vec<u32>> = (0..count).map(|_| self.u32()).collect();
                Message::Truncate { tables: tables? }
            }
            b'M' => {
                let transactional = self.byte()? & 1 != 0;
                let at = self.u64()?;
                let prefix = self.until_zero()?;
                let length = self.u32()? as usize;
                Message::Note {
                    transactional,
                    at,
                    prefix,
                    content: self.take(length)?,
                }
            }
            _ => return None,
        })
    }

    fn relation(&mut self) -> Option<Relation<'a>> {
        let (table, schema, name, identity) =
            (self.u32()?, self.name()?, self.name()?, self.byte()?);
        let count = self.u16()?;
        let attribute = |_| {
            Some(Attribute {
                identifies: self.byte()? & 1 != 0,
                name: self.name()?,
                kind: self.u32()?,
                modifier: self.u32()?.cast_signed(),
            })
        };
        let columns: Option<Vec<Attribute<'a>>> = (0..count).map(attribute).collect();
        Some(Relation {
            table,
            schema,
            name,
            identity,
            columns: columns?,
        })
    }

    fn old(&mut self, kind: u8) -> Option<Old<'a>> {
        match kind {
            b'K' => Some(Old::Key(self.tuple()?)),
            b'O' => Some(Old::Full(self.tuple()?)),
            _ => None,
        }
    }

    fn tuple(&mut self) -> Option<Tuple<'a>> {
        let count = self.u16()?;
        let bytes = self.rest;
        for _ in 0..count {
            self.datum()?;
        }
        let length = bytes.len() - self.rest.len();
        Some(Tuple {
            count,
            bytes: &bytes[..length],
        })
    }

    fn datum(&mut self) -> Option<Datum<'a>> {
        Some(match self.byte()? {
            b'n' => Datum::Null,
            b'u' => Datum::Unchanged,
            b't' => {
                let length = self.u32()? as usize;
                Datum::Text(self.take(length)?)
            }
            _ => return None,
        })
    }

    fn expect(&mut self, tag: u8) -> Option<()> {
        (self.byte()? == tag).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn until_zero(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.iter().position(|byte| *byte == 0)?;
        let text = self.take(length)?;
        self.byte()?;
        Some(text)
    }

    fn name(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.until_zero()?).ok()
    }
}
