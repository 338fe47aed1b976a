//! A condition on rows that a system can judge itself, so that what nobody wants is not read.
//!
//! Knows columns by name, and values; how a system writes them is its connector's business.
//! A filter never decides alone: it may let more rows through than are wanted, and the gate judges every one of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::News;
use crate::gate::Expression;
use crate::shape::Shape;
use crate::value::Value;

/// A condition on the columns of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A column compared with a value, which is not null; not fulfilled by a null.
    Compare(String, Sign, Value),
    /// The column is null.
    IsNull(String),
    /// The column is not null.
    IsNotNull(String),
    /// All of them; fulfilled by every row where there are none.
    All(Vec<Filter>),
    /// One of them; fulfilled by no row where there are none.
    Any(Vec<Filter>),
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The same value.
    Equal,
    /// Another value.
    NotEqual,
    /// A smaller one.
    Less,
    /// A smaller one or the same.
    LessOrEqual,
    /// A larger one.
    Greater,
    /// A larger one or the same.
    GreaterOrEqual,
}

/// What of a table flows want of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The columns that mappings read; all of them where absent. Others need not be told.
    pub columns: Option<BTreeSet<String>>,
    /// CEL expressions over the columns (`row.<column>`) of which one must be true of a row that is wanted; every row is wanted where there are none.
    pub filters: Vec<String>,
}

impl Reads {
    /// Whether a column is wanted.
    #[must_use]
    pub fn wants(&self, column: &str) -> bool {
        self.columns
            .as_ref()
            .is_none_or(|columns| columns.contains(column))
    }

    /// What can be said of wanted rows in every system's words; none where every row may be wanted.
    ///
    /// Rows of which an expression cannot be judged count as wanted, so that the gate can name them.
    #[must_use]
    pub fn filter(&self, shape: &Shape) -> Option<Filter> {
        if self.filters.is_empty() {
            return None;
        }
        let each = self.filters.iter().map(|text| Filter::of(text, shape));
        Some(Filter::Any(each.collect::<Option<_>>()?))
    }
}

/// The tables that are being read again in another way than usual: only a part of their rows, or every row, those included that no flow wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parts(BTreeMap<String, Filter>);

impl Parts {
    /// Takes note that a table is to be read again; `is_due` says whether it was to be read already.
    pub fn ask(&mut self, table: &str, filter: Option<Filter>, is_due: bool) {
        let next = match (filter, self.0.remove(table)) {
            (Some(wanted), _) if wanted.is_every() => Some(wanted),
            (_, Some(before)) if before.is_every() => Some(before),
            (Some(wanted), Some(before)) => Some(Filter::Any(vec![before, wanted])),
            (Some(wanted), None) if !is_due => Some(wanted),
            // A reading of the table holds its parts.
            _ => None,
        };
        if let Some(next) = next {
            self.0.insert(table.to_owned(), next);
        }
    }

    /// What the rows of a table fulfil that its reading is for.
    #[must_use]
    pub fn wanted(&self, table: &str, reads: &Reads, shape: &Shape) -> Option<Filter> {
        match self.0.get(table) {
            Some(part) => Some(part.clone()).filter(|part| !part.is_every()),
            None => reads.filter(shape),
        }
    }

    /// The reading of a table is complete: what is to be told of it.
    pub fn complete(&mut self, table: &str) -> News {
        if self.0.remove(table).is_none_or(|part| part.is_every()) {
            News::Read(table.to_owned())
        } else {
            News::ReadPart(table.to_owned())
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Filter {
    /// What every row fulfils.
    #[must_use]
    pub fn every() -> Filter {
        Filter::All(Vec::new())
    }

    /// Whether every row fulfils it, because it says nothing.
    #[must_use]
    pub fn is_every(&self) -> bool {
        *self == Filter::every()
    }

    /// What can be said of the rows of which a CEL expression over a table's columns is true or cannot be judged; none where that may be every row.
    #[must_use]
    pub fn of(text: &str, shape: &Shape) -> Option<Filter> {
        let scope = crate::gate::Scope::Row(shape);
        let expression = Expression::compile(text, scope, Some(crate::Type::Bool)).ok()?;
        expression.filter(shape)
    }

    /// The columns that it looks at.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        self.each(&mut |column| {
            columns.insert(column);
        });
        columns
    }

    fn each<'a>(&'a self, see: &mut impl FnMut(&'a str)) {
        match self {
            Filter::Compare(column, ..) | Filter::IsNull(column) | Filter::IsNotNull(column) => {
                see(column);
            }
            Filter::All(parts) | Filter::Any(parts) => {
                parts.iter().for_each(|part| part.each(see));
            }
        }
    }

    /// The condition in SQL: `compared` writes a comparison, `name` a column.
    ///
    /// # Errors
    /// What `name` or `compared` refuses.
    pub fn sql<E>(
        &self,
        name: &mut impl FnMut(&str) -> Result<String, E>,
        compared: &mut impl FnMut(&str, Sign, &Value) -> Result<String, E>,
    ) -> Result<String, E> {
        let (parts, between, none) = match self {
            Filter::Compare(column, sign, value) => return compared(column, *sign, value),
            Filter::IsNull(column) => return Ok(format!("{} IS NULL", name(column)?)),
            Filter::IsNotNull(column) => return Ok(format!("{} IS NOT NULL", name(column)?)),
            Filter::All(parts) => (parts, " AND ", "1 = 1"),
            Filter::Any(parts) => (parts, " OR ", "1 = 0"),
        };
        let mut written = Vec::with_capacity(parts.len());
        for part in parts {
            written.push(part.sql(name, compared)?);
        }
        Ok(if written.is_empty() {
            none.to_owned()
        } else {
            format!("({})", written.join(between))
        })
    }
}

impl Sign {
    /// The sign in SQL.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Sign::Equal => "=",
            Sign::NotEqual => "<>",
            Sign::Less => "<",
            Sign::LessOrEqual => "<=",
            Sign::Greater => ">",
            Sign::GreaterOrEqual => ">=",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Column;
    use crate::value::Type;

    fn shape() -> Shape {
        Shape {
            name: "orders".to_owned(),
            columns: vec![
                Column::new("id", Type::Int, false),
                Column::new("status", Type::Text, true),
                Column::new("open", Type::Bool, true),
            ],
            key: vec![0],
        }
    }

    fn sql(text: &str) -> Option<String> {
        let filter = Filter::of(text, &shape())?;
        let mut name = |column: &str| Ok::<_, ()>(column.to_owned());
        let mut compared = |column: &str, sign: Sign, value: &Value| {
            Ok(format!("{column} {} {value}", sign.sql()))
        };
        filter.sql(&mut name, &mut compared).ok()
    }

    #[test]
    fn what_is_true_or_cannot_be_judged_is_let_through() {
        for (text, expected) in [
            ("row.status == 'open'", Some("status = open")),
            ("row.id > 5", Some("(id > 5 OR id IS NULL)")),
            ("5 < row.id", Some("(id > 5 OR id IS NULL)")),
            ("row.status == null", Some("status IS NULL")),
            ("row.status != null", Some("status IS NOT NULL")),
            ("row.id in [1, 2]", Some("(id = 1 OR id = 2)")),
            ("row.open", Some("(open = true OR open IS NULL)")),
            ("!(row.id == 5)", Some("(id <> 5 OR id IS NULL)")),
            (
                "row.status == 'a' && row.id >= 1",
                Some("(status = a AND (id >= 1 OR id IS NULL))"),
            ),
            // The half that cannot be said leaves the other one standing; of a choice nothing is left.
            (
                "row.status.startsWith('a') && row.id == 1",
                Some("(id = 1)"),
            ),
            ("row.status.startsWith('a') || row.id == 1", None),
            // Other systems order and tell apart texts by rules of their own.
            ("row.status > 'a'", None),
            ("row.status != 'a'", None),
        ] {
            assert_eq!(sql(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn parts_of_a_table_add_up_and_the_whole_of_it_holds_them() {
        let part = |n| Some(Filter::Compare("id".to_owned(), Sign::Equal, Value::Int(n)));
        let reads = Reads::default();
        let wanted = |parts: &Parts, table: &str| parts.wanted(table, &reads, &shape());
        let mut parts = Parts::default();
        parts.ask("a", part(1), false);
        parts.ask("a", part(2), true);
        assert_eq!(
            wanted(&parts, "a"),
            Some(Filter::Any(vec![part(1).unwrap(), part(2).unwrap()]))
        );
        parts.ask("a", None, true);
        parts.ask("a", part(3), true);
        assert_eq!(wanted(&parts, "a"), None);
        assert_eq!(parts.complete("a"), News::Read("a".to_owned()));
        parts.ask("b", part(1), false);
        assert_eq!(parts.complete("b"), News::ReadPart("b".to_owned()));
        assert!(parts.is_empty());
    }

    #[test]
    fn every_row_is_more_than_the_rows_that_flows_want() {
        let reads = Reads {
            columns: None,
            filters: vec!["row.id == 1".to_owned()],
        };
        let mut parts = Parts::default();
        assert!(parts.wanted("a", &reads, &shape()).is_some());
        parts.ask("a", None, false);
        parts.ask("a", Some(Filter::every()), true);
        parts.ask("a", None, true);
        assert_eq!(parts.wanted("a", &reads, &shape()), None);
        assert_eq!(parts.complete("a"), News::Read("a".to_owned()));
    }

    #[test]
    fn one_filter_that_cannot_be_said_lets_every_row_through() {
        let reads = |filters: &[&str]| Reads {
            columns: None,
            filters: filters.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert_eq!(reads(&[]).filter(&shape()), None);
        assert!(reads(&["row.id == 1"]).filter(&shape()).is_some());
        assert_eq!(
            reads(&["row.id == 1", "row.status.startsWith('a')"]).filter(&shape()),
            None
        );
    }
}
