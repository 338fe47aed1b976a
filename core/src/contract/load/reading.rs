//! A reading under way: its findings, the places of what was read, and the shared types it met.

use std::collections::HashMap;
use std::rc::Rc;

use super::findings::Findings;
use super::remarks::Remarks;
use super::written::Written;
use super::yaml::{Node, Span};
use super::{Library, Places};

/// Most fields of a contract, those inside documents and shared types included.
pub(super) const PARTS_MAX: usize = 10_000;
/// Most levels of documents inside documents.
pub(super) const DEPTH_MAX: usize = 16;

/// A reading under way.
pub(super) struct Reading<'l> {
    pub(super) findings: Findings,
    pub(super) library: &'l dyn Library,
    /// Shared types by reference; none for one that cannot be read, so that it is reported once.
    pub(super) types: HashMap<String, Option<Rc<Node>>>,
    /// The shared types that are being read, from the outermost.
    pub(super) chain: Vec<String>,
    /// Nodes of shared types, counted at each use.
    pub(super) copied: usize,
    /// Fields read so far.
    pub(super) parts: usize,
    /// Documents around the field being read.
    pub(super) depth: usize,
    marks: Vec<(String, Span)>,
    /// What only people read.
    pub(super) remarks: Remarks,
    /// What stands at the keys that contracts are read from.
    pub(super) written: Written,
}

impl<'l> Reading<'l> {
    pub(super) fn new(findings: Findings, library: &'l dyn Library) -> Self {
        Reading {
            findings,
            library,
            types: HashMap::new(),
            chain: Vec::new(),
            copied: 0,
            parts: 0,
            depth: 0,
            marks: Vec::new(),
            remarks: Remarks::default(),
            written: Written::default(),
        }
    }

    /// Notes where a part stands.
    pub(super) fn mark(&mut self, pointer: impl Into<String>, at: Span) {
        self.marks.push((pointer.into(), at));
    }

    /// Notes where a part stands, if it stands anywhere.
    pub(super) fn mark_node(&mut self, pointer: impl Into<String>, node: Option<&Node>) {
        if let Some(node) = node {
            self.mark(pointer, node.at);
        }
    }

    /// Where a part was noted to stand.
    pub(super) fn marked(&self, pointer: &str) -> Option<Span> {
        let found = self.marks.iter().find(|(known, _)| known == pointer);
        found.map(|(_, at)| *at)
    }

    /// The places noted since the last call; of two under one name the first counts.
    pub(super) fn places(&mut self) -> Places {
        let mut places = Places {
            remarks: Some(std::mem::take(&mut self.remarks)),
            written: Some(std::mem::take(&mut self.written)),
            ..Places::default()
        };
        for (pointer, at) in std::mem::take(&mut self.marks) {
            places
                .by_pointer
                .entry(pointer)
                .or_insert_with(|| self.findings.place(at));
        }
        places
    }
}
