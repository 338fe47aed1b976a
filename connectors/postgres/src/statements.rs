//! The sink's statements for one target, as text.
//!
//! Rows travel as one array a column, so a statement's text depends on the columns it writes and never on how many rows there are.
//! Every write is quiet where the row already holds the values, compared to the letter whatever the column's collation, so that a business system's triggers see real changes only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result, Shape};

use crate::catalog::{ColumnInfo, Table, has_exact_equality};
use crate::client::quote;
use crate::copying::Field;
use crate::encode::Encoder;
use crate::history::{self, History};

/// A target's columns and statements.
#[derive(Debug)]
pub(crate) struct Target {
    /// The shape they were made for.
    pub(crate) shape: Arc<Shape>,
    /// The table's columns, by position in the shape.
    pub(crate) columns: Vec<TargetColumn>,
    /// Writes whole rows. Parameters: every column.
    pub(crate) upsert: Arc<str>,
    /// Writes whole rows that are not there yet, for half of what an upsert costs. Parameters: every column.
    pub(crate) insert: Arc<str>,
    /// Copies such rows in, for less still; none where the table has rules, or a column whose binary form is not known. Its fields, by column.
    pub(crate) copy: Option<(String, Vec<Field>)>,
    /// Whether that is worth trying.
    pub(crate) fresh: Fresh,
    /// Removes rows. Parameters: the key's columns, in its order.
    pub(crate) delete: Arc<str>,
    /// Removes every row, one by one.
    pub(crate) clear: Arc<str>,
    /// Removes every row at once.
    pub(crate) truncate: Arc<str>,
    /// Tells whether that is allowed, and whether nobody would notice a difference.
    pub(crate) may_truncate: Arc<str>,
    /// How its history is kept, and what writes the times of changes; none where rows are only those of now.
    pub(crate) history: Option<(Arc<History>, Encoder)>,
    /// The table's name in SQL.
    pub(crate) table: String,
    /// The table's other columns in SQL, those left out that PostgreSQL computes.
    pub(crate) others: Vec<String>,
    /// Whether a column of the key is `GENERATED ALWAYS AS IDENTITY`: it can be inserted with a word more, but never updated.
    identity: bool,
}

/// A column that is written.
#[derive(Debug)]
pub(crate) struct TargetColumn {
    /// Writes its values.
    pub(crate) encoder: Encoder,
    /// Its name in SQL.
    pub(crate) name: String,
    /// Its type in SQL.
    type_name: String,
    /// Whether its own `=` compares to the letter.
    exact: bool,
}

impl Target {
    /// Writes the statements for a target.
    ///
    /// # Errors
    /// A column that is not there or cannot be written, a key without a unique index that an upsert can go by.
    pub(crate) fn new(
        table: &Table,
        shape: &Arc<Shape>,
        history: Option<&Arc<History>>,
    ) -> Result<Target> {
        table.must_be_a_table()?;
        let positions = resolve(table, shape)?;
        let key: Vec<usize> = shape.key.iter().map(|column| positions[*column]).collect();
        if let Some(history) = history {
            if let Some(finding) = history.findings(table, shape).into_iter().next() {
                return Err(Error::config(finding.message).help(finding.help));
            }
        } else {
            let unique = table.unique_over(&key).ok_or_else(|| {
                Error::config(no_unique(table)).help(no_unique_help(table, shape))
            })?;
            if !unique.exact {
                return Err(lax_key(table, &key));
            }
        }
        let own: Vec<&str> = history
            .map(|history| {
                history
                    .columns()
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect()
            })
            .unwrap_or_default();
        let column = |position: &usize| TargetColumn::new(&table.columns[*position]);
        let others = table.columns.iter().enumerate();
        let others = others.filter(|(at, column)| {
            !column.generated && !positions.contains(at) && !own.contains(&column.name.as_str())
        });
        let mut target = Target {
            shape: Arc::clone(shape),
            columns: positions.iter().map(column).collect(),
            upsert: "".into(),
            insert: "".into(),
            copy: None,
            fresh: Fresh::default(),
            delete: "".into(),
            clear: format!("DELETE FROM {}", table.quoted()).into(),
            truncate: format!("TRUNCATE {}", table.quoted()).into(),
            may_truncate: may_truncate(table.oid).into(),
            history: history.map(|history| (Arc::clone(history), history::stamp())),
            table: table.quoted(),
            others: others.map(|(_, column)| quote(&column.name)).collect(),
            identity: key
                .iter()
                .any(|column| table.columns[*column].identity_always),
        };
        target.insert = target.make_insert().into();
        target.copy = target.make_copy(table, &positions);
        target.upsert = target.make_upsert().into();
        target.delete = format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            target.table,
            target.rows(&[], true, false),
            target.key_is("t", "o")
        )
        .into();
        Ok(target)
    }

    /// Writes the columns of `set` into rows that are there, found by key, and gives the places of those that are not. Parameters: the columns of `set`, which holds the key.
    pub(crate) fn update(&self, set: &[usize]) -> String {
        let written: Vec<usize> = set
            .iter()
            .copied()
            .filter(|c| !self.shape.key.contains(c))
            .collect();
        let lead = format!("WITH x AS (SELECT * FROM {})", self.rows(set, false, true));
        let write = if written.is_empty() {
            // Nothing but the key: nothing to write, yet the row must be there.
            String::new()
        } else {
            format!(
                ", w AS (UPDATE {} AS t SET {} FROM x WHERE {} AND ({}))",
                self.table,
                self.assign(&written),
                self.key_is("t", "c"),
                self.differs(&written),
            )
        };
        format!(
            "{lead}{write} SELECT x.n FROM x WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {}) ORDER BY x.n",
            self.table,
            self.key_is("t", "c"),
        )
    }

    /// Gives rows their new keys, unless another row already has one, and writes the columns of `set`. Parameters: the columns of `set`, then the old key.
    pub(crate) fn rekey(&self, set: &[usize]) -> String {
        let free = format!(
            "{} AND NOT EXISTS (SELECT FROM {} AS t2 WHERE {})",
            self.key_is("t", "o"),
            self.table,
            self.key_is("t2", "c")
        );
        if self.identity {
            return self.replant(set, &free);
        }
        format!(
            "UPDATE {} AS t SET {} FROM {} WHERE {free}",
            self.table,
            self.assign(set),
            self.rows(set, true, false),
        )
    }

    /// Takes rows out and puts them in again under their new keys, where a key cannot be updated.
    fn replant(&self, set: &[usize], free: &str) -> String {
        let names = self
            .columns
            .iter()
            .map(|column| &column.name)
            .chain(&self.others);
        let value = |column: usize| match set.contains(&column) {
            true => self.value(column),
            false => format!("(x.r).{}", self.columns[column].name),
        };
        let values = (0..self.columns.len()).map(value);
        let values = values.chain(self.others.iter().map(|name| format!("(x.r).{name}")));
        format!(
            "WITH x AS (DELETE FROM {table} AS t USING {} WHERE {free} RETURNING t AS r, x.*) INSERT INTO {table} ({}){} SELECT {} FROM x",
            self.rows(set, true, false),
            names.map(String::as_str).collect::<Vec<_>>().join(", "),
            self.overriding(),
            values.collect::<Vec<_>>().join(", "),
            table = self.table,
        )
    }

    fn overriding(&self) -> &'static str {
        if self.identity {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        }
    }

    fn make_insert(&self) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let names = self.columns.iter().map(|column| column.name.as_str());
        let values = all.iter().map(|column| self.value(*column));
        format!(
            "INSERT INTO {} AS t ({}){} SELECT {} FROM {}",
            self.table,
            names.collect::<Vec<_>>().join(", "),
            self.overriding(),
            values.collect::<Vec<_>>().join(", "),
            self.rows(&all, false, false),
        )
    }

    fn make_copy(&self, table: &Table, positions: &[usize]) -> Option<(String, Vec<Field>)> {
        if table.has_rules {
            return None;
        }
        let fields = positions.iter();
        let fields = fields.map(|at| Field::for_type(table.columns[*at].base_oid));
        let fields: Vec<Field> = fields.collect::<Option<_>>()?;
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let statement = format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            self.table,
            names.join(", ")
        );
        Some((statement, fields))
    }

    fn make_upsert(&self) -> String {
        let all = 0..self.columns.len();
        let names: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let key: Vec<&str> = self.shape.key.iter().map(|column| names[*column]).collect();
        let rest: Vec<usize> = all.filter(|c| !self.shape.key.contains(c)).collect();
        let action = if rest.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            let set = rest
                .iter()
                .map(|c| format!("{0} = excluded.{0}", names[*c]));
            let differs = rest.iter().map(|c| {
                let column = &self.columns[*c];
                column.differs(
                    &format!("t.{}", column.name),
                    &format!("excluded.{}", column.name),
                )
            });
            format!(
                "DO UPDATE SET {} WHERE {}",
                set.collect::<Vec<_>>().join(", "),
                differs.collect::<Vec<_>>().join(" OR ")
            )
        };
        format!("{} ON CONFLICT ({}) {action}", self.insert, key.join(", "),)
    }

    /// The parameters as rows: `c0` and so on the columns of `set`, `o0` and so on an old key, `n` the place from 1.
    fn rows(&self, set: &[usize], old_key: bool, places: bool) -> String {
        self.arrays(set, old_key, places, None)
    }

    /// The same with a last parameter, `at`: when each change was committed.
    pub(crate) fn stamped(&self, set: &[usize], old_key: bool, places: bool) -> String {
        let stamp = self.history.as_ref().map(|(_, stamp)| stamp);
        self.arrays(set, old_key, places, stamp)
    }

    fn arrays(
        &self,
        set: &[usize],
        old_key: bool,
        places: bool,
        stamp: Option<&Encoder>,
    ) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut parameter = |column: usize, name: String| {
            let element = self.columns[column].encoder.parameter();
            arrays.push(format!("${}::{element}[]", arrays.len() + 1));
            names.push(name);
        };
        for column in set {
            parameter(*column, format!("c{column}"));
        }
        if old_key {
            for column in &self.shape.key {
                parameter(*column, format!("o{column}"));
            }
        }
        let stamp = stamp.map(|stamp| format!("${}::{}[]", arrays.len() + 1, stamp.parameter()));
        let is_stamped = stamp.is_some();
        arrays.extend(stamp);
        if is_stamped {
            names.push("at".to_owned());
        }
        let ordinality = if places {
            names.push("n".to_owned());
            " WITH ORDINALITY"
        } else {
            ""
        };
        format!(
            "unnest({}){ordinality} AS x({})",
            arrays.join(", "),
            names.join(", ")
        )
    }

    pub(crate) fn value(&self, column: usize) -> String {
        format!("x.c{column}::{}", self.columns[column].type_name)
    }

    fn assign(&self, set: &[usize]) -> String {
        let term =
            |column: &usize| format!("{} = {}", self.columns[*column].name, self.value(*column));
        set.iter().map(term).collect::<Vec<_>>().join(", ")
    }

    fn differs(&self, set: &[usize]) -> String {
        self.differs_from("t", set)
    }

    pub(crate) fn differs_from(&self, alias: &str, set: &[usize]) -> String {
        let term = |column: &usize| {
            let known = &self.columns[*column];
            known.differs(&format!("{alias}.{}", known.name), &self.value(*column))
        };
        set.iter().map(term).collect::<Vec<_>>().join(" OR ")
    }

    /// Compares the key of a table's row with the new (`c`) or the old (`o`) one of the parameters.
    pub(crate) fn key_is(&self, alias: &str, which: &str) -> String {
        let term = |column: &usize| {
            let known = &self.columns[*column];
            format!(
                "{alias}.{} = x.{which}{column}::{}",
                known.name, known.type_name
            )
        };
        self.shape
            .key
            .iter()
            .map(term)
            .collect::<Vec<_>>()
            .join(" AND ")
    }
}

/// Whether rows that were made in the source are likely to be new in the target, too.
///
/// They are not where a source is read anew or a log replayed; each time that shows, twice as many runs go by before it is tried again.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// Runs to go by.
    waits: AtomicU32,
    /// How many it was last time.
    waited: AtomicU32,
}

/// Most runs that go by.
const WAITS_MAX: u32 = 1024;

impl Fresh {
    /// Whether to try now; called once a run.
    pub(crate) fn is_likely(&self) -> bool {
        let less = |waits: u32| waits.checked_sub(1);
        self.waits.fetch_update(Relaxed, Relaxed, less).is_err()
    }

    /// They were all new.
    pub(crate) fn was_right(&self) {
        self.waited.store(0, Relaxed);
    }

    /// One was there already.
    pub(crate) fn was_wrong(&self) {
        let waits = (self.waited.load(Relaxed) * 2).clamp(4, WAITS_MAX);
        self.waited.store(waits, Relaxed);
        self.waits.store(waits, Relaxed);
    }
}

impl TargetColumn {
    fn new(column: &ColumnInfo) -> TargetColumn {
        TargetColumn {
            encoder: column.encoder,
            name: quote(&column.name),
            type_name: column.type_name.clone(),
            exact: has_exact_equality(column),
        }
    }

    fn differs(&self, left: &str, right: &str) -> String {
        if self.exact {
            format!("{left} IS DISTINCT FROM {right}")
        } else {
            format!("{left}::text COLLATE \"C\" IS DISTINCT FROM ({right})::text COLLATE \"C\"")
        }
    }
}

/// Asks whether a table may be truncated, and whether that does the same as deleting its rows: no foreign key points at it, no trigger or policy looks at deletes, nothing is looked at later, and no publication tells deletes alone.
fn may_truncate(oid: u32) -> String {
    format!(
        "WITH t AS (SELECT {oid}::oid AS oid UNION SELECT relid::oid FROM pg_catalog.pg_partition_tree({oid}))
         SELECT pg_catalog.has_table_privilege({oid}, 'TRUNCATE')
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint JOIN t ON t.oid = confrelid WHERE contype = 'f')
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger JOIN t ON t.oid = tgrelid WHERE tgdeferrable OR NOT tgisinternal AND tgtype & 8 <> 0)
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = {oid} AND NOT c.relispartition)
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_publication USING (pubname) JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename JOIN t ON t.oid = c.oid WHERE NOT pubtruncate)
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN t USING (oid) WHERE c.relrowsecurity OR c.relhasrules)"
    )
}

/// The table's positions of the shape's columns.
fn resolve(table: &Table, shape: &Shape) -> Result<Vec<usize>> {
    let name = &table.name;
    let position = |column: &str| {
        let position = table.position(column).ok_or_else(|| {
            let known = table.columns.iter().map(|column| column.name.as_str());
            Error::config(format!("table `{name}` has no column `{column}`"))
                .help(suggestion(column, known))
        })?;
        let known = &table.columns[position];
        let in_key = shape
            .key
            .iter()
            .any(|key| shape.columns[*key].name == column);
        if known.generated || (known.identity_always && !in_key) {
            return Err(Error::config(format!(
                "column `{column}` of table `{name}` is generated and cannot be written"
            ))
            .help("take it out of the mapping's written columns"));
        }
        Ok(position)
    };
    shape.names().map(position).collect()
}

/// Says that an upsert has nothing to go by.
pub(crate) fn no_unique(table: &Table) -> String {
    format!(
        "table `{}` has no unique index over exactly the columns that identify a record",
        table.name
    )
}

/// The statement that mends it.
pub(crate) fn no_unique_help(table: &Table, shape: &Shape) -> String {
    let key: Vec<usize> = shape.key.clone();
    let names: Vec<&str> = key
        .iter()
        .map(|column| shape.columns[*column].name.as_str())
        .collect();
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    let index = format!("{}_{}_lockstep", table.relation, names.join("_"));
    let index: String = index.chars().take(60).collect();
    let placed: Option<Vec<usize>> = names.iter().map(|name| table.position(name)).collect();
    let near = table
        .unique
        .iter()
        .find(|index| index.columns.is_some() && index.columns == placed);
    let why = match near {
        Some(near) if near.partial => format!(" (index `{}` covers some rows only)", near.name),
        Some(near) if !near.immediate => {
            format!(" (the constraint of index `{}` is deferrable)", near.name)
        }
        _ => String::new(),
    };
    format!(
        "run: CREATE UNIQUE INDEX {} ON {} ({}){why}",
        quote(&index),
        table.quoted(),
        quoted.join(", ")
    )
}

/// Says that the target would take two records for one.
fn lax_key(table: &Table, key: &[usize]) -> Error {
    let column = key
        .iter()
        .map(|column| &table.columns[*column])
        .find(|column| column.lax);
    let name = column.map_or("", |column| column.name.as_str());
    Error::config(format!(
        "key column `{name}` of table `{}` does not compare to the letter, so records whose keys differ only to the eye of the contract would overwrite each other",
        table.name
    ))
    .help(format!("give {} a deterministic collation (and a type other than citext), or map the key to a column that has one", quote(name)))
}
