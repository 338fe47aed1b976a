//! The frames of the protocol, and what a replication stream puts into them; pure.

use bytes::Bytes;
use lockstep_core::{Error, Result};

use super::{Line, MESSAGE_MAX};

/// Bytes before a message's body: its tag and its length.
pub(crate) const HEADER: usize = 5;

/// What one copied message of a replication stream holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// A piece of the log, decoded by the output plug-in.
    Wal {
        /// When the server sent it: microseconds since 2000.
        at: i64,
        /// The piece.
        bytes: Bytes,
    },
    /// The server's word on how far it has read.
    Keepalive {
        /// Everything before it has been sent, as far as it is for us.
        end: u64,
        /// Whether it wants to hear from us at once.
        reply: bool,
    },
}

/// The length of the first message of a buffer, header included, once it is there as a whole.
pub(crate) fn whole(buffer: &[u8]) -> Result<Option<usize>> {
    let Some(header) = buffer.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if !(4..=MESSAGE_MAX).contains(&length) {
        return Err(Error::unexpected(format!(
            "the server sent a message of {length} bytes; expected 4 to {MESSAGE_MAX}"
        ))
        .help("check that the address is that of a PostgreSQL server"));
    }
    Ok((buffer.len() > length).then_some(length + 1))
}

/// Reads the body of a copied message of a replication stream.
pub(crate) fn data(body: &Bytes) -> Result<Data> {
    // 'w', then start, end and time of the server, 8 bytes each; 'k', then end and time, and whether to answer.
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    match (body.first(), body.len()) {
        (Some(b'w'), 25..) => Ok(Data::Wal {
            at: number(&body[17..25]).cast_signed(),
            bytes: body.slice(25..),
        }),
        (Some(b'k'), 18..) => Ok(Data::Keepalive {
            end: number(&body[1..9]),
            reply: body[17] != 0,
        }),
        (tag, length) => Err(Error::unexpected(format!(
            "the replication stream holds a message {tag:?} of {length} bytes that is not known"
        ))),
    }
}

/// Reads the body of a row of a simple query.
pub(super) fn line(body: &[u8]) -> Result<Line> {
    let broken = || Error::unexpected("the server sent a row that ends too early");
    let mut rest = body.get(2..).ok_or_else(broken)?;
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut line = Vec::new();
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        rest = tail;
        // A length of minus one is null.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            line.push(None);
            continue;
        };
        let (text, tail) = rest.split_at_checked(length).ok_or_else(broken)?;
        rest = tail;
        line.push(Some(String::from_utf8_lossy(text).into_owned()));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_taken_once_it_is_whole() {
        let message = [b'Z', 0, 0, 0, 5, b'I', b'x'];
        for cut in 0..6 {
            assert_eq!(whole(&message[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(whole(&message).unwrap(), Some(6));
        assert!(whole(&[b'Z', 0, 0, 0, 3]).is_err());
        assert!(whole(b"HTTP/").is_err());
    }

    #[test]
    fn a_keepalive_says_how_far_and_whether_to_answer() {
        let mut bytes = vec![b'k'];
        bytes.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.push(1);
        let (end, reply) = (0x0102_0304_0506_0708, true);
        assert_eq!(data(&bytes.into()).unwrap(), Data::Keepalive { end, reply });
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_panic(bytes: Vec<u8>) {
            let _ = whole(&bytes);
            let _ = line(&bytes);
            let _ = data(&bytes.into());
        }
    }
}
