//! Messages that applications write into the server's log, as rows of tables that no catalog knows.
//!
//! `SELECT pg_logical_emit_message(true, 'orders', '{"id": 7}')` writes one that belongs to its transaction: it is told where the transaction is, or not at all.
//! Does not know what stands in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::position::Mark;
use lockstep_core::{Column, Row, Shape, Type, Value};

/// The messages that are rows of one table.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    prefix: String,
    /// The table: where the message stands, which names it, and what it says.
    pub(crate) shape: Arc<Shape>,
}

impl Messages {
    /// The tables of messages that a configuration names, as far as flows read them.
    pub(crate) fn of(configured: &BTreeMap<String, String>, tables: &[String]) -> Vec<Messages> {
        let read = configured.iter().filter(|(name, _)| tables.contains(name));
        let messages = |(name, prefix): (&String, &String)| Messages {
            prefix: prefix.clone(),
            shape: Arc::new(Shape {
                name: name.clone(),
                columns: vec![
                    Column::new("id", Type::Text, false),
                    Column::new("content", Type::Text, false),
                ],
                key: vec![0],
            }),
        };
        read.map(messages).collect()
    }

    /// Whether messages of this prefix are its rows.
    pub(crate) fn has(&self, prefix: &[u8]) -> bool {
        self.prefix.as_bytes() == prefix
    }

    /// The row of a message; bytes that are no text stay bytes, and the contract's gate says what is wrong with that record.
    pub(crate) fn row(&self, mark: Mark, content: &[u8]) -> Row {
        let content = match std::str::from_utf8(content) {
            Ok(text) => Value::text(text),
            Err(_) => Value::Bytes(content.to_vec()),
        };
        Row::of([Value::text(mark.to_text()), content])
    }
}
