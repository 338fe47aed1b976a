//! From a JSON Schema document to nodes: drafts, references, anchors and annotations end here.
//!
//! What is not understood becomes an opaque node: nothing is proven about it except that it equals itself.
//! References are followed inside the document only.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::node::{Bound, Contains, Id, Kind, Kinds, NO, Name, Node, YES};
use super::uri;
use super::value::{canonical, decimal};

/// A draft of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    Four,
    Six,
    Seven,
    Y2019,
    Y2020,
}

impl Draft {
    /// Every draft that is read, the newest first.
    pub(super) const ALL: [Draft; 5] = [
        Draft::Y2020,
        Draft::Y2019,
        Draft::Seven,
        Draft::Six,
        Draft::Four,
    ];

    /// The name that schemas give it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Draft::Four => "http://json-schema.org/draft-04/schema#",
            Draft::Six => "http://json-schema.org/draft-06/schema#",
            Draft::Seven => "http://json-schema.org/draft-07/schema#",
            Draft::Y2019 => "https://json-schema.org/draft/2019-09/schema",
            Draft::Y2020 => "https://json-schema.org/draft/2020-12/schema",
        }
    }

    /// The draft that a document says it is written in.
    pub(super) fn of(root: &Json) -> Option<Draft> {
        let Some(named) = root.get("$schema") else {
            return Some(Draft::Y2020);
        };
        let named = named.as_str()?.trim_end_matches('#');
        let (_, path) = named.split_once("json-schema.org/")?;
        Some(match path {
            "draft-04/schema" => Draft::Four,
            "draft-06/schema" => Draft::Six,
            "draft-07/schema" => Draft::Seven,
            "draft/2019-09/schema" => Draft::Y2019,
            "draft/2020-12/schema" => Draft::Y2020,
            _ => return None,
        })
    }
}

/// `unevaluatedProperties` and `unevaluatedItems` of a node, which need the finished nodes around them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unevaluated {
    pub(super) members: Option<Id>,
    pub(super) items: Option<Id>,
}

/// The nodes of one or more documents.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) nodes: Vec<Node>,
    pub(super) unevaluated: Vec<(Id, Unevaluated, Draft)>,
    documents: usize,
    /// Whether keywords that newer drafts left behind are read all the same.
    leftovers: bool,
}

impl Reader {
    pub(super) fn new(leftovers: bool) -> Reader {
        Reader {
            leftovers,
            nodes: vec![Node::default(), Node::nothing()],
            unevaluated: Vec::new(),
            documents: 0,
        }
    }

    /// Reads a document; `None` where its draft is not known or time ran out.
    pub(super) fn document(&mut self, root: &Json, expired: &dyn Fn() -> bool) -> Option<Id> {
        let draft = Draft::of(root)?;
        let mut document = Document {
            number: self.documents,
            draft,
            root,
            index: Index::of(root, draft)?,
            known: HashMap::new(),
            queue: VecDeque::new(),
            nodes: &mut self.nodes,
            unevaluated: &mut self.unevaluated,
            leftovers: self.leftovers,
        };
        let id = document.node(root);
        while let Some((id, schema)) = document.queue.pop_front() {
            if expired() {
                return None;
            }
            let node = document.read(id, schema);
            document.nodes[id as usize] = node;
        }
        self.documents += 1;
        Some(id)
    }
}

/// References of a document that lead out of it, and not to the schema of a draft.
pub(super) fn dangling(root: &Json) -> HashSet<String> {
    let mut found = HashSet::new();
    let index = Draft::of(root).and_then(|draft| Index::of(root, draft));
    let Some(index) = index else { return found };
    let mut todo = vec![root];
    while let Some(value) = todo.pop() {
        match value {
            Json::Array(items) => todo.extend(items),
            Json::Object(map) => {
                if let Some(Json::String(target)) = map.get("$ref") {
                    let base = index.base(value);
                    let at = index.find(&base, target);
                    // One that should lead to a place within is a mistake.
                    let known = target.contains("json-schema.org/draft") || target.starts_with('#');
                    if at.is_none() && !known {
                        found.insert(target.clone());
                    }
                }
                let inner = map.iter().filter(|(key, _)| !is_data(key));
                todo.extend(inner.map(|(_, inner)| inner));
            }
            _ => {}
        }
    }
    found
}

/// The schemas of drafts that a document brings along: validators have their own, and do not look at these.
pub(super) fn drafts_within(root: &Json) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut todo: Vec<&Json> = root.as_object().into_iter().flat_map(Map::values).collect();
    while let Some(value) = todo.pop() {
        match value {
            Json::Array(items) => todo.extend(items),
            Json::Object(map) => {
                let id = map.get("$id").or(map.get("id")).and_then(Json::as_str);
                if id.is_some_and(|id| id.contains("json-schema.org/draft")) {
                    found.insert(canonical(value));
                }
                todo.extend(map.values());
            }
            _ => {}
        }
    }
    found
}

/// Whether a keyword holds values and not schemas.
pub(super) fn is_data(keyword: &str) -> bool {
    matches!(keyword, "enum" | "const" | "default" | "examples")
}

/// Why references in a document have no one meaning, if so.
pub(super) fn doubt(root: &Json) -> Option<String> {
    let index = Index::of(root, Draft::of(root)?)?;
    let name = index.twice?;
    Some(format!("has the anchor `{name}` twice"))
}

/// Where names in a document lead.
struct Index<'a> {
    /// Resources by their full name; the document itself also under the empty one.
    resources: HashMap<String, &'a Json>,
    /// Anchors by resource and name.
    anchors: HashMap<(String, String), &'a Json>,
    /// The resource each object stands in, where there are several.
    bases: HashMap<usize, Arc<str>>,
    main: Arc<str>,
    several: bool,
    /// Anchors that a reference finds by the way that led to it.
    dynamic: HashSet<(String, String)>,
    /// An anchor that two schemas of one resource have.
    twice: Option<String>,
}

impl<'a> Index<'a> {
    /// `None` where an inner resource is of another draft.
    fn of(root: &'a Json, draft: Draft) -> Option<Index<'a>> {
        let id_key = if draft == Draft::Four { "id" } else { "$id" };
        let main: Arc<str> = root.get(id_key).and_then(Json::as_str).unwrap_or("").into();
        let main: Arc<str> = main.trim_end_matches('#').into();
        let mut index = Index {
            resources: HashMap::from([(String::new(), root), (main.to_string(), root)]),
            anchors: HashMap::new(),
            bases: HashMap::new(),
            main: main.clone(),
            several: false,
            dynamic: HashSet::new(),
            twice: None,
        };
        let mut todo: Vec<(&'a Json, Arc<str>, bool)> = vec![(root, main, true)];
        while let Some((value, base, top)) = todo.pop() {
            match value {
                Json::Array(items) => {
                    todo.extend(items.iter().map(|item| (item, base.clone(), false)));
                }
                Json::Object(map) => index.object(value, map, base, top, draft, &mut todo)?,
                _ => {}
            }
        }
        Some(index)
    }

    fn object(
        &mut self,
        value: &'a Json,
        map: &'a Map<String, Json>,
        mut base: Arc<str>,
        top: bool,
        draft: Draft,
        todo: &mut Vec<(&'a Json, Arc<str>, bool)>,
    ) -> Option<()> {
        let id_key = if draft == Draft::Four { "id" } else { "$id" };
        let hidden = draft <= Draft::Seven && map.contains_key("$ref");
        if let Some(Json::String(id)) = map.get(id_key).filter(|_| !hidden) {
            if let Some(anchor) = id.strip_prefix('#').filter(|_| draft <= Draft::Seven) {
                self.anchor((base.to_string(), anchor.to_owned()), value);
            } else if !top {
                self.several = true;
                base = uri::join(&base, id).trim_end_matches('#').into();
                self.resources.insert(base.to_string(), value);
                if map.contains_key("$schema") && Draft::of(value) != Some(draft) {
                    return None;
                }
            }
        }
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(Json::String(anchor)) = map.get(key) {
                let place = (base.to_string(), anchor.clone());
                if key == "$dynamicAnchor" {
                    self.dynamic.insert(place.clone());
                }
                self.anchor(place, value);
            }
        }
        if !top {
            self.bases.insert(address(value), base.clone());
        }
        for (key, inner) in map {
            if !is_data(key) {
                todo.push((inner, base.clone(), false));
            }
        }
        Some(())
    }

    fn anchor(&mut self, place: (String, String), value: &'a Json) {
        // What begins with a slash is no name, and a reference takes it for a way.
        let is_name = !place.1.starts_with('/');
        let name = place.1.clone();
        let before = self.anchors.insert(place, value);
        if is_name && before.is_some_and(|before| address(before) != address(value)) {
            self.twice = Some(name);
        }
    }

    fn base(&self, value: &Json) -> Arc<str> {
        let here = self.bases.get(&address(value));
        here.unwrap_or(&self.main).clone()
    }

    fn find(&self, base: &str, reference: &str) -> Option<&'a Json> {
        let (name, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let full = if name.is_empty() {
            base.to_owned()
        } else {
            uri::join(base, name)
        };
        let resource = *self.resources.get(&full)?;
        let fragment = uri::decode(fragment)?;
        if fragment.is_empty() {
            Some(resource)
        } else if fragment.starts_with('/') {
            resource.pointer(&fragment)
        } else {
            self.anchors.get(&(full, fragment)).copied()
        }
    }
}

fn address(value: &Json) -> usize {
    std::ptr::from_ref(value) as usize
}

struct Document<'a, 'r> {
    number: usize,
    draft: Draft,
    root: &'a Json,
    index: Index<'a>,
    known: HashMap<usize, Id>,
    queue: VecDeque<(Id, &'a Json)>,
    nodes: &'r mut Vec<Node>,
    unevaluated: &'r mut Vec<(Id, Unevaluated, Draft)>,
    leftovers: bool,
}

impl<'a> Document<'a, '_> {
    /// The node of a subschema, which is read later.
    fn node(&mut self, schema: &'a Json) -> Id {
        match schema {
            Json::Bool(true) => YES,
            Json::Bool(false) => NO,
            Json::Object(map) if map.is_empty() => YES,
            _ => {
                if let Some(&id) = self.known.get(&address(schema)) {
                    return id;
                }
                let id = self.add(Node::default());
                self.known.insert(address(schema), id);
                self.queue.push_back((id, schema));
                id
            }
        }
    }

    fn add(&mut self, node: Node) -> Id {
        let id = Id::try_from(self.nodes.len()).unwrap_or(Id::MAX - 1);
        self.nodes.push(node);
        id
    }

    fn nodes_of(&mut self, list: &'a Json) -> Option<Vec<Id>> {
        let list = list.as_array()?;
        Some(list.iter().map(|schema| self.node(schema)).collect())
    }

    fn by_name(&mut self, map: &'a Json) -> Option<Vec<(Name, Id)>> {
        let map = map.as_object()?;
        let each = map
            .iter()
            .map(|(name, schema)| (Name::from(&**name), self.node(schema)));
        Some(each.collect())
    }

    fn read(&mut self, id: Id, schema: &'a Json) -> Node {
        let Json::Object(map) = schema else {
            return self.strange(schema);
        };
        let mut node = Node::default();
        if let (Some(target), true) = (map.get("$ref"), self.draft <= Draft::Seven) {
            // In the older drafts nothing beside a reference counts.
            let target = self.reference(schema, target);
            node.all.push(target);
            return node;
        }
        let mut loose = Unevaluated::default();
        for (keyword, value) in map {
            if self
                .keyword(&mut node, &mut loose, schema, map, keyword, value)
                .is_none()
            {
                return self.strange(schema);
            }
        }
        self.items(&mut node, map);
        self.conditions(&mut node, map);
        if loose.members.is_some() || loose.items.is_some() {
            self.unevaluated.push((id, loose, self.draft));
        }
        node
    }

    /// A node that is only equal to itself, or to the same text where nothing in it refers elsewhere.
    fn strange(&mut self, schema: &Json) -> Node {
        let text = canonical(schema);
        if text.contains("\"$") {
            return Node::opaque(format!("{}/{}", self.number, address(schema)));
        }
        Node::opaque(text)
    }

    fn reference(&mut self, at: &'a Json, target: &'a Json) -> Id {
        let base = self.index.base(at);
        let found = target
            .as_str()
            .and_then(|name| self.index.find(&base, name));
        match found {
            Some(schema) if schema.is_object() || schema.is_boolean() => self.node(schema),
            _ => {
                let name = target.as_str().unwrap_or_default();
                // A schema elsewhere is the same one for both sides, whatever it says.
                let text = match name.split_once('#').unwrap_or((name, "")) {
                    ("", _) => format!("{}/{base} {target}", self.number),
                    (file, part) => format!("elsewhere {}#{part}", uri::join(&base, file)),
                };
                self.add(Node::opaque(text))
            }
        }
    }

    /// A reference that depends on the way that led to it; with one resource there is only one way.
    fn dynamic(&mut self, at: &'a Json, target: &'a Json) -> Id {
        let base = self.index.base(at);
        let name = target.as_str().unwrap_or_default();
        let (file, anchor) = name.split_once('#').unwrap_or((name, ""));
        let first = if file.is_empty() {
            base.to_string()
        } else {
            uri::join(&base, file)
        };
        let anchor = anchor.to_owned();
        if !self.index.several || !self.index.dynamic.contains(&(first, anchor.clone())) {
            return self.reference(at, target);
        }
        // Every way begins at the document itself, so that an anchor there is the outermost.
        let outermost = (self.index.main.to_string(), anchor.clone());
        if self.index.dynamic.contains(&outermost)
            && let Some(&schema) = self.index.anchors.get(&outermost)
        {
            return self.node(schema);
        }
        if self
            .index
            .dynamic
            .iter()
            .filter(|(_, name)| *name == anchor)
            .count()
            == 1
        {
            return self.reference(at, target);
        }
        let text = format!("{}/{} dynamic {target}", self.number, address(at));
        self.add(Node::opaque(text))
    }

    /// `$recursiveRef`: the outermost resource that takes part, or this one.
    fn recursive(&mut self, at: &'a Json) -> Id {
        let takes_part = |schema: &Json| schema.get("$recursiveAnchor") == Some(&Json::Bool(true));
        let base = self.index.base(at);
        let own = self
            .index
            .resources
            .get(&*base)
            .copied()
            .unwrap_or(self.root);
        if !takes_part(own) {
            return self.node(own);
        }
        if takes_part(self.root) {
            return self.node(self.root);
        }
        let text = format!("{}/{} recursive", self.number, address(at));
        self.add(Node::opaque(text))
    }

    fn keyword(
        &mut self,
        node: &mut Node,
        loose: &mut Unevaluated,
        schema: &'a Json,
        map: &'a Map<String, Json>,
        keyword: &str,
        value: &'a Json,
    ) -> Option<()> {
        let draft = self.draft;
        match keyword {
            "$ref" => {
                let target = self.reference(schema, value);
                node.all.push(target);
            }
            "$dynamicRef" if draft == Draft::Y2020 => {
                let target = self.dynamic(schema, value);
                node.all.push(target);
            }
            "$recursiveRef" if draft == Draft::Y2019 => {
                let target = self.recursive(schema);
                node.all.push(target);
            }
            "type" => node.kinds = node.kinds.and(kinds(value)?),
            "enum" => {
                let listed = Node::of_values(value.as_array()?.iter().cloned());
                self.both(node, listed);
            }
            "const" if draft >= Draft::Six => {
                let listed = Node::of_values([value.clone()]);
                self.both(node, listed);
            }
            "minimum" => {
                let open = draft == Draft::Four && flag(map, "exclusiveMinimum");
                node.low = highest(node.low.take(), bound(value, open)?);
            }
            "maximum" => {
                let open = draft == Draft::Four && flag(map, "exclusiveMaximum");
                node.high = lowest(node.high.take(), bound(value, open)?);
            }
            "exclusiveMinimum" if draft >= Draft::Six => {
                node.low = highest(node.low.take(), bound(value, true)?);
            }
            "exclusiveMaximum" if draft >= Draft::Six => {
                node.high = lowest(node.high.take(), bound(value, true)?);
            }
            "multipleOf" => {
                let multiple = decimal(value.as_number()?);
                if multiple <= 0 {
                    return None;
                }
                node.multiple = Some(multiple);
            }
            "minLength" => node.min_length = whole(value)?,
            "maxLength" => node.max_length = Some(whole(value)?),
            "pattern" => node.pattern = Some(value.as_str()?.into()),
            "format" => node.format = value.as_str().map(Name::from),
            "minItems" => node.min_items = whole(value)?,
            "maxItems" => node.max_items = Some(whole(value)?),
            "uniqueItems" => node.unique = value.as_bool()?,
            "minProperties" => node.min_members = whole(value)?,
            "maxProperties" => node.max_members = Some(whole(value)?),
            "required" => node.required = names(value)?.collect(),
            "properties" => node.members = self.by_name(value)?.into_iter().collect(),
            "patternProperties" => node.patterns = self.by_name(value)?.into_iter().collect(),
            "additionalProperties" => node.others = Some(self.node(value)),
            "propertyNames" if draft >= Draft::Six => node.names = Some(self.node(value)),
            "contains" if draft >= Draft::Six => {
                let counted = draft >= Draft::Y2019;
                let count = |name| map.get(name).filter(|_| counted).map(whole);
                node.contains = Some(Contains {
                    schema: self.node(value),
                    least: count("minContains").unwrap_or(Some(1))?,
                    most: count("maxContains").map_or(Some(None), |most| most.map(Some))?,
                });
            }
            "dependentRequired" if draft >= Draft::Y2019 => {
                for (name, needed) in value.as_object()? {
                    node.needs
                        .insert((&**name).into(), names(needed)?.collect());
                }
            }
            "dependentSchemas" if draft >= Draft::Y2019 => {
                node.needs_schema.extend(self.by_name(value)?);
            }
            // Left over from older drafts: some validators still read it, others do not.
            "dependencies" if draft >= Draft::Y2019 && !self.leftovers => {}
            "dependencies" => {
                for (name, needed) in value.as_object()? {
                    if needed.is_array() {
                        node.needs
                            .insert((&**name).into(), names(needed)?.collect());
                    } else {
                        let needed = self.node(needed);
                        node.needs_schema.insert((&**name).into(), needed);
                    }
                }
            }
            "allOf" => {
                let all = self.nodes_of(value)?;
                node.all.extend(all);
            }
            "anyOf" => node.any = Some(self.nodes_of(value)?),
            "oneOf" => node.one = Some(self.nodes_of(value)?),
            "not" => node.not = Some(self.node(value)),
            "unevaluatedProperties" if draft >= Draft::Y2019 => {
                loose.members = Some(self.node(value));
            }
            "unevaluatedItems" if draft >= Draft::Y2019 => loose.items = Some(self.node(value)),
            _ => {}
        }
        Some(())
    }

    /// Lists values in a node; a second list is a conjunct of its own.
    fn both(&mut self, node: &mut Node, listed: Node) {
        if node.values.is_none() {
            node.values = listed.values;
        } else {
            let id = self.add(listed);
            node.all.push(id);
        }
    }

    /// `items` in the words of 2020-12.
    fn items(&mut self, node: &mut Node, map: &'a Map<String, Json>) {
        if self.draft == Draft::Y2020 {
            if let Some(Json::Array(prefix)) = map.get("prefixItems") {
                node.prefix = prefix.iter().map(|schema| self.node(schema)).collect();
            }
            node.items = map.get("items").map(|schema| self.node(schema));
            return;
        }
        match map.get("items") {
            Some(Json::Array(prefix)) => {
                node.prefix = prefix.iter().map(|schema| self.node(schema)).collect();
                node.items = map.get("additionalItems").map(|schema| self.node(schema));
            }
            Some(schema) => node.items = Some(self.node(schema)),
            None => {}
        }
    }

    fn conditions(&mut self, node: &mut Node, map: &'a Map<String, Json>) {
        if self.draft < Draft::Seven {
            return;
        }
        let Some(test) = map.get("if") else { return };
        let mut branch = |name| map.get(name).map_or(YES, |schema| self.node(schema));
        let (then, other) = (branch("then"), branch("else"));
        // Without branches the test still says what is evaluated, so it stays.
        node.condition = Some([self.node(test), then, other]);
    }
}

fn kinds(value: &Json) -> Option<Kinds> {
    let one = |name: &Json| {
        Some(match name.as_str()? {
            "null" => Kinds::of(Kind::Null),
            "boolean" => Kinds::of(Kind::Bool),
            "integer" => Kinds::of(Kind::Integer),
            "number" => Kinds::of(Kind::Integer).or(Kinds::of(Kind::Fraction)),
            "string" => Kinds::of(Kind::Text),
            "array" => Kinds::of(Kind::Array),
            "object" => Kinds::of(Kind::Object),
            _ => return None,
        })
    };
    match value {
        Json::Array(names) => names
            .iter()
            .try_fold(Kinds::NONE, |all, name| Some(all.or(one(name)?))),
        name => one(name),
    }
}

fn flag(map: &Map<String, Json>, name: &str) -> bool {
    map.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn names(value: &Json) -> Option<impl Iterator<Item = Name>> {
    let list = value.as_array()?;
    list.iter().all(Json::is_string).then(|| {
        let names = list.iter().filter_map(Json::as_str);
        names.map(Name::from)
    })
}

/// A count; one beyond every length stands for all such.
fn whole(value: &Json) -> Option<u64> {
    let number = value.as_number()?;
    if let Some(count) = number.as_u64() {
        return Some(count);
    }
    let exact = decimal(number);
    if exact < 0 || !exact.is_integer() {
        return None;
    }
    Some(
        exact
            .with_scale(0)
            .to_plain_string()
            .parse()
            .unwrap_or(u64::MAX),
    )
}

fn bound(value: &Json, open: bool) -> Option<Bound> {
    let at = decimal(value.as_number()?);
    Some(Bound { at, open })
}

/// The lower end that leaves less.
pub(super) fn highest(one: Option<Bound>, other: Bound) -> Option<Bound> {
    match one {
        Some(one) if (&one.at, one.open) >= (&other.at, other.open) => Some(one),
        _ => Some(other),
    }
}

/// The upper end that leaves less.
pub(super) fn lowest(one: Option<Bound>, other: Bound) -> Option<Bound> {
    match one {
        Some(one) if (&one.at, !one.open) <= (&other.at, !other.open) => Some(one),
        _ => Some(other),
    }
}
