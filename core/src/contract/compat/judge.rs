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
    target: &'a Contract,
    source_schema: Json,
    target_schema: Json,
    compiled: OnceCell<Option<[Validator; 2]>>,
}

impl<'a> Way<'a> {
    pub(super) fn new(source: &Contract, target: &'a Contract, carry: Carry<'a>) -> Way<'a> {
        let source_schema = schema::writer(source);
        let target_schema = schema::reader(target);
        Way {
            writer: Set::read(&source_schema),
            reader: Set::read(&target_schema),
            carry,
            target,
            source_schema,
            target_schema,
            compiled: OnceCell::new(),
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
        let Some([writer, reader]) = self.validators() else {
            return false;
        };
        let Some(objects) = self.read() else {
            return false;
        };
        if !self.writer.holds(document) || !writer.is_valid(document) {
            return false;
        }
        let Some(carried) = self.carry.apply(document, objects) else {
            return false;
        };
        // Bounds in time stand in no keyword that validators must know.
        !self.reader.holds(&carried) || !reader.is_valid(&carried)
    }

    /// Whether the document may be written under the one version and not under the other.
    pub(super) fn shows_writer(&self, document: &Json) -> bool {
        let target = schema::writer(self.target);
        let Some([writer, _]) = self.validators() else {
            return false;
        };
        self.writer.holds(document)
            && writer.is_valid(document)
            && !Set::read(&target).holds(document)
            && jsonschema::validator_for(&target).is_ok_and(|target| !target.is_valid(document))
    }

    fn validators(&self) -> Option<&[Validator; 2]> {
        let compile = || {
            let writer = jsonschema::validator_for(&self.source_schema).ok()?;
            let reader = jsonschema::validator_for(&self.target_schema).ok()?;
            Some([writer, reader])
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}
