//! One subschema as the decision sees it: keywords with their defaults filled in, children by number.
//!
//! A node says nothing about documents, references or drafts; the reader has settled those.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use serde_json::Value as Json;

use super::value::{canonical, kind};

/// The number of a node.
pub(super) type Id = u32;
/// A name of an object's member.
pub(super) type Name = Arc<str>;
/// The node that accepts everything.
pub(super) const YES: Id = 0;
/// The node that accepts nothing.
pub(super) const NO: Id = 1;

/// What a JSON value is; integers and other numbers are apart because they have different bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer,
    Fraction,
    Text,
    Array,
    Object,
}

impl Kind {
    /// Every kind, the cheap ones first.
    pub(super) const ALL: [Kind; 7] = [
        Kind::Null,
        Kind::Bool,
        Kind::Integer,
        Kind::Fraction,
        Kind::Text,
        Kind::Array,
        Kind::Object,
    ];
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const ALL: Kinds = Kinds(127);
    pub(super) const NONE: Kinds = Kinds(0);

    pub(super) fn of(kind: Kind) -> Kinds {
        Kinds(1 << kind as u8)
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & Kinds::of(kind).0 != 0
    }

    pub(super) fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub(super) fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds::ALL
    }
}

/// One end of a range of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) at: BigDecimal,
    /// Whether the end itself is outside.
    pub(super) open: bool,
}

/// Listed values.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub(super) list: Vec<Json>,
    keys: HashSet<String>,
}

impl Values {
    /// The values, each once.
    pub(super) fn new(values: impl IntoIterator<Item = Json>) -> Values {
        let mut keys = HashSet::new();
        let list = values
            .into_iter()
            .filter(|value| keys.insert(canonical(value)))
            .collect();
        Values { list, keys }
    }

    pub(super) fn has(&self, value: &Json) -> bool {
        self.keys.contains(&canonical(value))
    }

    pub(super) fn kinds(&self) -> Kinds {
        let each = self.list.iter().map(|value| Kinds::of(kind(value)));
        each.fold(Kinds::NONE, Kinds::or)
    }
}

/// `contains` with its counts.
#[derive(Clone, Debug)]
pub(super) struct Contains {
    pub(super) schema: Id,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
}

/// One subschema.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) kinds: Kinds,
    pub(super) values: Option<Arc<Values>>,

    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) multiple: Option<BigDecimal>,

    pub(super) min_length: u64,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<Name>,
    /// A hint for texts that are made up; it says nothing about which are valid.
    pub(super) format: Option<Name>,

    pub(super) prefix: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) contains: Option<Contains>,
    pub(super) min_items: u64,
    pub(super) max_items: Option<u64>,
    pub(super) unique: bool,

    pub(super) members: BTreeMap<Name, Id>,
    pub(super) patterns: BTreeMap<Name, Id>,
    pub(super) others: Option<Id>,
    pub(super) names: Option<Id>,
    pub(super) required: BTreeSet<Name>,
    pub(super) min_members: u64,
    pub(super) max_members: Option<u64>,
    pub(super) needs: BTreeMap<Name, BTreeSet<Name>>,
    pub(super) needs_schema: BTreeMap<Name, Id>,

    pub(super) all: Vec<Id>,
    pub(super) any: Option<Vec<Id>>,
    pub(super) one: Option<Vec<Id>>,
    pub(super) not: Option<Id>,
    /// `if`, `then` and `else`.
    pub(super) condition: Option<[Id; 3]>,

    /// Keywords that are not understood here: the same text means the same values.
    pub(super) opaque: Option<String>,
    /// What those keywords are about.
    pub(super) about: Vec<Id>,
}

impl Node {
    pub(super) fn nothing() -> Node {
        Node {
            kinds: Kinds::NONE,
            ..Node::default()
        }
    }

    pub(super) fn opaque(text: String) -> Node {
        Node {
            opaque: Some(text),
            ..Node::default()
        }
    }

    pub(super) fn of_values(values: impl IntoIterator<Item = Json>) -> Node {
        Node {
            values: Some(Arc::new(Values::new(values))),
            ..Node::default()
        }
    }

    pub(super) fn negation(of: Id) -> Node {
        Node {
            not: Some(of),
            ..Node::default()
        }
    }

    /// Takes away what says nothing, so that equal meanings are more often written equally.
    pub(super) fn tidy(&mut self) {
        if let Some(values) = &self.values {
            let kinds = self.kinds;
            if values.list.iter().any(|value| !kinds.has(kind(value))) {
                let kept = values.list.iter().filter(|value| kinds.has(kind(value)));
                self.values = Some(Arc::new(Values::new(kept.cloned())));
            }
            self.kinds = self
                .kinds
                .and(self.values.as_ref().map_or(Kinds::ALL, |v| v.kinds()));
        }
        if self.kinds == Kinds::NONE {
            *self = Node::nothing();
            return;
        }
        if !self.kinds.has(Kind::Integer) && !self.kinds.has(Kind::Fraction) {
            (self.low, self.high, self.multiple) = (None, None, None);
        }
        if !self.kinds.has(Kind::Text) {
            (self.min_length, self.max_length, self.pattern) = (0, None, None);
            self.format = None;
        }
        self.tidy_array();
        self.tidy_object();
        self.all.retain(|&child| child != YES);
        self.all.sort_unstable();
        self.all.dedup();
        if let Some(any) = &mut self.any {
            any.retain(|&child| child != NO);
            any.sort_unstable();
            any.dedup();
            if any.contains(&YES) {
                self.any = None;
            } else if any.len() == 1 {
                self.all.append(any);
                self.any = None;
            } else if any.is_empty() {
                *self = Node::nothing();
                return;
            }
        }
        if let Some(one) = &mut self.one {
            one.retain(|&child| child != NO);
            if one.len() == 1 {
                self.all.append(one);
                self.one = None;
            } else if one.is_empty() {
                *self = Node::nothing();
                return;
            }
        }
        match self.not {
            Some(NO) => self.not = None,
            Some(YES) => {
                *self = Node::nothing();
                return;
            }
            _ => {}
        }
        if self.all.contains(&NO) {
            *self = Node::nothing();
        }
    }

    fn tidy_array(&mut self) {
        if !self.kinds.has(Kind::Array) {
            self.prefix.clear();
            (self.items, self.contains) = (None, None);
            (self.min_items, self.max_items, self.unique) = (0, None, false);
            return;
        }
        if self.items == Some(YES) {
            self.items = None;
        }
        let open = self.items.is_none();
        while open && self.prefix.last() == Some(&YES) {
            self.prefix.pop();
        }
        if let Some(contains) = &self.contains
            && contains.least == 0
            && contains.most.is_none()
        {
            self.contains = None;
        }
    }

    fn tidy_object(&mut self) {
        if !self.kinds.has(Kind::Object) {
            self.members.clear();
            self.patterns.clear();
            (self.others, self.names) = (None, None);
            self.required.clear();
            (self.min_members, self.max_members) = (0, None);
            self.needs.clear();
            self.needs_schema.clear();
            return;
        }
        if self.others == Some(YES) {
            self.others = None;
        }
        if self.others.is_none() {
            self.members.retain(|_, child| *child != YES);
            self.patterns.retain(|_, child| *child != YES);
        }
        if self.names == Some(YES) {
            self.names = None;
        }
        self.needs.retain(|_, names| !names.is_empty());
        self.needs_schema.retain(|_, child| *child != YES);
    }

    /// The one node that this one is another name of.
    pub(super) fn alias(&self) -> Option<Id> {
        let [only] = self.all[..] else { return None };
        let bare = Node {
            all: vec![only],
            ..Node::default()
        };
        (self.label() == bare.label() && self.children(|id| id) == bare.children(|id| id))
            .then_some(only)
    }

    /// Everything but the children, as text.
    pub(super) fn label(&self) -> String {
        let mut out = format!("{}", self.kinds.0);
        if let Some(values) = &self.values {
            let mut keys: Vec<&String> = values.keys.iter().collect();
            keys.sort_unstable();
            let _ = write!(out, "=#{}{keys:?}", keys.len());
        }
        for (mark, bound) in [('<', &self.low), ('>', &self.high)] {
            if let Some(bound) = bound {
                let _ = write!(
                    out,
                    "{mark}{}{}",
                    bound.at.normalized(),
                    u8::from(bound.open)
                );
            }
        }
        if let Some(multiple) = &self.multiple {
            let _ = write!(out, "*{}", multiple.normalized());
        }
        let counts = (
            (self.min_length, self.max_length),
            (self.min_items, self.max_items),
            (self.min_members, self.max_members),
        );
        let _ = write!(out, "{counts:?}{:?}{}", self.pattern, self.unique);
        let contains = self.contains.as_ref();
        let _ = write!(out, "{:?}", contains.map(|one| (one.least, one.most)));
        let members: Vec<&Name> = self.members.keys().collect();
        let patterns: Vec<&Name> = self.patterns.keys().collect();
        let needing: Vec<&Name> = self.needs_schema.keys().collect();
        let _ = write!(
            out,
            "{members:?}{patterns:?}{:?}{:?}{needing:?}{:?}{:?}",
            self.required, self.needs, self.opaque, self.format
        );
        out
    }

    /// The children's classes in a fixed order, with marks between groups; what has no order is sorted.
    pub(super) fn children(&self, class: impl Fn(Id) -> Id) -> Vec<Id> {
        const MARK: Id = Id::MAX;
        let mut out = Vec::new();
        let sorted = |list: &[Id], each_once: bool| {
            let mut classes: Vec<Id> = list.iter().map(|&id| class(id)).collect();
            classes.sort_unstable();
            if each_once {
                classes.dedup();
            }
            classes
        };
        out.extend(self.prefix.iter().map(|&id| class(id)));
        out.push(MARK);
        out.extend(self.items.map(&class));
        out.push(MARK);
        out.extend(self.contains.as_ref().map(|one| class(one.schema)));
        out.push(MARK);
        out.extend(self.members.values().map(|&id| class(id)));
        out.push(MARK);
        out.extend(self.patterns.values().map(|&id| class(id)));
        out.push(MARK);
        out.extend(self.others.map(&class));
        out.push(MARK);
        out.extend(self.names.map(&class));
        out.push(MARK);
        out.extend(self.needs_schema.values().map(|&id| class(id)));
        out.push(MARK);
        out.extend(sorted(&self.all, true));
        out.push(MARK);
        if let Some(any) = &self.any {
            out.push(MARK);
            out.extend(sorted(any, true));
        }
        out.push(MARK);
        if let Some(one) = &self.one {
            out.push(MARK);
            out.extend(sorted(one, false));
        }
        out.push(MARK);
        out.extend(self.not.map(&class));
        out.push(MARK);
        out.extend(self.condition.iter().flatten().map(|&id| class(id)));
        out.push(MARK);
        out.extend(self.about.iter().map(|&id| class(id)));
        out
    }

    /// The same node with other numbers for its children.
    pub(super) fn renumber(&mut self, class: impl Fn(Id) -> Id) {
        let each = |id: &mut Id| *id = class(*id);
        self.prefix.iter_mut().for_each(each);
        self.items.iter_mut().for_each(each);
        self.contains
            .iter_mut()
            .for_each(|one| each(&mut one.schema));
        self.members.values_mut().for_each(each);
        self.patterns.values_mut().for_each(each);
        self.others.iter_mut().for_each(each);
        self.names.iter_mut().for_each(each);
        self.needs_schema.values_mut().for_each(each);
        self.all.iter_mut().for_each(each);
        self.any.iter_mut().flatten().for_each(each);
        self.one.iter_mut().flatten().for_each(each);
        self.not.iter_mut().for_each(each);
        self.condition.iter_mut().flatten().for_each(each);
        self.about.iter_mut().for_each(each);
    }

    /// The children that look at the same value.
    pub(super) fn in_place(&self) -> impl Iterator<Item = Id> + '_ {
        let lists = self.all.iter().chain(self.any.iter().flatten());
        let lists = lists.chain(self.one.iter().flatten());
        lists
            .chain(self.not.iter())
            .chain(self.condition.iter().flatten())
            .chain(self.needs_schema.values())
            .copied()
    }
}
