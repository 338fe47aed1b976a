//! The type of a schema's values, with bounds, allowed values and inside.

use lockstep_core::contract::{Allowed, Field, Format, Inner, wire};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::value::{Type, Value};

use super::super::json::Node;
use super::super::notes::shorten;
use super::view::View;
use super::{EXCLUSIVE, Importer, hint, kind_of};

impl<'n> Importer<'n, '_> {
    /// The JSON type of the values, if it is one.
    pub(super) fn kind(
        &mut self,
        view: &View<'n>,
        path: &str,
        field: &mut Field,
    ) -> Option<&'static str> {
        const KINDS: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
        if view.anything {
            return None;
        }
        let mut said: Vec<&str> = view.types();
        let listed = !said.is_empty();
        said.retain(|kind| *kind != "null");
        field.nullable |= view.types().contains(&"null");
        if said.contains(&"number") {
            said.retain(|kind| *kind != "integer");
        }
        if !listed {
            said = view.meant().into_iter().collect();
            // A schema that says nothing allows null, too.
            field.nullable |= said.is_empty();
        }
        match said.as_slice() {
            [one] => {
                let known = KINDS.iter().find(|kind| *kind == one);
                if known.is_none() {
                    let what = format!(
                        "the type `{}` is not known, so any value is allowed",
                        shorten(one)
                    );
                    self.notes.warn(
                        "LS-I110",
                        path,
                        view.at(),
                        what,
                        "JSON Schema has array, boolean, integer, null, number, object and string",
                    );
                }
                known.copied()
            }
            [] => None,
            several => {
                let what = format!(
                    "it is one of {}, so any value is allowed",
                    several.join(", ")
                );
                self.notes.warn(
                    "LS-I110",
                    path,
                    view.at(),
                    what,
                    "a field of a contract has one type",
                );
                None
            }
        }
    }

    /// Fills in type, bounds and inside; gives the keywords that this has seen to.
    pub(super) fn fill(
        &mut self,
        view: &View<'n>,
        path: &str,
        kind: Option<&'static str>,
        field: &mut Field,
    ) -> Result<&'static [&'static str], Vec<Diagnostic>> {
        let taken: &[&str] = match kind {
            Some("boolean") => {
                field.kind = Type::Bool;
                &["const", "enum"]
            }
            Some("integer") => {
                field.kind = Type::Int;
                self.numeric(view, path, field);
                &[
                    "const",
                    "enum",
                    "exclusiveMaximum",
                    "exclusiveMinimum",
                    "maximum",
                    "minimum",
                    "multipleOf",
                    "divisibleBy",
                    "format",
                ]
            }
            Some("number") => {
                field.kind = Type::Float;
                self.numeric(view, path, field);
                &[
                    "const",
                    "enum",
                    "exclusiveMaximum",
                    "exclusiveMinimum",
                    "maximum",
                    "minimum",
                    "multipleOf",
                    "divisibleBy",
                    "format",
                ]
            }
            Some("string") => self.string(view, path, field),
            Some("object") => {
                self.object(view, path, field)?;
                &[
                    "properties",
                    "additionalProperties",
                    "unevaluatedProperties",
                    "minProperties",
                    "maxProperties",
                ]
            }
            Some("array") => self.array(view, path, field)?,
            _ => &[],
        };
        if field.kind != Type::Json {
            self.listed(view, path, field);
        }
        Ok(taken)
    }

    fn numeric(&mut self, view: &View<'n>, path: &str, field: &mut Field) {
        let kind = field.kind;
        let read = |node: &Node| match kind {
            Type::Int => whole(node).map(Value::Int),
            _ => node
                .json()
                .as_f64()
                .filter(|n| n.is_finite())
                .map(Value::Float),
        };
        for (key, other, least) in [
            ("minimum", "exclusiveMinimum", true),
            ("maximum", "exclusiveMaximum", false),
        ] {
            let mut bound = view.get(key).map(|node| (node, false));
            match view.get(other) {
                // Drafts 3 and 4 have a flag beside the bound.
                Some(node) if node.flag().is_some() => {
                    if let Some((_, exclusive)) = &mut bound {
                        *exclusive = node.flag() == Some(true);
                    }
                }
                Some(node) => bound = Some((node, true)),
                None => {}
            }
            let Some((node, exclusive)) = bound else {
                continue;
            };
            let Some(value) = read(node) else {
                let what = format!(
                    "the bound {} is outside of what the type holds",
                    shorten(&node.json().to_string())
                );
                self.notes.warn(
                    "LS-I108",
                    path,
                    Some(node.at),
                    what,
                    "integers have 64 bits",
                );
                continue;
            };
            // The bounds of the type itself say nothing.
            if value == Value::Int(i64::MIN) && least || value == Value::Int(i64::MAX) && !least {
                continue;
            }
            if least {
                field.limits.minimum = Some(value);
                field.limits.exclusive_minimum = exclusive;
            } else {
                field.limits.maximum = Some(value);
                field.limits.exclusive_maximum = exclusive;
            }
        }
        let Some(step) = view.get("multipleOf").or(view.get("divisibleBy")) else {
            return;
        };
        match whole(step).filter(|step| kind == Type::Int && *step > 0) {
            Some(step) => field.limits.multiple_of = Some(Value::Int(step)),
            None => {
                let what = format!(
                    "`multipleOf: {}` is not checked",
                    shorten(&step.json().to_string())
                );
                self.notes.warn(
                    "LS-I108",
                    path,
                    Some(step.at),
                    what,
                    "for exact amounts write `physicalType: decimal(12,2)`; they travel as texts",
                );
            }
        }
    }

    fn string(
        &mut self,
        view: &View<'n>,
        path: &str,
        field: &mut Field,
    ) -> &'static [&'static str] {
        const FORMS: [&str; 8] = [
            "const",
            "enum",
            "pattern",
            "format",
            "contentEncoding",
            "formatMinimum",
            "formatMaximum",
            "allOf",
        ];
        let mut words = hint(view).unwrap_or_default().split(' ');
        let hinted = words.next().and_then(kind_of);
        let format = view.text("format").unwrap_or_default();
        field.kind = hinted.unwrap_or(match (format, view.text("contentEncoding")) {
            ("date", _) => Type::Date,
            ("date-time", _) => Type::Timestamp,
            ("uuid", _) => Type::Uuid,
            (_, Some("base64")) => Type::Bytes,
            _ => Type::Text,
        });
        if field.kind == Type::Text {
            field.limits.min_length = view.get("minLength").and_then(Node::whole);
            field.limits.max_length = view.get("maxLength").and_then(Node::whole);
            field.limits.pattern = view.text("pattern").map(str::to_owned);
            field.limits.format = serde_json::from_value::<Format>(format.into()).ok();
            if !format.is_empty() && field.limits.format.is_none() {
                let what = format!("the format `{}` is not checked", shorten(format));
                let help = match format {
                    "time" => "it asks for an offset from UTC, which a time of day does not have",
                    _ => "write it as a `pattern`",
                };
                self.notes.warn("LS-I108", path, view.at(), what, help);
            }
            return &[
                "const",
                "enum",
                "pattern",
                "format",
                "minLength",
                "maxLength",
            ];
        }
        if hinted.is_none() && field.kind == Type::Timestamp {
            self.notes.tell(
                "LS-I110",
                path,
                view.at(),
                "timestamps travel in UTC, ending in `Z`",
                "other offsets are refused at the gate",
            );
        }
        for (key, least, exclusive) in [
            ("formatMinimum", true, false),
            ("formatExclusiveMinimum", true, true),
            ("formatMaximum", false, false),
            ("formatExclusiveMaximum", false, true),
        ] {
            let Some(value) = view
                .get(key)
                .and_then(|node| wire::from_json(field.kind, &node.json()))
            else {
                continue;
            };
            if least {
                field.limits.minimum = Some(value);
                field.limits.exclusive_minimum = exclusive;
            } else {
                field.limits.maximum = Some(value);
                field.limits.exclusive_maximum = exclusive;
            }
        }
        if hinted.is_none() {
            return &[
                "const",
                "enum",
                "format",
                "contentEncoding",
                "formatMinimum",
                "formatMaximum",
                "formatExclusiveMinimum",
                "formatExclusiveMaximum",
            ];
        }
        // The patterns of a generated schema are the form of the type with its bounds, which the hint repeats.
        while let (Some(word), Some(value)) = (words.next(), words.next()) {
            bound(field, word, value);
        }
        &FORMS
    }

    fn object(
        &mut self,
        view: &View<'n>,
        path: &str,
        field: &mut Field,
    ) -> Result<(), Vec<Diagnostic>> {
        let least = view.get("minProperties").and_then(Node::whole);
        let most = view.get("maxProperties").and_then(Node::whole);
        if view.says_object() {
            let (fields, _) = self.members(view, path)?;
            let extra = self.extra(view, path);
            if least.or(most).is_some() {
                self.notes.warn(
                    "LS-I108",
                    path,
                    view.at(),
                    "the number of members is not checked",
                    "say it as a rule",
                );
            }
            field.inner = Some(Inner::Object { fields, extra });
            return Ok(());
        }
        match view
            .get("additionalProperties")
            .filter(|node| node.is_map())
        {
            Some(node) => {
                let values = Box::new(self.field("values", &format!("{path}.values"), node)?);
                field.inner = Some(Inner::Map {
                    values,
                    least,
                    most,
                });
            }
            None if least.or(most).is_some() => {
                let mut values = Field::new("values", Type::Json);
                values.nullable = true;
                field.inner = Some(Inner::Map {
                    values: Box::new(values),
                    least,
                    most,
                });
            }
            None => {}
        }
        Ok(())
    }

    fn array(
        &mut self,
        view: &View<'n>,
        path: &str,
        field: &mut Field,
    ) -> Result<&'static [&'static str], Vec<Diagnostic>> {
        let least = view.get("minItems").and_then(Node::whole);
        let most = view.get("maxItems").and_then(Node::whole);
        let unique = view.flag("uniqueItems");
        let places = view
            .get("prefixItems")
            .or(view.get("items").filter(|node| !node.items().is_empty()));
        if let Some(places) = places {
            self.notes.warn(
                "LS-I108",
                path,
                Some(places.at),
                "what each place of the list holds is not checked",
                "make the parts fields of their own",
            );
        }
        let node = view
            .get("items")
            .filter(|node| node.is_map() && places.is_none());
        let items = match node {
            Some(node) => self.field("items", &format!("{path}.items"), node)?,
            None => Field {
                nullable: true,
                ..Field::new("items", Type::Json)
            },
        };
        field.inner = Some(Inner::List {
            items: Box::new(items),
            least,
            most,
            unique,
        });
        Ok(&[
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
            "uniqueItems",
        ])
    }

    /// The allowed values.
    fn listed(&mut self, view: &View<'n>, path: &str, field: &mut Field) {
        let nodes: Vec<&Node> = match (view.get("enum"), view.get("const")) {
            (Some(list), _) => list.items().iter().collect(),
            (None, Some(one)) => vec![one],
            (None, None) => view.constants.clone(),
        };
        if nodes.is_empty() {
            return;
        }
        let before = nodes.len();
        let values: Vec<Value> = nodes
            .iter()
            .filter_map(|node| wire::from_json(field.kind, &node.json()))
            .filter(|value| !value.is_null())
            .collect();
        let has_null = nodes.iter().any(|node| node.json().is_null());
        // Where a list is all that says the type, null is a value only if listed.
        field.nullable = if view.types().is_empty() {
            field.nullable || has_null
        } else {
            field.nullable && has_null
        };
        if values.len() + usize::from(has_null) < before {
            self.notes.warn(
                "LS-I108",
                path,
                view.at(),
                format!("allowed values that are no {} were left out", field.kind),
                "a field has one type",
            );
        }
        if !values.is_empty() {
            field.allowed = Some(Allowed {
                values,
                open: false,
                fallback: None,
            });
        }
    }
}

/// A bound of a hint.
fn bound(field: &mut Field, word: &str, text: &str) {
    let value = wire::from_json(field.kind, &text.into());
    let limits = &mut field.limits;
    match word {
        "minLength" => limits.min_length = text.parse().ok(),
        "maxLength" => limits.max_length = text.parse().ok(),
        "minimum" | "exclusiveMinimum" => {
            limits.minimum = value;
            limits.exclusive_minimum = word == EXCLUSIVE[0] && limits.minimum.is_some();
        }
        "maximum" | "exclusiveMaximum" => {
            limits.maximum = value;
            limits.exclusive_maximum = word == EXCLUSIVE[1] && limits.maximum.is_some();
        }
        _ => {}
    }
}

fn whole(node: &Node) -> Option<i64> {
    let json = node.json();
    json.as_i64().or_else(|| {
        let number = json
            .as_f64()
            .filter(|n| n.fract() == 0.0 && n.abs() < 9e15)?;
        Some(number as i64)
    })
}
