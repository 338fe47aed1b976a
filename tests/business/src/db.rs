//! A connection to one system's database, whatever kind it is: the one way in which editor and oracle reach the systems.
//!
//! Values go in and come out as JSON, as SQLite would store them (booleans as 0 and 1, decimals and dates as text), so that everything above is one code for all kinds.
//! SQL is written once, with `?` or `?1` for values, in what SQLite and PostgreSQL have in common.
//! This module knows no table; it shares no code with the connectors.

mod postgres;
mod sqlite;

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::shape::Raw;

/// A connection to one system's database.
#[derive(Debug)]
pub enum Db {
    /// An SQLite file.
    Sqlite(sqlite::Sqlite),
    /// A PostgreSQL database; connects again by itself when its server was away.
    Postgres(Box<postgres::Postgres>),
}

impl Db {
    /// Opens an SQLite file, which must exist.
    ///
    /// # Errors
    /// There is no such file, or it is no database.
    pub fn sqlite(file: &Path) -> Result<Db> {
        Ok(Db::Sqlite(sqlite::Sqlite::open(file)?))
    }

    /// Creates an SQLite file.
    ///
    /// # Errors
    /// The file exists already or cannot be written.
    pub fn create_sqlite(file: &Path) -> Result<Db> {
        Ok(Db::Sqlite(sqlite::Sqlite::create(file)?))
    }

    /// Connects to a PostgreSQL database, waiting for a server that is just starting.
    ///
    /// # Errors
    /// It does not answer within a minute, or refuses.
    pub fn postgres(url: &str) -> Result<Db> {
        Ok(Db::Postgres(Box::new(postgres::Postgres::connect(url)?)))
    }

    /// Forbids itself to write.
    ///
    /// # Errors
    /// The database is gone.
    pub fn read_only(&mut self) -> Result<()> {
        match self {
            Db::Sqlite(db) => db.read_only(),
            Db::Postgres(db) => db.read_only(),
        }
    }

    /// Runs one statement and says how many rows it touched.
    ///
    /// # Errors
    /// The database refuses.
    pub fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        match self {
            Db::Sqlite(db) => db.execute(sql, values),
            Db::Postgres(db) => db.execute(sql, values),
        }
    }

    /// Runs several statements without values.
    ///
    /// # Errors
    /// The database refuses one of them.
    pub fn batch(&mut self, sql: &str) -> Result<()> {
        match self {
            Db::Sqlite(db) => db.batch(sql),
            Db::Postgres(db) => db.execute(sql, &[]).map(|_| ()),
        }
    }

    /// The rows of a query, each by column name in the query's order.
    ///
    /// # Errors
    /// The database refuses.
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Raw>> {
        match self {
            Db::Sqlite(db) => db.query(sql, values),
            Db::Postgres(db) => db.query(sql, values),
        }
    }

    /// Inserts rows, which must all have the same columns.
    ///
    /// # Errors
    /// The database refuses.
    pub fn insert(&mut self, table: &str, rows: &[Raw]) -> Result<()> {
        match self {
            Db::Sqlite(db) => db.insert(table, rows),
            Db::Postgres(db) => db.insert(table, rows),
        }
    }

    /// Does some work in one transaction.
    ///
    /// Where the server goes away, the work is done again from its beginning, unless the transaction turns out to be committed; so the work may run more than once, but takes effect once.
    /// `mark` names the transaction for that question: no two transactions of a database may ever share one.
    ///
    /// # Errors
    /// The work fails, or the database refuses; nothing is committed then.
    pub fn transaction<T>(
        &mut self,
        mark: &str,
        work: &mut dyn FnMut(&mut Db) -> Result<T>,
    ) -> Result<T> {
        match self {
            Db::Sqlite(_) => self.once(work),
            Db::Postgres(_) => self.until_committed(mark, work),
        }
    }

    fn once<T>(&mut self, work: &mut dyn FnMut(&mut Db) -> Result<T>) -> Result<T> {
        self.batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|value| self.batch("COMMIT").map(|()| value));
        if done.is_err() {
            // What failed is worth more than that its transaction was gone already.
            let _ = self.batch("ROLLBACK");
        }
        done
    }

    fn until_committed<T>(
        &mut self,
        mark: &str,
        work: &mut dyn FnMut(&mut Db) -> Result<T>,
    ) -> Result<T> {
        let mut unknown = None;
        loop {
            let Db::Postgres(db) = self else {
                return self.once(work);
            };
            if let Some(value) = unknown.take()
                && db.is_committed(mark)?
            {
                return Ok(value);
            }
            let tried = db.begin(mark).and_then(|()| work(self));
            let Db::Postgres(db) = self else {
                return tried;
            };
            match tried {
                Ok(value) => match db.commit() {
                    Ok(()) => return Ok(value),
                    Err(error) if postgres::is_gone(&error) => unknown = Some(value),
                    Err(error) => return Err(error),
                },
                Err(error) if postgres::is_gone(&error) => db.forget(),
                Err(error) => {
                    db.rollback();
                    return Err(error);
                }
            }
        }
    }
}

/// The statement that inserts a row with the columns of `row`.
#[must_use]
pub fn insert_sql(table: &str, row: &Raw) -> String {
    let columns: Vec<&str> = row.keys().map(String::as_str).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    format!(
        "INSERT INTO {table} ({}) VALUES ({marks})",
        columns.join(", ")
    )
}
