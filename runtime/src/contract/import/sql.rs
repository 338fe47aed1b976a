//! `CREATE TABLE` statements, with what `ALTER TABLE`, `CREATE TYPE … AS ENUM` and `COMMENT ON` add to them.
//!
//! Statements are read one by one: a dump holds many that say nothing about records, and one that cannot be read is passed over with a finding.

mod checks;
mod kinds;
mod later;
mod split;

use std::collections::BTreeMap;

use lockstep_core::contract::{Allowed, Field, Reference};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::value::{Type, Value};
use sqlparser::ast::{
    ColumnDef, ColumnOption, CommentDef, CommentObject, CreateTable, Expr, Ident, ObjectName,
    Statement, TableConstraint, UserDefinedTypeRepresentation, Value as Literal,
};
use sqlparser::dialect::{
    AnsiDialect, Dialect, GenericDialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect,
    SQLiteDialect,
};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::draft::{Asked, Draft, Record};
use super::names::{self, Names};
use super::notes::{Notes, shorten};
use super::{FIELDS_MAX, Imported, sound};

/// Deepest nesting of expressions that is read.
const NESTING_MAX: usize = 50;
/// The dialects by their names.
pub const DIALECTS: [&str; 6] = ["postgres", "mysql", "sqlite", "mssql", "ansi", "generic"];

/// Imports every table of a script, or the one that `asked` names.
///
/// # Errors
/// Why nothing comes out, with its place; a dialect that is not one of [`DIALECTS`].
pub fn import(file: &str, text: &str, dialect: &str, asked: &Asked) -> Imported {
    let mut notes = Notes::new(file, text);
    let known: Box<dyn Dialect> = match dialect {
        "postgres" => Box::new(PostgreSqlDialect {}),
        "mysql" => Box::new(MySqlDialect {}),
        "sqlite" => Box::new(SQLiteDialect {}),
        "mssql" => Box::new(MsSqlDialect {}),
        "ansi" => Box::new(AnsiDialect {}),
        "generic" => Box::new(GenericDialect {}),
        other => {
            let message = format!("no such dialect `{}`", shorten(other));
            return Err(notes.fail("LS-I102", None, message, suggestion(other, DIALECTS)));
        }
    };
    let (script, failed) = read(text, known.as_ref(), &mut notes);
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
    meant
        .into_iter()
        .map(|table| {
            let notes = passed.take().unwrap_or_else(|| Notes::new(file, text));
            table.draft(&script, asked, notes)
        })
        .collect()
}

/// What a script says about records.
#[derive(Default)]
struct Script {
    tables: Vec<Table>,
    enums: BTreeMap<String, Vec<String>>,
}

struct Table {
    name: String,
    at: Option<usize>,
    comment: Option<String>,
    columns: Vec<ColumnDef>,
    constraints: Vec<TableConstraint>,
    comments: BTreeMap<String, String>,
}

/// Reads all statements; gives also why the first table that cannot be read is none.
fn read(
    text: &str,
    dialect: &dyn Dialect,
    notes: &mut Notes<'_>,
) -> (Script, Option<Vec<Diagnostic>>) {
    let mut script = Script::default();
    let mut first_failed = None;
    let plain = split::without_data(text);
    for (at, piece) in split::statements(&plain, dialect) {
        let begin = words(piece);
        let table = begin.first().is_some_and(|word| word == "CREATE")
            && begin.iter().any(|word| word == "TABLE");
        match statement(piece, dialect, table) {
            Ok(Some((statement, whole))) => {
                script.add(statement, at, notes);
                if !whole {
                    let what = "what follows in the statement is not read";
                    let help = "end each statement with `;`, and look whether the rest says something about the records";
                    notes.warn("LS-I108", "", Some(at), what, help);
                }
            }
            Ok(None) => {}
            Err(why) if table => {
                let what = format!("the table cannot be read: {why}");
                let help = "name the dialect with `--dialect`, or take out what it does not know";
                first_failed
                    .get_or_insert_with(|| notes.fail("LS-I102", Some(at), what.clone(), help));
                notes.warn("LS-I102", "", Some(at), what, help);
            }
            Err(why) => {
                let what = format!("a statement cannot be read: {why}");
                let help = "look whether it says something about the records";
                notes.warn("LS-I108", "", Some(at), what, help);
            }
        }
    }
    (script, first_failed)
}

/// The first words of a statement, in capitals.
fn words(piece: &str) -> Vec<String> {
    let words = piece.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words = words.filter(|word| !word.is_empty()).take(5);
    words.map(str::to_ascii_uppercase).collect()
}

/// The statement, and whether nothing follows it; none where it says nothing about records.
fn statement(
    piece: &str,
    dialect: &dyn Dialect,
    table: bool,
) -> Result<Option<(Statement, bool)>, String> {
    let begin = words(piece);
    let has = |wanted: &str| begin.iter().any(|word| word == wanted);
    let matters = match begin.first().map(String::as_str) {
        Some("CREATE") => table || has("TYPE") || (has("UNIQUE") && has("INDEX")),
        Some("ALTER") => has("TABLE"),
        Some("COMMENT") => true,
        _ => false,
    };
    if !matters {
        return Ok(None);
    }
    let tokens = Tokenizer::new(dialect, piece)
        .tokenize_with_location()
        .map_err(|error| shorten(&error.message))?;
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(split::without_signs(tokens));
    let statement = parser.parse_statement().map_err(|error| reason(&error))?;
    let whole = parser.peek_token().token == Token::EOF;
    Ok(Some((statement, whole)))
}

fn reason(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => shorten(text),
        ParserError::RecursionLimitExceeded => format!("it nests deeper than {NESTING_MAX}"),
    }
}

impl Script {
    fn add(&mut self, statement: Statement, at: usize, notes: &mut Notes<'_>) {
        match statement {
            Statement::CreateTable(table) => self.table(table, at),
            Statement::CreateType {
                name,
                representation: UserDefinedTypeRepresentation::Enum { labels },
            } => {
                let labels = labels.into_iter().map(|label| label.value).collect();
                self.enums.insert(last(&name).to_lowercase(), labels);
            }
            Statement::AlterTable {
                name, operations, ..
            } => {
                let Some(table) = self.find(&last(&name)) else {
                    return;
                };
                for operation in operations {
                    table.alter(operation, at, notes);
                }
            }
            Statement::CreateIndex(index) => {
                if let Some(table) = self.find(&last(&index.table_name)) {
                    table.index(index, at, notes);
                }
            }
            Statement::Comment {
                object_type,
                object_name,
                comment: Some(comment),
                ..
            } => {
                let parts: Vec<String> = object_name
                    .0
                    .iter()
                    .filter_map(|part| part.as_ident())
                    .map(|i| i.value.clone())
                    .collect();
                match (object_type, parts.as_slice()) {
                    (CommentObject::Table, [.., table]) => {
                        if let Some(table) = self.find(table) {
                            table.comment = Some(comment);
                        }
                    }
                    (CommentObject::Column, [.., table, column]) => {
                        if let Some(table) = self.find(table) {
                            table.comments.insert(column.clone(), comment);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, table: CreateTable, at: usize) {
        let comment = table.comment.map(|comment| match comment {
            CommentDef::WithEq(text) | CommentDef::WithoutEq(text) => text,
        });
        let options = table.table_options.to_string();
        self.tables.push(Table {
            name: last(&table.name),
            at: Some(at),
            comment: comment.or_else(|| in_options(&options)),
            columns: table.columns,
            constraints: table.constraints,
            comments: BTreeMap::new(),
        });
    }

    fn find(&mut self, name: &str) -> Option<&mut Table> {
        self.tables
            .iter_mut()
            .find(|table| table.name.eq_ignore_ascii_case(name))
    }
}

/// The comment among MySQL's table options.
fn in_options(options: &str) -> Option<String> {
    let at = options.to_ascii_uppercase().find("COMMENT")?;
    let rest = options
        .get(at + "COMMENT".len()..)?
        .trim_start_matches([' ', '=']);
    let inside = rest.strip_prefix('\'')?;
    let end = inside.find('\'')?;
    Some(inside[..end].to_owned())
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
        let mut record = Record::new(self.name.clone());
        record.description.clone_from(&self.comment);
        let mut names = Names::default();
        for column in &self.columns {
            if is_computed(column) {
                let what = format!(
                    "the computed column `{}` was left out",
                    shorten(&column.name.value)
                );
                notes.tell(
                    "LS-I108",
                    "",
                    self.at,
                    what,
                    "its value follows from the others",
                );
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
        for field in &mut record.fields {
            let name = field.name.clone();
            sound::settle(field, &name, self.at, &mut notes);
        }
        record.finish(asked, notes)
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
        kinds::fill(&mut field, &column.data_type, &script.enums, self.at, notes);
        field.description = self.comments.get(&column.name.value).cloned();
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
                    field.reference =
                        Some(reference(foreign_table, referred_columns.first(), name));
                }
                ColumnOption::Check(expr) => {
                    checks::fill(std::slice::from_mut(&mut field), expr, self.at, notes);
                }
                ColumnOption::Comment(text) => field.description = Some(text.clone()),
                ColumnOption::Default(expr) => default(&mut field, expr, self.at, notes),
                _ => {}
            }
        }
        field
    }

    fn constraint(&self, constraint: &TableConstraint, record: &mut Record, notes: &mut Notes<'_>) {
        let fold = |ident: &Ident| ident.value.clone();
        let position = |record: &Record, name: &str| {
            record
                .written
                .iter()
                .position(|written| written.eq_ignore_ascii_case(name))
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
                        let own = record.written[at].clone();
                        record.fields[at].reference =
                            Some(reference(foreign_table, referred_columns.first(), &own));
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
                checks::fill(&mut record.fields, expr, self.at, notes);
            }
            _ => {}
        }
    }
}

fn reference(table: &ObjectName, column: Option<&Ident>, own: &str) -> Reference {
    let field = column.map_or(own, |column| column.value.as_str());
    Reference {
        entity: names::entity(&last(table)),
        field: names::legal(field, "field"),
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

/// A default that is a value; one that the database computes says nothing to readers.
fn default(field: &mut Field, expr: &Expr, at: Option<usize>, notes: &mut Notes<'_>) {
    let name = field.name.clone();
    match checks::literal(field.kind, expr) {
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
