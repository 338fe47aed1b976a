//! One ODCS property as a field of the contract, or of a document inside it.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::reading::{PARTS_MAX, Reading};
use super::terms::deprecation;
use super::words::{CLASSES, FIELD_OUTCOMES, HANDLINGS, TRUTHS, mapping, system, word};
use super::yaml::{Content, Node, Span, shorten};
use super::{quality, relationships, types};
use crate::contract::{Class, Field, Handling, Outcome, Personal, Truth};
use crate::diagnostic::a;
use crate::value::Type;

mod inner;
mod kind;
mod limits;
mod listed;

/// Most digits of a decimal.
const PRECISION_MAX: u32 = 100;

/// A field with the places that later findings point at.
pub(super) struct Draft {
    pub(super) field: Field,
    pub(super) name_at: Span,
    /// Whether it is part of the key, and at which position where one is given.
    pub(super) key: Option<Option<i64>>,
    pub(super) key_at: Span,
    /// Whose data it is, for the check that such a field exists.
    pub(super) subject_at: Option<Span>,
}

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// In the entity itself.
    Entity,
    /// Among the named members of a document.
    Member,
    /// As what every item of a list or every value of a map is, under this name.
    Each(&'static str),
}

/// Reads a property with the shared types it names; `None` where not even name and type are known.
///
/// `above` is the pointer of what it stands in, `demanded` whether that asks for it.
pub(super) fn field(
    node: &Node,
    level: Level,
    above: &str,
    demanded: bool,
    reading: &mut Reading<'_>,
) -> Option<Draft> {
    reading.parts += 1;
    if reading.parts > PARTS_MAX {
        if reading.parts == PARTS_MAX + 1 {
            reading.findings.error(
                "LS-C039",
                node.at,
                format!("the contract has more than {PARTS_MAX} properties, those inside documents and shared types included"),
                "split it into entities of their own",
            );
        }
        return None;
    }
    let before = reading.chain.len();
    let shared = types::resolve(node, reading);
    let draft = match &shared {
        types::Resolved::Own => plain(node, level, above, demanded, reading),
        types::Resolved::Shared(node) => plain(node, level, above, demanded, reading),
        types::Resolved::Broken => None,
    };
    reading.chain.truncate(before);
    draft
}

fn plain(
    node: &Node,
    level: Level,
    above: &str,
    demanded: bool,
    reading: &mut Reading<'_>,
) -> Option<Draft> {
    let (name, name_at) = named(node, level, reading)?;
    let pointer = match level {
        Level::Entity => format!("/fields/{}", name.as_deref().unwrap_or_default()),
        Level::Member => format!("{above}/fields/{}", name.as_deref().unwrap_or_default()),
        Level::Each(what) => format!("{above}/{what}"),
    };
    marks(node, &pointer, name_at, reading);
    let findings = &mut reading.findings;
    let kind = kind::kind(node, findings);
    let owner = custom(node, "lockstep.owner")
        .and_then(|owner| system(owner, "`lockstep.owner`", findings));
    let class = class(node, findings);
    let (handling, personal) = privacy(node, &pointer, reading);
    let findings = &mut reading.findings;
    let truth = truth(node, kind, findings);
    let (required, nullable) = presence(node, demanded, findings);
    let (key, key_at) = key(node, findings);
    let outcome = custom(node, "lockstep.outcome").and_then(|node| {
        word(
            node,
            "`lockstep.outcome`",
            FIELD_OUTCOMES,
            "LS-C042",
            findings,
        )
    });
    let deprecation = deprecation(node, findings);
    let unique = unique(node, level, findings);
    let reference = relationships::of_property(node, &pointer, level, reading);
    let findings = &mut reading.findings;
    if level != Level::Entity {
        quality::nested(node, findings);
    }
    let (name, kind) = (name?, kind?);
    let mut field = Field {
        required,
        nullable,
        description: text(node, "description"),
        class,
        handling,
        owner,
        truth,
        unique,
        reference,
        deprecation,
        personal,
        outcome: outcome.unwrap_or(Outcome::Quarantine),
        ..Field::new(name, kind)
    };
    let before = reading.findings.errors();
    field.limits = limits::limits(node, kind, &pointer, reading);
    if kind == Type::Json {
        field.inner = inner::inner(node, &pointer, reading);
        protection(&field, name_at, &mut reading.findings);
    }
    // Limits that are at fault themselves would only repeat it at each listed value.
    let findings = &mut reading.findings;
    let sound = findings.errors() == before;
    field.allowed = listed::allowed(node, &field, sound, findings);
    let sound = findings.errors() == before;
    field.default = listed::default(node, &field, sound, findings);
    Some(Draft {
        field,
        name_at,
        key,
        key_at,
        subject_at: custom(node, "lockstep.privacy")
            .and_then(|privacy| privacy.get("subject"))
            .map(|subject| subject.at),
    })
}

/// The name and where it stands; the outer `None` where there is no name to speak of, the inner where it cannot be used.
fn named(node: &Node, level: Level, reading: &mut Reading<'_>) -> Option<(Option<String>, Span)> {
    if let Level::Each(what) = level {
        return Some((Some(what.to_owned()), node.at));
    }
    let written = node.get("name")?;
    let findings = &mut reading.findings;
    let name = match level {
        Level::Entity => name(written, "property", findings),
        _ => member_name(written, findings),
    };
    Some((name, written.at))
}

/// Notes where the parts of a field stand.
fn marks(node: &Node, pointer: &str, name_at: Span, reading: &mut Reading<'_>) {
    reading.mark(pointer, name_at);
    for (part, key) in [
        ("type", "logicalType"),
        ("required", "required"),
        ("unique", "unique"),
        ("class", "classification"),
        ("description", "description"),
        ("allowed", "enum"),
    ] {
        reading.mark_node(format!("{pointer}/{part}"), node.get(key));
    }
    for (part, key) in [
        ("nullable", "lockstep.nullable"),
        ("allowed", "lockstep.enum"),
        ("allowed/open", "lockstep.enumOpen"),
        ("allowed/fallback", "lockstep.enumFallback"),
        ("default", "lockstep.default"),
        ("deprecation", "lockstep.deprecation"),
        ("owner", "lockstep.owner"),
        ("truth", "lockstep.truth"),
        ("outcome", "lockstep.outcome"),
        ("extra", "lockstep.extra"),
        ("personal", "lockstep.privacy"),
    ] {
        reading.mark_node(format!("{pointer}/{part}"), custom(node, key));
    }
    // Without a word of its own, whether null is allowed follows from `required`.
    reading.mark_node(format!("{pointer}/nullable"), node.get("required"));
    reading.mark_node(format!("{pointer}/deprecation"), node.get("deprecated"));
}

/// Checks a name of an entity or a property.
pub(super) fn name(node: &Node, what: &str, findings: &mut Findings) -> Option<String> {
    const LENGTH_MAX: usize = 64;
    const WORDS_OF_CEL: [&str; 4] = ["true", "false", "null", "in"];
    let text = node.text()?;
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= LENGTH_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !WORDS_OF_CEL.contains(&text) {
        return Some(text.to_owned());
    }
    let before = findings.errors();
    findings.needed(
        "LS-C010",
        node.at,
        format!("`{}` cannot be the name of {}", shorten(text), a(what)),
        format!(
            "use letters, digits and `_`, beginning with a letter, at most {LENGTH_MAX} characters, and none of {}",
            WORDS_OF_CEL.join(", ")
        ),
    );
    (findings.errors() == before).then(|| text.to_owned())
}

/// Checks the name of a member of a document: any name that can be shown and pointed at.
fn member_name(node: &Node, findings: &mut Findings) -> Option<String> {
    const LENGTH_MAX: usize = 128;
    let text = node.text()?;
    let fits = !text.is_empty()
        && text.len() <= LENGTH_MAX
        && !text.chars().any(|c| c.is_control() || c == '/' || c == '~');
    if fits {
        return Some(text.to_owned());
    }
    findings.error(
        "LS-C010",
        node.at,
        format!("`{}` cannot be the name of a property", shorten(text)),
        format!("use at most {LENGTH_MAX} characters, and neither `/` nor `~`"),
    );
    None
}

/// The value of a Lockstep property.
pub(super) fn custom<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.get("customProperties")?
        .items()
        .iter()
        .find(|item| item.get("property").and_then(Node::text) == Some(name))?
        .get("value")
}

/// A text without the blanks around it.
pub(super) fn text(node: &Node, key: &str) -> Option<String> {
    let text = node.get(key)?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn truth(node: &Node, kind: Option<Type>, findings: &mut Findings) -> Option<Truth> {
    let written = custom(node, "lockstep.truth")?;
    let truth = word(written, "`lockstep.truth`", TRUTHS, "LS-C014", findings)?;
    let kind = kind?;
    let numeric = matches!(kind, Type::Int | Type::Decimal { .. } | Type::Float);
    let fits = match truth {
        Truth::Delta => numeric,
        Truth::Union => kind == Type::Json,
        Truth::Max | Truth::Min => kind != Type::Json && kind != Type::Bytes,
        _ => true,
    };
    if !fits {
        findings.error(
            "LS-C037",
            written.at,
            format!("{} has no meaning for {}", written.describe(), a(&kind.to_string())),
            "`delta` adds numbers, `union` joins lists, `max` and `min` need an order; `owner` and `latest` fit everything",
        );
    }
    Some(truth)
}

fn class(node: &Node, findings: &mut Findings) -> Class {
    let Some(written) = node.get("classification") else {
        return Class::Internal;
    };
    let Some(text) = written.text() else {
        return Class::Internal;
    };
    if let Some((_, class)) = CLASSES.iter().find(|(word, _)| *word == text) {
        return *class;
    }
    findings.needed(
        "LS-C031",
        written.at,
        format!("the classification cannot be {}", written.describe()),
        crate::diagnostic::suggestion(text, CLASSES.iter().map(|(word, _)| *word)),
    );
    // What a word means that nobody here knows is protected, in case it asks for that.
    Class::Personal
}

/// What each system sees of the field, and whose data it is.
fn privacy(
    node: &Node,
    pointer: &str,
    reading: &mut Reading<'_>,
) -> (BTreeMap<String, Handling>, Option<Personal>) {
    let mut handling = BTreeMap::new();
    let Some(privacy) = custom(node, "lockstep.privacy") else {
        return (handling, None);
    };
    const KEYS: [&str; 4] = ["category", "retention", "subject", "systems"];
    let findings = &mut reading.findings;
    if !mapping(privacy, "`lockstep.privacy`", &KEYS, "LS-C032", findings) {
        return (handling, None);
    }
    let mut marks = Vec::new();
    if let Some(systems) = privacy.get("systems") {
        if !matches!(systems.content, Content::Map(_)) {
            findings.error(
                "LS-C032",
                systems.at,
                format!(
                    "`systems` must map systems to words, not be {}",
                    systems.describe()
                ),
                "write `value: {systems: {billing: mask}}`",
            );
        }
        marks.push((format!("{pointer}/handling"), systems.at));
        for entry in systems.entries() {
            let what = format!("what `{}` sees", shorten(&entry.key));
            marks.push((format!("{pointer}/handling/{}", entry.key), entry.value.at));
            if let Some(word) = word(&entry.value, &what, HANDLINGS, "LS-C032", findings) {
                handling.insert(entry.key.clone(), word);
            }
        }
    }
    let mut text = |key: &str| {
        let node = privacy.get(key)?;
        let text = node.text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            findings.error(
                "LS-C032",
                node.at,
                format!("`{key}` must be a text, not {}", node.describe()),
                "write a text, such as `category: contact` or `subject: customer_id`",
            );
        }
        text.map(str::to_owned)
    };
    let personal = Personal {
        category: text("category"),
        subject: text("subject"),
        retention_days: privacy
            .get("retention")
            .and_then(|node| retention(node, findings)),
    };
    for (pointer, at) in marks {
        reading.mark(pointer, at);
    }
    let personal = (personal != Personal::default()).then_some(personal);
    (handling, personal)
}

/// Days, as a number or with a unit: `30`, `30d`, `12w`, `2y`.
fn retention(node: &Node, findings: &mut Findings) -> Option<u64> {
    let days = match &node.content {
        Content::Number(text) => text.parse().ok(),
        Content::Text(text) => text
            .trim()
            .split_at_checked(text.trim().len().saturating_sub(1))
            .and_then(|(count, unit)| {
                let days: u64 = match unit {
                    "d" => 1,
                    "w" => 7,
                    "y" => 365,
                    _ => return None,
                };
                count.trim().parse::<u64>().ok()?.checked_mul(days)
            }),
        _ => None,
    };
    let days = days.filter(|days| *days > 0);
    if days.is_none() {
        findings.error(
            "LS-C032",
            node.at,
            format!("{} is not a time for which data is kept", node.describe()),
            "write days, weeks or years, such as `90d`, `12w` or `7y`",
        );
    }
    days
}

/// Whether a whole record must have the field, and whether it may be null.
fn presence(node: &Node, demanded: bool, findings: &mut Findings) -> (bool, bool) {
    let stated = node.get("required").and_then(Node::flag).unwrap_or(false);
    let nullable = match custom(node, "lockstep.nullable") {
        None => !stated,
        Some(written) => written.flag().unwrap_or_else(|| {
            findings.error(
                "LS-C004",
                written.at,
                format!(
                    "`lockstep.nullable` must be true or false, not {}",
                    written.describe()
                ),
                "write true or false here",
            );
            !stated
        }),
    };
    (stated || demanded, nullable)
}

fn key(node: &Node, findings: &mut Findings) -> (Option<Option<i64>>, Span) {
    let flag = node.get("primaryKey");
    // The standard writes -1 for no position.
    let position = node
        .get("primaryKeyPosition")
        .filter(|node| node.integer().is_some_and(|position| position != -1));
    let is_key = flag.and_then(Node::flag).unwrap_or(false);
    if let Some(position) = position.filter(|_| !is_key) {
        findings.needed(
            "LS-C028",
            position.at,
            "a property outside the key has a position in it",
            "add `primaryKey: true`, or remove `primaryKeyPosition`",
        );
    }
    let at = position.or(flag).map_or(node.at, |node| node.at);
    let key = is_key.then(|| position.and_then(Node::integer));
    (key, at)
}

fn unique(node: &Node, level: Level, findings: &mut Findings) -> bool {
    let written = node.get("unique");
    let unique = written.and_then(Node::flag).unwrap_or(false);
    if let (true, Some(written), true) = (unique, written, level != Level::Entity) {
        findings.warning(
            "LS-C035",
            written.at,
            "`unique` inside a document is not checked",
            "make the part a property of the first level where it matters",
        );
        return false;
    }
    unique
}

/// A document is protected as a whole, so it is at least as protected as what stands inside.
fn protection(field: &Field, at: Span, findings: &mut Findings) {
    let Some(inner) = &field.inner else { return };
    let inside = inner
        .fields()
        .iter()
        .map(|field| (field.class, &field.name));
    let Some((class, name)) = inside.max_by_key(|(class, _)| *class) else {
        return;
    };
    if class > field.class && class >= Class::Personal {
        findings.needed(
            "LS-C043",
            at,
            format!(
                "`{}` is less protected than `{}` inside it",
                shorten(&field.name),
                shorten(name)
            ),
            "give it the same `classification`: a document is shown or hidden as a whole",
        );
    }
}
