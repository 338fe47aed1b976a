//! What version 2 of the protocol puts around messages: a large transaction comes in blocks before it ends, those of several interleaved, and parts of it may be taken back.
//!
//! Inside a block every message names the transaction or subtransaction it belongs to; without that number it is a [`Message`](super::Message) of version 1.

use lockstep_core::{Error, Result};

use super::Input;

/// One message, as far as its place in a stream of blocks goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A block of a transaction begins.
    Start {
        /// The transaction.
        xid: u32,
    },
    /// The block ends; the transaction goes on.
    Stop,
    /// A transaction that came in blocks is committed.
    Commit {
        /// The transaction.
        xid: u32,
        /// Where its commit stands in the server's log.
        commit: u64,
        /// Where the server's log goes on behind it.
        end: u64,
        /// When it committed: microseconds since 2000.
        at: i64,
    },
    /// What came of a transaction, or of a part of it, never happened.
    Abort {
        /// The transaction.
        xid: u32,
        /// The part; the same number where it is all of it.
        part: u32,
    },
    /// A message of version 1 inside a block.
    Piece {
        /// The transaction or subtransaction that it belongs to; none where it belongs to the whole.
        part: Option<u32>,
    },
    /// A message of version 1 outside of blocks.
    Plain,
}

impl Frame {
    /// Reads what a message is, inside of a block or not.
    ///
    /// # Errors
    /// A message that ends before it says so.
    pub(crate) fn parse(bytes: &[u8], inside: bool) -> Result<Frame> {
        let mut input = Input { rest: bytes };
        input.frame(inside).ok_or_else(|| {
            let tag = bytes.first().map(|tag| tag.escape_ascii().to_string());
            Error::unexpected(format!(
                "the replication stream holds a block of {} bytes with the tag `{}` that cannot be read",
                bytes.len(),
                tag.unwrap_or_default()
            ))
            .help("set `protocol = 1` for the system, and report this")
        })
    }

    /// How many bytes of a piece stand between its tag and its content.
    pub(crate) fn piece_header(part: Option<u32>) -> usize {
        if part.is_some() { 4 } else { 0 }
    }
}

impl Input<'_> {
    fn frame(&mut self, inside: bool) -> Option<Frame> {
        Some(match self.byte()? {
            b'S' => {
                let xid = self.u32()?;
                self.byte()?;
                Frame::Start { xid }
            }
            b'E' => Frame::Stop,
            b'c' => {
                let xid = self.u32()?;
                self.byte()?;
                Frame::Commit {
                    xid,
                    commit: self.u64()?,
                    end: self.u64()?,
                    at: self.u64()?.cast_signed(),
                }
            }
            b'A' => Frame::Abort {
                xid: self.u32()?,
                part: self.u32()?,
            },
            _ if !inside => Frame::Plain,
            // The only one without a number.
            b'O' => Frame::Piece { part: None },
            _ => Frame::Piece {
                part: Some(self.u32()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_and_what_is_in_them_are_told_apart() {
        let mut commit = vec![b'c', 0, 0, 0, 7, 0];
        for number in [1_u64, 2, 3] {
            commit.extend(number.to_be_bytes());
        }
        let (xid, part) = (7, 9);
        for (bytes, inside, frame) in [
            (&b"S\0\0\0\x07\x01"[..], false, Frame::Start { xid }),
            (b"E", true, Frame::Stop),
            (
                &commit,
                false,
                Frame::Commit {
                    xid,
                    commit: 1,
                    end: 2,
                    at: 3,
                },
            ),
            (b"A\0\0\0\x07\0\0\0\x09", false, Frame::Abort { xid, part }),
            (b"I\0\0\0\x09rest", true, Frame::Piece { part: Some(9) }),
            (b"Oname\0", true, Frame::Piece { part: None }),
            (b"I\0\0\0\x09rest", false, Frame::Plain),
            (b"B", false, Frame::Plain),
        ] {
            assert_eq!(Frame::parse(bytes, inside).unwrap(), frame, "{bytes:?}");
        }
        for cut in 0..commit.len() {
            assert!(Frame::parse(&commit[..cut], false).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, inside: bool) {
            let _ = Frame::parse(&bytes, inside);
        }
    }
}
