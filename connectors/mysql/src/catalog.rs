//! What the database declares: columns, indexes, engines.
//!
//! Almost everything comes from `information_schema`, which shows a user what it has any privilege on, and no more; the rest from the declaration itself.

use std::sync::Arc;

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape, Type};
use mysql_async::Conn;

use crate::client::{Client, failure, texts};
use crate::convert::Form;
use crate::declared::{self, Declared};
use crate::names::{TableName, literal, quote};

/// A table as the database declares it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name as the configuration spells it.
    pub(crate) spelled: String,
    /// Its name as the database has it.
    pub(crate) name: TableName,
    /// `BASE TABLE`, `VIEW`, `SYSTEM VERSIONED` and so on.
    pub(crate) kind: String,
    /// The engine; none for a view.
    pub(crate) engine: Option<String>,
    /// Foreign keys by which its rows change when those of another table do: their names, and the other table's.
    pub(crate) cascades: Vec<(String, String)>,
    /// Its columns, those left out that no value of ours can hold.
    pub(crate) columns: Vec<ColumnInfo>,
    /// Names of the columns that were left out, with their types.
    pub(crate) left_out: Vec<(String, String)>,
    /// Its unique indexes, the primary key first.
    pub(crate) unique: Vec<UniqueIndex>,
}

/// A column as the database declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its declared type, as the catalog spells it.
    pub(crate) declared: String,
    /// How its values look.
    pub(crate) form: Form,
    /// The character set of a text.
    pub(crate) charset: Option<String>,
    /// Its collation.
    pub(crate) collation: Option<String>,
    /// Whether it may hold null.
    pub(crate) nullable: bool,
    /// Whether a row may be inserted without it.
    pub(crate) has_default: bool,
    /// Whether the database computes it.
    pub(crate) generated: bool,
    /// Digits of a decimal, and those after the point.
    pub(crate) precision: Option<u32>,
    pub(crate) scale: Option<u32>,
    /// Whether a number has no sign.
    pub(crate) unsigned: bool,
    /// Digits of a second's fraction.
    pub(crate) fraction: u32,
    /// The values of an `enum` or `set`.
    pub(crate) members: Vec<String>,
}

/// A unique index over whole columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UniqueIndex {
    /// Its name.
    pub(crate) name: String,
    /// Positions in [`Table::columns`]; none where it covers beginnings of columns, expressions or columns that were left out.
    pub(crate) columns: Option<Vec<usize>>,
    /// Whether one of them may hold null, so that rows can share their key.
    pub(crate) nullable: bool,
}

impl Table {
    /// Its name in SQL.
    pub(crate) fn quoted(&self) -> String {
        self.name.quoted()
    }

    /// The position of a column. Names of columns have no case in this system, but those of contracts do, so they must be spelled alike.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The position of a column that has to be there.
    ///
    /// # Errors
    /// Where it is not, with the one that was probably meant.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.position(name).ok_or_else(|| {
            let error = Error::config(format!("table `{}` has no column `{name}`", self.spelled));
            match self.left_out.iter().find(|(known, _)| known == name) {
                Some((_, declared)) => Error::unsupported(format!(
                    "column `{name}` of table `{}` is of type {declared}, which Lockstep has no values for",
                    self.spelled
                ))
                .help("leave it out of the mapping, or add a generated column that holds it as a text"),
                None => error.help(suggestion(name, self.columns.iter().map(|column| column.name.as_str()))),
            }
        })
    }

    /// The unique index over exactly these columns, in any order.
    pub(crate) fn unique_over(&self, key: &[usize]) -> Option<&UniqueIndex> {
        self.unique.iter().find(|index| {
            index.columns.as_ref().is_some_and(|columns| {
                columns.len() == key.len() && key.iter().all(|column| columns.contains(column))
            })
        })
    }

    /// Positions of the columns that identify a row: the primary key, or else a unique index without nulls.
    pub(crate) fn key(&self) -> Option<&[usize]> {
        let index = self
            .unique
            .iter()
            .find(|index| index.columns.is_some() && !index.nullable)?;
        index.columns.as_deref()
    }

    /// The shape with every column, as a source or a reader tells it.
    pub(crate) fn shape(&self) -> Result<Shape> {
        self.shape_of(ColumnInfo::column)
    }

    /// The shape with every column, as a target takes it.
    pub(crate) fn target_shape(&self) -> Result<Shape> {
        self.shape_of(ColumnInfo::taking)
    }

    fn shape_of(&self, column: fn(&ColumnInfo) -> Column) -> Result<Shape> {
        let columns = self.columns.iter().map(column).collect();
        let key = self.key().ok_or_else(|| self.no_key())?;
        Ok(Shape {
            name: self.spelled.clone(),
            columns,
            key: key.to_vec(),
        })
    }

    /// The error of a table whose rows nothing identifies.
    pub(crate) fn no_key(&self) -> Error {
        Error::config(format!(
            "table `{}` has neither a primary key nor a unique index without nulls",
            self.spelled
        ))
        .help(format!(
            "run: ALTER TABLE {} ADD PRIMARY KEY (<the columns that identify a row>), or add one that counts: ADD COLUMN id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
            self.quoted()
        ))
    }
}

impl ColumnInfo {
    /// The column of a shape.
    pub(crate) fn column(&self) -> Column {
        Column::new(
            &self.name,
            self.form.kind(self.precision, self.scale),
            self.nullable,
        )
        .within(self.length())
    }

    /// The column as a target: what it can take, which for a `bigint unsigned` is more than an integer of the contract's is.
    pub(crate) fn taking(&self) -> Column {
        let mut column = self.column();
        if self.unsigned && self.declared.starts_with("bigint") {
            column.kind = Some(Type::Decimal {
                precision: Some(20),
                scale: Some(0),
            });
        }
        column
    }

    /// The most characters of a text that is declared with a bound.
    fn length(&self) -> Option<u32> {
        let declared = self.declared.to_ascii_lowercase();
        let bounded = ["varchar(", "char("]
            .iter()
            .find_map(|word| declared.strip_prefix(word))?;
        let digits = bounded.split(')').next()?;
        let textual = matches!(self.form, Form::Text | Form::Padded);
        digits.parse().ok().filter(|_| textual)
    }

    /// Whether texts that differ may be one to it: all collations but those that compare bytes, and no column of bytes.
    pub(crate) fn is_lax(&self) -> bool {
        let exact = |name: &str| name == "binary" || name.ends_with("_bin");
        self.form.is_textual() && !self.collation.as_deref().is_some_and(exact)
    }

    /// Whether blanks at the end mean nothing to it.
    pub(crate) fn pads(&self) -> bool {
        let keeps =
            |name: &str| name.contains("nopad") || name.contains("0900") || name == "binary";
        matches!(self.form, Form::Text | Form::Padded)
            && !self.collation.as_deref().is_some_and(keeps)
    }
}

/// The shapes of tables, in their order, each as one of the ways of [`Table`] gives it.
pub(crate) async fn shapes(
    client: &Client,
    tables: &[String],
    shape: fn(&Table) -> Result<Shape>,
) -> Result<Vec<Arc<Shape>>> {
    let mut lease = client.begin("DO 0").await?;
    let mut shapes = Vec::with_capacity(tables.len());
    for name in tables {
        let table = table(lease.conn(), name, &client.endpoint().database).await?;
        shapes.push(Arc::new(shape(&table)?));
    }
    lease.keep();
    Ok(shapes)
}

/// The statement that would make a table; none for a view.
pub(crate) async fn definition(client: &Client, spelled: &str) -> Result<Option<String>> {
    let mut lease = client.begin("DO 0").await?;
    let name = TableName::parse(spelled, &client.endpoint().database)?;
    let failed = |error| failure("cannot read the catalog", error).with("table", spelled);
    let sql = format!(
        "SHOW CREATE TABLE {}.{}",
        quote(&name.database),
        quote(&name.table)
    );
    let found = texts(lease.conn(), &sql).await.map_err(failed)?;
    lease.keep();
    // A view says other things in four columns.
    Ok(found
        .into_iter()
        .next()
        .and_then(|line| <[_; 2]>::try_from(line).ok())
        .and_then(|[_, sql]| sql)
        .map(|sql| declared::mended(&sql)))
}

/// Looks a table up.
///
/// # Errors
/// Where there is none, with the one that was probably meant.
pub(crate) async fn table(conn: &mut Conn, spelled: &str, database: &str) -> Result<Table> {
    let name = TableName::parse(spelled, database)?;
    let failed = |error| failure("cannot read the catalog", error).with("table", spelled);
    let of = |schema: &str, table: &str| {
        format!(
            "{schema} = {} AND {table} = {}",
            literal(&name.database),
            literal(&name.table)
        )
    };
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE {}",
        of("TABLE_SCHEMA", "TABLE_NAME")
    );
    let found = texts(conn, &sql).await.map_err(failed)?.into_iter().next();
    let Some([Some(schema), Some(table), kind, engine]) =
        found.and_then(|line| <[_; 4]>::try_from(line).ok())
    else {
        return Err(missing(conn, spelled, &name.database).await);
    };
    let kind = kind.unwrap_or_default();
    let found = TableName {
        database: schema,
        table,
    };
    let declared = if kind.contains("VIEW") {
        Declared::default()
    } else {
        declaration(conn, &found).await.map_err(failed)?
    };
    let sql = format!(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE {} ORDER BY ORDINAL_POSITION",
        of("TABLE_SCHEMA", "TABLE_NAME")
    );
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    for line in texts(conn, &sql).await.map_err(failed)? {
        match column(line, &declared.json) {
            Ok(column) => columns.push(column),
            Err(other) => left_out.push(other),
        }
    }
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND {} ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
        of("TABLE_SCHEMA", "TABLE_NAME")
    );
    let lines = texts(conn, &sql).await.map_err(failed)?;
    Ok(Table {
        spelled: spelled.to_owned(),
        name: found,
        kind,
        cascades: declared.cascades,
        engine,
        unique: indexes(lines, &columns),
        columns,
        left_out,
    })
}

fn indexes(lines: Vec<Vec<Option<String>>>, columns: &[ColumnInfo]) -> Vec<UniqueIndex> {
    let mut indexes: Vec<UniqueIndex> = Vec::new();
    for line in lines {
        let Ok([Some(name), column, prefix, nullable]) = <[_; 4]>::try_from(line) else {
            continue;
        };
        if indexes.last().is_none_or(|last| last.name != name) {
            indexes.push(UniqueIndex {
                name,
                columns: Some(Vec::new()),
                nullable: false,
            });
        }
        let Some(index) = indexes.last_mut() else {
            continue;
        };
        let place = column.and_then(|name| columns.iter().position(|column| column.name == name));
        match (place.filter(|_| prefix.is_none()), &mut index.columns) {
            (Some(place), Some(known)) => known.push(place),
            _ => index.columns = None,
        }
        index.nullable |= nullable.as_deref() == Some("YES");
    }
    indexes
}

/// The declaration of a table; a view has none that tells anything here.
async fn declaration(conn: &mut Conn, name: &TableName) -> mysql_async::Result<Declared> {
    let lines = texts(conn, &format!("SHOW CREATE TABLE {}", name.quoted())).await?;
    let text = lines.first().and_then(|line| line.get(1)?.as_deref());
    Ok(declared::read(&declared::mended(text.unwrap_or_default())))
}

/// One column, or its name and type where no value of ours can hold it.
fn column(line: Vec<Option<String>>, json: &[String]) -> Result<ColumnInfo, (String, String)> {
    let [
        name,
        data_type,
        declared,
        charset,
        collation,
        nullable,
        default,
        extra,
        precision,
        scale,
        fraction,
        generation,
    ] = <[Option<String>; 12]>::try_from(line).unwrap_or_default();
    let name = name.unwrap_or_default();
    let (data_type, declared) = (
        data_type.unwrap_or_default().to_ascii_lowercase(),
        declared.unwrap_or_default(),
    );
    let is_json = json.contains(&name);
    if declared.contains("COMPRESSED") {
        // MariaDB's compressed columns stand in the log as they are stored.
        return Err((name, declared));
    }
    let Some(form) = Form::of(
        &data_type,
        &declared.to_ascii_lowercase(),
        charset.as_deref(),
        is_json,
    ) else {
        return Err((name, data_type));
    };
    let extra = extra.unwrap_or_default().to_ascii_uppercase();
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let nullable = nullable.as_deref() == Some("YES");
    Ok(ColumnInfo {
        members: members(&declared),
        unsigned: declared.contains("unsigned"),
        form,
        charset,
        collation,
        nullable,
        has_default: nullable
            || default.is_some()
            || extra.contains("AUTO_INCREMENT")
            || extra.contains("DEFAULT_GENERATED"),
        // `DEFAULT_GENERATED` is a default that is an expression.
        generated: generation.is_some_and(|text| !text.is_empty())
            || extra.contains("VIRTUAL GENERATED")
            || extra.contains("STORED GENERATED"),
        precision: number(precision).filter(|_| form == Form::Decimal),
        scale: number(scale).filter(|_| form == Form::Decimal),
        fraction: number(fraction).unwrap_or(0),
        name,
        declared,
    })
}

/// The values in `enum('a','b''c')`.
pub(crate) fn members(declared: &str) -> Vec<String> {
    let list = ["enum(", "set("]
        .iter()
        .find_map(|word| declared.strip_prefix(word));
    let mut members = Vec::new();
    let Some(list) = list else {
        return members;
    };
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\'' {
            continue;
        }
        let mut member = String::new();
        while let Some(character) = characters.next() {
            if character != '\'' {
                member.push(character);
            } else if characters.peek() == Some(&'\'') {
                member.push('\'');
                characters.next();
            } else {
                break;
            }
        }
        members.push(member);
    }
    members
}

async fn missing(conn: &mut Conn, spelled: &str, database: &str) -> Error {
    let error = Error::config(format!(
        "there is no table `{spelled}` that the user of `url` may see"
    ))
    .code(GONE);
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
        literal(database)
    );
    let known = texts(conn, &sql).await.unwrap_or_default();
    let known: Vec<String> = known.into_iter().flatten().flatten().collect();
    error.help(suggestion(spelled, known.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_read_as_they_are_declared() {
        for (declared, expected) in [
            ("enum('a','b''c','')", vec!["a", "b'c", ""]),
            ("set('x,y')", vec!["x,y"]),
            ("int(11)", vec![]),
            ("enum('open", vec!["open"]),
        ] {
            assert_eq!(members(declared), expected, "{declared}");
        }
    }

    fn declared(data_type: &str, declared: &str) -> ColumnInfo {
        let mut line = vec![None; 12];
        line[0] = Some("c".to_owned());
        line[1] = Some(data_type.to_owned());
        line[2] = Some(declared.to_owned());
        line[3] = Some("utf8mb4".to_owned());
        column(line, &[]).unwrap()
    }

    #[test]
    fn a_bounded_text_says_how_many_characters_it_takes() {
        for (data_type, text, most) in [
            ("varchar", "varchar(60)", Some(60)),
            ("char", "char(3)", Some(3)),
            ("text", "text", None),
            ("longtext", "longtext", None),
            ("enum", "enum('a(7)')", None),
            ("int", "int(11)", None),
        ] {
            assert_eq!(declared(data_type, text).column().length, most, "{text}");
        }
    }

    #[test]
    fn a_target_takes_all_numbers_of_an_unsigned_bigint() {
        let unsigned = declared("bigint", "bigint(20) unsigned");
        assert_eq!(unsigned.column().kind, Some(Type::Int));
        let taken = Type::Decimal {
            precision: Some(20),
            scale: Some(0),
        };
        assert_eq!(unsigned.taking().kind, Some(taken));
        let signed = declared("bigint", "bigint(20)");
        assert_eq!(signed.taking().kind, Some(Type::Int));
    }

    proptest! {
        #[test]
        fn no_declaration_panics(text in ".*") {
            let _ = members(&text);
            let _ = members(&format!("enum({text}"));
        }
    }
}
