//! `unevaluatedProperties` and `unevaluatedItems`, rewritten into the other keywords.
//!
//! What is evaluated depends on which branches a value satisfies, so a node becomes one case for each such choice.
//! Where there are too many cases, or a branch is not understood, the node gets an opaque conjunct instead.

use std::collections::BTreeSet;

use super::node::{Id, Kind, Kinds, Name, Node, YES};
use super::read::{Draft, Reader, Unevaluated};

/// Most cases of one node.
const CASES_MAX: usize = 64;
/// Deepest nesting of branches that is looked at.
const DEPTH_MAX: usize = 24;

/// What is evaluated where some conditions hold.
#[derive(Clone, Default)]
struct Case {
    conditions: Vec<(Id, bool)>,
    every_member: bool,
    names: BTreeSet<Name>,
    patterns: BTreeSet<Name>,
    every_item: bool,
    prefix: usize,
    /// Items that satisfy one of these.
    items: BTreeSet<Id>,
}

impl Case {
    /// Whether it evaluates nothing that is not evaluated in any case.
    fn adds_nothing(&self, base: &Case) -> bool {
        let names = base.every_member || self.names.is_subset(&base.names);
        let patterns = base.every_member || self.patterns.is_subset(&base.patterns);
        let items = base.every_item || self.items.is_subset(&base.items);
        (base.every_member || !self.every_member)
            && (base.every_item || !self.every_item)
            && names
            && patterns
            && items
            && (base.every_item || self.prefix <= base.prefix)
    }

    fn and(&self, other: &Case) -> Case {
        let mut both = self.clone();
        both.conditions.extend(&other.conditions);
        both.every_member |= other.every_member;
        both.names.extend(other.names.iter().cloned());
        both.patterns.extend(other.patterns.iter().cloned());
        both.every_item |= other.every_item;
        both.prefix = both.prefix.max(other.prefix);
        both.items.extend(&other.items);
        both
    }
}

/// Rewrites every node that has such a keyword.
pub(super) fn rewrite(reader: &mut Reader) {
    let todo = reader.unevaluated.clone();
    let found: Vec<Option<Vec<Case>>> = todo
        .iter()
        .map(|&(id, loose, draft)| cases(reader, id, Some((id, loose)), draft, &Case::default(), 0))
        .collect();
    for ((id, loose, _), cases) in todo.into_iter().zip(found) {
        let conjunct = match cases {
            Some(cases) => close(reader, &cases, loose),
            None => opaque(reader, id, loose),
        };
        reader.nodes[id as usize].all.push(conjunct);
    }
}

/// A conjunct of which only is known that the same keywords around the same node mean the same.
fn opaque(reader: &mut Reader, id: Id, loose: Unevaluated) -> Id {
    let around = reader.nodes[id as usize].clone();
    let around = add(reader, around);
    let mut node = Node::opaque(format!(
        "unevaluated {} {}",
        loose.members.is_some(),
        loose.items.is_some()
    ));
    node.about = vec![around];
    node.about.extend(loose.members);
    node.about.extend(loose.items);
    add(reader, node)
}

/// One conjunct that says for each case what the rest must be.
fn close(reader: &mut Reader, cases: &[Case], loose: Unevaluated) -> Id {
    let mut each = Vec::new();
    for case in cases {
        let mut all = Vec::new();
        for &(id, holds) in &case.conditions {
            all.push(if holds {
                id
            } else {
                add(reader, Node::negation(id))
            });
        }
        let mut rest = Node::default();
        if let Some(schema) = loose.members.filter(|_| !case.every_member) {
            rest.members = case.names.iter().map(|name| (name.clone(), YES)).collect();
            rest.patterns = case
                .patterns
                .iter()
                .map(|text| (text.clone(), YES))
                .collect();
            rest.others = Some(schema);
        }
        if let Some(schema) = loose.items.filter(|_| !case.every_item) {
            let mut any: Vec<Id> = case.items.iter().copied().collect();
            any.push(schema);
            let any = Node {
                any: Some(any),
                ..Node::default()
            };
            rest.prefix = vec![YES; case.prefix];
            rest.items = Some(add(reader, any));
        }
        all.push(add(reader, rest));
        each.push(add(
            reader,
            Node {
                all,
                ..Node::default()
            },
        ));
    }
    let node = Node {
        any: Some(each),
        ..Node::default()
    };
    add(reader, node)
}

fn add(reader: &mut Reader, node: Node) -> Id {
    let id = Id::try_from(reader.nodes.len()).unwrap_or(Id::MAX - 1);
    reader.nodes.push(node);
    id
}

/// What a node evaluates, where it is satisfied; of the node that is being rewritten its own keyword does not count.
///
/// `base` is what is evaluated in any case: a branch that adds nothing to it needs no cases.
fn cases(
    reader: &mut Reader,
    id: Id,
    own: Option<(Id, Unevaluated)>,
    draft: Draft,
    base: &Case,
    depth: usize,
) -> Option<Vec<Case>> {
    let node = reader.nodes[id as usize].clone();
    if depth > DEPTH_MAX || node.opaque.is_some() {
        return None;
    }
    let here = plain(reader, id, &node, own.is_none(), draft);
    let base = base.and(&here);
    let mut out = vec![here];
    let mut base = base;
    for &child in &node.all {
        let inner = cases(reader, child, None, draft, &base, depth + 1)?;
        if let [only] = &inner[..] {
            base = base.and(only);
        }
        out = product(&out, &inner)?;
    }
    for &child in node.any.iter().flatten() {
        let mut inner = under(reader, (child, true), child, draft, &base, depth)?;
        inner.push(Case {
            conditions: vec![(child, false)],
            ..Case::default()
        });
        out = split(&out, &inner, &base)?;
    }
    if let Some(one) = &node.one {
        let mut inner = Vec::new();
        for &child in one {
            inner.extend(under(reader, (child, true), child, draft, &base, depth)?);
        }
        out = split(&out, &inner, &base)?;
    }
    if let Some([test, then, other]) = node.condition {
        let held = cases(reader, test, None, draft, &base, depth + 1)?;
        let mut inner = product(
            &held,
            &under(reader, (test, true), then, draft, &base, depth)?,
        )?;
        inner.extend(under(reader, (test, false), other, draft, &base, depth)?);
        out = split(&out, &inner, &base)?;
    }
    for (name, &child) in &node.needs_schema {
        let has = Node {
            kinds: Kinds::of(Kind::Object),
            required: [name.clone()].into(),
            ..Node::default()
        };
        let has = add(reader, has);
        let mut inner = under(reader, (has, true), child, draft, &base, depth)?;
        inner.push(Case {
            conditions: vec![(has, false)],
            ..Case::default()
        });
        out = split(&out, &inner, &base)?;
    }
    Some(out)
}

/// What the keywords of a node evaluate by themselves.
fn plain(reader: &Reader, id: Id, node: &Node, with_own: bool, draft: Draft) -> Case {
    let mut here = Case {
        every_member: node.others.is_some(),
        names: node.members.keys().cloned().collect(),
        patterns: node.patterns.keys().cloned().collect(),
        every_item: node.items.is_some(),
        prefix: node.prefix.len(),
        ..Case::default()
    };
    if let Some(contains) = node.contains.as_ref().filter(|_| draft == Draft::Y2020) {
        here.items.insert(contains.schema);
    }
    if with_own {
        let keyword = reader.unevaluated.iter().find(|(other, ..)| *other == id);
        if let Some((_, loose, _)) = keyword {
            here.every_member |= loose.members.is_some();
            here.every_item |= loose.items.is_some();
        }
    }
    here
}

/// The cases of a branch, each under a condition.
fn under(
    reader: &mut Reader,
    condition: (Id, bool),
    child: Id,
    draft: Draft,
    base: &Case,
    depth: usize,
) -> Option<Vec<Case>> {
    let mut inner = cases(reader, child, None, draft, base, depth + 1)?;
    for case in &mut inner {
        case.conditions.push(condition);
    }
    Some(inner)
}

/// The product with a choice, unless it makes no difference.
fn split(one: &[Case], choice: &[Case], base: &Case) -> Option<Vec<Case>> {
    if choice.iter().all(|case| case.adds_nothing(base)) {
        return Some(one.to_vec());
    }
    product(one, choice)
}

fn product(one: &[Case], other: &[Case]) -> Option<Vec<Case>> {
    if one.len() * other.len() > CASES_MAX {
        return None;
    }
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| a.and(b)));
    Some(pairs.collect())
}
