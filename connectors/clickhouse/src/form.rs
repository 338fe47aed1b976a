//! The server's types, as the catalogue writes them, and what Lockstep makes of each; pure.

use lockstep_core::Type;

/// What a comment of a column begins with where the server's type does not tell what is in it.
const MARK: &str = "lockstep: ";

/// Deepest wrapping of a type that is looked into.
const WRAPS_MAX: usize = 8;

/// How a column holds its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Bool`, or a `UInt8` that is marked as one.
    Bool,
    /// A whole number of that many bits.
    Int { bits: u32, signed: bool },
    /// An exact decimal.
    Decimal { precision: u32, scale: u32 },
    /// A float, double or not.
    Float { double: bool },
    /// `String`, or `FixedString` of that many bytes.
    Text { fixed: Option<usize> },
    /// A `String` that is marked as bytes.
    Bytes,
    /// A `String` that is marked as JSON.
    Json,
    /// A `String` that is marked as a time of day.
    Time,
    /// A `String` that is marked as an instant, where the server has no type that holds it exactly.
    Instant,
    /// A `String` that is marked as a day, where the server's days begin in 1970.
    Day,
    /// A day: `Date`, or `Date32` where wide.
    Date { wide: bool },
    /// An instant in whole seconds.
    DateTime,
    /// An instant with that many digits after the second.
    DateTime64(u32),
    /// A UUID.
    Uuid,
    /// One of some names.
    Enum(Vec<String>),
    /// An address of the internet, as its text.
    Address,
    /// A list, a map, a tuple, or whatever else can be read only.
    Composite,
}

/// A column's kind, and whether it takes null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
}

/// What of the server's age matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads `24.8.1.1`.
    pub(crate) fn parse(text: &str) -> Option<Version> {
        let mut parts = text.trim().split('.').map(str::parse);
        Some(Version(parts.next()?.ok()?, parts.next()?.ok()?))
    }

    pub(crate) fn has_datetime64(self) -> bool {
        self >= Version(20, 5)
    }

    pub(crate) fn has_bool(self) -> bool {
        self >= Version(21, 12)
    }

    pub(crate) fn has_date32(self) -> bool {
        self >= Version(22, 8)
    }

    pub(crate) fn has_json_text(self) -> bool {
        self >= Version(21, 9)
    }

    /// Whether the engine leaves deleted rows out of `FINAL` by itself.
    pub(crate) fn has_deleted(self) -> bool {
        self >= Version(23, 2)
    }
}

impl Form {
    /// Reads a type of the catalogue.
    pub(crate) fn parse(text: &str, comment: &str) -> Form {
        let mut inner = text.trim();
        let mut nullable = false;
        for _ in 0..WRAPS_MAX {
            if let Some(within) = arguments(inner, "Nullable") {
                (inner, nullable) = (within, true);
            } else if let Some(within) = arguments(inner, "LowCardinality") {
                inner = within;
            } else {
                break;
            }
        }
        let kind = marked(inner, comment).unwrap_or_else(|| Kind::parse(inner));
        Form { kind, nullable }
    }

    /// What Lockstep calls it.
    pub(crate) fn kind(&self, version: Version) -> Type {
        match &self.kind {
            Kind::Bool => Type::Bool,
            Kind::Int {
                bits: 64,
                signed: false,
            } => exactly(20, 0),
            Kind::Int { bits: 128.., .. } => exactly(
                if self.kind
                    == (Kind::Int {
                        bits: 128,
                        signed: true,
                    })
                {
                    39
                } else {
                    78
                },
                0,
            ),
            Kind::Int { .. } => Type::Int,
            Kind::Decimal { precision, scale } => exactly(*precision, *scale),
            Kind::Float { .. } => Type::Float,
            Kind::Text { .. } | Kind::Enum(_) | Kind::Address => Type::Text,
            Kind::Bytes => Type::Bytes,
            Kind::Json => Type::Json,
            Kind::Time => Type::Time,
            Kind::Instant | Kind::DateTime | Kind::DateTime64(_) => Type::Timestamp,
            Kind::Date { .. } | Kind::Day => Type::Date,
            Kind::Uuid => Type::Uuid,
            Kind::Composite if version.has_json_text() => Type::Json,
            Kind::Composite => Type::Text,
        }
    }
}

fn exactly(precision: u32, scale: u32) -> Type {
    Type::Decimal {
        precision: Some(precision),
        scale: Some(scale),
    }
}

/// A type that its column's comment tells.
fn marked(inner: &str, comment: &str) -> Option<Kind> {
    let word = comment.strip_prefix(MARK)?;
    match (inner, word) {
        ("UInt8", "bool") => Some(Kind::Bool),
        ("String", "bytes") => Some(Kind::Bytes),
        ("String", "json") => Some(Kind::Json),
        ("String", "time") => Some(Kind::Time),
        ("String", "date") => Some(Kind::Day),
        ("String", "timestamp") => Some(Kind::Instant),
        _ => None,
    }
}

impl Kind {
    fn parse(text: &str) -> Kind {
        if let Some(kind) = plain(text) {
            return kind;
        }
        if let Some(within) = arguments(text, "FixedString") {
            return within
                .parse()
                .map_or(Kind::Composite, |size| Kind::Text { fixed: Some(size) });
        }
        if let Some(within) = arguments(text, "DateTime64") {
            let digits = within.split(',').next().unwrap_or_default().trim();
            return match digits.parse() {
                Ok(digits @ 0..=9) => Kind::DateTime64(digits),
                _ => Kind::Composite,
            };
        }
        if arguments(text, "DateTime").is_some() {
            return Kind::DateTime;
        }
        if let Some(within) = arguments(text, "Decimal") {
            return decimal(within).unwrap_or(Kind::Composite);
        }
        if let Some(names) = ["Enum8", "Enum16", "Enum"]
            .iter()
            .find_map(|word| arguments(text, word))
        {
            return names_of(names).map_or(Kind::Composite, Kind::Enum);
        }
        Kind::Composite
    }
}

fn plain(text: &str) -> Option<Kind> {
    let int = |bits, signed| Some(Kind::Int { bits, signed });
    match text {
        "Bool" => Some(Kind::Bool),
        "Int8" => int(8, true),
        "Int16" => int(16, true),
        "Int32" => int(32, true),
        "Int64" => int(64, true),
        "Int128" => int(128, true),
        "Int256" => int(256, true),
        "UInt8" => int(8, false),
        "UInt16" => int(16, false),
        "UInt32" => int(32, false),
        "UInt64" => int(64, false),
        "UInt128" => int(128, false),
        "UInt256" => int(256, false),
        "Float32" => Some(Kind::Float { double: false }),
        "Float64" => Some(Kind::Float { double: true }),
        "String" => Some(Kind::Text { fixed: None }),
        "Date" => Some(Kind::Date { wide: false }),
        "Date32" => Some(Kind::Date { wide: true }),
        "DateTime" => Some(Kind::DateTime),
        "UUID" => Some(Kind::Uuid),
        "IPv4" | "IPv6" => Some(Kind::Address),
        _ => None,
    }
}

/// What stands between a word's parentheses.
fn arguments<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?.strip_prefix('(')?;
    rest.strip_suffix(')').map(str::trim)
}

fn decimal(within: &str) -> Option<Kind> {
    let (precision, scale) = within.split_once(',')?;
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    (precision <= 76 && scale <= precision).then_some(Kind::Decimal { precision, scale })
}

/// The names of `'a' = 1, 'b' = 2`.
fn names_of(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut chars = text.chars();
    while let Some(start) = chars.next() {
        if start != '\'' {
            continue;
        }
        let mut name = String::new();
        loop {
            match chars.next()? {
                '\\' => match chars.next()? {
                    't' => name.push('\t'),
                    'n' => name.push('\n'),
                    other => name.push(other),
                },
                '\'' => break,
                other => name.push(other),
            }
        }
        names.push(name);
    }
    Some(names)
}

/// How a column of a type is declared in a table of ours: its type, and the comment that tells what the type does not.
pub(crate) fn declared(
    kind: Option<Type>,
    nullable: bool,
    version: Version,
) -> (String, Option<String>) {
    let (name, mark) = match kind {
        Some(Type::Bool) if version.has_bool() => ("Bool".to_owned(), None),
        Some(Type::Bool) => ("UInt8".to_owned(), Some("bool")),
        Some(Type::Int) => ("Int64".to_owned(), None),
        Some(Type::Decimal { precision, scale }) => (decimal_name(precision, scale, version), None),
        Some(Type::Float) => ("Float64".to_owned(), None),
        Some(Type::Text) | None => ("String".to_owned(), None),
        Some(Type::Bytes) => ("String".to_owned(), Some("bytes")),
        Some(Type::Json) => ("String".to_owned(), Some("json")),
        Some(Type::Time) => ("String".to_owned(), Some("time")),
        Some(Type::Date) if version.has_date32() => ("Date32".to_owned(), None),
        Some(Type::Date) => ("String".to_owned(), Some("date")),
        Some(Type::Timestamp) if version.has_datetime64() => {
            ("DateTime64(6, 'UTC')".to_owned(), None)
        }
        Some(Type::Timestamp) => ("String".to_owned(), Some("timestamp")),
        Some(Type::Uuid) => ("UUID".to_owned(), None),
    };
    let name = if nullable {
        format!("Nullable({name})")
    } else {
        name
    };
    (name, mark.map(|word| format!("{MARK}{word}")))
}

/// A decimal without bounds gets as many digits as the server has, a few of them after the point.
fn decimal_name(precision: Option<u32>, scale: Option<u32>, version: Version) -> String {
    let most = if version >= Version(21, 1) { 76 } else { 38 };
    let scale = scale.unwrap_or(most / 4).min(most);
    let precision = precision.unwrap_or(most).clamp(scale.max(1), most);
    format!("Decimal({precision}, {scale})")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_are_read_through_their_wrappings() {
        let table = [
            (
                "Int64",
                Kind::Int {
                    bits: 64,
                    signed: true,
                },
                false,
            ),
            (
                "Nullable(Decimal(18, 4))",
                Kind::Decimal {
                    precision: 18,
                    scale: 4,
                },
                true,
            ),
            (
                "LowCardinality(Nullable(String))",
                Kind::Text { fixed: None },
                true,
            ),
            (
                "Nullable(FixedString(3))",
                Kind::Text { fixed: Some(3) },
                true,
            ),
            ("DateTime('Europe/Berlin')", Kind::DateTime, false),
            ("DateTime64(6, 'UTC')", Kind::DateTime64(6), false),
            (
                "Enum8('a\\'b' = 1, 'c, (d)' = -2)",
                Kind::Enum(vec!["a'b".into(), "c, (d)".into()]),
                false,
            ),
            ("Array(Nullable(String))", Kind::Composite, false),
            ("DateTime64(12)", Kind::Composite, false),
            ("Decimal(99, 2)", Kind::Composite, false),
        ];
        for (text, kind, nullable) in table {
            assert_eq!(Form::parse(text, ""), Form { kind, nullable }, "{text}");
        }
        let marked = |text, comment| Form::parse(text, comment).kind;
        assert_eq!(marked("Nullable(UInt8)", "lockstep: bool"), Kind::Bool);
        assert_eq!(marked("String", "lockstep: json"), Kind::Json);
        assert_eq!(
            marked("Int64", "lockstep: json"),
            Kind::Int {
                bits: 64,
                signed: true
            }
        );
        assert_eq!(marked("String", "bytes"), Kind::Text { fixed: None });
    }

    #[test]
    fn a_declared_column_is_read_as_what_it_was_declared_for() {
        let kinds = [
            Type::Bool,
            Type::Int,
            Type::Decimal {
                precision: Some(12),
                scale: Some(2),
            },
            Type::Float,
            Type::Text,
            Type::Bytes,
            Type::Json,
            Type::Time,
            Type::Date,
            Type::Timestamp,
            Type::Uuid,
        ];
        for version in [Version(18, 16), Version(20, 8), Version(24, 8)] {
            for kind in kinds {
                let (name, comment) = declared(Some(kind), true, version);
                let form = Form::parse(&name, comment.as_deref().unwrap_or_default());
                assert_eq!((form.kind(version), form.nullable), (kind, true), "{name}");
            }
        }
        assert_eq!(
            declared(Some(Type::DECIMAL), false, Version(18, 16)).0,
            "Decimal(38, 9)"
        );
        assert_eq!(
            declared(Some(Type::DECIMAL), false, Version(24, 3)).0,
            "Decimal(76, 19)"
        );
    }

    proptest! {
        #[test]
        fn no_type_panics(text in "(Nullable|LowCardinality|Enum8|Decimal|DateTime64)?\\(?[ -~]{0,30}\\)?") {
            Form::parse(&text, &text);
        }
    }
}
