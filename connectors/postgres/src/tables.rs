//! The tables that a source captures: what the catalog says of them, and how the rows of the stream fit to it.
//!
//! Generated columns are left out, because the stream does not carry them.
//! Knows neither transactions nor snapshots.

use std::borrow::Cow;
use std::sync::Arc;

use lockstep_core::connector::{Filter, Reads};
use lockstep_core::{Cell, Error, Result, Row, Shape, Type, Value};

use crate::catalog::{ColumnInfo, ReplicaIdentity, Table, TableKind};
use crate::client::{literal, quote};
use crate::convert::{self, Decoder, oid};
use crate::pgoutput::{Datum, Relation, Tuple};
use crate::position::RowKey;

/// The first number of a type that somebody made; a publication's condition takes no such type.
pub(crate) const FIRST_OWN: u32 = 16_384;

/// The first number of what users define; types below are the same in every database.
const FIRST_USER_OID: u32 = 16_384;

/// A captured table.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// Its name as the configuration spells it.
    pub(crate) name: String,
    /// Its number.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// Its own name.
    pub(crate) relation: String,
    /// Its name in SQL.
    pub(crate) quoted: String,
    /// Whether its rows are in partitions.
    pub(crate) partitioned: bool,
    /// A digest of its partitions and where they are stored, 0 where it has none.
    pub(crate) parts: u32,
    /// Whether only inserts are told, because its rows are events.
    pub(crate) outbox: bool,
    /// Stored columns that PostgreSQL computes; they are left out, though newer servers tell them.
    pub(crate) generated: Vec<String>,
    /// Whether its replica identity holds one of them: from PostgreSQL 18 on its rows can then be changed only while every publication tells it.
    pub(crate) identified_by_generated: bool,
    /// Its columns and key.
    pub(crate) shape: Arc<Shape>,
    /// The columns as the catalog declares them, one per column of the shape.
    pub(crate) columns: Vec<Known>,
    /// Which columns and rows are wanted.
    pub(crate) reads: Reads,
    /// The columns of the shape that its replica identity holds; none where that is every column.
    pub(crate) identity: Option<Vec<usize>>,
    /// Whether a publication of our own tells only what is wanted.
    pub(crate) narrow: bool,
}

/// A column as the catalog declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: u32,
    /// None for a domain, whose own bounds the stream does not tell.
    pub(crate) modifier: Option<i32>,
    /// Whether rows can be ordered and compared by the column itself, and not only by its text.
    ordered: bool,
    /// Reads its values.
    pub(crate) decoder: Decoder,
}

/// How rows of the stream become rows of a table's shape.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Which captured table.
    pub(crate) table: usize,
    /// Per column of the stream: where it stands in the shape, and how it is read.
    columns: Vec<Option<(usize, Decoder)>>,
    /// Per column of the stream: whether an old row's key image holds it.
    identifies: Vec<bool>,
    /// The stream's columns that make the key, in key order.
    key: Vec<usize>,
    width: usize,
}

/// How well a table of the stream fits to what the catalog said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// To the letter.
    Same,
    /// Columns are missing on one side.
    Other,
    /// Columns have another type, as after a migration that rewrote every row.
    Retyped,
    /// Columns are missing on both sides, as after a rename.
    Renamed,
}

impl Captured {
    /// What the source needs to know of a table.
    ///
    /// # Errors
    /// What cannot be captured, and how to mend it.
    pub(crate) fn of(table: &Table, reads: Reads) -> Result<Captured> {
        capturable(table)?;
        let kept = |position: &usize| !table.columns[*position].generated;
        let places: Vec<usize> = (0..table.columns.len()).filter(kept).collect();
        let place = |column: &usize| places.iter().position(|place| place == column);
        let columns = places.iter().map(|place| {
            let column = &table.columns[*place];
            Known {
                name: column.name.clone(),
                kind: column.type_oid,
                modifier: (column.type_oid == column.base_oid).then_some(column.typmod),
                ordered: column.core_order && !column.lax,
                decoder: column.decoder,
            }
        });
        let shape = Shape {
            name: table.shape.name.clone(),
            columns: places
                .iter()
                .map(|place| table.shape.columns[*place].clone())
                .collect(),
            key: table.key.iter().filter_map(place).collect(),
        };
        Ok(Captured {
            name: table.name.clone(),
            oid: table.oid,
            schema: table.schema.clone(),
            relation: table.relation.clone(),
            quoted: table.quoted(),
            partitioned: table.kind == TableKind::Partitioned,
            parts: table.parts,
            outbox: false,
            generated: table
                .columns
                .iter()
                .filter(|column| column.generated && !column.is_virtual)
                .map(|column| column.name.clone())
                .collect(),
            identified_by_generated: identifies(table, |column| column.generated),
            columns: columns.collect(),
            shape: Arc::new(shape),
            reads,
            identity: told(table).map(|told| told.iter().filter_map(place).collect()),
            narrow: false,
        })
    }

    /// What a publication says of it where it tells only what is wanted; nothing where that is everything.
    ///
    /// Changed and deleted rows are published by what the replica identity holds: without the columns of it, or by a condition on others, the server would refuse to change rows at all.
    pub(crate) fn published(&self) -> String {
        let mut said = String::new();
        if !self.narrow || self.partitioned {
            return said;
        }
        if let Some(identity) = &self.identity {
            let told = |place: &usize| self.is_read(*place) || identity.contains(place);
            let told: Vec<usize> = (0..self.columns.len()).filter(told).collect();
            if told.len() < self.columns.len() {
                let names = told.iter().map(|place| quote(&self.columns[*place].name));
                said += &format!(" ({})", names.collect::<Vec<_>>().join(", "));
            }
        }
        let filter = self.reads.filter(&self.shape);
        let fits = |filter: &Filter| {
            let place = |column: &str| self.shape.position(column);
            filter.columns().into_iter().map(place).all(|place| {
                place.is_some_and(|place| {
                    let identifies = self.identity.as_ref();
                    identifies.is_none_or(|identity| identity.contains(&place))
                        && self.columns[place].kind < FIRST_OWN
                })
            })
        };
        let condition = filter
            .filter(fits)
            .and_then(|filter| self.condition(&filter).ok());
        if let Some(condition) = condition {
            said += &format!(" WHERE ({condition})");
        }
        said
    }

    /// Whether a column is read: it is wanted, or of the key.
    pub(crate) fn is_read(&self, place: usize) -> bool {
        self.reads.wants(&self.columns[place].name) || self.shape.key.contains(&place)
    }

    /// The positions of the columns that are read: those that are wanted, and the key.
    pub(crate) fn read(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|place| self.is_read(*place))
    }

    /// What rows fulfil, in SQL.
    pub(crate) fn condition(&self, filter: &Filter) -> Result<String> {
        let find = |column: &str| {
            self.shape.position(column).ok_or_else(|| {
                Error::config(format!("table `{}` has no column `{column}`", self.name))
                    .help("change what is asked of it, or the table")
            })
        };
        filter.sql(
            &mut |column: &str| find(column).map(|_| quote(column)),
            &mut |column: &str, sign, value: &Value| {
                // A type that somebody made may not know the text: it is no label of its `enum`.
                let is_own = self.columns[find(column)?].kind >= FIRST_OWN;
                let cast = if is_own { "::text" } else { "" };
                let value = literal(&value.to_string());
                Ok(format!("{}{cast} {} {value}", quote(column), sign.sql()))
            },
        )
    }

    /// The name in SQL, without the tables that inherit from it.
    pub(crate) fn only(&self) -> Cow<'_, str> {
        if self.partitioned {
            Cow::Borrowed(&self.quoted)
        } else {
            Cow::Owned(format!("ONLY {}", self.quoted))
        }
    }

    /// A key column as rows are ordered by it and compared with the text of a key.
    ///
    /// Both have to mean the same order, and one in which no two rows stand at one place: where the column's own may be neither, its text decides, byte by byte, in the form in which the stream tells it.
    pub(crate) fn key_column(&self, column: usize) -> String {
        let known = &self.columns[column];
        let name = quote(&known.name);
        if known.ordered {
            name
        } else {
            format!("(pg_catalog.format('%s', {name}) COLLATE \"C\")")
        }
    }

    /// Whether a run that knows this table can go on with `newer`: its mapping goes by column position, so columns may be added behind, and nothing else.
    pub(crate) fn still_fits(&self, newer: &Captured) -> Result<()> {
        let known = &self.shape.columns;
        if newer.shape.columns.get(..known.len()) == Some(known)
            && newer.shape.key == self.shape.key
        {
            return Ok(());
        }
        let list = |shape: &Shape| shape.names().collect::<Vec<_>>().join(", ");
        Err(Error::config(format!(
            "the columns of table `{}` changed while it was read",
            self.name
        ))
        .with("were", list(&self.shape))
        .with("are", list(&newer.shape))
        .code(lockstep_core::contract::drift::BREAKING)
        .help("check the mapping of the table, then start again"))
    }
}

/// Refuses what cannot be captured, with the statement that mends it.
pub(crate) fn capturable(table: &Table) -> Result<()> {
    table.must_be_a_table()?;
    let name = &table.name;
    let quoted = table.quoted();
    if !table.is_permanent {
        return Err(Error::config(format!(
            "table `{name}` is unlogged or temporary, so its changes are not replicated"
        ))
        .help(format!("ALTER TABLE {quoted} SET LOGGED")));
    }
    if table.key.is_empty() {
        return Err(Error::config(format!("table `{name}` has no key"))
            .help("add a primary key, or a unique index over columns that are NOT NULL"));
    }
    if let Some((message, help)) = deferrable(table, &table.key) {
        return Err(Error::config(message).help(help));
    }
    let columns = |positions: &[usize]| {
        let names = positions
            .iter()
            .map(|column| table.columns[*column].name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(column) = table
        .key
        .iter()
        .find(|column| table.columns[**column].generated)
    {
        return Err(Error::config(format!(
            "key column `{}` of table `{name}` is generated, so the replication stream does not carry it",
            table.columns[*column].name
        ))
        .help("add a unique index over ordinary columns that are NOT NULL"));
    }
    if identifies(table, |column| column.is_virtual) {
        return Err(Error::config(format!(
            "the replica identity of table `{name}` holds virtual generated columns, which no publication can tell: in one, its rows could not be updated or deleted any more"
        ))
        .help(format!(
            "let the replica identity be a key without them: ALTER TABLE {quoted} REPLICA IDENTITY DEFAULT, where it has a primary key"
        )));
    }
    let Some(told) = told(table) else {
        return Ok(());
    };
    if table.key.iter().all(|column| told.contains(column)) {
        return Ok(());
    }
    let mend = match table.unique_over(&table.key) {
        Some(index) if index.primary => format!("ALTER TABLE {quoted} REPLICA IDENTITY DEFAULT"),
        Some(index) if index.exact => {
            format!(
                "ALTER TABLE {quoted} REPLICA IDENTITY USING INDEX {}",
                quote(&index.name)
            )
        }
        _ => format!("ALTER TABLE {quoted} REPLICA IDENTITY FULL"),
    };
    Err(Error::config(format!(
        "the replica identity of table `{name}` does not tell the key ({}) of rows that are updated or deleted",
        columns(&table.key)
    ))
    .help(mend))
}

/// Says that columns name a row at the end of a statement only, and how to mend that: what a statement changes is told row by row, and two rows with one key in between would become one.
pub(crate) fn deferrable(table: &Table, key: &[usize]) -> Option<(String, String)> {
    if table.unique_over(key).is_some() {
        return None;
    }
    let same = |columns: &Vec<usize>| {
        columns.len() == key.len() && columns.iter().all(|column| key.contains(column))
    };
    let index = table
        .unique
        .iter()
        .filter(|index| !index.immediate && !index.partial)
        .find(|index| index.columns.as_ref().is_some_and(same))?;
    let columns: Vec<&str> = key
        .iter()
        .map(|column| table.columns[*column].name.as_str())
        .collect();
    let quoted: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let kind = if index.primary {
        "PRIMARY KEY"
    } else {
        "UNIQUE"
    };
    Some((
        format!(
            "the key ({}) of table `{}` is deferrable: rows may share one while a statement runs, and its changes would be told as those of one row",
            columns.join(", "),
            table.name
        ),
        format!(
            "ALTER TABLE {} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {kind} ({})",
            table.quoted(),
            quoted.join(", "),
            name = quote(&index.name),
        ),
    ))
}

/// Whether a column of some kind is among those that the stream tells of rows that are deleted.
fn identifies(table: &Table, kind: impl Fn(&ColumnInfo) -> bool) -> bool {
    match told(table) {
        Some(told) => told.iter().any(|column| kind(&table.columns[*column])),
        None => table.columns.iter().any(kind),
    }
}

/// The columns that the stream tells of rows that are deleted; none where it tells all.
pub(crate) fn told(table: &Table) -> Option<&[usize]> {
    let primary = || table.unique.iter().find(|index| index.primary);
    match &table.replica_identity {
        ReplicaIdentity::Full => None,
        ReplicaIdentity::Nothing => Some(&[]),
        ReplicaIdentity::Default => Some(
            primary()
                .and_then(|index| index.columns.as_deref())
                .unwrap_or_default(),
        ),
        ReplicaIdentity::Index(columns) => Some(columns),
    }
}

impl Layout {
    /// Fits a table of the stream to a captured one.
    ///
    /// # Errors
    /// A key that the stream does not tell.
    pub(crate) fn of(
        relation: &Relation<'_>,
        table: usize,
        captured: &Captured,
    ) -> Result<(Layout, Fit)> {
        let (mut unknown, mut retyped) = (false, false);
        let columns: Vec<Option<(usize, Decoder)>> = relation
            .columns
            .iter()
            .map(|attribute| {
                let known = captured
                    .columns
                    .iter()
                    .position(|known| known.name == attribute.name);
                let Some(place) = known else {
                    let is_generated = captured.generated.iter().any(|n| n == attribute.name);
                    unknown |= !is_generated;
                    return None;
                };
                let known = &captured.columns[place];
                if known.kind != attribute.kind {
                    retyped = true;
                    return Some((place, decoder(attribute.kind, attribute.modifier)));
                }
                retyped |= known
                    .modifier
                    .is_some_and(|modifier| modifier != attribute.modifier);
                Some((place, known.decoder))
            })
            .collect();
        let found = |place: usize| {
            columns
                .iter()
                .position(|c| c.is_some_and(|(p, _)| p == place))
        };
        // A publication need not tell what nobody reads.
        let missing = (0..captured.columns.len())
            .any(|place| captured.is_read(place) && found(place).is_none());
        let key: Option<Vec<usize>> = captured
            .shape
            .key
            .iter()
            .map(|place| found(*place))
            .collect();
        let key = key.filter(|key| {
            key.iter()
                .all(|column| relation.columns[*column].identifies || relation.identity == b'n')
        });
        let Some(key) = key else {
            return Err(Error::config(format!(
                "the replication stream does not tell the key of table `{}` ({})",
                captured.name,
                captured.shape.key.iter().map(|k| captured.columns[*k].name.as_str()).collect::<Vec<_>>().join(", ")
            ))
            .help(format!("its replica identity or its key columns changed: ALTER TABLE {} REPLICA IDENTITY FULL", captured.quoted)));
        };
        let fit = match (unknown, missing, retyped) {
            (false, false, false) => Fit::Same,
            (true, true, _) => Fit::Renamed,
            (_, _, true) => Fit::Retyped,
            _ => Fit::Other,
        };
        let layout = Layout {
            table,
            identifies: relation
                .columns
                .iter()
                .map(|column| column.identifies)
                .collect(),
            columns,
            key,
            width: captured.columns.len(),
        };
        Ok((layout, fit))
    }

    /// A row of the stream in the table's shape.
    pub(crate) fn row(&self, tuple: Tuple<'_>) -> Row {
        self.read(tuple, |_| true)
    }

    /// The columns of an old row that are right when only its replica identity was sent.
    pub(crate) fn identity(&self, tuple: Tuple<'_>) -> Row {
        self.read(tuple, |column| self.identifies.get(column) == Some(&true))
    }

    fn read(&self, tuple: Tuple<'_>, wanted: impl Fn(usize) -> bool) -> Row {
        let mut cells = Vec::with_capacity(self.width);
        for (column, datum) in tuple.iter().enumerate() {
            let Some(Some((place, decoder))) = self.columns.get(column) else {
                continue;
            };
            let cell = match datum {
                _ if !wanted(column) => continue,
                Datum::Unchanged => continue,
                Datum::Null => Cell::Set(Value::Null),
                Datum::Text(text) => Cell::Set(value(decoder, text)),
            };
            if *place == cells.len() {
                cells.push(cell);
                continue;
            }
            // Columns are left out, or stand in another order than the catalog's.
            if *place > cells.len() {
                cells.resize(*place + 1, Cell::Unchanged);
            }
            cells[*place] = cell;
        }
        cells.resize(self.width, Cell::Unchanged);
        Row(cells)
    }

    /// The key of a row of the stream as PostgreSQL's texts.
    pub(crate) fn key(&self, tuple: Tuple<'_>) -> RowKey {
        let mut key = vec![String::new(); self.key.len()];
        for (column, datum) in tuple.iter().enumerate() {
            let Some(place) = self.key.iter().position(|k| *k == column) else {
                continue;
            };
            if let Datum::Text(text) = datum {
                key[place] = String::from_utf8_lossy(text).into_owned();
            }
        }
        key
    }
}

/// The value of a text; bytes that are no text at all stay bytes, so that one broken row does not stop the source.
pub(crate) fn value(decoder: &Decoder, text: &[u8]) -> Value {
    decoder
        .decode(text)
        .unwrap_or_else(|_| Value::Bytes(text.to_vec()))
}

/// The decoder of a type that is not what the catalog says now.
fn decoder(kind: u32, modifier: i32) -> Decoder {
    if kind < FIRST_USER_OID {
        Decoder::for_type(kind, modifier, convert::kind(kind, modifier))
    } else {
        Decoder::for_type(oid::TEXT, -1, Type::Text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use lockstep_core::Column;

    use super::*;
    use crate::pgoutput::Attribute;

    pub(crate) fn captured(names: &[&str]) -> Captured {
        let known = |name: &&str| Known {
            name: (*name).to_owned(),
            kind: oid::TEXT,
            modifier: Some(-1),
            ordered: true,
            decoder: decoder(oid::TEXT, -1),
        };
        Captured {
            name: "orders".to_owned(),
            oid: 1,
            schema: "public".to_owned(),
            relation: "orders".to_owned(),
            quoted: "\"public\".\"orders\"".to_owned(),
            partitioned: false,
            parts: 0,
            outbox: false,
            generated: Vec::new(),
            identified_by_generated: false,
            shape: Arc::new(Shape {
                name: "orders".to_owned(),
                columns: names
                    .iter()
                    .map(|name| Column::new(*name, Type::Text, true))
                    .collect(),
                key: vec![0],
            }),
            columns: names.iter().map(known).collect(),
            reads: Reads::default(),
            identity: None,
            narrow: false,
        }
    }

    fn relation<'a>(columns: &[(&'a str, bool)]) -> Relation<'a> {
        let attribute = |(name, identifies): &(&'a str, bool)| Attribute {
            identifies: *identifies,
            name,
            kind: oid::TEXT,
            modifier: -1,
        };
        Relation {
            table: 1,
            schema: "public",
            name: "orders",
            identity: b'd',
            columns: columns.iter().map(attribute).collect(),
        }
    }

    #[test]
    fn a_table_that_changed_since_is_known_by_its_columns() {
        for (columns, fit) in [
            (vec![("id", true), ("a", false), ("b", false)], Fit::Same),
            (vec![("id", true), ("b", false), ("a", false)], Fit::Same),
            (vec![("id", true), ("a", false)], Fit::Other),
            (
                vec![("id", true), ("a", false), ("b", false), ("c", false)],
                Fit::Other,
            ),
            (
                vec![("id", true), ("a", false), ("was_b", false)],
                Fit::Renamed,
            ),
        ] {
            let fitted = Layout::of(&relation(&columns), 0, &captured(&["id", "a", "b"]));
            assert_eq!(fitted.unwrap().1, fit, "{columns:?}");
        }
        for columns in [
            vec![("a", true), ("b", false)],
            vec![("id", false), ("a", true), ("b", false)],
        ] {
            let error =
                Layout::of(&relation(&columns), 0, &captured(&["id", "a", "b"])).unwrap_err();
            assert!(
                error.help_text().unwrap().contains("REPLICA IDENTITY"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn columns_may_be_added_behind_and_nothing_else() {
        let known = captured(&["id", "a"]);
        assert!(known.still_fits(&captured(&["id", "a", "b"])).is_ok());
        assert!(known.still_fits(&captured(&["id", "b"])).is_err());
        assert!(known.still_fits(&captured(&["id"])).is_err());
    }
}
