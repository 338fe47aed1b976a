//! Which folder a row of an append table stands in, in the Hive manner: `column_day=2024-02-01`.
//!
//! A folder never bears the bare name of a column: engines guess the types of what folders tell, and `007` would be read as a number.

use std::fmt::Write as _;
use std::str::FromStr;

use jiff::tz::TimeZone;
use lockstep_core::{Error, Shape, Type, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::form::COMMITTED_AT;

/// What needs no encoding in a folder's name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Most bytes of a folder's name, which many file systems limit to 255.
const NAME_MAX: usize = 200;

/// What Hive calls the folder of nulls.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One level of folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Part {
    pub(crate) column: String,
    cut: Cut,
}

/// What of a value a folder tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Whole,
    Year,
    Month,
    Day,
    Hour,
}

impl Cut {
    const ALL: [Cut; 5] = [Cut::Whole, Cut::Year, Cut::Month, Cut::Day, Cut::Hour];

    fn name(self) -> &'static str {
        match self {
            Cut::Whole => "value",
            Cut::Year => "year",
            Cut::Month => "month",
            Cut::Day => "day",
            Cut::Hour => "hour",
        }
    }
}

impl Part {
    /// What append tables are partitioned by where nothing is said.
    pub(crate) fn by_day() -> Part {
        Part {
            column: COMMITTED_AT.to_owned(),
            cut: Cut::Day,
        }
    }

    /// Why a table cannot be partitioned so.
    pub(crate) fn unusable(&self, shape: &Shape) -> Option<String> {
        let kind = match shape.position(&self.column) {
            Some(place) => shape.columns[place].kind,
            None if self.column == COMMITTED_AT => Some(Type::Timestamp),
            None => {
                return Some(format!(
                    "table `{}` has no column `{}`",
                    shape.name, self.column
                ));
            }
        };
        let fits = match self.cut {
            Cut::Whole => !matches!(kind, Some(Type::Bytes | Type::Json | Type::Float)),
            Cut::Hour => kind == Some(Type::Timestamp),
            _ => matches!(kind, Some(Type::Timestamp | Type::Date)),
        };
        let kind = kind.map_or("any", Type::name);
        (!fits).then(|| {
            format!(
                "column `{}` of table `{}` is {kind}, which has no `{}`",
                self.column,
                shape.name,
                self.cut.name()
            )
        })
    }

    /// The folder of a value.
    ///
    /// # Errors
    /// Why the value names none.
    pub(crate) fn folder(&self, value: &Value) -> Result<String, String> {
        let text = match (value, self.cut) {
            (Value::Null, _) => return Ok(format!("{}={NULL}", self.name())),
            (Value::Timestamp(at), cut) if cut != Cut::Whole => {
                let at = at.to_zoned(TimeZone::UTC);
                let format = match cut {
                    Cut::Year => "%Y",
                    Cut::Month => "%Y-%m",
                    Cut::Hour => "%Y-%m-%dT%H",
                    Cut::Whole | Cut::Day => "%Y-%m-%d",
                };
                at.strftime(format).to_string()
            }
            (Value::Date(date), Cut::Year) => date.strftime("%Y").to_string(),
            (Value::Date(date), Cut::Month) => date.strftime("%Y-%m").to_string(),
            // Equal decimals of other scales belong together; the column has one scale, so they do.
            (value, _) => value.to_string(),
        };
        let mut folder = format!("{}=", self.name());
        // Writing to a text cannot fail.
        let _ = write!(folder, "{}", utf8_percent_encode(&text, NAME));
        if text.is_empty() || folder.len() > NAME_MAX {
            return Err(format!(
                "column `{}` holds a text that is empty or too long to name a folder, and the table is partitioned by it",
                self.column
            ));
        }
        Ok(folder)
    }

    fn name(&self) -> String {
        format!(
            "{}_{}",
            utf8_percent_encode(&self.column, NAME),
            self.cut.name()
        )
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (column, cut) = text.rsplit_once(':').unwrap_or((text, "value"));
        let cut = Cut::ALL.into_iter().find(|known| known.name() == cut);
        let cut = cut.filter(|_| !column.is_empty()).ok_or_else(|| {
            let cut = text.rsplit(':').next().unwrap_or_default();
            Error::config(format!(
                "`partition` cannot be `{text}`: there is no `{cut}` of a column"
            ))
            .help("say `column` or `column:year`, `:month`, `:day`, `:hour`")
        })?;
        Ok(Part {
            column: column.to_owned(),
            cut,
        })
    }
}

impl TryFrom<String> for Part {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Part> for String {
    fn from(part: Part) -> String {
        format!("{}:{}", part.column, part.cut.name())
    }
}

/// The name of a table's folder: what file systems and stores take everywhere.
pub(crate) fn encoded(table: &str) -> String {
    let name = utf8_percent_encode(table, NAME).to_string();
    // Folders that begin so are ours, hidden, or mean another folder.
    match name.strip_prefix(['_', '.']) {
        Some(rest) => format!("%{:02X}{rest}", name.as_bytes()[0]),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_in_the_hive_manner() {
        let at = |text: &str| Value::Timestamp(text.parse().unwrap());
        for (part, value, folder) in [
            ("at:day", at("2024-02-01T23:59:59Z"), "at_day=2024-02-01"),
            (
                "at:hour",
                at("2024-02-01T23:59:59Z"),
                "at_hour=2024-02-01T23",
            ),
            ("at:month", at("2024-02-01T00:00:00Z"), "at_month=2024-02"),
            (
                "d:year",
                Value::Date(jiff::civil::date(2024, 2, 1)),
                "d_year=2024",
            ),
            ("c", Value::text("a/b=c ü"), "c_value=a%2Fb%3Dc%20%C3%BC"),
            ("c", Value::Null, "c_value=__HIVE_DEFAULT_PARTITION__"),
        ] {
            let part: Part = part.parse().unwrap();
            assert_eq!(part.folder(&value).unwrap(), folder);
            let text: String = part.clone().into();
            assert_eq!(text.parse::<Part>().unwrap(), part);
        }
        let part: Part = "c".parse().unwrap();
        assert!(part.folder(&Value::text("x".repeat(300))).is_err());
        assert!(part.folder(&Value::text("")).is_err());
    }

    #[test]
    fn tables_never_take_the_place_of_ours() {
        assert_eq!(encoded("orders"), "orders");
        assert_eq!(encoded("_lockstep"), "%5Flockstep");
        assert_eq!(encoded(".."), "%2E.");
        assert_eq!(encoded("a/b"), "a%2Fb");
    }
}
