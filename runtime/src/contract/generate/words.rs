//! Names and phrases that several forms share.

use lockstep_core::contract::{Class, Contract, Extra, Field, Format, Inner, Limits};
use lockstep_core::value::Type;

/// `order_line` as `OrderLine`; what cannot stand in a type's name is left out.
pub(super) fn pascal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = true;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// `orderLine` as `order_line`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

pub(super) fn extra(extra: Extra) -> &'static str {
    match extra {
        Extra::Reject => "refused",
        Extra::Keep => "kept",
        Extra::Drop => "left out",
    }
}

/// The type as people read it, its inside included.
pub(super) fn kind(field: &Field) -> String {
    match (&field.inner, field.kind) {
        (Some(Inner::Object { .. }), _) => "object".to_owned(),
        (Some(Inner::List { items, .. }), _) => format!("list of {}", kind(items)),
        (Some(Inner::Map { values, .. }), _) => format!("map to {}", kind(values)),
        (None, Type::Json) => "any document".to_owned(),
        (None, kind) => kind.to_string(),
    }
}

/// Bounds as phrases: `1 to 64 characters`, `at least 0`.
pub(super) fn limits(field: &Field) -> Vec<String> {
    let Limits {
        min_length,
        max_length,
        pattern,
        minimum,
        maximum,
        exclusive_minimum,
        exclusive_maximum,
        multiple_of,
        format,
    } = &field.limits;
    let mut said = Vec::new();
    let unit = if field.kind == Type::Bytes {
        "bytes"
    } else {
        "characters"
    };
    said.extend(count(*min_length, *max_length, unit));
    let bound = |value: &lockstep_core::Value| value.to_string();
    if let Some(least) = minimum {
        let word = if *exclusive_minimum {
            "above"
        } else {
            "at least"
        };
        said.push(format!("{word} {}", bound(least)));
    }
    if let Some(most) = maximum {
        let word = if *exclusive_maximum {
            "below"
        } else {
            "at most"
        };
        said.push(format!("{word} {}", bound(most)));
    }
    if let Some(step) = multiple_of {
        said.push(format!("a multiple of {}", bound(step)));
    }
    if let Some(pattern) = pattern {
        said.push(format!("matches {pattern}"));
    }
    if let Some(format) = format {
        said.push(format!("of the form {}", form(*format)));
    }
    said
}

/// What else holds for a field, as phrases: `no two records have the same`, `1 to 5 items`.
pub(super) fn facts(field: &Field) -> Vec<String> {
    let mut said = Vec::new();
    if field.unique {
        said.push("no two records have the same".to_owned());
    }
    if let Some(reference) = &field.reference {
        said.push(format!(
            "stands in {}.{}",
            reference.entity, reference.field
        ));
    }
    match &field.inner {
        Some(Inner::List {
            items,
            least,
            most,
            unique,
        }) => {
            said.extend(count(*least, *most, "items"));
            if *unique {
                said.push("no item twice".to_owned());
            }
            said.extend(part("each item", items));
        }
        Some(Inner::Map {
            values,
            least,
            most,
        }) => {
            said.extend(count(*least, *most, "entries"));
            said.extend(part("each value", values));
        }
        Some(Inner::Object { .. }) | None => {}
    }
    if matches!(field.class, Class::Personal | Class::Secret) {
        said.push(format!("classified as {}", field.class.name()));
    }
    if let Some(deprecation) = &field.deprecation {
        let instead = deprecation.replacement.as_ref();
        let instead = instead.map_or(String::new(), |other| format!(": use `{other}`"));
        said.push(format!("deprecated{instead}"));
    }
    said
}

/// What holds for the parts of a list or map.
fn part(what: &str, field: &Field) -> Option<String> {
    let mut said = limits(field);
    said.extend(allowed(field));
    said.extend(facts(field));
    (!said.is_empty()).then(|| format!("{what}: {}", said.join("; ")))
}

fn count(least: Option<u64>, most: Option<u64>, unit: &str) -> Option<String> {
    Some(match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{least} {unit}"),
        (Some(least), Some(most)) => format!("{least} to {most} {unit}"),
        (Some(least), None) => format!("at least {least} {unit}"),
        (None, Some(most)) => format!("at most {most} {unit}"),
        (None, None) => return None,
    })
}

/// The word for a form of texts.
pub(super) fn form(format: Format) -> &'static str {
    match format {
        Format::Email => "email",
        Format::Hostname => "hostname",
        Format::Ipv4 => "ipv4",
        Format::Ipv6 => "ipv6",
        Format::Uri => "uri",
    }
}

/// The rules over whole records, as phrases.
pub(super) fn rules(contract: &Contract) -> Vec<String> {
    let rules = contract.rules.iter();
    rules
        .map(|rule| format!("the rule `{}` is checked by the gate", rule.name))
        .collect()
}

/// A phrase as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .map(|c| c.to_uppercase().collect())
        .unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{end}", chars.as_str())
}

/// The allowed values as a phrase.
pub(super) fn allowed(field: &Field) -> Option<String> {
    let allowed = field.allowed.as_ref()?;
    let values: Vec<String> = allowed.values.iter().map(ToString::to_string).collect();
    let more = if allowed.open { "; more may come" } else { "" };
    Some(format!("one of {}{more}", values.join(", ")))
}

#[cfg(test)]
mod tests {
    use lockstep_core::contract::{NoLibrary, load};

    use super::super::{avro, rust, sql};

    const THING: &str = "apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
schema:
  - name: thing
    customProperties: [{property: lockstep.owner, value: crm}]
    quality: [{name: small, type: custom, engine: cel, implementation: optional == null || optional < 9}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: mail, logicalType: string, unique: true, classification: personal, logicalTypeOptions: {format: email}}
      - {name: code, logicalType: integer, required: true, customProperties: [{property: lockstep.enum, value: [1, 2]}]}
      - {name: optional, logicalType: integer, customProperties: [{property: lockstep.default, value: 7}]}
      - {name: buyer, logicalType: string, relationships: [{to: customer.id}]}
      - {name: old, logicalType: date, customProperties: [{property: lockstep.deprecation, value: {since: 1.0.0, replacement: code}}]}
      - {name: tags, logicalType: array, logicalTypeOptions: {minItems: 1, maxItems: 5, uniqueItems: true}, items: {logicalType: string, required: true, logicalTypeOptions: {maxLength: 10}}}
";

    #[test]
    fn no_form_drops_in_silence_what_it_cannot_check() {
        let contract = load("x", THING, &NoLibrary).unwrap().contract;
        let facts = [
            "lassified as personal",
            "f the form email",
            "tands in customer.id",
            "eprecated: use `code`",
            "1 to 5 items",
            "o item twice",
            "ach item: at most 10 characters",
            "`small`",
        ];
        let rust = rust::text(&contract);
        let avro = avro::schema(&contract).to_string();
        for fact in facts {
            assert!(rust.contains(fact), "{fact}\n{rust}");
            assert!(avro.contains(fact), "{fact}\n{avro}");
        }
        for fact in [
            "Taken as 7 where absent.",
            "Its key is `id`.",
            "No two records",
            "One of 1, 2.",
        ] {
            assert!(rust.contains(fact), "{fact}\n{rust}");
        }
        assert!(avro.contains("Rule: one of 1, 2."), "{avro}");
        let sql = sql::ddl(&contract, sql::Dialect::Sqlite, None);
        for fact in &facts[..facts.len() - 1] {
            assert!(sql.contains(fact), "{fact}\n{sql}");
        }
    }
}
