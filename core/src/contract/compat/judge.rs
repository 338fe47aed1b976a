//! The two schemas of one direction, and the judge of witnesses between them.

use std::cell::OnceCell;

use jsonschema::Validator;
use serde_json::Value as Json;

use super::carry::Carry;
use super::members;
use super::set::{Objects, Set};
use crate::contract::{Contract, schema};

/// One direction of a comparison: what is written under one version, read under another.
pub(super) struct Way<'a> {
    /// What writers of the one version may write.
    pub(super) writer: Set,
    /// What readers of the other must accept.
    pub(super) reader: Set,
    /// What happens to records in between.
    pub(super) carry: Carry<'a>,
    writer_schema: Judge,
    reader_schema: Judge,
}

impl<'a> Way<'a> {
    pub(super) fn new(source: &Contract, target: &Contract, carry: Carry<'a>) -> Way<'a> {
        let (writer, reader) = (schema::writer(source), schema::reader(target));
        Way {
            writer: Set::read(&writer),
            reader: Set::read(&reader),
            carry,
            writer_schema: Judge::new(writer),
            reader_schema: Judge::new(reader),
        }
    }

    /// The records that are written; `None` where the schema is not that of records.
    pub(super) fn written(&self) -> Option<&Objects> {
        self.writer.object.as_deref()
    }

    /// The records that are read.
    pub(super) fn read(&self) -> Option<&Objects> {
        self.reader.object.as_deref()
    }

    /// Whether nothing can be written at all, so that everything that is can be read.
    pub(super) fn is_void(&self) -> bool {
        members::some(&self.writer, 1).is_empty()
    }

    /// Whether the document may be written and cannot be read, by both schemas and by our own reading of them.
    pub(super) fn shows(&self, document: &Json) -> bool {
        let Some(objects) = self.read() else {
            return false;
        };
        // Our own reading is quick; validators are built for what it takes for a witness only.
        if !self.writer.holds(document) {
            return false;
        }
        let Some(carried) = self.carry.apply(document, objects) else {
            return false;
        };
        !self.reader.holds(&carried)
            && self.writer_schema.accepts(document) == Some(true)
            && self.reader_schema.accepts(&carried) == Some(false)
    }
}

impl Way<'_> {
    /// Whether the document may be sent on this way, and may not be sent by producers of the other side, which is this way's `back`.
    pub(super) fn refuses(&self, back: &Way<'_>, document: &Json) -> bool {
        let Some(objects) = back.written() else {
            return false;
        };
        let Some(carried) = self.carry.apply(document, objects) else {
            return false;
        };
        self.writer.holds(document)
            && !back.writer.holds(&carried)
            && self.writer_schema.accepts(document) == Some(true)
            && back.writer_schema.accepts(&carried) == Some(false)
    }
}

/// A schema, and its validator once somebody asks it.
struct Judge {
    schema: Json,
    compiled: OnceCell<Option<Validator>>,
}

impl Judge {
    fn new(schema: Json) -> Judge {
        Judge {
            schema,
            compiled: OnceCell::new(),
        }
    }

    fn accepts(&self, document: &Json) -> Option<bool> {
        let compile = || jsonschema::validator_for(&self.schema).ok();
        let validator = self.compiled.get_or_init(compile).as_ref()?;
        Some(validator.is_valid(document))
    }
}
