//! The protocol: how the system is called, how its lists go on, and what its errors mean.
//!
//! How often it may be called, what is tried again and what stays out of messages is the business of `lockstep-http-client`.

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Result};
use lockstep_http_client::{Answer, Auth, Budget, Client, Json, Path, Settings, Url};

use crate::config::Config;
use crate::table::ID;

/// Answers that say something of the record at hand; every other error is one of the call.
const REFUSALS: [u16; 3] = [400, 409, 422];

/// A system, as it is called.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    page_max: usize,
}

/// What the system says to a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The record, as it is now.
    Done(Json),
    /// There is no such record (any more).
    Gone,
    /// Another record bears the same code.
    Taken,
    /// It refuses the record, for this reason.
    Refused(String),
}

impl Api {
    /// Sets up the calls; calls nothing yet.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Api> {
        config.check()?;
        let base = Url::parse(&config.url).map_err(|error| {
            Error::config(format!("`url = {}` is no address", config.url))
                .help("write it with its scheme, such as `https://acme.example.com`")
                .because(error)
        })?;
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base,
            auth: Auth::Bearer(config.token.clone()),
            budget: Budget {
                per_second: Some(config.calls_per_second),
                concurrent: config.calls_at_once,
                ..Budget::default()
            },
            ..Settings::default()
        })?;
        Ok(Api {
            client,
            page_max: config.page_max,
        })
    }

    /// A page of a table's records, and where the next one begins.
    pub(crate) async fn list(
        &self,
        table: &str,
        changed_since: Option<&str>,
        after: Option<&str>,
    ) -> Result<(Vec<Json>, Option<String>)> {
        let limit = self.page_max.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(changed_since.map(|since| ("changed_since", since)));
        query.extend(after.map(|after| ("after", after)));
        let answer = self.client.get(records(table)).query(&query).send().await?;
        let body = answer.tree()?;
        let next = body.get("next").and_then(Json::plain);
        Ok((items(&body)?, next))
    }

    /// The record whose column, the id or the code, holds a value.
    pub(crate) async fn find(
        &self,
        table: &str,
        column: &str,
        value: &str,
    ) -> Result<Option<Json>> {
        // An empty text identifies nothing, and in a path it would name the list.
        if value.is_empty() {
            return Ok(None);
        }
        if column == ID {
            let request = self.client.get(records(table).value(value));
            let answer = request.accept_status(&[404]).send().await?;
            return match answer.status {
                404 => Ok(None),
                _ => answer.tree().map(Some),
            };
        }
        let request = self.client.get(records(table)).query(&[(column, value)]);
        let found = items(&request.send().await?.tree()?)?;
        // Systems differ in what they call equal: case, blanks at the end, other signs.
        let is_it =
            |record: &&Json| record.get(column).and_then(Json::plain).as_deref() == Some(value);
        Ok(found.iter().find(is_it).cloned())
    }

    /// Makes a record.
    ///
    /// It is not sent again by itself, for nobody knows whether the first one arrived: whoever comes again looks first.
    pub(crate) async fn create(&self, table: &str, record: &Json) -> Result<Written> {
        let request = self.client.post(records(table)).json(record);
        written(&request.accept_status(&REFUSALS).send().await?)
    }

    /// Changes members of a record.
    pub(crate) async fn change(&self, table: &str, id: &str, members: &Json) -> Result<Written> {
        let path = records(table).value(id);
        let request = self.client.patch(path).json(members).safe_to_repeat(true);
        let statuses = [&REFUSALS[..], &[404]].concat();
        written(&request.accept_status(&statuses).send().await?)
    }

    /// Deletes a record; one that is gone already is as good.
    pub(crate) async fn delete(&self, table: &str, id: &str) -> Result<Written> {
        let request = self.client.delete(records(table).value(id));
        let statuses = [&REFUSALS[..], &[404]].concat();
        let answer = request.accept_status(&statuses).send().await?;
        match answer.status {
            404 | 204 => Ok(Written::Gone),
            _ => written(&answer),
        }
    }
}

fn records(table: &str) -> Path {
    Path::default().then("v1").value(table)
}

/// The records of a list.
fn items(body: &Json) -> Result<Vec<Json>> {
    let items = body.get("items").and_then(Json::as_list);
    let items = items.ok_or_else(|| {
        Error::unexpected("an answer of the system holds no `items`")
            .help("see the system's setting `url`")
    })?;
    Ok(items.to_vec())
}

fn written(answer: &Answer) -> Result<Written> {
    let body = answer.tree()?;
    Ok(match answer.status {
        404 => Written::Gone,
        409 => Written::Taken,
        status if status < 400 => Written::Done(body),
        _ => Written::Refused(reason(&body)),
    })
}

/// Why the system refuses a record: its code and the field; a message in words may quote values, which stay out of logs.
fn reason(body: &Json) -> String {
    let member = |name: &str| body.at(&format!("error.{name}")).and_then(Json::as_str);
    let code = member("code").unwrap_or("refused");
    match member("field") {
        Some(field) => format!("`{field}`: {code}"),
        None => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_code_and_field_and_quotes_nothing() {
        let body =
            br#"{"error": {"code": "too_long", "field": "name", "message": "Ann is too long"}}"#;
        assert_eq!(reason(&Json::parse(body).unwrap()), "`name`: too_long");
        assert_eq!(reason(&Json::Null), "refused");
    }
}
