//! Queries in Salesforce's language: literals, conditions, and pages by the last key; pure.
//!
//! Texts are compared there without regard to case, in an order of their own, and null is unequal to everything; so a condition on texts lets more through than was asked for, never less.

use lockstep_core::connector::{Filter, Sign};
use lockstep_core::{Error, Result, Value};

use crate::convert::{Form, instant};
use crate::id;
use crate::table::{Field, ID, Table};

/// What rows have to fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    Always,
    /// What no row does.
    Never,
    /// This.
    Text(String),
}

/// In which order rows are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By their ids.
    Id,
    /// By an instant that is never null, then by their ids.
    Time(String),
}

/// One query.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) table: &'a str,
    pub(crate) fields: &'a [String],
    pub(crate) conditions: &'a [String],
    pub(crate) order: &'a Order,
    pub(crate) backwards: bool,
    pub(crate) limit: usize,
}

impl Order {
    /// The order of a key, where queries know it.
    pub(crate) fn of(key: &[String], table: &Table) -> Option<Order> {
        match key {
            [id] if id == ID => Some(Order::Id),
            [time, id] if id == ID && table.growing() == Some(time) => {
                Some(Order::Time(time.clone()))
            }
            _ => None,
        }
    }

    /// The columns of the key.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Order::Id => vec![ID],
            Order::Time(time) => vec![time, ID],
        }
    }

    /// What rows fulfil that stand behind a key (`up`) or before it, or at it too.
    ///
    /// # Errors
    /// A key that is none.
    pub(crate) fn beside(&self, key: &[Value], up: bool, too: bool) -> Result<String> {
        let sign = if up { ">" } else { "<" };
        let last = if too { "=" } else { "" };
        let by_id = |value: Option<&Value>| {
            let id = match value {
                Some(Value::Text(text)) => id::full(text),
                _ => None,
            };
            id.map(|id| format!("{ID} {sign}{last} '{id}'"))
        };
        let found = match (self, key) {
            (Order::Id, [id]) => by_id(Some(id)),
            (Order::Time(time), [Value::Timestamp(at)]) => {
                Some(format!("{time} {sign}{last} {}", instant(*at)))
            }
            (Order::Time(time), [Value::Timestamp(at), id]) => by_id(Some(id)).map(|id| {
                let at = instant(*at);
                format!("{time} {sign}= {at} AND ({time} {sign} {at} OR {id})")
            }),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::invalid("a page begins or ends with a key that is none of Salesforce's")
                .help("map the contract's key to `Id` or to an external id")
        })
    }
}

impl Query<'_> {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("SELECT {} FROM {}", self.fields.join(", "), self.table);
        for (at, condition) in self.conditions.iter().enumerate() {
            text += if at == 0 { " WHERE (" } else { " AND (" };
            text += condition;
            text += ")";
        }
        let direction = if self.backwards { "DESC" } else { "ASC" };
        let order: Vec<String> = self
            .order
            .columns()
            .iter()
            .map(|column| format!("{column} {direction}"))
            .collect();
        text + &format!(" ORDER BY {} LIMIT {}", order.join(", "), self.limit)
    }
}

/// What a filter says in Salesforce's words.
///
/// # Errors
/// A column that the table has not.
pub(crate) fn condition(filter: &Filter, table: &Table) -> Result<Condition> {
    let parts = |parts: &[Filter]| -> Result<Vec<Condition>> {
        parts.iter().map(|part| condition(part, table)).collect()
    };
    Ok(match filter {
        Filter::All(all) => {
            let mut all = parts(all)?;
            all.retain(|part| *part != Condition::Always);
            match all.contains(&Condition::Never) {
                true => Condition::Never,
                false => joined(&all, " AND ", Condition::Always),
            }
        }
        Filter::Any(any) => {
            let mut any = parts(any)?;
            any.retain(|part| *part != Condition::Never);
            match any.contains(&Condition::Always) {
                true => Condition::Always,
                false => joined(&any, " OR ", Condition::Never),
            }
        }
        Filter::IsNull(column) => match table.field(column)? {
            field if field.name == ID || field.form == Form::Bool => Condition::Never,
            field if !field.is_filterable => Condition::Always,
            field => Condition::Text(format!("{} = null", field.name)),
        },
        Filter::IsNotNull(column) => known(table.field(column)?),
        Filter::Compare(column, sign, value) => compare(table.field(column)?, *sign, value),
    })
}

fn joined(parts: &[Condition], with: &str, none: Condition) -> Condition {
    let texts: Vec<String> = parts
        .iter()
        .filter_map(|part| match part {
            Condition::Text(text) => Some(format!("({text})")),
            _ => None,
        })
        .collect();
    match texts.is_empty() {
        true => none,
        false => Condition::Text(texts.join(with)),
    }
}

fn known(field: &Field) -> Condition {
    match field.name == ID || field.form == Form::Bool || !field.is_filterable {
        true => Condition::Always,
        false => Condition::Text(format!("{} != null", field.name)),
    }
}

fn compare(field: &Field, sign: Sign, value: &Value) -> Condition {
    let name = &field.name;
    if !field.is_filterable {
        return Condition::Always;
    }
    match field.form {
        Form::Text if sign == Sign::Equal => match literal(value, field.form) {
            Some(literal) => Condition::Text(format!("{name} = {literal}")),
            None => Condition::Never,
        },
        Form::Text | Form::Choices => known(field),
        Form::Id if sign == Sign::Equal => match literal(value, field.form) {
            Some(literal) => Condition::Text(format!("{name} = {literal}")),
            None => Condition::Never,
        },
        Form::Id if sign != Sign::NotEqual && name != ID => known(field),
        Form::Bool if !matches!(sign, Sign::Equal | Sign::NotEqual) => Condition::Always,
        form => {
            let Some(literal) = literal(value, form) else {
                return known(field);
            };
            let sign = match sign {
                Sign::Equal => "=",
                Sign::NotEqual => "!=",
                Sign::Less => "<",
                Sign::LessOrEqual => "<=",
                Sign::Greater => ">",
                Sign::GreaterOrEqual => ">=",
            };
            match (sign, known(field)) {
                // A null is unequal to everything there, and here to nothing.
                ("!=", Condition::Text(known)) => {
                    Condition::Text(format!("{name} != {literal} AND {known}"))
                }
                _ => Condition::Text(format!("{name} {sign} {literal}")),
            }
        }
    }
}

/// A value as a query writes it; none where no value of such a field equals it.
pub(crate) fn literal(value: &Value, form: Form) -> Option<String> {
    Some(match (value, form) {
        (Value::Text(text), Form::Id) => format!("'{}'", id::full(text)?),
        (Value::Text(text), Form::Text | Form::Choices) if !text.is_empty() => quoted(text),
        (Value::Bool(is), Form::Bool) => is.to_string(),
        (Value::Int(number), Form::Int | Form::Decimal { .. }) => number.to_string(),
        (Value::Decimal(number), Form::Int | Form::Decimal { .. }) => number.to_string(),
        (Value::Date(day), Form::Date) => day.to_string(),
        (Value::Time(time), Form::Time) => time.strftime("%H:%M:%S%.3fZ").to_string(),
        (Value::Timestamp(at), Form::Instant) => instant(*at),
        _ => return None,
    })
}

/// A text between quotation marks.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_control() && (c as u32) <= 0xffff => {
                quoted.push_str(&format!("\\u{:04X}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use lockstep_http_client::Json;
    use proptest::prelude::*;

    use super::*;

    fn table() -> Table {
        let field = |name: &str, kind: &str, is_filterable: bool| {
            format!(
                r#"{{"name": "{name}", "type": "{kind}", "precision": 18, "scale": 2, "nillable": true, "filterable": {is_filterable}, "sortable": true}}"#
            )
        };
        let fields = [
            field("Id", "id", true),
            field("Name", "string", true),
            field("Amount", "currency", true),
            field("AccountId", "reference", true),
            field("IsWon", "boolean", true),
            field("Notes", "textarea", false),
            field("SystemModstamp", "datetime", true),
        ];
        let described = format!(r#"{{"fields": [{}]}}"#, fields.join(","));
        Table::of("Deal", &Json::parse(described.as_bytes()).unwrap()).unwrap()
    }

    fn told(filter: &Filter) -> String {
        match condition(filter, &table()).unwrap() {
            Condition::Always => "always".to_owned(),
            Condition::Never => "never".to_owned(),
            Condition::Text(text) => text,
        }
    }

    #[test]
    fn filters_are_said_in_their_words_and_never_too_narrowly() {
        let compare = |column: &str, sign, value| Filter::Compare(column.to_owned(), sign, value);
        let amount = || Value::Decimal("12.50".parse().unwrap());
        for (filter, expected) in [
            (compare("Amount", Sign::Less, amount()), "Amount < 12.50"),
            (
                compare("Amount", Sign::NotEqual, amount()),
                "Amount != 12.50 AND Amount != null",
            ),
            (
                compare("Name", Sign::Equal, Value::text("O'Hara \\")),
                "Name = 'O\\'Hara \\\\'",
            ),
            (
                compare("Name", Sign::Less, Value::text("b")),
                "Name != null",
            ),
            (
                compare("Name", Sign::NotEqual, Value::text("b")),
                "Name != null",
            ),
            (compare("Name", Sign::Equal, Value::text("")), "never"),
            (compare("Notes", Sign::Equal, Value::text("x")), "always"),
            (
                compare("AccountId", Sign::Equal, Value::text("no id")),
                "never",
            ),
            (
                compare("Id", Sign::Greater, Value::text("001D000000IRFma")),
                "Id > '001D000000IRFmaIAH'",
            ),
            (
                compare("IsWon", Sign::NotEqual, Value::Bool(true)),
                "IsWon != true",
            ),
            (Filter::every(), "always"),
            (Filter::Any(Vec::new()), "never"),
            (Filter::IsNull("Id".to_owned()), "never"),
            (
                Filter::All(vec![
                    Filter::IsNotNull("Id".to_owned()),
                    Filter::Any(vec![
                        Filter::IsNull("Amount".to_owned()),
                        compare("Amount", Sign::Equal, amount()),
                    ]),
                ]),
                "((Amount = null) OR (Amount = 12.50))",
            ),
        ] {
            assert_eq!(told(&filter), expected, "{filter:?}");
        }
        assert!(condition(&Filter::IsNull("Nome".to_owned()), &table()).is_err());
    }

    #[test]
    fn a_page_goes_on_behind_the_last_key() {
        let order = Order::of(&["SystemModstamp".to_owned(), "Id".to_owned()], &table()).unwrap();
        let at = Value::Timestamp("2024-05-06T07:08:09Z".parse().unwrap());
        let conditions = [order
            .beside(&[at, Value::text("001D000000IRFma")], true, false)
            .unwrap()];
        let query = Query {
            table: "Deal",
            fields: &["Id".to_owned(), "Name".to_owned()],
            conditions: &conditions,
            order: &order,
            backwards: false,
            limit: 7,
        };
        assert_eq!(
            query.text(),
            "SELECT Id, Name FROM Deal WHERE (SystemModstamp >= 2024-05-06T07:08:09.000Z AND (SystemModstamp > 2024-05-06T07:08:09.000Z OR Id > '001D000000IRFmaIAH')) ORDER BY SystemModstamp ASC, Id ASC LIMIT 7"
        );
        assert_eq!(Order::of(&["Name".to_owned()], &table()), None);
        assert!(Order::Id.beside(&[Value::Int(5)], true, false).is_err());
    }

    proptest! {
        #[test]
        fn nothing_gets_out_of_its_quotation_marks(text in ".{0,30}") {
            let quoted = quoted(&text);
            let inner = &quoted[1..quoted.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(escaped || (c != '\'' && c != '"' && !c.is_control()));
                escaped = !escaped && c == '\\';
            }
            prop_assert!(!escaped);
        }
    }
}
