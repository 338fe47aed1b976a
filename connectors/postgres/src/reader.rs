//! The reader: pages in key order, and rows by key, one round trip each.
//!
//! Values are asked for as text, the form that [`crate::convert`] reads.
//! Rows come in the order of the key's own index; only a key that does not compare to the letter is ordered by its bytes instead, so that no two rows stand at one place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{OpenContext, Page, Reader};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Cell, Error, Kind, Result, Row, Shape, Type, Value};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, ValueRef as _};

use crate::catalog::{self, Table};
use crate::client::{Client, failure, quote, sql};
use crate::config::Config;
use crate::encode::Values;

/// Begins a look: an aborted one leaves no trace.
const BEGIN: &str = "BEGIN READ ONLY";
const END: &str = "COMMIT";

/// Reads rows of a PostgreSQL database, views included.
#[derive(Debug)]
pub struct PostgresReader {
    client: Client,
    tables: Vec<String>,
    known: Mutex<HashMap<String, Arc<Table>>>,
}

impl Reader for PostgresReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(PostgresReader {
            client: Client::open(&config, &cx).await?,
            tables: cx.tables,
            known: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.known().clear();
        catalog::shapes(&self.client, &self.tables).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let names = (page.table, page.columns, page.key);
        let mut parameters = Vec::new();
        self.read(names, |plan| {
            parameters = plan.after(page.after)?;
            Ok((
                plan.scan(page.after.is_some(), page.limit),
                std::mem::take(&mut parameters),
            ))
        })
        .await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.read((table, columns, key), |plan| {
            Ok((plan.fetch(), plan.keys(keys)))
        })
        .await
    }
}

impl PostgresReader {
    /// Runs one statement on a table; once more where the table turns out to be another than it was.
    async fn read(
        &self,
        (table, columns, key): (&str, &[String], &[String]),
        mut ask: impl FnMut(&Plan) -> Result<(String, Vec<Values>)>,
    ) -> Result<Vec<Row>> {
        let failed = |error| failure("cannot read the table", error).with("table", table);
        loop {
            let mut lease = self.client.begin(BEGIN).await?;
            let (known, fresh) = self.table(lease.conn(), table).await?;
            let plan = Plan::new(&known, columns, key)?;
            let (statement, parameters) = ask(&plan)?;
            let mut query = sqlx::query(sql(statement));
            for values in parameters {
                query = query.bind(values);
            }
            let rows = match query.fetch_all(lease.conn()).await.map_err(failed) {
                Ok(rows) => rows,
                Err(error) if error.kind() == Kind::Config && !fresh => {
                    self.known().remove(table);
                    continue;
                }
                Err(error) => return Err(error),
            };
            sqlx::raw_sql(END)
                .execute(lease.conn())
                .await
                .map_err(failed)?;
            lease.keep();
            return rows.iter().map(|row| plan.row(row)).collect();
        }
    }

    /// A table, and whether it was looked up only now.
    async fn table(&self, conn: &mut PgConnection, name: &str) -> Result<(Arc<Table>, bool)> {
        let known = self.known().get(name).cloned();
        if let Some(table) = known {
            return Ok((table, false));
        }
        let table = Arc::new(catalog::table(conn, name).await?);
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
}

impl Plan {
    fn new(table: &Arc<Table>, columns: &[String], key: &[String]) -> Result<Plan> {
        let resolve = |column: &String| {
            table.position(column).ok_or_else(|| {
                let known = table.columns.iter().map(|column| column.name.as_str());
                Error::config(format!("table `{}` has no column `{column}`", table.name))
                    .help(suggestion(column, known))
            })
        };
        if key.is_empty() {
            return Err(Error::config(format!(
                "rows of table `{}` cannot be paged without a key",
                table.name
            ))
            .help("map the contract's key fields to columns of the table"));
        }
        Ok(Plan {
            columns: columns.iter().map(resolve).collect::<Result<_>>()?,
            key: key.iter().map(resolve).collect::<Result<_>>()?,
            table: Arc::clone(table),
        })
    }

    /// One page. Rows whose key holds a null are left out: nothing identifies them.
    fn scan(&self, after: bool, limit: usize) -> String {
        let order: Vec<String> = self
            .key
            .iter()
            .map(|column| self.key_column(*column))
            .collect();
        let mut conditions: Vec<String> = self
            .key
            .iter()
            .map(|column| format!("{} IS NOT NULL", self.name(*column)))
            .collect();
        if after {
            let values = self.key.iter().enumerate().map(|(i, column)| {
                let element = self.table.columns[*column].encoder.parameter();
                self.key_value(*column, &format!("(${}::{element}[])[1]", i + 1))
            });
            let values: Vec<String> = values.collect();
            conditions.push(format!("({}) > ({})", order.join(", "), values.join(", ")));
        }
        format!(
            "{} WHERE {} ORDER BY {} LIMIT {}",
            self.select(),
            conditions.join(" AND "),
            order.join(", "),
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
    }

    /// The rows of some keys.
    fn fetch(&self) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut terms = Vec::new();
        for (i, column) in self.key.iter().enumerate() {
            let element = self.table.columns[*column].encoder.parameter();
            arrays.push(format!("${}::{element}[]", i + 1));
            names.push(format!("k{i}"));
            terms.push(format!(
                "{} = {}",
                self.key_column(*column),
                self.key_value(*column, &format!("x.k{i}"))
            ));
        }
        format!(
            "{} JOIN unnest({}) AS x({}) ON {}",
            self.select(),
            arrays.join(", "),
            names.join(", "),
            terms.join(" AND ")
        )
    }

    fn select(&self) -> String {
        let columns = self.columns.iter().map(|column| self.text(*column));
        format!(
            "SELECT {} FROM {} AS t",
            columns.collect::<Vec<_>>().join(", "),
            self.table.quoted()
        )
    }

    /// A column in the text form that PostgreSQL's own output has, and so the replication stream.
    fn text(&self, column: usize) -> String {
        let name = self.name(column);
        let known = &self.table.columns[column];
        if known.kind == Type::Text && !known.is_plain_text() {
            // A cast of such a type may have a function of its own: an `inet` would become another text.
            return format!(
                "CASE WHEN {name} IS NOT NULL THEN pg_catalog.format('%s', {name}) END"
            );
        }
        format!("{name}::text")
    }

    /// A key column as rows are ordered and found by it.
    fn key_column(&self, column: usize) -> String {
        let name = self.name(column);
        if self.table.columns[column].lax {
            format!("({name}::text COLLATE \"C\")")
        } else {
            name
        }
    }

    /// A parameter to compare with it.
    fn key_value(&self, column: usize, parameter: &str) -> String {
        let column = &self.table.columns[column];
        if column.lax {
            format!("({parameter}::text COLLATE \"C\")")
        } else {
            format!("{parameter}::{}", column.type_name)
        }
    }

    fn name(&self, column: usize) -> String {
        format!("t.{}", quote(&self.table.columns[column].name))
    }

    /// The parameters that a page begins after.
    fn after(&self, after: Option<&[Value]>) -> Result<Vec<Values>> {
        let Some(after) = after else {
            return Ok(Vec::new());
        };
        if after.len() != self.key.len() {
            return Err(Error::invalid(format!(
                "a page after {} values was asked for, but the key has {}",
                after.len(),
                self.key.len()
            )));
        }
        let one = |(value, column): (&Value, &usize)| {
            let column = &self.table.columns[*column];
            let mut values = Values::new(&column.encoder);
            values.push(&column.encoder, value).map_err(|why| {
                Error::invalid(format!(
                    "a page cannot begin after this key: column `{}`: {why}",
                    column.name
                ))
            })?;
            Ok(values)
        };
        after.iter().zip(&self.key).map(one).collect()
    }

    /// The parameters of some keys. A key that its columns cannot hold has no row, and is left out.
    fn keys(&self, keys: &[Vec<Value>]) -> Vec<Values> {
        let encoder = |column: &usize| &self.table.columns[*column].encoder;
        let mut all: Vec<Values> = self
            .key
            .iter()
            .map(|column| Values::new(encoder(column)))
            .collect();
        for key in keys.iter().filter(|key| key.len() == self.key.len()) {
            let mut taken = Vec::with_capacity(key.len());
            for ((values, column), value) in all.iter_mut().zip(&self.key).zip(key) {
                match values.push(encoder(column), value) {
                    Ok(bytes) => taken.push(bytes),
                    Err(_) => break,
                }
            }
            if taken.len() < key.len() {
                all.iter_mut()
                    .zip(taken)
                    .for_each(|(values, bytes)| values.pop(bytes));
            }
        }
        all
    }

    fn row(&self, row: &PgRow) -> Result<Row> {
        let cell = |(i, column): (usize, &usize)| {
            let column = &self.table.columns[*column];
            let unread = |error: sqlx::error::BoxDynError| {
                Error::unexpected("a value cannot be read")
                    .with("column", &column.name)
                    .because(error)
            };
            let raw = row.try_get_raw(i).map_err(|error| unread(error.into()))?;
            if raw.is_null() {
                return Ok(Cell::Set(Value::Null));
            }
            let text = raw.as_bytes().map_err(unread)?;
            let value = column.decoder.decode(text);
            Ok(Cell::Set(
                value.map_err(|error| error.with("column", &column.name))?,
            ))
        };
        let cells = self.columns.iter().enumerate().map(cell);
        Ok(Row(cells.collect::<Result<_>>()?))
    }
}
