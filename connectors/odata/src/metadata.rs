//! What a service says of itself in `$metadata`: entity sets, their keys, properties and navigation; pure.
//!
//! Annotations are known by the last word of their terms, because every service has its own aliases of vocabularies.

use std::collections::{BTreeMap, HashMap};

use roxmltree::{Document, Node, ParsingOptions};

use crate::convert::Form;

/// How deep complex types may stand in each other.
const COMPLEX_MAX: usize = 4;
/// How many types one may be derived from.
const BASES_MAX: usize = 16;
/// Most columns of one entity set.
const COLUMNS_MAX: usize = 4000;
/// Most elements of a description.
const NODES_MAX: u32 = 4_000_000;

/// A service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    /// Whether it is of version 4.01 or later.
    pub(crate) is_later: bool,
    pub(crate) sets: BTreeMap<String, Set>,
}

/// An entity set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub(crate) name: String,
    /// The columns that identify an entity.
    pub(crate) key: Vec<String>,
    pub(crate) properties: Vec<Property>,
    pub(crate) navigations: Vec<Navigation>,
    /// Columns that identify an entity as well.
    pub(crate) alternates: Vec<Vec<String>>,
    /// What it says cannot be done: `Insertable`, `Updatable`, `Deletable`, `Supported` (changes are tracked).
    pub(crate) refuses: Vec<String>,
}

/// A property; of complex ones each part for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    /// Its name; parts are joined by dots.
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) is_nullable: bool,
    pub(crate) length: Option<u32>,
    /// Whether the service fills it.
    pub(crate) is_computed: bool,
}

/// A navigation property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Navigation {
    pub(crate) name: String,
    /// The entity set that it leads to, where it is said.
    pub(crate) target: Option<String>,
    pub(crate) is_list: bool,
    /// The properties that hold the key of the other entity.
    pub(crate) held_in: Vec<String>,
}

impl Service {
    /// Reads a description.
    ///
    /// # Errors
    /// What is wrong with it, without what it says.
    pub(crate) fn parse(text: &str) -> Result<Service, String> {
        let options = ParsingOptions {
            nodes_limit: NODES_MAX,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| format!("is no XML at {}", error.pos()))?;
        let root = document.root_element();
        if root.tag_name().name() != "Edmx" {
            return Err("is no description of an OData service".to_owned());
        }
        let version = root.attribute("Version").unwrap_or("4.0");
        if !version.starts_with('4') {
            let version: String = version.chars().take(8).collect();
            return Err(format!(
                "describes OData {version}, and 4.0 or 4.01 is wanted"
            ));
        }
        let model = Model::of(root);
        let mut service = Service {
            is_later: version != "4.0",
            ..Service::default()
        };
        for (container, node) in &model.sets {
            let name = node.attribute("Name").unwrap_or_default();
            let set = model.set(container, name, *node);
            service.sets.insert(name.to_owned(), set);
        }
        Ok(service)
    }
}

/// The types of a description by their qualified names.
struct Model<'a> {
    types: HashMap<String, Node<'a, 'a>>,
    aliases: HashMap<&'a str, &'a str>,
    /// Entity sets with the qualified names of their containers.
    sets: Vec<(String, Node<'a, 'a>)>,
    /// Annotations that stand apart, by what they are about.
    apart: HashMap<String, Vec<Node<'a, 'a>>>,
}

impl<'a> Model<'a> {
    fn of(root: Node<'a, 'a>) -> Model<'a> {
        let mut model = Model {
            types: HashMap::new(),
            aliases: HashMap::new(),
            sets: Vec::new(),
            apart: HashMap::new(),
        };
        let schemas: Vec<Node> = elements(root, "DataServices")
            .flat_map(|services| elements(services, "Schema"))
            .collect();
        for schema in &schemas {
            if let (Some(alias), Some(space)) =
                (schema.attribute("Alias"), schema.attribute("Namespace"))
            {
                model.aliases.insert(alias, space);
            }
        }
        for schema in schemas {
            let space = schema.attribute("Namespace").unwrap_or_default();
            for node in schema.children().filter(Node::is_element) {
                let name = format!("{space}.{}", node.attribute("Name").unwrap_or_default());
                match node.tag_name().name() {
                    "EntityType" | "ComplexType" | "EnumType" | "TypeDefinition" => {
                        model.types.insert(name, node);
                    }
                    "EntityContainer" => {
                        let sets = elements(node, "EntitySet").map(|set| (name.clone(), set));
                        model.sets.extend(sets);
                    }
                    "Annotations" => {
                        let target = model.resolved(node.attribute("Target").unwrap_or_default());
                        model.apart.entry(target).or_default().push(node);
                    }
                    _ => {}
                }
            }
        }
        model
    }

    /// A qualified name without its alias; what follows a slash is kept.
    fn resolved(&self, name: &str) -> String {
        let (kind, rest) = name.split_once('/').unwrap_or((name, ""));
        let (space, last) = kind.rsplit_once('.').unwrap_or(("", kind));
        let space = self.aliases.get(space).copied().unwrap_or(space);
        let slash = if rest.is_empty() { "" } else { "/" };
        format!("{space}.{last}{slash}{rest}")
    }

    fn set(&self, container: &str, name: &str, node: Node<'a, 'a>) -> Set {
        let kind = self.resolved(node.attribute("EntityType").unwrap_or_default());
        let mut set = Set {
            name: name.to_owned(),
            ..Set::default()
        };
        self.restrictions(node, &format!("{container}/{name}"), &mut set);
        for (qualified, kind) in self.lineage(&kind) {
            self.restrictions(kind, &qualified, &mut set);
            if let Some(key) = elements(kind, "Key").next().filter(|_| set.key.is_empty()) {
                let names = elements(key, "PropertyRef").filter_map(|part| part.attribute("Name"));
                set.key = names.map(|name| name.replace('/', ".")).collect();
            }
            self.properties(&qualified, kind, "", COMPLEX_MAX, &mut set.properties);
            for navigation in elements(kind, "NavigationProperty") {
                set.navigations.extend(self.navigation(node, navigation));
            }
        }
        let properties = &set.properties;
        (set.key).retain(|key| properties.iter().any(|property| property.name == *key));
        set
    }

    /// A type and those that it is derived from.
    fn lineage(&self, kind: &str) -> Vec<(String, Node<'a, 'a>)> {
        let mut all = Vec::new();
        let mut next = Some(kind.to_owned());
        while let Some(name) = next.filter(|_| all.len() < BASES_MAX) {
            let Some(node) = self.types.get(&name) else {
                break;
            };
            next = node.attribute("BaseType").map(|base| self.resolved(base));
            all.push((name, *node));
        }
        all
    }

    fn properties(
        &self,
        qualified: &str,
        kind: Node<'a, 'a>,
        before: &str,
        depth: usize,
        all: &mut Vec<Property>,
    ) {
        for node in elements(kind, "Property") {
            let own = node.attribute("Name").unwrap_or_default();
            let name = format!("{before}{own}");
            let written = node.attribute("Type").unwrap_or("Edm.String");
            let resolved = self.resolved(written);
            if written == "Edm.Stream" || all.len() >= COLUMNS_MAX {
                continue;
            }
            let complex = self.types.get(&resolved);
            let complex = complex.filter(|kind| kind.tag_name().name() == "ComplexType");
            if let (Some(_), true) = (complex, depth > 0) {
                for (qualified, kind) in self.lineage(&resolved) {
                    self.properties(&qualified, kind, &format!("{name}."), depth - 1, all);
                }
                continue;
            }
            let about = format!("{qualified}/{own}");
            all.push(Property {
                form: self.form(node, written),
                is_nullable: node.attribute("Nullable") != Some("false") || !before.is_empty(),
                length: node
                    .attribute("MaxLength")
                    .and_then(|text| text.parse().ok()),
                is_computed: self.is_marked(node, &about, "Computed"),
                name,
            });
        }
    }

    fn form(&self, node: Node<'a, 'a>, written: &str) -> Form {
        let number = |name: &str| node.attribute(name).and_then(|text| text.parse().ok());
        match written {
            "Edm.Boolean" => Form::Bool,
            "Edm.Byte" | "Edm.SByte" | "Edm.Int16" | "Edm.Int32" => Form::Int { is_wide: false },
            "Edm.Int64" => Form::Int { is_wide: true },
            "Edm.Decimal" => Form::Decimal {
                precision: number("Precision"),
                scale: number("Scale"),
            },
            "Edm.Double" | "Edm.Single" => Form::Float,
            "Edm.String" => Form::Text,
            "Edm.Binary" => Form::Binary,
            "Edm.Date" => Form::Date,
            "Edm.TimeOfDay" => Form::Time,
            "Edm.DateTimeOffset" => Form::Instant {
                precision: number("Precision"),
            },
            "Edm.Guid" => Form::Guid,
            "Edm.Duration" => Form::Duration,
            list if list.starts_with("Collection(") => Form::Json { is_list: true },
            other => {
                let name = self.resolved(other);
                match self.types.get(&name) {
                    Some(kind) if kind.tag_name().name() == "EnumType" => Form::Enum(name),
                    Some(kind) if kind.tag_name().name() == "TypeDefinition" => {
                        match kind.attribute("UnderlyingType") {
                            Some(under) if under.starts_with("Edm.") => self.form(*kind, under),
                            _ => Form::Json { is_list: false },
                        }
                    }
                    _ => Form::Json { is_list: false },
                }
            }
        }
    }

    fn navigation(&self, set: Node<'a, 'a>, node: Node<'a, 'a>) -> Option<Navigation> {
        let name = node.attribute("Name")?;
        let bound = elements(set, "NavigationPropertyBinding").find(|binding| {
            let path = binding.attribute("Path").unwrap_or_default();
            path == name || path.rsplit('/').next() == Some(name)
        });
        let target = bound
            .and_then(|binding| binding.attribute("Target"))
            .and_then(|target| target.rsplit('/').next());
        let constraints = elements(node, "ReferentialConstraint");
        Some(Navigation {
            name: name.to_owned(),
            target: target.map(str::to_owned),
            is_list: node.attribute("Type")?.starts_with("Collection("),
            held_in: constraints
                .filter_map(|held| held.attribute("Property").map(str::to_owned))
                .collect(),
        })
    }

    /// The annotations of a thing: inside it, and apart.
    fn annotations(&self, node: Node<'a, 'a>, about: &str) -> Vec<Node<'a, 'a>> {
        let apart = self.apart.get(about).into_iter().flatten();
        let apart = apart.flat_map(|node| elements(*node, "Annotation"));
        elements(node, "Annotation").chain(apart).collect()
    }

    fn is_marked(&self, node: Node<'a, 'a>, about: &str, word: &str) -> bool {
        let all = self.annotations(node, about);
        all.iter()
            .any(|one| term(*one) == word && one.attribute("Bool") != Some("false"))
    }

    fn restrictions(&self, node: Node<'a, 'a>, about: &str, set: &mut Set) {
        for annotation in self.annotations(node, about) {
            let values = annotation
                .descendants()
                .filter(|node| node.tag_name().name() == "PropertyValue");
            match term(annotation) {
                "InsertRestrictions" | "UpdateRestrictions" | "DeleteRestrictions"
                | "ChangeTracking" => {
                    let refused = values.filter(|value| value.attribute("Bool") == Some("false"));
                    let names = refused.filter_map(|value| value.attribute("Property"));
                    set.refuses.extend(names.map(str::to_owned));
                }
                "AlternateKeys" => {
                    for key in values.filter(|value| value.attribute("Property") == Some("Key")) {
                        let parts = key.descendants().filter(|part| {
                            part.tag_name().name() == "PropertyValue"
                                && part.attribute("Property") == Some("Name")
                        });
                        let path = |part: Node| {
                            let path = part.attribute("PropertyPath").or(part.attribute("String"));
                            path.map(|path| path.replace('/', "."))
                        };
                        set.alternates.push(parts.filter_map(path).collect());
                    }
                }
                _ => {}
            }
        }
    }
}

/// The last word of an annotation's term.
fn term<'a>(annotation: Node<'a, '_>) -> &'a str {
    let term = annotation.attribute("Term").unwrap_or_default();
    term.rsplit('.').next().unwrap_or(term)
}

fn elements<'a, 'b: 'a>(
    node: Node<'a, 'b>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'b>> {
    node.children()
        .filter(move |child| child.is_element() && child.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHOP: &str = include_str!("../tests/shop.xml");

    #[test]
    fn sets_are_read_with_keys_types_and_references() {
        let service = Service::parse(SHOP).unwrap();
        let orders = &service.sets["Orders"];
        assert_eq!(orders.key, ["ID"]);
        let property = |name: &str| {
            let found = orders.properties.iter().find(|one| one.name == name);
            found.unwrap_or_else(|| panic!("{name}"))
        };
        assert_eq!(
            property("Total").form,
            Form::Decimal {
                precision: Some(15),
                scale: Some(2)
            }
        );
        assert_eq!(property("ShipTo.City").form, Form::Text);
        assert_eq!(
            property("Status").form,
            Form::Enum("shop.Status".to_owned())
        );
        assert_eq!(property("Tags").form, Form::Json { is_list: true });
        assert!(property("ChangedAt").is_computed && property("_customer_value").is_computed);
        assert_eq!(orders.alternates, [["Number"]]);
        let customer = orders.navigations.iter().find(|one| one.name == "customer");
        let customer = customer.unwrap();
        assert_eq!(customer.target.as_deref(), Some("Customers"));
        assert_eq!(customer.held_in, ["_customer_value"]);
        assert_eq!(service.sets["Lines"].key, ["Order", "No"]);
        assert_eq!(service.sets["Lines"].refuses, ["Deletable"]);
    }

    #[test]
    fn other_documents_are_refused() {
        for (text, part) in [
            ("", "is no XML"),
            ("<html/>", "is no description"),
            ("<Edmx Version='1.0'/>", "OData 1.0"),
        ] {
            let why = Service::parse(text).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let deep = format!(
            "<Edmx>{}{}</Edmx>",
            "<a>".repeat(20_000),
            "</a>".repeat(20_000)
        );
        assert!(Service::parse(&deep).is_ok());
    }

    #[test]
    fn types_that_hold_themselves_end() {
        let text = "<Edmx Version='4.0'><DataServices><Schema Namespace='a'>\
            <ComplexType Name='C' BaseType='a.C'><Property Name='c' Type='a.C'/></ComplexType>\
            <EntityType Name='E' BaseType='a.E'><Key><PropertyRef Name='x'/></Key>\
            <Property Name='x' Type='Edm.Int32'/><Property Name='c' Type='a.C'/></EntityType>\
            <TypeDefinition Name='T' UnderlyingType='a.T'/>\
            <EntityContainer Name='D'><EntitySet Name='Es' EntityType='a.E'/></EntityContainer>\
            </Schema></DataServices></Edmx>";
        let service = Service::parse(text).unwrap();
        assert!(service.sets["Es"].properties.len() <= COLUMNS_MAX);
    }

    proptest! {
        #[test]
        fn no_document_panics(cut in 0..SHOP.len(), other in "\\PC{0,20}") {
            let cut = (0..=cut).rev().find(|at| SHOP.is_char_boundary(*at)).unwrap_or(0);
            let _ = Service::parse(&format!("{}{other}{}", &SHOP[..cut], &SHOP[cut..]));
            let _ = Service::parse(&SHOP[..cut]);
        }
    }
}
