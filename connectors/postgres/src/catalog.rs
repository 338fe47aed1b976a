//! What the database declares about a table: columns with their types, key, unique indexes, replica identity.
//!
//! Knows nothing of capture or of writing; only reads PostgreSQL's catalogs.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape, Type};
use sqlx::postgres::PgConnection;

use crate::client::{Client, failure, quote, run};
use crate::convert::{self, Decoder, oid};
use crate::encode::Encoder;
use crate::history::History;
use crate::names::{Relation, known, relations, to_oid};

/// A table as the database declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Its name as the configuration spells it.
    pub(crate) name: String,
    /// Its identifier.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// Its own name.
    pub(crate) relation: String,
    /// Whether it is a table, a view, or something else.
    pub(crate) kind: TableKind,
    /// Whether it is a partition of another table.
    pub(crate) is_partition: bool,
    /// Whether its rows outlive a crash of the server: not those of unlogged and temporary tables, which are not replicated either.
    pub(crate) is_permanent: bool,
    /// Whether it has rules, which statements follow and copies do not.
    pub(crate) has_rules: bool,
    /// What an update or delete says of the row before it.
    pub(crate) replica_identity: ReplicaIdentity,
    /// Its columns in their order, generated ones included.
    pub(crate) columns: Vec<ColumnInfo>,
    /// Positions of the columns that identify a row: the replica identity's index where one is named, or else the primary key, or else the narrowest unique index over columns that hold no null. Empty where there is none.
    pub(crate) key: Vec<usize>,
    /// Its unique indexes.
    pub(crate) unique: Vec<Index>,
    /// A digest of its partitions and where they are stored, 0 where it has none: what becomes of a single one is told by nobody.
    pub(crate) parts: u32,
    /// The table in Lockstep's words.
    pub(crate) shape: Arc<Shape>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// A table with rows of its own.
    Table,
    /// A table whose rows are in its partitions.
    Partitioned,
    /// A view.
    View,
    /// A materialised view.
    Materialised,
    /// A table of another server.
    Foreign,
}

/// What an update or delete says of the row before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key; nothing where there is none.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index(Vec<usize>),
}

/// A column as the database declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its number in the catalogs.
    pub(crate) number: i16,
    /// The type as it is declared, which may be a domain.
    pub(crate) type_oid: u32,
    /// Its modifier, such as the length of a `varchar`; -1 where there is none.
    pub(crate) typmod: i32,
    /// The type that a domain is made of in the end; the same as `type_oid` for other types.
    pub(crate) base_oid: u32,
    /// The declared type's name in SQL, without modifier.
    pub(crate) type_name: String,
    /// Lockstep's type.
    pub(crate) kind: Type,
    /// Whether it may hold null.
    pub(crate) nullable: bool,
    /// Whether PostgreSQL computes it.
    pub(crate) generated: bool,
    /// Whether it does so whenever the column is read, and stores nothing.
    pub(crate) is_virtual: bool,
    /// Whether it is `GENERATED ALWAYS AS IDENTITY`, which can be inserted with a word more, but never updated.
    pub(crate) identity_always: bool,
    /// Whether a row may leave it out although it may not be null.
    pub(crate) has_default: bool,
    /// Whether texts that are different to the eye of a contract can be equal in it (citext, a collation that is not deterministic).
    pub(crate) lax: bool,
    /// Whether its operators are PostgreSQL's own, and so are found whatever the search path: those of an extension's type (citext) are not, and its texts would be compared instead.
    pub(crate) core_order: bool,
    /// Reads its values.
    pub(crate) decoder: Decoder,
    /// Writes its values.
    pub(crate) encoder: Encoder,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    /// Its name.
    pub(crate) name: String,
    /// Column positions; none where it is over an expression.
    pub(crate) columns: Option<Vec<usize>>,
    /// Whether it is the primary key.
    pub(crate) primary: bool,
    /// Whether it covers some rows only.
    pub(crate) partial: bool,
    /// Whether it is checked at once: a deferrable one cannot tell an upsert what to update.
    pub(crate) immediate: bool,
    /// Whether it compares texts to the letter.
    pub(crate) exact: bool,
}

/// Reads the declaration of a table or view, named as `orders` (found by the search path) or `sales.orders`, quoted as in SQL where a name holds dots or quotes.
///
/// # Errors
/// A name that is not there, with the nearest one that is; one that means several tables.
pub(crate) async fn table(conn: &mut PgConnection, name: &str) -> Result<Table> {
    let failed = |error| failure("cannot read the database's catalogs", error).with("table", name);
    let mut found = relations(conn, name).await.map_err(failed)?;
    let relation = match (found.pop(), found.is_empty()) {
        (Some(relation), true) => relation,
        (Some(last), false) => {
            found.push(last);
            let names = found
                .iter()
                .map(|r| format!("{}.{}", quote(&r.schema), quote(&r.name)));
            return Err(
                Error::config(format!("`{name}` means more than one table")).help(format!(
                    "write one of: {}",
                    names.collect::<Vec<_>>().join(", ")
                )),
            );
        }
        (None, _) => {
            let known = known(conn).await.unwrap_or_default();
            return Err(Error::config(format!("no such table `{name}`"))
                .code(GONE)
                .help(suggestion(name, known.iter().map(String::as_str))));
        }
    };
    let columns = columns(conn, relation.oid).await.map_err(failed)?;
    let indexes = indexes(conn, relation.oid, &columns)
        .await
        .map_err(failed)?;
    let parts = match relation.kind {
        TableKind::Partitioned => parts(conn, relation.oid).await.map_err(failed)?,
        _ => 0,
    };
    Ok(assemble(name, relation, columns, indexes, parts))
}

/// The shapes of tables and views, in the order of their names.
pub(crate) async fn shapes(
    client: &Client,
    names: &[String],
    histories: &BTreeMap<String, Arc<History>>,
) -> Result<Vec<Arc<Shape>>> {
    // A connection that was cut while nobody used it is replaced.
    let mut lease = client.begin("BEGIN READ ONLY").await?;
    let mut shapes = Vec::with_capacity(names.len());
    for name in names {
        let table = table(lease.conn(), name).await?;
        let table = match histories.get(name) {
            Some(history) => history.hide(table),
            None => table,
        };
        shapes.push(table.shape);
    }
    let done = run(lease.conn(), "COMMIT").await;
    done.map_err(|error| failure("cannot read the database's catalogs", error))?;
    lease.keep();
    Ok(shapes)
}

impl Table {
    /// The table's name in SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.relation))
    }

    /// The position of a column that has to be there.
    ///
    /// # Errors
    /// Names the nearest one.
    pub(crate) fn find(&self, column: &str) -> Result<usize> {
        self.position(column).ok_or_else(|| {
            let known = self.columns.iter().map(|column| column.name.as_str());
            Error::config(format!("table `{}` has no column `{column}`", self.name))
                .help(suggestion(column, known))
        })
    }

    /// The position of a column.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The unique index that is exactly over these columns, in any order: what an upsert needs.
    pub(crate) fn unique_over(&self, key: &[usize]) -> Option<&Index> {
        let covers = |columns: &Vec<usize>| {
            columns.len() == key.len() && columns.iter().all(|column| key.contains(column))
        };
        self.unique
            .iter()
            .filter(|index| !index.partial && index.immediate)
            .find(|index| index.columns.as_ref().is_some_and(covers))
    }

    /// Refuses what has no rows of its own to capture or to write.
    pub(crate) fn must_be_a_table(&self) -> Result<()> {
        let what = match self.kind {
            TableKind::Table | TableKind::Partitioned => return Ok(()),
            TableKind::View => "a view, whose rows are those of the tables it reads",
            TableKind::Materialised => "a materialised view, which is only ever refreshed",
            TableKind::Foreign => "a foreign table, whose rows are in another server",
        };
        Err(Error::config(format!("`{}` is {what}", self.name))
            .help("name the table that holds the rows"))
    }
}

impl ColumnInfo {
    /// Most characters of its texts.
    fn length(&self) -> Option<u32> {
        // The modifier counts four bytes of a header.
        let bounded = matches!(self.base_oid, oid::VARCHAR | oid::BPCHAR);
        let length = self.typmod.checked_sub(4).filter(|_| bounded)?;
        u32::try_from(length).ok()
    }

    /// Whether its documents are arrays.
    fn is_array(&self) -> bool {
        self.kind == Type::Json && !matches!(self.base_oid, oid::JSON | oid::JSONB)
    }

    /// Whether the column holds text, and not another type that travels as its text.
    pub(crate) fn is_plain_text(&self) -> bool {
        matches!(self.base_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR)
    }
}

async fn columns(conn: &mut PgConnection, table: u32) -> sqlx::Result<Vec<ColumnInfo>> {
    // A domain may be made of a domain: the innermost type decides how a value is read and written.
    type Found = (
        i16,
        String,
        i64,
        i64,
        i32,
        String,
        bool,
        bool,
        bool,
        bool,
        bool,
        bool,
        bool,
        bool,
    );
    let found: Vec<Found> = sqlx::query_as(
        "SELECT a.attnum, a.attname::text, a.atttypid::int8, base.oid::int8, base.typmod, pg_catalog.format_type(a.atttypid, -1),
             NOT (a.attnotnull OR t.typnotnull), a.attgenerated <> '', a.attidentity = 'a', a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
             bt.typname = 'citext' OR NOT coalesce(l.collisdeterministic, true), bt.typcategory = 'A',
             bt.oid < 16384 OR bt.typtype IN ('e', 'r', 'm') OR bt.typcategory = 'A', a.attgenerated = 'v'
         FROM pg_catalog.pg_attribute a
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
         CROSS JOIN LATERAL (
             WITH RECURSIVE d(oid, typmod, depth) AS (
                 SELECT a.atttypid, a.atttypmod, 0
                 UNION ALL
                 SELECT p.typbasetype, CASE WHEN d.typmod = -1 THEN p.typtypmod ELSE d.typmod END, d.depth + 1
                 FROM d JOIN pg_catalog.pg_type p ON p.oid = d.oid WHERE p.typtype = 'd')
             SELECT d.oid, d.typmod FROM d ORDER BY d.depth DESC LIMIT 1) base
         JOIN pg_catalog.pg_type bt ON bt.oid = base.oid
         WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum",
    )
    .bind(i64::from(table))
    .fetch_all(conn)
    .await?;
    let column = |(
        number,
        name,
        type_oid,
        base_oid,
        typmod,
        type_name,
        nullable,
        generated,
        identity_always,
        has_default,
        lax,
        is_array,
        core_order,
        is_virtual,
    ): Found| {
        let base_oid = to_oid(base_oid);
        let kind = if is_array {
            Type::Json
        } else {
            convert::kind(base_oid, typmod)
        };
        ColumnInfo {
            name,
            number,
            type_oid: to_oid(type_oid),
            typmod,
            base_oid,
            type_name,
            kind,
            nullable,
            generated,
            is_virtual,
            identity_always,
            has_default,
            lax,
            core_order,
            decoder: Decoder::for_type(base_oid, typmod, kind),
            encoder: Encoder::for_type(base_oid, typmod, kind),
        }
    };
    Ok(found.into_iter().map(column).collect())
}

async fn indexes(
    conn: &mut PgConnection,
    table: u32,
    columns: &[ColumnInfo],
) -> sqlx::Result<Vec<(Index, bool)>> {
    type Found = (String, Vec<i16>, bool, bool, bool, bool, bool);
    let found: Vec<Found> = sqlx::query_as(
        "SELECT c.relname::text, (i.indkey::int2[])[0:i.indnkeyatts - 1], i.indisprimary, i.indpred IS NOT NULL, i.indimmediate, i.indisreplident,
             NOT EXISTS (SELECT FROM unnest(i.indcollation::oid[]) used JOIN pg_catalog.pg_collation l ON l.oid = used WHERE NOT l.collisdeterministic)
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid
         ORDER BY NOT i.indisprimary, c.relname",
    )
    .bind(i64::from(table))
    .fetch_all(conn)
    .await?;
    let position = |number: &i16| columns.iter().position(|column| column.number == *number);
    let index = |(name, numbers, primary, partial, immediate, identity, exact): Found| {
        // An expression has the number 0, which no column has.
        let placed: Option<Vec<usize>> = numbers.iter().map(position).collect();
        let lax = |placed: &Vec<usize>| placed.iter().any(|column| columns[*column].lax);
        let index = Index {
            name,
            exact: exact && !placed.as_ref().is_some_and(lax),
            columns: placed,
            primary,
            partial,
            immediate,
        };
        (index, identity)
    };
    Ok(found.into_iter().map(index).collect())
}

/// A digest of a table's partitions: it is another one when any was attached, detached, truncated or rewritten.
async fn parts(conn: &mut PgConnection, table: u32) -> sqlx::Result<u32> {
    let digest: i64 = sqlx::query_scalar(
        "SELECT ('x' || left(md5(coalesce(string_agg(relid::oid::text || ' ' || pg_catalog.pg_relation_filenode(relid)::text, ',' ORDER BY relid::oid), '')), 8))::bit(32)::int8
         FROM pg_catalog.pg_partition_tree($1::int8::oid::regclass) WHERE isleaf",
    )
    .bind(i64::from(table))
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(digest).unwrap_or(0).max(1))
}

fn assemble(
    name: &str,
    relation: Relation,
    columns: Vec<ColumnInfo>,
    indexes: Vec<(Index, bool)>,
    parts: u32,
) -> Table {
    let named = indexes.iter().find(|(_, identity)| *identity);
    let named = named.and_then(|(index, _)| index.columns.clone());
    let primary = indexes.iter().find(|(index, _)| index.primary);
    let primary = primary.and_then(|(index, _)| index.columns.clone());
    let sure = |placed: &Vec<usize>| placed.iter().all(|column| !columns[*column].nullable);
    let narrowest = indexes
        .iter()
        .filter(|(index, _)| !index.partial && index.immediate)
        .filter_map(|(index, _)| index.columns.clone())
        .filter(sure)
        .min_by_key(Vec::len);
    // Whoever names an index for replication says by which columns the outside knows a row.
    let key = named.clone().or(primary).or(narrowest).unwrap_or_default();
    let shape = Shape {
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|column| {
                Column::new(&column.name, column.kind, column.nullable)
                    .within(column.length())
                    .listing(column.is_array())
            })
            .collect(),
        key: key.clone(),
    };
    Table {
        name: name.to_owned(),
        oid: relation.oid,
        schema: relation.schema,
        relation: relation.name,
        kind: relation.kind,
        is_partition: relation.is_partition,
        is_permanent: relation.is_permanent,
        has_rules: relation.has_rules,
        replica_identity: match relation.identity.as_str() {
            "n" => ReplicaIdentity::Nothing,
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index(named.unwrap_or_default()),
            _ => ReplicaIdentity::Default,
        },
        columns,
        key,
        unique: indexes.into_iter().map(|(index, _)| index).collect(),
        parts,
        shape: Arc::new(shape),
    }
}

/// Whether `=` in the column tells apart all that Lockstep does; other columns are compared by their text.
pub(crate) fn has_exact_equality(column: &ColumnInfo) -> bool {
    let known = matches!(
        column.base_oid,
        oid::BOOL
            | oid::BYTEA
            | oid::INT2
            | oid::INT4
            | oid::INT8
            | oid::OID
            | oid::TEXT
            | oid::VARCHAR
            | oid::BPCHAR
            | oid::FLOAT4
            | oid::FLOAT8
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::NUMERIC
            | oid::UUID
    );
    known && !column.lax
}
