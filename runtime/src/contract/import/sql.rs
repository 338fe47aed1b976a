//! `CREATE TABLE` statements, with what `ALTER TABLE`, `CREATE TYPE … AS ENUM` and `COMMENT ON` add to them.
//!
//! Statements are read one by one: a dump holds many that say nothing about records, and one that cannot be read is passed over with a finding.

mod checks;
mod kinds;
mod later;
pub(super) mod live;
mod mend;
mod script;
mod split;

use std::collections::BTreeMap;

use lockstep_core::contract::{Allowed, Field, Inner, Reference};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::value::{Type, Value};
use sqlparser::ast::{
    ColumnDef, ColumnOption, Expr, Ident, ObjectName, TableConstraint, Value as Literal,
};
use sqlparser::dialect::{
    AnsiDialect, BigQueryDialect, Dialect, GenericDialect, MsSqlDialect, MySqlDialect,
    PostgreSqlDialect, SQLiteDialect, SnowflakeDialect,
};

use super::draft::{Asked, Draft, Record};
use super::names::{self, Names};
use super::notes::{Notes, shorten};
use super::{FIELDS_MAX, Imported, links, sound};
use script::Script;

/// Deepest nesting of expressions that is read.
const NESTING_MAX: usize = 50;
/// The dialects by their names.
pub const DIALECTS: [&str; 10] = [
    "postgres",
    "mysql",
    "mariadb",
    "sqlite",
    "mssql",
    "oracle",
    "snowflake",
    "bigquery",
    "ansi",
    "generic",
];

/// Imports every table of a script, or the one that `asked` names.
///
/// # Errors
/// Why nothing comes out, with its place; a dialect that is not one of [`DIALECTS`].
pub fn import(file: &str, text: &str, dialect: &str, asked: &Asked) -> Imported {
    let mut notes = Notes::new(file, text);
    let Some(known) = known(dialect) else {
        let message = format!("no such dialect `{}`", shorten(dialect));
        return Err(notes.fail("LS-I102", None, message, suggestion(dialect, DIALECTS)));
    };
    let (mut script, failed) = script::read(text, known.as_ref(), &mut notes);
    script.dialect = dialect.to_owned();
    if script.tables.is_empty() {
        return Err(failed.unwrap_or_else(|| {
            notes.fail(
                "LS-I105",
                None,
                "the script creates no table",
                "import a script with `CREATE TABLE`, such as one by `pg_dump --schema-only`",
            )
        }));
    }
    let meant: Vec<&Table> = script
        .tables
        .iter()
        .filter(|table| {
            let several = script.tables.len() > 1;
            asked
                .entity
                .as_deref()
                .filter(|_| several)
                .is_none_or(|asked| {
                    table.name.eq_ignore_ascii_case(asked) || names::entity(&table.name) == asked
                })
        })
        .collect();
    if meant.is_empty() {
        if let Some(failed) = failed {
            return Err(failed);
        }
        let tables = script.tables.iter().map(|table| table.name.as_str());
        let asked = asked.entity.as_deref().unwrap_or_default();
        let message = format!("the script creates no table `{}`", shorten(asked));
        return Err(notes.fail("LS-I105", None, message, suggestion(asked, tables)));
    }
    // What was passed over concerns the script, so the first contract tells it.
    let mut passed = Some(notes);
    let drafts = meant.into_iter().map(|table| {
        let notes = passed.take().unwrap_or_else(|| Notes::new(file, text));
        table.draft(&script, asked, notes)
    });
    let mut drafts = drafts.collect::<Result<Vec<Draft>, _>>()?;
    links::settle(&mut drafts, &asked.others);
    Ok(drafts)
}

/// The parser's dialect of one of [`DIALECTS`].
fn known(dialect: &str) -> Option<Box<dyn Dialect>> {
    Some(match dialect {
        "postgres" => Box::new(PostgreSqlDialect {}),
        "mysql" | "mariadb" => Box::new(MySqlDialect {}),
        "sqlite" => Box::new(SQLiteDialect {}),
        "mssql" => Box::new(MsSqlDialect {}),
        "snowflake" => Box::new(SnowflakeDialect {}),
        "bigquery" => Box::new(BigQueryDialect {}),
        "ansi" => Box::new(AnsiDialect {}),
        // The parser has no words of Oracle's own.
        "oracle" | "generic" => Box::new(GenericDialect {}),
        _ => return None,
    })
}

struct Table {
    name: String,
    at: Option<usize>,
    comment: Option<String>,
    columns: Vec<ColumnDef>,
    constraints: Vec<TableConstraint>,
    comments: BTreeMap<String, String>,
    /// The names that columns had when constraints were written, and those that they have now.
    renamed: Vec<(String, String)>,
    /// By column (empty for the table): what could not be read.
    left: Vec<(String, String)>,
    /// Columns that the database computes and the parser cannot read.
    computed: Vec<String>,
}

/// The comment among the options behind a table's columns, as MySQL, Snowflake and BigQuery write it.
fn in_options(text: &str) -> Option<String> {
    let options = &text[text.rfind("\n)").unwrap_or(0)..];
    let upper = options.to_ascii_uppercase();
    let (word, at) = ["COMMENT", "DESCRIPTION"]
        .iter()
        .find_map(|word| Some((word, upper.find(word)?)))?;
    let rest = options.get(at + word.len()..)?;
    let rest = rest.trim_start_matches([' ', '=']);
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut letters = rest[1..].chars().peekable();
    let mut said = String::new();
    while let Some(letter) = letters.next() {
        // A quote is written twice.
        if letter == quote && letters.next_if_eq(&quote).is_none() {
            return Some(said);
        }
        said.push(letter);
    }
    None
}

/// The last part of a name, without the schema.
fn last(name: &ObjectName) -> String {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map_or_else(|| name.to_string(), |ident| ident.value.clone())
}

impl Table {
    fn draft(
        &self,
        script: &Script,
        asked: &Asked,
        mut notes: Notes<'_>,
    ) -> Result<Draft, Vec<Diagnostic>> {
        if self.columns.len() > FIELDS_MAX {
            let message = format!(
                "the table has {} columns; at most {FIELDS_MAX} are read",
                self.columns.len()
            );
            return Err(notes.fail(
                "LS-I103",
                self.at,
                message,
                "split it into entities of their own",
            ));
        }
        notes.stand_at(self.at);
        let mut record = Record::new(self.name.clone());
        record.description.clone_from(&self.comment);
        let mut names = Names::default();
        for column in &self.columns {
            if is_computed(column) {
                left_out(&column.name.value, self.at, &mut notes);
                continue;
            }
            let name = names.give(&column.name.value);
            record
                .fields
                .push(self.field(&name, column, script, &mut record.key, &mut notes));
            record.written.push(column.name.value.clone());
        }
        for constraint in &self.constraints {
            self.constraint(constraint, &mut record, &mut notes);
        }
        for column in &self.computed {
            left_out(column, self.at, &mut notes);
        }
        for (column, words) in &self.left {
            let at = record.written.iter().position(|written| written == column);
            let name = at.map(|at| record.fields[at].name.clone());
            let what = format!("`{}` is not read", shorten(words));
            let help = "look whether it says something about the records";
            match name {
                Some(name) => notes.warn("LS-I108", &name, self.at, what, help),
                None if column.is_empty() => notes.tell("LS-I108", "", self.at, what, help),
                None => {
                    let what = format!("the column `{}` is left out: {what}", shorten(column));
                    notes.warn("LS-I108", "", self.at, what, help);
                }
            }
        }
        for field in &mut record.fields {
            let name = field.name.clone();
            sound::settle(field, &name, self.at, &mut notes);
        }
        let draft = record.finish(asked, notes)?;
        Ok(Draft {
            table: Some(self.name.clone()),
            ..draft
        })
    }

    fn field(
        &self,
        name: &str,
        column: &ColumnDef,
        script: &Script,
        key: &mut Vec<String>,
        notes: &mut Notes<'_>,
    ) -> Field {
        let mut field = Field::new(name, Type::Text);
        field.required = false;
        field.nullable = true;
        script.kind(&mut field, &column.data_type, self.at, notes);
        self.options(&mut field, column, key, notes);
        for option in &column.options {
            if let ColumnOption::Default(expr) = &option.option {
                default(&mut field, expr, self.at, notes);
            }
        }
        field
    }

    /// What stands behind a column's type, its default aside.
    fn options(
        &self,
        field: &mut Field,
        column: &ColumnDef,
        key: &mut Vec<String>,
        notes: &mut Notes<'_>,
    ) {
        let own = self.comments.get(&column.name.value).cloned();
        field.description = own.or(field.description.take());
        for option in &column.options {
            match &option.option {
                ColumnOption::NotNull => {
                    field.required = true;
                    field.nullable = false;
                }
                ColumnOption::Unique {
                    is_primary: true, ..
                } => key.push(column.name.value.clone()),
                ColumnOption::Unique { .. } => field.unique = true,
                ColumnOption::ForeignKey {
                    foreign_table,
                    referred_columns,
                    ..
                } => {
                    field.reference = Some(reference(foreign_table, referred_columns.first()));
                }
                ColumnOption::Check(expr) => {
                    let own = std::slice::from_mut(field);
                    checks::fill(own, &self.renamed, expr, self.at, notes);
                }
                ColumnOption::Comment(text) => field.description = Some(text.clone()),
                ColumnOption::Options(options) => {
                    let written: Vec<String> = options.iter().map(ToString::to_string).collect();
                    let said = in_options(&written.join(", "));
                    field.description = said.or(field.description.take());
                }
                _ => {}
            }
        }
    }

    fn constraint(&self, constraint: &TableConstraint, record: &mut Record, notes: &mut Notes<'_>) {
        let fold = |ident: &Ident| ident.value.clone();
        let position = |record: &Record, name: &str| {
            let now = now(&self.renamed, name);
            let mut written = record.written.iter();
            written.position(|written| written.eq_ignore_ascii_case(now))
        };
        match constraint {
            TableConstraint::PrimaryKey { columns, .. } => {
                record.key = columns
                    .iter()
                    .filter_map(|column| column_of(&column.column.expr))
                    .map(|name| {
                        position(record, &name)
                            .map_or(name.clone(), |at| record.written[at].clone())
                    })
                    .collect();
            }
            TableConstraint::Unique { columns, .. } => match columns.as_slice() {
                [one] => {
                    let at = column_of(&one.column.expr).and_then(|name| position(record, &name));
                    match at {
                        Some(at) => record.fields[at].unique = true,
                        None => {
                            let what = format!(
                                "that `{}` is unique is not checked",
                                shorten(&one.to_string())
                            );
                            notes.warn(
                                "LS-I108",
                                "",
                                self.at,
                                what,
                                "say it as a rule with `metric: duplicateValues`",
                            );
                        }
                    }
                }
                several => {
                    let names: Vec<String> =
                        several.iter().map(|column| column.to_string()).collect();
                    let what = format!(
                        "that {} are unique together is not checked",
                        names.join(", ")
                    );
                    notes.warn(
                        "LS-I108",
                        "",
                        self.at,
                        what,
                        "say it as a rule with `metric: duplicateValues`",
                    );
                }
            },
            TableConstraint::ForeignKey {
                columns,
                foreign_table,
                referred_columns,
                ..
            } => match columns.as_slice() {
                [one] => {
                    if let Some(at) = position(record, &fold(one)) {
                        record.fields[at].reference =
                            Some(reference(foreign_table, referred_columns.first()));
                    }
                }
                several => {
                    let names: Vec<String> = several.iter().map(fold).collect();
                    let what = format!(
                        "the reference of {} to `{}` is not checked",
                        names.join(", "),
                        shorten(&last(foreign_table))
                    );
                    notes.warn(
                        "LS-I108",
                        "",
                        self.at,
                        what,
                        "a contract refers by one field",
                    );
                }
            },
            TableConstraint::Check { expr, .. } => {
                checks::fill(&mut record.fields, &self.renamed, expr, self.at, notes);
            }
            _ => {}
        }
    }
}

/// The name that a column has now.
fn now<'n>(renamed: &'n [(String, String)], name: &'n str) -> &'n str {
    renamed.iter().fold(name, |name, (old, new)| {
        if name.eq_ignore_ascii_case(old) {
            new
        } else {
            name
        }
    })
}

/// A foreign key by the names of the script, which [`links::settle`] makes those of contracts; without a column it leads to the key.
fn reference(table: &ObjectName, column: Option<&Ident>) -> Reference {
    Reference {
        entity: last(table),
        field: column.map_or_else(String::new, |column| column.value.clone()),
    }
}

/// The column that an expression is.
fn column_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| ident.value.clone()),
        Expr::Nested(inner) => column_of(inner),
        Expr::Cast { expr, .. } => column_of(expr),
        _ => None,
    }
}

/// Whether the database computes the column; an identity is a value like others.
fn is_computed(column: &ColumnDef) -> bool {
    column.options.iter().any(|option| {
        matches!(
            &option.option,
            ColumnOption::Generated {
                generation_expr: Some(_),
                ..
            } | ColumnOption::Materialized(_)
                | ColumnOption::Alias(_)
        )
    })
}

fn left_out(column: &str, at: Option<usize>, notes: &mut Notes<'_>) {
    let what = format!(
        "the column `{}` that the database computes was left out",
        shorten(column)
    );
    notes.tell("LS-I108", "", at, what, "its value follows from the others");
}

/// A default that is a value; one that the database computes says nothing to readers.
fn default(field: &mut Field, expr: &Expr, at: Option<usize>, notes: &mut Notes<'_>) {
    let name = field.name.clone();
    // PostgreSQL writes lists in braces.
    let list = matches!(field.inner, Some(Inner::List { .. }));
    let value = match checks::literal(field.kind, expr) {
        Some(Value::Json(text)) if list => Some(Value::Json(match &*text {
            "{}" => "[]".into(),
            _ => text,
        })),
        value => value,
    };
    match value {
        Some(Value::Null) => {}
        Some(value) => field.default = Some(value),
        None => {
            let what = format!(
                "the default `{}` is the database's own",
                shorten(&expr.to_string())
            );
            notes.tell("LS-I108", &name, at, what, "records always carry the value");
        }
    }
}

/// A list of allowed values.
fn listed(values: Vec<Value>) -> Option<Allowed> {
    (!values.is_empty()).then_some(Allowed {
        values,
        open: false,
        fallback: None,
    })
}

/// A literal's text, whatever its quotes.
fn text_of(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Number(text, _) => Some(text.clone()),
        other => other.clone().into_string(),
    }
}
