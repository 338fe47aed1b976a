//! A table as the catalogue tells it.

use std::sync::Arc;

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column as ShapeColumn, Error, Result, Shape};

use crate::client::Server;
use crate::config::Config;
use crate::form::{Form, Kind};
use crate::literal;
use crate::tsv::Field;

/// A table, a view, or the like.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) engine: String,
    /// The engine with its arguments and clauses.
    pub(crate) engine_full: String,
    /// The columns that rows are sorted by, as far as they are plain columns.
    pub(crate) sorting: Vec<String>,
    /// All columns but the version and the deleted mark.
    pub(crate) columns: Vec<Column>,
    /// Whether the table has each of the columns that only a warehouse has.
    pub(crate) has_version: bool,
    pub(crate) has_deleted: bool,
    /// Those columns as a shape.
    pub(crate) shape: Arc<Shape>,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// Whether the server computes it.
    pub(crate) computed: bool,
    /// Whether it decides in which partition a row lies.
    pub(crate) parts: bool,
}

impl Table {
    /// Looks a table up.
    ///
    /// # Errors
    /// `GONE` for one that is not there.
    pub(crate) async fn find(server: &Server, config: &Config, name: &str) -> Result<Table> {
        let at = format!(
            "database = {} AND {{}} = {}",
            literal::text(&server.database),
            literal::text(name)
        );
        let sql = format!(
            "SELECT engine, engine_full, sorting_key FROM system.tables WHERE {}",
            at.replace("{}", "name")
        );
        let found = server.rows(&sql).await?;
        let Some([engine, engine_full, sorting]) = found.first().map(Vec::as_slice) else {
            return Err(Error::config(format!(
                "database `{}` has no table `{name}`",
                server.database
            ))
            .code(GONE)
            .help("make the table, or correct `table` in the mapping"));
        };
        let sql = format!(
            "SELECT name, type, default_kind, comment, is_in_partition_key FROM system.columns WHERE {}",
            at.replace("{}", "table")
        );
        let mut table = Table {
            name: name.to_owned(),
            engine: words(engine),
            engine_full: words(engine_full),
            sorting: Vec::new(),
            columns: Vec::new(),
            has_version: false,
            has_deleted: false,
            shape: Arc::new(Shape {
                name: name.to_owned(),
                columns: Vec::new(),
                key: Vec::new(),
            }),
        };
        for row in server.rows(&sql).await? {
            let [name, kind, default, comment, parts] = row.as_slice() else {
                return Err(Error::unexpected(
                    "the catalogue answered with other columns",
                ));
            };
            let (name, default) = (words(name), words(default));
            table.has_version |= name == config.version_column;
            table.has_deleted |= name == config.deleted_column;
            if config.is_own(&name) || default == "EPHEMERAL" {
                continue;
            }
            table.columns.push(Column {
                form: Form::parse(&words(kind), &words(comment)),
                computed: matches!(default.as_str(), "MATERIALIZED" | "ALIAS"),
                parts: words(parts) == "1",
                name,
            });
        }
        table.sort(&words(sorting), config)?;
        Ok(table.shaped(server))
    }

    /// Finds what identifies a row: what the configuration names, or the sorting key.
    fn sort(&mut self, sorting: &str, config: &Config) -> Result<()> {
        let given = config.keys.get(&self.name);
        let names: Vec<String> = match given {
            Some(names) => names.clone(),
            None => sorting
                .split(',')
                .map(|part| part.trim().trim_matches('`').to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        };
        for name in &names {
            if self.columns.iter().any(|column| column.name == *name) {
                self.sorting.push(name.clone());
            } else if given.is_some() {
                return Err(Error::config(format!(
                    "`keys.{}` names `{name}`, which is no column of it",
                    self.name
                ))
                .help("name columns of the table or view"));
            } else {
                // A row that is sorted by an expression is not identified by columns alone.
                self.sorting.clear();
                break;
            }
        }
        Ok(())
    }

    fn shaped(mut self, server: &Server) -> Table {
        let column = |column: &Column| {
            let length = match column.form.kind {
                Kind::Text { fixed: Some(size) } => u32::try_from(size).ok(),
                _ => None,
            };
            ShapeColumn::new(
                &column.name,
                column.form.kind(server.version),
                column.form.nullable,
            )
            .within(length)
        };
        let place = |name: &String| self.columns.iter().position(|column| column.name == *name);
        self.shape = Arc::new(Shape {
            name: self.name.clone(),
            columns: self.columns.iter().map(column).collect(),
            key: self.sorting.iter().filter_map(place).collect(),
        });
        self
    }

    /// Where a column stands.
    ///
    /// # Errors
    /// Names one that is not there.
    pub(crate) fn place(&self, name: &str) -> Result<usize> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| {
                Error::config(format!("table `{}` has no column `{name}`", self.name)).help(
                    suggestion(name, self.columns.iter().map(|column| column.name.as_str())),
                )
            })
    }

    /// Whether rows of one key replace each other.
    pub(crate) fn replaces(&self) -> bool {
        self.engine.contains("ReplacingMergeTree")
    }

    /// Whether the engine goes by a column's versions.
    pub(crate) fn goes_by(&self, version_column: &str) -> bool {
        let head = self
            .engine_full
            .split(" ORDER BY")
            .next()
            .unwrap_or_default();
        let Some((_, arguments)) = head.split_once('(') else {
            return false;
        };
        let arguments = arguments.split(" PARTITION BY").next().unwrap_or_default();
        arguments
            .split([',', ')'])
            .any(|argument| argument.trim().trim_matches('`') == version_column)
    }

    /// The name in SQL, and what lets only the newest rows through.
    pub(crate) fn source(&self) -> String {
        let end = if self.replaces() { " FINAL" } else { "" };
        format!("{}{end}", literal::name(&self.name))
    }
}

fn words(field: &Field) -> String {
    String::from_utf8_lossy(field.as_deref().unwrap_or_default()).into_owned()
}
