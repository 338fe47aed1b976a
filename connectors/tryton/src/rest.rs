//! Calls over the REST interface of series 8: an application's key, one record in a change, and no lock of the server's own.
//!
//! Fields that the key's user may not read are left out of an answer without a word, so every answer is looked over.
//! Methods that are no resource (the description of fields, rights, buttons) are actions of a model.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use lockstep_core::connector::Secret;
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{Answer, Auth, Client as Http, HttpError, Method, Path, Settings};
use serde_json::{Map, Value as Json, json};

use crate::client::{Edit, Search};
use crate::fault::Fault;
use crate::model::ID;

/// Most bytes of a condition: it travels in the address, and servers bound those.
pub(crate) const CONDITION_MAX: usize = 2000;

/// What tells whether a record was changed since it was read.
const STAMP: &str = "_timestamp";

/// Speaks REST with one database.
#[derive(Debug)]
pub(crate) struct Rest {
    http: Http,
    database: String,
    accepts: bool,
}

impl Rest {
    pub(crate) fn new(
        settings: Settings,
        database: &str,
        key: Secret<String>,
        accepts: bool,
    ) -> Result<Rest> {
        Ok(Rest {
            http: Http::new(Settings {
                auth: Auth::Bearer(key),
                ..settings
            })?,
            database: database.to_owned(),
            accepts,
        })
    }

    pub(crate) async fn ask(
        &self,
        model: &str,
        method: &str,
        parameters: &[(&str, Json)],
        context: &Map<String, Json>,
    ) -> Result<Json, Fault> {
        let named = parameters.iter();
        let named: Map<String, Json> = named
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let request = self
            .http
            .post(self.path(model, None).then(method))
            .header("x-tryton-context", encoded(&json!(context)))
            .json(&named)
            .safe_to_repeat(true)
            // What the server fails at, such as a model that is not there, it fails at again.
            .accept_status(&[500]);
        let answer = request.send().await.map_err(|error| self.fault(error))?;
        if answer.status == 500 {
            return Err(failed(&answer.body)
                .unwrap_or_else(|| Error::transient("the server failed").into()));
        }
        Ok(answer.json()?)
    }

    pub(crate) async fn search(
        &self,
        search: Search<'_>,
        context: &Map<String, Json>,
    ) -> Result<Json, Fault> {
        let mut query = vec![("d", encoded(search.domain))];
        query.extend(search.fields.iter().map(|name| ("f", (*name).to_owned())));
        query.extend(search.limit.map(|limit| ("s", limit.to_string())));
        if !search.order.is_null() {
            query.push(("o", encoded(search.order)));
        }
        let request = self
            .http
            .get(self.path(search.model, None))
            .query(&query)
            .header("x-tryton-context", encoded(&json!(context)));
        let answer = request.send().await.map_err(|error| self.fault(error))?;
        let found: Json = answer.json()?;
        let records = found.as_array().map_or(&[][..], Vec::as_slice);
        for record in records {
            if let Some(hidden) = (search.fields.iter()).find(|name| record.get(**name).is_none()) {
                return Err(hidden_field(search.model, hidden).into());
            }
        }
        Ok(found)
    }

    pub(crate) async fn create(
        &self,
        model: &str,
        records: &[&Map<String, Json>],
        context: &Map<String, Json>,
    ) -> Result<Vec<i64>, Fault> {
        let mut ids = Vec::with_capacity(records.len());
        for values in records {
            let path = self.path(model, None);
            let answer = self
                .change(Method::POST, path, &json!(values), context)
                .await?;
            if answer.body.is_empty() {
                // It could never be found again, and would be made each time.
                return Err(Error::new(
                    Kind::Unauthorized,
                    format!("the key's user may make records of `{model}` that it may not read"),
                )
                .help("let the user read the records that it makes")
                .into());
            }
            let made: Json = answer.json()?;
            ids.extend(made.get(ID).and_then(Json::as_i64));
        }
        Ok(ids)
    }

    pub(crate) async fn write(
        &self,
        model: &str,
        edits: &[Edit<'_>],
        context: &Map<String, Json>,
    ) -> Result<(), Fault> {
        for edit in edits {
            self.compare(model, edit.id, edit.stamp, context).await?;
            let path = self.path(model, Some(edit.id));
            self.change(Method::PUT, path, &json!(edit.values), context)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn delete(
        &self,
        model: &str,
        records: &[(i64, &Json)],
        context: &Map<String, Json>,
    ) -> Result<(), Fault> {
        for (id, stamp) in records {
            self.compare(model, *id, stamp, context).await?;
            let path = self.path(model, Some(*id));
            self.change(Method::DELETE, path, &json!({}), context)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn press(
        &self,
        model: &str,
        button: &str,
        id: i64,
        context: &Map<String, Json>,
    ) -> Result<(), Fault> {
        let path = self.path(model, Some(id)).then(button);
        self.change(Method::POST, path, &json!({}), context).await?;
        Ok(())
    }

    /// Looks whether a record is as it was read, as late as can be.
    async fn compare(
        &self,
        model: &str,
        id: i64,
        stamp: &Json,
        context: &Map<String, Json>,
    ) -> Result<(), Fault> {
        if !stamp.is_string() {
            return Ok(());
        }
        let request = self
            .http
            .get(self.path(model, Some(id)))
            .query(&[("f", STAMP)])
            .header("x-tryton-context", encoded(&json!(context)));
        let answer = request.send().await.map_err(|error| self.fault(error))?;
        let record: Json = answer.json()?;
        if record.get(STAMP) == Some(stamp) {
            return Ok(());
        }
        Err(Fault::Concurrency)
    }

    /// A call that changes something: sent once, because nobody can tell whether a failed one was carried out.
    async fn change(
        &self,
        method: Method,
        path: Path,
        values: &Json,
        context: &Map<String, Json>,
    ) -> Result<Answer, Fault> {
        let mut context = context.clone();
        if self.accepts {
            // A warning does not say here what it is confirmed under.
            context.insert("_skip_warnings".to_owned(), Json::Bool(true));
        }
        let request = self
            .http
            .request(method, path)
            .header("x-tryton-context", encoded(&Json::Object(context)))
            .json(values)
            .safe_to_repeat(false);
        request.send().await.map_err(|error| self.fault(error))
    }

    fn path(&self, model: &str, id: Option<i64>) -> Path {
        let path = Path::default()
            .then(&self.database)
            .then("rest/model")
            .then(model);
        match id {
            Some(id) => path.value(id),
            None => path,
        }
    }

    /// What a refusal means.
    fn fault(&self, error: Error) -> Fault {
        let Some(refused) = HttpError::of(&error) else {
            return Fault::Other(error);
        };
        let status = refused.status;
        let told: Option<Json> = serde_json::from_slice(&refused.body).ok();
        match (status, told) {
            (400, Some(told)) => Fault::told(&told),
            (400 | 500, None) => failed(&refused.body).unwrap_or(Fault::Other(error)),
            (401, _) => Fault::Other(
                Error::new(Kind::Unauthorized, "tryton does not know the key")
                    .because(error)
                    .help("check `key`: it belongs to a user's application of kind REST, which must be validated and not cancelled"),
            ),
            // The page is Tryton's own: a gateway that forbids says something else.
            (403, _) if is_trytons(&refused.body) => {
                Fault::User("the key's user may not do that, or there is no such action".to_owned())
            }
            (404, _) if is_trytons(&refused.body) => Fault::Gone(Box::new(
                Error::config("the server has no such database, record or REST interface")
                    .because(error)
                    .help("check the address and `database`; REST came with series 8.0, older servers take `api = \"rpc\"`"),
            )),
            (423, _) => Fault::Concurrency,
            _ => Fault::Other(error),
        }
    }
}

fn hidden_field(model: &str, field: &str) -> Error {
    Error::new(
        Kind::Unauthorized,
        format!("the key's user may not read field `{field}` of `{model}`"),
    )
    .help("give the user's group that right under Administration, Models, Fields Access; or leave the column out of the mapping")
}

/// JSON as it travels in addresses and headers.
fn encoded(json: &Json) -> String {
    BASE64_URL_SAFE.encode(json.to_string())
}

/// Whether a page is one that Tryton's server writes, and not a gateway before it.
fn is_trytons(page: &[u8]) -> bool {
    page.starts_with(b"<!doctype html>\n<html lang=en>\n<title>")
}

/// The exception that Tryton's page tells of, if it is one.
fn failed(page: &[u8]) -> Option<Fault> {
    if !is_trytons(page) {
        return None;
    }
    let page = String::from_utf8_lossy(page);
    let text = page.split_once("<p>")?.1.split_once("</p>")?.0;
    let mut plain = text.to_owned();
    for (escaped, character) in [
        ("&#39;", "'"),
        ("&#34;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ] {
        plain = plain.replace(escaped, character);
    }
    Some(Fault::exception(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = "<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>\n<p>&#39;party.prty&#39; &amp;lt;</p>\n";

    #[test]
    fn a_page_of_the_servers_own_tells_what_failed() {
        let fault = failed(PAGE.as_bytes()).unwrap();
        assert!(matches!(fault, Fault::Exception(text) if text == "'party.prty' &lt;"));
        for page in [
            "",
            "<html><h1>500 Internal Server Error</h1><p>nginx</p></html>",
            "<!doctype html>\n<html lang=en>\n<title>500",
        ] {
            assert!(failed(page.as_bytes()).is_none(), "{page}");
        }
    }

    #[test]
    fn what_travels_in_an_address_is_of_its_alphabet() {
        assert_eq!(
            encoded(&json!([["a", "=", "ÿ?>"]])),
            "W1siYSIsIj0iLCLDvz8-Il1d"
        );
    }

    proptest! {
        #[test]
        fn no_page_panics(tail in ".{0,40}") {
            let _ = failed(format!("<!doctype html>\n<html lang=en>\n<title>{tail}").as_bytes());
        }
    }
}
