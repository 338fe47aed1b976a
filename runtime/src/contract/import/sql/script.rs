//! A script read statement by statement, and what its statements say about records.

use std::collections::BTreeMap;

use lockstep_core::contract::Field;
use lockstep_core::diagnostic::Diagnostic;
use sqlparser::ast::{
    CommentDef, CommentObject, CreateDomain, CreateTable, DataType, Statement, TableConstraint,
    UserDefinedTypeRepresentation,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::super::notes::{Notes, shorten};
use super::mend::{self, Mended};
use super::{NESTING_MAX, Table, checks, default, in_options, kinds, last, split};

/// What a script says about records.
#[derive(Default)]
pub(super) struct Script {
    pub(super) tables: Vec<Table>,
    pub(super) enums: BTreeMap<String, Vec<String>>,
    pub(super) domains: BTreeMap<String, CreateDomain>,
    /// Whose SQL it is.
    pub(super) dialect: String,
}

/// What one statement says.
enum Said {
    /// It is read, and whether nothing follows it.
    Statement(Box<Statement>, bool),
    /// A table that was read in parts.
    Mended(Box<Mended>),
    /// Nothing about records.
    Nothing,
}

/// Why a statement cannot be read, and where in it that shows.
struct Unread {
    why: String,
    at: usize,
}

/// Reads all statements; gives also why the first table that cannot be read is none.
pub(super) fn read(
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
            Ok(Said::Statement(statement, whole)) => {
                // A partition names no columns, and how it is made up does not matter.
                let bare = matches!(&*statement, Statement::CreateTable(table) if table.columns.is_empty());
                script.add(*statement, at, notes);
                if !whole && !bare {
                    let what = "what follows in the statement is not read";
                    let help = "end each statement with `;`, and look whether the rest says something about the records";
                    notes.warn("LS-I108", "", Some(at), what, help);
                }
            }
            Ok(Said::Mended(mended)) => {
                let Mended {
                    table,
                    left,
                    computed,
                } = *mended;
                let comment = in_options(piece);
                script.table(table, at, notes);
                if let Some(table) = script.tables.last_mut() {
                    table.comment = table.comment.take().or(comment);
                    table.left = left;
                    table.computed = computed;
                }
            }
            Ok(Said::Nothing) => {}
            Err(unread) if table => {
                let what = format!("the table cannot be read: {}", unread.why);
                let help = "name the dialect with `--dialect`, or take out what it does not know";
                let at = Some(at + unread.at);
                first_failed.get_or_insert_with(|| notes.fail("LS-I102", at, what.clone(), help));
                notes.warn("LS-I102", "", at, what, help);
            }
            Err(unread) => {
                let what = format!("a statement cannot be read: {}", unread.why);
                let help = "look whether it says something about the records";
                notes.warn("LS-I108", "", Some(at + unread.at), what, help);
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

/// What a statement says about records.
fn statement(piece: &str, dialect: &dyn Dialect, table: bool) -> Result<Said, Unread> {
    let begin = words(piece);
    let has = |wanted: &str| begin.iter().any(|word| word == wanted);
    let matters = match begin.first().map(String::as_str) {
        Some("CREATE") => table || has("TYPE") || has("DOMAIN") || (has("UNIQUE") && has("INDEX")),
        Some("ALTER" | "RENAME") => has("TABLE"),
        Some("COMMENT") => true,
        _ => false,
    };
    if !matters {
        return Ok(Said::Nothing);
    }
    let tokens = Tokenizer::new(dialect, piece)
        .tokenize_with_location()
        .map_err(|error| Unread {
            why: shorten(&error.message),
            at: offset(piece, error.location.line, error.location.column),
        })?;
    let tokens = split::without_signs(mend::without_noise(tokens));
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens.clone());
    let parsed = parser.parse_statement();
    let whole = parser.peek_token().token == Token::EOF;
    match parsed {
        Ok(statement) if whole || !table => Ok(Said::Statement(Box::new(statement), whole)),
        parsed => match (mend::table(&tokens, dialect).filter(|_| table), parsed) {
            (Some(mended), _) => Ok(Said::Mended(Box::new(mended))),
            (None, Ok(statement)) => Ok(Said::Statement(Box::new(statement), whole)),
            (None, Err(error)) => Err(reason(&error, piece)),
        },
    }
}

/// Why a statement cannot be read; the parser names the place behind its words.
fn reason(error: &ParserError, piece: &str) -> Unread {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Unread {
                why: format!("it nests deeper than {NESTING_MAX}"),
                at: 0,
            };
        }
    };
    let (why, place) = text.rsplit_once(" at Line: ").unwrap_or((text, ""));
    let place = place.split_once(", Column: ");
    let place = place.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    Unread {
        why: shorten(why),
        at: place.map_or(0, |(line, column)| offset(piece, line, column)),
    }
}

/// The byte at a line and a column, both from 1.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let (line, column) = (line.saturating_sub(1), column.saturating_sub(1));
    let (line, column) = (usize::try_from(line), usize::try_from(column));
    let (Ok(line), Ok(column)) = (line, column) else {
        return 0;
    };
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within = rest
        .char_indices()
        .nth(column)
        .map_or(rest.len(), |(at, _)| at);
    start + within
}

impl Script {
    fn add(&mut self, statement: Statement, at: usize, notes: &mut Notes<'_>) {
        match statement {
            Statement::CreateTable(table) => self.table(table, at, notes),
            Statement::CreateDomain(domain) => {
                self.domains
                    .insert(last(&domain.name).to_lowercase(), domain);
            }
            Statement::RenameTable(list) => {
                for one in list {
                    if let Some(table) = self.find(&last(&one.old_name)) {
                        table.name = last(&one.new_name);
                    }
                }
            }
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

    fn table(&mut self, table: CreateTable, at: usize, notes: &mut Notes<'_>) {
        if table.columns.is_empty() {
            let name = last(&table.name);
            let what = format!("`{}` names no columns of its own", shorten(&name));
            let help = "import the table that it is a partition or a copy of";
            notes.tell("LS-I105", "", Some(at), what, help);
            return;
        }
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
            renamed: Vec::new(),
            left: Vec::new(),
            computed: Vec::new(),
        });
    }

    /// Fills in a column's type, by way of the domain where it is one.
    pub(super) fn kind(
        &self,
        field: &mut Field,
        kind: &DataType,
        at: Option<usize>,
        notes: &mut Notes<'_>,
    ) {
        let name = kinds::bare(kind);
        let Some(domain) = self.domains.get(&name) else {
            return kinds::fill(field, kind, self, at, notes);
        };
        kinds::fill(field, &domain.data_type, self, at, notes);
        if let Some(expr) = &domain.default {
            default(field, expr, at, notes);
        }
        for constraint in &domain.constraints {
            let TableConstraint::Check { expr, .. } = constraint else {
                continue;
            };
            // A domain calls its own value so.
            let own = std::mem::replace(&mut field.name, "VALUE".to_owned());
            let mut told = notes.fresh();
            checks::fill(std::slice::from_mut(field), &[], expr, at, &mut told);
            field.name = own;
            if !told.finish().0.is_empty() {
                let text = shorten(&expr.to_string());
                let what = format!("the check `{text}` of the domain `{name}` is not checked");
                let help = "say it as a rule: `type: custom`, `engine: cel`";
                notes.warn("LS-I108", &field.name, at, what, help);
            }
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Table> {
        self.tables
            .iter_mut()
            .find(|table| table.name.eq_ignore_ascii_case(name))
    }
}
