//! What has to be sent for one change, by what the service holds; pure.

use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Change, Value};
use lockstep_http_client::Json;

use crate::batch::Operation;
use crate::client::{ACCEPT, SENT};
use crate::config::CreateBy;
use crate::convert;
use crate::metadata::Property;
use crate::query;
use crate::table::{Item, Table, annotation, cell, held};

/// How records of one shape are told apart and written.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    pub(crate) items: Vec<Item>,
    /// Where the key is in the shape.
    pub(crate) at: Vec<usize>,
    /// What the key's columns are.
    pub(crate) key: Vec<Property>,
    /// Whether that is the key of the entity set itself.
    pub(crate) is_own: bool,
}

/// What is to be done for a change.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing: this became of it.
    Say(Outcome),
    /// These, one behind the other.
    Send {
        steps: Vec<Step>,
        /// The own id, where the record is there already.
        id: Option<Value>,
    },
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) what: What,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Create,
    Update,
    Delete,
}

impl Target {
    /// The key that a row holds, each value as its property has it; none where a part is null or cannot be held.
    pub(crate) fn key_of(&self, row: &lockstep_core::Row) -> Option<Vec<Value>> {
        let each = self.at.iter().zip(&self.key);
        let values = each.map(|(at, property)| {
            let value = convert::fit(row.value(*at)?, &property.form)?;
            let is_usable = !value.is_null() && convert::literal(&value, &property.form).is_some();
            is_usable.then_some(value)
        });
        values.collect()
    }

    /// What to do for a change, where `now` are the records of its key and `old` those of the key before it.
    pub(crate) fn plan(&self, change: &Change, now: &[Json], old: &[Json]) -> Plan {
        if change.op == Op::Truncated {
            return rejected("an entity set is not emptied at once: delete its records");
        }
        let Some(key) = self.key_of(&change.row) else {
            return rejected("a value of the key is null, or not of its property's type");
        };
        if now.len() > 1 || old.len() > 1 {
            return Plan::Say(Outcome::Conflict {
                reason: "several records hold this key".to_owned(),
            });
        }
        let (now, old) = (now.first(), old.first());
        if !change.op.is_upsert() {
            return match now.and_then(|record| self.delete(record)) {
                Some(step) => send(vec![step], None),
                None => Plan::Say(Outcome::APPLIED),
            };
        }
        if self.is_own && old.is_some() {
            return rejected("a record of this service keeps its key");
        }
        match (now, old) {
            (Some(record), old) => match self.update(change, record) {
                Err(why) => rejected(why),
                Ok(step) => {
                    let mut steps: Vec<Step> = step.into_iter().collect();
                    steps.extend(old.and_then(|old| self.delete(old)));
                    send(steps, self.table.own_id(record))
                }
            },
            (None, Some(record)) => match self.update(change, record) {
                Err(why) => rejected(why),
                Ok(step) => send(step.into_iter().collect(), self.table.own_id(record)),
            },
            (None, None) if !change.row.is_whole() => {
                rejected("the record is not there, and only some of its columns were sent")
            }
            (None, None) => match self.create(change, &key) {
                Err(why) => rejected(why),
                Ok(step) => send(vec![step], None),
            },
        }
    }

    fn create(&self, change: &Change, key: &[Value]) -> Result<Step, String> {
        let by_key = self.table.config.create == CreateBy::Key;
        let mut body = Json::Object(Vec::new());
        for (at, item) in self.items.iter().enumerate() {
            let is_key = self.at.contains(&at);
            if by_key && is_key {
                continue;
            }
            if let Some(value) = change.row.value(at) {
                put(&mut body, item, value)?;
            }
        }
        let mut headers = vec![
            ("Content-Type", SENT.to_owned()),
            ("Accept", ACCEPT.to_owned()),
            ("Prefer", "return=representation".to_owned()),
        ];
        let name = self.table.name();
        let (method, url) = if by_key {
            headers.push(("If-None-Match", "*".to_owned()));
            ("PATCH", format!("{name}{}", self.named(key)?))
        } else {
            ("POST", name.to_owned())
        };
        Ok(Step {
            operation: Operation {
                method,
                url,
                headers,
                body: body.to_string(),
            },
            what: What::Create,
        })
    }

    /// The predicate of a key, with its names where it is an alternate one.
    fn named(&self, key: &[Value]) -> Result<String, String> {
        let pairs: Vec<_> = self.key.iter().zip(key.iter().cloned()).collect();
        let text =
            query::predicate(&pairs).ok_or("a value of the key cannot stand in an address")?;
        Ok(match &self.key[..] {
            [only] if !self.is_own => {
                format!("({}={}", only.name, text.trim_start_matches('('))
            }
            _ => text,
        })
    }

    /// The columns that a record does not hold as a change says.
    fn update(&self, change: &Change, record: &Json) -> Result<Option<Step>, String> {
        let mut body = Json::Object(Vec::new());
        let mut differs = false;
        for (at, item) in self.items.iter().enumerate() {
            let Some(value) = change.row.value(at) else {
                continue;
            };
            let is_same = match item {
                Item::Property(property, _) => {
                    convert::is_same(held(record, &property.name), value, &property.form)
                }
                Item::Link(link) => convert::fit(value, &link.key.form) == Some(cell(record, item)),
                Item::Rows(name) => {
                    if !holds(record.get(name).unwrap_or(&Json::Null), value) {
                        return Err(format!(
                            "`{name}` is written only when the record is made: its rows are records of their own entity set"
                        ));
                    }
                    true
                }
            };
            if !is_same {
                differs = true;
                put(&mut body, item, value)?;
            }
        }
        if !differs {
            return Ok(None);
        }
        let mut headers = vec![
            ("Content-Type", SENT.to_owned()),
            ("Accept", ACCEPT.to_owned()),
        ];
        headers.push(("If-Match", seen(record)));
        Ok(self.table.predicate(record).map(|key| Step {
            operation: Operation {
                method: "PATCH",
                url: format!("{}{key}", self.table.name()),
                headers,
                body: body.to_string(),
            },
            what: What::Update,
        }))
    }

    fn delete(&self, record: &Json) -> Option<Step> {
        let key = self.table.predicate(record)?;
        Some(Step {
            operation: Operation {
                method: "DELETE",
                url: format!("{}{key}", self.table.name()),
                headers: vec![("If-Match", seen(record))],
                body: String::new(),
            },
            what: What::Delete,
        })
    }
}

/// The version that was looked at; a write never makes a record that is gone, so that any will do where there is none.
fn seen(record: &Json) -> String {
    annotation(record, "etag").unwrap_or("*").to_owned()
}

fn rejected(reason: impl Into<String>) -> Plan {
    Plan::Say(Outcome::Rejected {
        reason: reason.into(),
    })
}

fn send(steps: Vec<Step>, id: Option<Value>) -> Plan {
    if steps.is_empty() {
        return Plan::Say(Outcome::Applied { target_id: id });
    }
    Plan::Send { steps, id }
}

/// Puts a value into a body.
fn put(body: &mut Json, item: &Item, value: &Value) -> Result<(), String> {
    let (path, value) = match item {
        Item::Property(property, None) => {
            let written = convert::write(value, &property.name, &property.form)?;
            (property.name.clone(), written)
        }
        Item::Property(property, Some(link)) => bind(&property.name, link, value)?,
        Item::Link(link) => bind(&link.navigation, link, value)?,
        Item::Rows(name) => {
            let form = convert::Form::Json { is_list: true };
            match convert::write(value, name, &form)? {
                Json::Null => return Ok(()),
                list @ Json::List(_) => (name.clone(), list),
                _ => return Err(format!("`{name}` takes a list")),
            }
        }
    };
    // What the protocol says of a member has dots of its own.
    let parts: Vec<&str> = match path.contains('@') {
        true => vec![&path],
        false => path.split('.').collect(),
    };
    place(body, &parts, value);
    Ok(())
}

fn place(body: &mut Json, path: &[&str], value: Json) {
    let (Json::Object(members), [first, rest @ ..]) = (body, path) else {
        return;
    };
    if rest.is_empty() {
        members.push(((*first).to_owned(), value));
        return;
    }
    let at = members.iter().position(|(name, _)| name == first);
    let at = at.unwrap_or_else(|| {
        members.push(((*first).to_owned(), Json::Object(Vec::new())));
        members.len() - 1
    });
    place(&mut members[at].1, rest, value);
}

/// A reference, as it is written: the address of the other entity.
fn bind(column: &str, link: &crate::table::Bind, value: &Value) -> Result<(String, Json), String> {
    let name = format!("{}@odata.bind", link.navigation);
    if value.is_null() {
        return Ok((name, Json::Null));
    }
    let key = query::predicate(&[(&link.key, value.clone())]);
    let key =
        key.ok_or_else(|| format!("`{column}` takes the own id of a record of `{}`", link.set))?;
    Ok((name, Json::Text(format!("{}{key}", link.set))))
}

/// Whether rows that a record leads to hold what a list says of each of them, in any order.
fn holds(held: &Json, wanted: &Value) -> bool {
    let wanted = match wanted {
        Value::Null => return true,
        Value::Json(text) => Json::parse(text.as_bytes()).ok(),
        Value::Text(text) => Json::parse(text.as_bytes()).ok(),
        _ => None,
    };
    let (Some(Json::List(wanted)), Some(rows)) = (wanted, held.as_list()) else {
        return false;
    };
    let mut left: Vec<&Json> = rows.iter().collect();
    let all = wanted.iter().all(|one| {
        let at = left.iter().position(|row| covers(row, one));
        at.map(|at| left.remove(at)).is_some()
    });
    all && left.is_empty()
}

/// Whether a row says at least what another does; numbers are equal whatever their form.
fn covers(row: &Json, wanted: &Json) -> bool {
    match (row, wanted) {
        (row, Json::Object(members)) => members
            .iter()
            .all(|(name, wanted)| covers(row.get(name).unwrap_or(&Json::Null), wanted)),
        (Json::List(rows), Json::List(wanted)) => {
            rows.len() == wanted.len() && rows.iter().zip(wanted).all(|(a, b)| covers(a, b))
        }
        (Json::Number(_), _) | (_, Json::Number(_)) => {
            let number = |json: &Json| json.plain()?.parse::<lockstep_core::Decimal>().ok();
            number(row).is_some() && number(row) == number(wanted)
        }
        (row, wanted) => row == wanted,
    }
}
