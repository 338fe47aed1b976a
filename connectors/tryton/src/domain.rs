//! Conditions and orders in Tryton's words: pages between keys, filters, and keys to be found.
//!
//! Pure: a [`Domain`] is the JSON of a search, and says nothing of who sends it.

use lockstep_core::Value;
use lockstep_core::connector::{Filter, Sign};
use serde_json::{Value as Json, json};

use crate::convert;
use crate::model::{CHANGED_AT, Field, Form, Model};

/// The fields of a key, in its order.
pub(crate) type Key<'a> = Vec<&'a Field>;

/// Which records of a model whose server does not know the time of a change are read: those that were written since they were made, or those that were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Written,
    Fresh,
}

impl Part {
    /// What a record was changed by.
    fn column(self) -> &'static str {
        match self {
            Part::Written => "write_date",
            Part::Fresh => "create_date",
        }
    }

    fn condition(self) -> Json {
        match self {
            Part::Written => json!(["write_date", "!=", null]),
            Part::Fresh => json!(["write_date", "=", null]),
        }
    }
}

/// The words of a search in one model.
pub(crate) struct Domain<'a> {
    pub(crate) model: &'a Model,
    pub(crate) part: Option<Part>,
}

impl Domain<'_> {
    /// All records that have a key, as far as the part goes.
    pub(crate) fn keyed(&self, key: &Key<'_>) -> Vec<Json> {
        let mut terms = vec![json!("AND")];
        terms.extend(self.part.map(Part::condition));
        for field in key.iter().filter(|field| !field.is_required) {
            terms.push(json!([field.name, "!=", null]));
        }
        terms
    }

    /// The order of a key.
    pub(crate) fn order(&self, key: &Key<'_>, backwards: bool) -> Json {
        let way = if backwards { "DESC" } else { "ASC" };
        let each = key.iter().map(|field| json!([self.sorted(field), way]));
        Json::Array(each.collect())
    }

    /// The records whose key lies beyond another one, `sign` being `<` or `>`; with that one itself where `is_inclusive`.
    pub(crate) fn beyond(
        &self,
        key: &Key<'_>,
        values: &[Json],
        sign: &str,
        is_inclusive: bool,
    ) -> Json {
        let mut ways = vec![json!("OR")];
        for last in 0..key.len() {
            let mut terms = vec![json!("AND")];
            for (field, value) in key.iter().zip(values).take(last) {
                terms.push(self.compared(field, "=", value));
            }
            let at_end = is_inclusive && last + 1 == key.len();
            let sign = if at_end {
                format!("{sign}=")
            } else {
                sign.to_owned()
            };
            terms.push(self.compared(key[last], &sign, &values[last]));
            ways.push(Json::Array(terms));
        }
        Json::Array(ways)
    }

    /// The records with one of some keys.
    pub(crate) fn any_of(&self, key: &Key<'_>, keys: &[Vec<Json>]) -> Json {
        if let [field] = key.as_slice() {
            let values: Vec<&Json> = keys.iter().filter_map(|values| values.first()).collect();
            if field.name != CHANGED_AT {
                return json!([[field.name, "in", values]]);
            }
        }
        let mut ways = vec![json!("OR")];
        for values in keys {
            let mut terms = vec![json!("AND")];
            let each = key.iter().zip(values);
            terms.extend(each.map(|(field, value)| self.compared(field, "=", value)));
            ways.push(Json::Array(terms));
        }
        json!([ways])
    }

    /// What can be said of a filter in the server's words; none where that may be every record.
    pub(crate) fn filter(&self, filter: &Filter) -> Option<Json> {
        let field = |name: &str| self.model.searchable(name).ok();
        match filter {
            Filter::Compare(name, sign, value) => {
                let field = field(name)?;
                let value = match convert::json(field, value) {
                    Ok(Json::Null) | Err(_) => return None,
                    Ok(value) => value,
                };
                let orders = !matches!(sign, Sign::Equal | Sign::NotEqual);
                // Tryton compares texts without order by rules of its own.
                if orders && matches!(field.form, Form::Bool) {
                    return None;
                }
                Some(self.compared(field, sign_of(*sign), &value))
            }
            Filter::IsNull(name) => Some(json!([field(name)?.name, "=", null])),
            Filter::IsNotNull(name) => Some(json!([field(name)?.name, "!=", null])),
            Filter::All(parts) => {
                let mut terms = vec![json!("AND")];
                terms.extend(parts.iter().filter_map(|part| self.filter(part)));
                Some(Json::Array(terms))
            }
            // Nothing is one of none.
            Filter::Any(parts) if parts.is_empty() => Some(json!(["id", "=", null])),
            Filter::Any(parts) => {
                let mut terms = vec![json!("OR")];
                for part in parts {
                    terms.push(self.filter(part)?);
                }
                Some(Json::Array(terms))
            }
        }
    }

    fn compared(&self, field: &Field, sign: &str, value: &Json) -> Json {
        if field.name != CHANGED_AT {
            return json!([self.named(field, sign), sign, value]);
        }
        if let Some(name) = self.model.modified() {
            return json!([name, sign, value]);
        }
        let one = |part: Part| json!(["AND", part.condition(), [part.column(), sign, value]]);
        match self.part {
            Some(part) => json!([part.column(), sign, value]),
            None => json!(["OR", one(Part::Written), one(Part::Fresh)]),
        }
    }

    /// A link is compared by its id: by itself, the server would look at the other record's name.
    fn named(&self, field: &Field, sign: &str) -> String {
        match (field.form, sign) {
            (Form::Link, "<" | ">" | "<=" | ">=") => format!("{}.id", field.name),
            _ => field.name.clone(),
        }
    }

    fn sorted(&self, field: &Field) -> String {
        match (field.form, field.name.as_str()) {
            (_, CHANGED_AT) => match (self.model.modified(), self.part) {
                (Some(name), _) => name.to_owned(),
                (None, part) => part.unwrap_or(Part::Written).column().to_owned(),
            },
            (Form::Link, name) => format!("{name}.id"),
            (_, name) => name.to_owned(),
        }
    }
}

/// A key in the server's words; none where no record can have it.
pub(crate) fn sought(key: &Key<'_>, values: &[Value]) -> Option<Vec<Json>> {
    if key.len() != values.len() {
        return None;
    }
    let each = key.iter().zip(values);
    each.map(|(field, value)| {
        let json = convert::json(field, value).ok()?;
        (!json.is_null()).then_some(json)
    })
    .collect()
}

fn sign_of(sign: Sign) -> &'static str {
    match sign {
        Sign::Equal => "=",
        Sign::NotEqual => "!=",
        Sign::Less => "<",
        Sign::LessOrEqual => "<=",
        Sign::Greater => ">",
        Sign::GreaterOrEqual => ">=",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::model;

    #[test]
    fn pages_lie_between_keys() {
        let model = model(true);
        let domain = Domain {
            model: &model,
            part: None,
        };
        let key = vec![model.field("party").unwrap(), model.field("id").unwrap()];
        assert_eq!(
            domain.beyond(&key, &[json!(3), json!(9)], ">", false),
            json!([
                "OR",
                ["AND", ["party.id", ">", 3]],
                ["AND", ["party", "=", 3], ["id", ">", 9]]
            ])
        );
        assert_eq!(
            domain.beyond(&key, &[json!(3), json!(9)], "<", true),
            json!([
                "OR",
                ["AND", ["party.id", "<", 3]],
                ["AND", ["party", "=", 3], ["id", "<=", 9]]
            ])
        );
        assert_eq!(
            domain.order(&key, true),
            json!([["party.id", "DESC"], ["id", "DESC"]])
        );
        assert_eq!(
            domain.keyed(&key),
            vec![json!("AND"), json!(["party", "!=", null])]
        );
    }

    #[test]
    fn where_the_server_does_not_know_the_time_of_a_change_both_dates_are_asked() {
        let (new, old) = (model(true), model(false));
        let at = Value::Timestamp(jiff::Timestamp::UNIX_EPOCH);
        let since = Filter::Compare(CHANGED_AT.to_owned(), Sign::GreaterOrEqual, at);
        let said = |model: &Model, part| Domain { model, part }.filter(&since).unwrap();
        assert_eq!(said(&new, None)[0], json!("last_modified_at"));
        let both = said(&old, None);
        assert_eq!(both[1][1], json!(["write_date", "!=", null]));
        assert_eq!(both[2][2][0], json!("create_date"));
        assert_eq!(said(&old, Some(Part::Fresh))[0], json!("create_date"));
    }

    #[test]
    fn what_cannot_be_said_lets_records_through() {
        let model = model(true);
        let domain = Domain {
            model: &model,
            part: None,
        };
        let unknown = Filter::Compare("email".to_owned(), Sign::Equal, Value::text("a"));
        let known = Filter::Compare("code".to_owned(), Sign::Equal, Value::text("a"));
        assert_eq!(domain.filter(&unknown), None);
        let all = Filter::All(vec![unknown.clone(), known.clone()]);
        assert_eq!(
            domain.filter(&all),
            Some(json!(["AND", ["code", "=", "a"]]))
        );
        assert_eq!(domain.filter(&Filter::Any(vec![unknown, known])), None);
        assert_eq!(domain.filter(&Filter::every()), Some(json!(["AND"])));
    }
}
