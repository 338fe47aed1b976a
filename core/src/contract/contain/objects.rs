//! Objects by their members: which names there must be, what their values must be, and whether that can be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::frame::{Atom, Frame, Names};
use super::holds::Lit;
use super::node::{Id, Kind, Name};
use super::solve::{Answer, Cx, Solver};
use super::text::Found;

/// Most patterns whose combinations are looked at.
const PATTERNS_MAX: usize = 10;
/// Most combinations of patterns.
const CELLS_MAX: usize = 64;
/// Most members that are put in to reach a least number.
const FILL_MAX: u64 = 300;
/// Most names that nobody mentions that are counted.
const FRESH_MAX: usize = 40;

/// Names that nobody mentions and that match the same patterns.
#[derive(Clone, Debug)]
struct Cell {
    /// What values under such a name must be.
    lits: Vec<Lit>,
    patterns: BTreeSet<(Name, bool)>,
}

impl Solver<'_> {
    /// What a node's member keywords ask of one member; `None` where a pattern is not understood.
    pub(super) fn shape(&mut self, id: Id, name: &str) -> Option<Vec<Lit>> {
        let node = self.store.node(id);
        let mut lits = Vec::new();
        lits.extend(node.members.get(name).map(|&child| (child, true)));
        for (pattern, &child) in &node.patterns {
            if self.store.texts.matches(pattern, name)? {
                lits.push((child, true));
            }
        }
        if lits.is_empty() {
            lits.extend(node.others.map(|child| (child, true)));
        }
        Some(lits)
    }

    /// What one member must be, or less where a pattern is not understood.
    pub(super) fn member(&mut self, frame: &Frame, name: &Name) -> Vec<Lit> {
        let mut lits = frame.members.get(name).cloned().unwrap_or_default();
        for &id in &frame.shapes {
            match self.shape(id, name) {
                Some(shape) => lits.extend(shape),
                None => {
                    let node = self.store.node(id);
                    lits.extend(node.members.get(name).map(|&child| (child, true)));
                }
            }
        }
        lits
    }

    /// Whether a name is not allowed for sure.
    pub(super) fn bad_name(&mut self, frame: &Frame, name: &Name) -> bool {
        if frame.names.is_empty() {
            return false;
        }
        let text = Json::String(name.to_string());
        self.store.holds_all(&frame.names, &text) == Some(false)
    }

    /// Names that the frame says something about.
    pub(super) fn mentioned(&self, frame: &Frame) -> BTreeSet<Name> {
        let mut names: BTreeSet<Name> = frame.present.clone();
        names.extend(frame.absent.iter().cloned());
        names.extend(frame.members.keys().cloned());
        for &id in &frame.shapes {
            names.extend(self.store.node(id).members.keys().cloned());
        }
        for (about, _) in &frame.some_members {
            names.extend(self.mentions(about));
        }
        names
    }

    fn mentions(&self, about: &Names) -> Vec<Name> {
        match about {
            Names::Outside(id) => self.store.node(*id).members.keys().cloned().collect(),
            Names::Matching(_) | Names::Being(_) => Vec::new(),
        }
    }

    /// Whether a name is among those that a fact is about.
    fn is_about(&mut self, about: &Names, name: &Name) -> Option<bool> {
        match about {
            Names::Matching(pattern) => self.store.texts.matches(pattern, name),
            Names::Being(lit) => {
                let text = Json::String(name.to_string());
                self.store.holds_all(&[*lit], &text)
            }
            Names::Outside(id) => {
                let node = self.store.node(*id);
                if node.members.contains_key(name) {
                    return Some(false);
                }
                let mut outside = Some(true);
                for pattern in node.patterns.keys() {
                    match self.store.texts.matches(pattern, name) {
                        Some(true) => return Some(false),
                        Some(false) => {}
                        None => outside = None,
                    }
                }
                outside
            }
        }
    }

    /// Whether there can be a member that a fact asks for, looked at by itself.
    pub(super) fn some_member(&mut self, frame: &Frame, about: &Names, lit: Option<Lit>) -> Answer {
        let mut unknown = false;
        let mut names = self.mentioned(frame);
        names.extend(self.mentions(about));
        let full = frame
            .most
            .is_some_and(|most| frame.present.len() as u64 >= most);
        for name in &names {
            let outside = frame.absent.contains(name) || (full && !frame.present.contains(name));
            if outside || self.is_about(about, name) == Some(false) || self.bad_name(frame, name) {
                continue;
            }
            let mut lits = self.member(frame, name);
            lits.extend(lit);
            match self.part(lits) {
                Answer::Never => {}
                Answer::Doc(value) => return Answer::Doc(value),
                Answer::Unknown => unknown = true,
            }
        }
        if full {
            return if unknown {
                Answer::Unknown
            } else {
                Answer::Never
            };
        }
        match self.fresh(frame, Some(about), lit, &names) {
            Fresh::Member(_, value) => Answer::Doc(value),
            Fresh::Unknown => Answer::Unknown,
            Fresh::Never if unknown => Answer::Unknown,
            Fresh::Never => Answer::Never,
        }
    }

    /// A member under a name that is not among `names`.
    fn fresh(
        &mut self,
        frame: &Frame,
        about: Option<&Names>,
        lit: Option<Lit>,
        names: &BTreeSet<Name>,
    ) -> Fresh {
        let mut unknown = false;
        let Some(cells) = self.cells(frame, about) else {
            // Too many combinations: what every unmentioned name must be may still decide.
            return self.fresh_by_others(frame, lit);
        };
        let mut wanted_names = frame.names.clone();
        if let Some(Names::Being(lit)) = about {
            wanted_names.push(*lit);
        }
        for cell in cells {
            if self.spent() {
                return Fresh::Unknown;
            }
            let mut lits = cell.lits.clone();
            lits.extend(lit);
            let value = match self.part(lits) {
                Answer::Never => continue,
                Answer::Unknown => {
                    if self.name(&cell.patterns, names, &wanted_names) != Found::Never {
                        unknown = true;
                    }
                    continue;
                }
                Answer::Doc(value) => value,
            };
            match self.name(&cell.patterns, names, &wanted_names) {
                Found::Never => {}
                Found::Unknown => unknown = true,
                Found::Text(name) => return Fresh::Member(name.into(), value),
            }
        }
        if unknown {
            Fresh::Unknown
        } else {
            Fresh::Never
        }
    }

    fn fresh_by_others(&mut self, frame: &Frame, lit: Option<Lit>) -> Fresh {
        let mut lits: Vec<Lit> = lit.into_iter().collect();
        for &id in &frame.shapes {
            let node = self.store.node(id);
            if node.patterns.is_empty() {
                lits.extend(node.others.map(|child| (child, true)));
            }
        }
        match self.part(lits) {
            Answer::Never => Fresh::Never,
            _ => Fresh::Unknown,
        }
    }

    /// The sorts of unmentioned names; `None` where there are too many.
    fn cells(&mut self, frame: &Frame, about: Option<&Names>) -> Option<Vec<Cell>> {
        let mut patterns: BTreeSet<Name> = BTreeSet::new();
        for &id in &frame.shapes {
            patterns.extend(self.store.node(id).patterns.keys().cloned());
        }
        let mut fixed: BTreeSet<(Name, bool)> = BTreeSet::new();
        match about {
            Some(Names::Matching(pattern)) => {
                fixed.insert((pattern.clone(), true));
            }
            Some(Names::Outside(id)) => {
                let node = self.store.node(*id);
                fixed.extend(node.patterns.keys().map(|pattern| (pattern.clone(), false)));
            }
            _ => {}
        }
        patterns.retain(|pattern| {
            !fixed.contains(&(pattern.clone(), true)) && !fixed.contains(&(pattern.clone(), false))
        });
        if patterns.len() > PATTERNS_MAX {
            return None;
        }
        let mut combinations = vec![fixed];
        for pattern in patterns {
            let mut next = Vec::new();
            for combination in combinations {
                for holds in [false, true] {
                    let mut with = combination.clone();
                    with.insert((pattern.clone(), holds));
                    if self.name(&with, &BTreeSet::new(), &[]) != Found::Never {
                        next.push(with);
                    }
                }
            }
            if next.len() > CELLS_MAX {
                return None;
            }
            combinations = next;
        }
        let cells = combinations.into_iter().map(|patterns| Cell {
            lits: self.cell_lits(frame, &patterns),
            patterns,
        });
        Some(cells.collect())
    }

    fn cell_lits(&self, frame: &Frame, patterns: &BTreeSet<(Name, bool)>) -> Vec<Lit> {
        let mut lits = Vec::new();
        for &id in &frame.shapes {
            let node = self.store.node(id);
            let matched = node
                .patterns
                .iter()
                .filter(|(pattern, _)| patterns.contains(&((*pattern).clone(), true)));
            let matched: Vec<Lit> = matched.map(|(_, &child)| (child, true)).collect();
            if matched.is_empty() {
                lits.extend(node.others.map(|child| (child, true)));
            }
            lits.extend(matched);
        }
        lits
    }

    /// A name with these patterns that is not among `without` and satisfies `lits`.
    fn name(
        &mut self,
        patterns: &BTreeSet<(Name, bool)>,
        without: &BTreeSet<Name>,
        lits: &[Lit],
    ) -> Found {
        let mut frame = Frame::new(Kind::Text);
        frame.patterns = patterns.clone();
        frame.without = without.clone();
        let queue = lits.iter().map(|&lit| Atom::Lit(lit)).collect();
        let cx = Cx {
            goal: lits,
            top: false,
        };
        match self.search(&cx, frame, queue, Vec::new(), 0) {
            Answer::Never => Found::Never,
            Answer::Doc(Json::String(text)) => Found::Text(text),
            _ => Found::Unknown,
        }
    }

    /// Finds an object for a frame of objects.
    pub(super) fn settle_object(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        let mut draft = Draft::default();
        for name in &frame.present {
            if self.bad_name(frame, name) {
                return Answer::Never;
            }
            let lits = self.member(frame, name);
            match self.part(lits.clone()) {
                Answer::Never => return Answer::Never,
                Answer::Unknown => draft.vague = true,
                Answer::Doc(value) => draft.put(name.clone(), value),
            }
            draft.lits.insert(name.clone(), lits);
        }
        for (about, lit) in &frame.some_members {
            if self.some_member(frame, about, *lit) == Answer::Never {
                return Answer::Never;
            }
        }
        if draft.vague {
            return match self.too_few(frame) {
                true => Answer::Never,
                false => Answer::Unknown,
            };
        }
        for (about, lit) in &frame.some_members {
            if !self.place(frame, &mut draft, about, *lit) {
                return Answer::Unknown;
            }
        }
        if !self.fill(frame, &mut draft) {
            return if self.too_few(frame) {
                Answer::Never
            } else {
                Answer::Unknown
            };
        }
        let small = Json::Object(draft.object());
        let answer = self.offer(cx, small);
        if answer != Answer::Unknown {
            return answer;
        }
        if let Some(all) = self.all_objects(frame) {
            return self.try_all(cx, &all);
        }
        if !cx.top {
            return answer;
        }
        // Choices still open, or what is not understood, may want more members.
        self.widen(frame, &mut draft);
        self.offer(cx, Json::Object(draft.object()))
    }

    /// Whether no other member than these can be there.
    pub(super) fn has_no_others(&mut self, frame: &Frame, names: &BTreeSet<Name>) -> bool {
        matches!(self.fresh(frame, None, None, names), Fresh::Never)
    }

    /// Puts in a member that a fact asks for.
    fn place(&mut self, frame: &Frame, draft: &mut Draft, about: &Names, lit: Option<Lit>) -> bool {
        let mut names: Vec<Name> = draft.members.keys().cloned().collect();
        let full = frame
            .most
            .is_some_and(|most| draft.members.len() as u64 >= most);
        let mentioned = self.mentioned(frame);
        if !full {
            names.extend(
                mentioned
                    .iter()
                    .filter(|name| !draft.members.contains_key(*name))
                    .cloned(),
            );
        }
        for name in names {
            if frame.absent.contains(&name)
                || self.is_about(about, &name) == Some(false)
                || self.bad_name(frame, &name)
            {
                continue;
            }
            let known = draft.lits.get(&name).cloned();
            let mut lits = known.unwrap_or_else(|| self.member(frame, &name));
            lits.extend(lit);
            if let Answer::Doc(value) = self.part(lits.clone()) {
                draft.lits.insert(name.clone(), lits);
                draft.put(name, value);
                return true;
            }
        }
        if full {
            return false;
        }
        let mut taken = mentioned;
        taken.extend(draft.members.keys().cloned());
        match self.fresh(frame, Some(about), lit, &taken) {
            Fresh::Member(name, value) => {
                draft.put(name, value);
                true
            }
            _ => false,
        }
    }

    /// Adds members until there are enough.
    fn fill(&mut self, frame: &Frame, draft: &mut Draft) -> bool {
        if frame.least > FILL_MAX {
            return false;
        }
        for name in self.mentioned(frame) {
            if draft.members.len() as u64 >= frame.least {
                return true;
            }
            self.put_optional(frame, draft, name);
        }
        while (draft.members.len() as u64) < frame.least {
            let mut taken = self.mentioned(frame);
            taken.extend(draft.members.keys().cloned());
            match self.fresh(frame, None, None, &taken) {
                Fresh::Member(name, value) => draft.put(name, value),
                _ => return false,
            }
        }
        true
    }

    fn put_optional(&mut self, frame: &Frame, draft: &mut Draft, name: Name) {
        if draft.members.contains_key(&name)
            || frame.absent.contains(&name)
            || self.bad_name(frame, &name)
        {
            return;
        }
        let lits = self.member(frame, &name);
        if let Answer::Doc(value) = self.part(lits) {
            draft.put(name, value);
        }
    }

    /// Adds every member that may be there, and one that nobody mentions.
    fn widen(&mut self, frame: &Frame, draft: &mut Draft) {
        let room = |draft: &Draft| {
            frame
                .most
                .is_none_or(|most| (draft.members.len() as u64) < most)
        };
        for name in self.mentioned(frame) {
            if room(draft) && !self.spent() {
                self.put_optional(frame, draft, name);
            }
        }
    }

    /// Whether fewer members can be there than must be.
    fn too_few(&mut self, frame: &Frame) -> bool {
        if frame.least == 0 {
            return false;
        }
        let mut names = self.mentioned(frame);
        let mut possible = 0;
        for name in &names {
            if frame.absent.contains(name) || self.bad_name(frame, name) {
                continue;
            }
            let lits = self.member(frame, name);
            if self.part(lits) != Answer::Never {
                possible += 1;
            }
        }
        for _ in 0..FRESH_MAX {
            if possible >= frame.least || self.spent() {
                return false;
            }
            match self.fresh(frame, None, None, &names) {
                Fresh::Never => return true,
                Fresh::Unknown => return false,
                Fresh::Member(name, _) => names.insert(name),
            };
            possible += 1;
        }
        false
    }
}

/// A member under a new name, or none.
enum Fresh {
    Member(Name, Json),
    Never,
    Unknown,
}

/// An object in the making.
#[derive(Default)]
struct Draft {
    members: BTreeMap<Name, Json>,
    lits: BTreeMap<Name, Vec<Lit>>,
    vague: bool,
}

impl Draft {
    fn put(&mut self, name: Name, value: Json) {
        self.members.insert(name, value);
    }

    fn object(&self) -> Map<String, Json> {
        let members = self.members.iter();
        members
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect()
    }
}
