//! The reader: pages in key order, and rows by key.
//!
//! Rows come in the order of the key's own index; only a key that no index makes unique and that does not compare to the letter is ordered by its bytes instead, so that no two rows stand at one place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{Definition, OpenContext, Page, Reader};
use lockstep_core::{Cell, Error, Kind, Result, Row, Shape, Value};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::catalog::{self, Table};
use crate::client::{Client, failure};
use crate::config::Config;
use crate::convert::{self, Form};
use crate::encode;
use crate::names::quote;

/// Most bytes of one statement that asks for keys.
const STATEMENT_BYTES_MAX: usize = 512 * 1024;

/// Reads rows of a MySQL or MariaDB database, views included.
#[derive(Debug)]
pub struct MysqlReader {
    client: Client,
    tables: Vec<String>,
    known: Mutex<HashMap<String, Arc<Table>>>,
}

impl Reader for MysqlReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MysqlReader {
            client: Client::open(&config, &cx).await?,
            tables: cx.tables,
            known: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.known().clear();
        catalog::shapes(&self.client, &self.tables, Table::shape).await
    }

    async fn definition(&self, table: &str) -> Result<Option<Definition>> {
        let sql = catalog::definition(&self.client, table).await?;
        Ok(sql.map(|sql| Definition {
            dialect: "mysql",
            sql,
        }))
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let names = (page.table, page.columns, page.key);
        self.read(names, |plan| Ok(vec![plan.scan(&page)?])).await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        self.read((table, columns, key), |plan| Ok(plan.fetch(keys)))
            .await
    }
}

impl MysqlReader {
    /// Runs statements on a table; once more where the table turns out to be another than it was.
    async fn read(
        &self,
        (table, columns, key): (&str, &[String], &[String]),
        ask: impl Fn(&Plan) -> Result<Vec<String>>,
    ) -> Result<Vec<Row>> {
        let failed = |error| failure("cannot read the table", error).with("table", table);
        loop {
            let mut lease = self.client.begin("DO 0").await?;
            let (known, fresh) = self.table(lease.conn(), table).await?;
            let plan = Plan::new(&known, columns, key)?;
            let mut all = Vec::new();
            let mut outcome = Ok(());
            for statement in ask(&plan)? {
                let rows: mysql_async::Result<Vec<mysql_async::Row>> =
                    lease.conn().exec(statement, ()).await;
                match rows.map_err(failed) {
                    Ok(rows) => all.extend(rows.into_iter().map(|row| plan.row(row))),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            match outcome {
                Ok(()) => {
                    lease.keep();
                    return Ok(all);
                }
                Err(error) if error.kind() == Kind::Config && !fresh => {
                    self.known().remove(table);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A table, and whether it was looked up only now.
    async fn table(&self, conn: &mut Conn, name: &str) -> Result<(Arc<Table>, bool)> {
        let known = self.known().get(name).cloned();
        if let Some(table) = known {
            return Ok((table, false));
        }
        let table = Arc::new(catalog::table(conn, name, &self.client.endpoint().database).await?);
        self.known().insert(name.to_owned(), Arc::clone(&table));
        Ok((table, true))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Table>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names resolved against the database.
struct Plan {
    table: Arc<Table>,
    /// Positions in the table.
    columns: Vec<usize>,
    key: Vec<usize>,
    /// Whether an index makes the key unique by its own collation.
    unique: bool,
}

impl Plan {
    fn new(table: &Arc<Table>, columns: &[String], key: &[String]) -> Result<Plan> {
        if key.is_empty() {
            return Err(Error::config(format!(
                "rows of table `{}` cannot be paged without a key",
                table.spelled
            ))
            .help("map the contract's key fields to columns of the table"));
        }
        let key: Vec<usize> = key
            .iter()
            .map(|name| table.column(name))
            .collect::<Result<_>>()?;
        Ok(Plan {
            columns: columns
                .iter()
                .map(|name| table.column(name))
                .collect::<Result<_>>()?,
            unique: table.unique_over(&key).is_some(),
            key,
            table: Arc::clone(table),
        })
    }

    /// A key column as rows are ordered by it.
    fn term(&self, column: usize) -> String {
        let known = &self.table.columns[column];
        let by_bytes =
            matches!(known.form, Form::Enum | Form::Set) || (known.is_lax() && !self.unique);
        if by_bytes {
            format!("CAST({} AS BINARY)", quote(&known.name))
        } else {
            quote(&known.name)
        }
    }

    /// One page. Rows whose key holds a null are left out: nothing identifies them.
    fn scan(&self, page: &Page<'_>) -> Result<String> {
        let key: Vec<String> = self.key.iter().map(|column| self.term(*column)).collect();
        let mut conditions: Vec<String> = self
            .key
            .iter()
            .filter(|column| self.table.columns[**column].nullable)
            .map(|column| format!("{} IS NOT NULL", quote(&self.table.columns[*column].name)))
            .collect();
        if let Some(after) = page.after {
            let values = self.bound(after)?;
            conditions.push(format!("({})", encode::beyond(&key, &values)));
        }
        if let Some(until) = page.until {
            let values = self.bound(until)?;
            conditions.push(format!("({})", encode::up_to(&key, &values)));
        }
        if let Some(filter) = page.filter {
            conditions.push(encode::condition(filter, |name| {
                Ok(&self.table.columns[self.table.column(name)?])
            })?);
        }
        if conditions.is_empty() {
            conditions.push("TRUE".to_owned());
        }
        let way = if page.backwards { " DESC" } else { "" };
        let order: Vec<String> = key.iter().map(|term| format!("{term}{way}")).collect();
        Ok(format!(
            "{} WHERE {} ORDER BY {} LIMIT {}",
            self.select(),
            conditions.join(" AND "),
            order.join(", "),
            i64::try_from(page.limit).unwrap_or(i64::MAX)
        ))
    }

    /// A key that bounds a page, as literals.
    fn bound(&self, bound: &[Value]) -> Result<Vec<String>> {
        if bound.len() != self.key.len() {
            return Err(Error::invalid(format!(
                "a page bounded by {} values was asked for, but the key has {}",
                bound.len(),
                self.key.len()
            )));
        }
        let literal = |(column, value): (&usize, &Value)| {
            let known = &self.table.columns[*column];
            encode::key_literal(known, value).map_err(|why| {
                Error::invalid(format!(
                    "a page cannot be bounded by this key: column `{}`: {why}",
                    known.name
                ))
            })
        };
        self.key.iter().zip(bound).map(literal).collect()
    }

    /// The rows of some keys. A key that its columns cannot hold has no row, and is left out.
    fn fetch(&self, keys: &[Vec<Value>]) -> Vec<String> {
        let lead = format!("{} WHERE ", self.select());
        let mut statements = Vec::new();
        let mut statement = lead.clone();
        for key in keys.iter().filter(|key| key.len() == self.key.len()) {
            let Some(term) = self.is(key) else {
                continue;
            };
            if statement.len() > lead.len() {
                if statement.len() + term.len() > STATEMENT_BYTES_MAX {
                    statements.push(std::mem::replace(&mut statement, lead.clone()));
                } else {
                    statement.push_str(" OR ");
                }
            }
            statement.push_str(&term);
        }
        if statement.len() > lead.len() {
            statements.push(statement);
        }
        statements
    }

    /// Compares a row's key to the letter, and first as an index can.
    fn is(&self, key: &[Value]) -> Option<String> {
        let mut terms = Vec::with_capacity(key.len());
        for (column, value) in self.key.iter().zip(key) {
            let known = &self.table.columns[*column];
            let literal = encode::key_literal(known, value).ok()?;
            let name = quote(&known.name);
            match (known.form, value) {
                (Form::Enum | Form::Set, _) => {
                    terms.push(format!("CAST({name} AS BINARY) = {literal}"));
                }
                (Form::Text | Form::Padded, Value::Text(text))
                    if known.is_lax() || known.pads() =>
                {
                    let mut bytes = String::new();
                    crate::names::push_bytes(&mut bytes, text.as_bytes());
                    terms.push(format!("{name} = {literal} AND CAST(CONVERT({name} USING utf8mb4) AS BINARY) = {bytes}"));
                }
                _ => terms.push(format!("{name} = {literal}")),
            }
        }
        Some(format!("({})", terms.join(" AND ")))
    }

    fn select(&self) -> String {
        let columns = self
            .columns
            .iter()
            .map(|column| quote(&self.table.columns[*column].name));
        format!(
            "SELECT {} FROM {}",
            columns.collect::<Vec<_>>().join(", "),
            self.table.quoted()
        )
    }

    fn row(&self, row: mysql_async::Row) -> Row {
        let values = row.unwrap().into_iter().zip(&self.columns);
        let cells = values.map(|(value, column)| {
            Cell::Set(convert::from_sql(self.table.columns[*column].form, value))
        });
        Row(cells.collect())
    }
}
