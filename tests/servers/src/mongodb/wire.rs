//! As much of MongoDB's protocol as it takes to start a replica set: one command, one answer, a connection each.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a server may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// The largest answer that is read.
const ANSWER_MAX: usize = 1 << 20;
/// The operation of every message.
const OP_MSG: i32 = 2013;

/// A value in a command.
#[derive(Clone, Debug)]
pub enum Field {
    /// A 32-bit number.
    Int(i32),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// A document within.
    Document(Vec<(String, Field)>),
    /// A list.
    Array(Vec<Field>),
}

/// What a server answered to a command.
#[derive(Debug)]
pub struct Reply(Vec<u8>);

/// Sends a command to a server on this machine; an answer that is not `ok` is an error in the server's words.
pub(super) fn command(port: u16, database: &str, fields: &[(&str, Field)]) -> Result<Reply> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
    let mut all: Vec<(String, Field)> = fields
        .iter()
        .map(|(name, field)| ((*name).to_owned(), field.clone()))
        .collect();
    all.push(("$db".to_owned(), Field::Text(database.to_owned())));
    let body = document(&all);
    let mut message = Vec::with_capacity(body.len() + 21);
    let length = i32::try_from(body.len() + 21).context("the command is too long")?;
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    stream.write_all(&message)?;

    let mut head = [0; 21];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    ensure!(
        (26..ANSWER_MAX).contains(&length) && head[20] == 0,
        "the server answered in another protocol"
    );
    let mut body = vec![0; length - 21];
    stream.read_exact(&mut body)?;
    let reply = Reply(body);
    if !reply.is_true("ok") {
        let said = reply.text("errmsg").unwrap_or_default();
        let name = reply.text("codeName").unwrap_or_default();
        bail!("{name}: {said}");
    }
    Ok(reply)
}

impl Reply {
    /// Whether a field of the answer is true, or a number other than zero.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.field(name).is_some_and(|(kind, bytes)| match kind {
            0x01 | 0x08 | 0x10 | 0x12 => bytes.iter().any(|byte| *byte != 0),
            _ => false,
        })
    }

    /// Whether there is such a field.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// A whole number of the answer.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        let (kind, bytes) = self.field(name)?;
        match kind {
            0x10 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            0x12 => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let (kind, bytes) = self.field(name)?;
        let text = bytes.get(4..bytes.len().saturating_sub(1))?;
        (kind == 0x02).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The type and the bytes of a field of the answer itself.
    fn field(&self, name: &str) -> Option<(u8, &[u8])> {
        let mut rest = self.0.get(4..)?;
        loop {
            let (&kind, after) = rest.split_first()?;
            let end = after.iter().position(|byte| *byte == 0)?;
            let (key, value) = (after.get(..end)?, after.get(end + 1..)?);
            let length = match kind {
                0x01 | 0x09 | 0x11 | 0x12 => 8,
                0x02 => 4 + length(value)?,
                0x03 | 0x04 => length(value)?,
                0x05 => 5 + length(value)?,
                0x07 => 12,
                0x08 => 1,
                0x0a => 0,
                0x10 => 4,
                _ => return None,
            };
            let bytes = value.get(..length)?;
            if key == name.as_bytes() {
                return Some((kind, bytes));
            }
            rest = value.get(length..)?;
        }
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let four: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(i32::from_le_bytes(four)).ok()
}

fn document(fields: &[(String, Field)]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (name, field) in fields {
        let (kind, value) = match field {
            Field::Int(number) => (0x10, number.to_le_bytes().to_vec()),
            Field::Bool(flag) => (0x08, vec![u8::from(*flag)]),
            Field::Text(text) => {
                let mut value = size(text.len() + 1).to_vec();
                value.extend(text.as_bytes());
                value.push(0);
                (0x02, value)
            }
            Field::Document(fields) => (0x03, document(fields)),
            Field::Array(items) => {
                let numbered = items.iter().enumerate();
                let fields: Vec<_> = numbered.map(|(i, f)| (i.to_string(), f.clone())).collect();
                (0x04, document(&fields))
            }
        };
        bytes.push(kind);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value);
    }
    bytes.push(0);
    let length = size(bytes.len());
    bytes[..4].copy_from_slice(&length);
    bytes
}

fn size(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_and_read() {
        let fields = [
            ("n".to_owned(), Field::Int(7)),
            ("list".to_owned(), Field::Array(vec![Field::Bool(true)])),
            ("errmsg".to_owned(), Field::Text("no".to_owned())),
            ("ok".to_owned(), Field::Int(0)),
        ];
        let reply = Reply(document(&fields));
        assert!(reply.is_true("n") && !reply.is_true("ok") && !reply.is_true("missing"));
        assert_eq!(reply.text("errmsg").as_deref(), Some("no"));
        assert_eq!((reply.text("n"), reply.number("n")), (None, Some(7)));
    }

    #[test]
    fn what_is_no_document_is_not_read() {
        for bytes in [
            &[][..],
            &[1, 0, 0, 0, 2],
            &[9, 0, 0, 0, 2, b'a', 0, 255, 255, 255, 255],
        ] {
            assert!(Reply(bytes.to_vec()).text("a").is_none());
        }
    }
}
