//! The protocol: calls of the API, its pages, and its refusals.
//!
//! Knows paths and parameters; what objects mean is for others.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lockstep_core::connector::{OpenContext, Secret};
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{Answer, Auth, Budget, Client, Path, Settings, Url};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::Config;
use crate::convert::text;
use crate::form::Pairs;
use crate::table;

/// Most bytes of one answer.
const BODY_MAX: usize = 64 << 20;
/// Answers that say something of the object at hand.
/// A failure among them is repeated as the answer to its key for a day.
const REFUSALS: [u16; 5] = [400, 402, 404, 409, 500];

/// An account, as it is called.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    page_max: usize,
    at_once: usize,
}

/// A page of objects.
#[derive(Debug, Deserialize)]
pub(crate) struct Objects {
    pub(crate) data: Vec<Json>,
    #[serde(default)]
    pub(crate) has_more: bool,
    /// Where the next page of a search begins.
    #[serde(default)]
    pub(crate) next_page: Option<String>,
}

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The object as it is now; `replayed` where it is the answer to an earlier call of the same key.
    Done {
        /// The object.
        object: Json,
        /// Whether the answer is an old one.
        replayed: bool,
    },
    /// Stripe does not do it.
    Refused(Refusal),
}

/// Why Stripe does not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// The type of the error.
    pub(crate) kind: String,
    /// Its code.
    pub(crate) code: Option<String>,
    /// The parameter that it is about.
    pub(crate) param: Option<String>,
    /// What Stripe says; it may quote values.
    pub(crate) message: String,
    /// The request whose answer this is, where that was an earlier one of the same key.
    pub(crate) replayed: Option<String>,
}

impl Api {
    /// Sets up the calls of an account; calls nothing yet.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Api> {
        config.check()?;
        let base = Url::parse(&config.url).map_err(|error| {
            Error::config(format!("`url = {}` is no address", config.url))
                .help("leave `url` out for Stripe itself")
                .because(error)
        })?;
        let mut headers = Vec::new();
        headers.extend(
            config
                .version
                .clone()
                .map(|version| ("Stripe-Version".to_owned(), version)),
        );
        headers.extend(
            config
                .account
                .clone()
                .map(|account| ("Stripe-Account".to_owned(), account)),
        );
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base,
            auth: Auth::Bearer(Secret::new(config.api_key.expose().clone())),
            budget: Budget {
                per_second: Some(config.calls_per_second),
                concurrent: config.calls_at_once,
                ..Budget::default()
            },
            body_max: BODY_MAX,
            headers,
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            ..Settings::default()
        })?;
        Ok(Api {
            client,
            page_max: config.page_max,
            at_once: config.calls_at_once,
        })
    }

    /// One object; none where it is gone.
    pub(crate) async fn object(
        &self,
        kind: &table::Kind,
        id: &str,
        expand: &[String],
    ) -> Result<Option<Json>> {
        let query: Vec<(&str, &str)> = expand
            .iter()
            .map(|path| ("expand[]", path.as_str()))
            .collect();
        let request = self.client.get(one(kind, id));
        let answer = request.query(&query).accept_status(&[404]).send().await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let object: Json = answer.json()?;
        Ok((!is_deleted(&object)).then_some(object))
    }

    /// Objects by their ids, several calls at once; those that are gone are left out.
    pub(crate) async fn objects(
        &self,
        kind: &table::Kind,
        ids: impl IntoIterator<Item = String>,
        expand: &[String],
    ) -> Result<Vec<(String, Option<Json>)>> {
        let asked = ids.into_iter().map(|id| async move {
            let object = self.object(kind, &id, expand).await?;
            Ok::<_, Error>((id, object))
        });
        stream::iter(asked)
            .buffer_unordered(self.at_once)
            .try_collect()
            .await
    }

    /// A page of a listing that begins behind an object, with whether the server knew that one and these parameters.
    pub(crate) async fn page(
        &self,
        path: impl Into<Path>,
        parameters: &[(&str, String)],
        after: Option<&str>,
    ) -> Result<Result<Objects, Refusal>> {
        let limit = self.page_max.to_string();
        let mut query: Vec<(&str, &str)> = vec![("limit", &limit)];
        query.extend(
            parameters
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        query.extend(after.map(|after| ("starting_after", after)));
        let request = self.client.get(path).query(&query);
        let answer = request.accept_status(&[400, 404]).send().await?;
        if answer.status >= 400 {
            return Ok(Err(Refusal::of(&answer)));
        }
        Ok(Ok(answer.json()?))
    }

    /// Objects that the vendor's search finds; none where the server cannot search them.
    pub(crate) async fn search(
        &self,
        kind: &table::Kind,
        query: &str,
    ) -> Result<Option<Vec<Json>>> {
        let limit = self.page_max.to_string();
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut parameters = vec![("query", query), ("limit", limit.as_str())];
            parameters.extend(next.as_deref().map(|next| ("page", next)));
            let path = all(kind).then("search");
            let request = self.client.get(path).query(&parameters);
            let answer = request.accept_status(&[400, 403, 404]).send().await?;
            if answer.status >= 400 {
                // Not every account and server has it, and a restricted key may not be allowed to.
                return Ok(None);
            }
            let objects: Objects = answer.json()?;
            found.extend(objects.data);
            match objects.next_page.filter(|_| objects.has_more) {
                Some(page) if next.as_ref() != Some(&page) => next = Some(page),
                _ => return Ok(Some(found)),
            }
        }
    }

    /// Makes or changes something.
    ///
    /// It is sent once: an answer that is lost leaves open whether it was done, and who does not know has to look first, because not every server minds the key.
    pub(crate) async fn post(
        &self,
        path: Path,
        pairs: &Pairs,
        key: Option<&str>,
    ) -> Result<Written> {
        let mut request = self.client.post(path).form(pairs);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        written(&request.accept_status(&REFUSALS).send().await?)
    }

    /// Deletes something; a refusal that it is missing is for the caller to judge.
    pub(crate) async fn delete(&self, path: Path) -> Result<Written> {
        let request = self.client.delete(path);
        written(&request.accept_status(&REFUSALS).send().await?)
    }

    /// What time it is there; here, where the server does not say.
    pub(crate) async fn now(&self, path: Path) -> Result<Timestamp> {
        let request = self.client.get(path).query(&[("limit", "1")]);
        let answer = request.accept_status(&[400, 404]).send().await?;
        if answer.status == 404 {
            return Err(Error::unsupported("the server has no such list").help(
                "for a server without events, say `events = false` in the system's settings",
            ));
        }
        Ok(date(&answer).unwrap_or_else(Timestamp::now))
    }
}

/// Where objects of a kind are.
pub(crate) fn all(kind: &table::Kind) -> Path {
    Path::default().then("v1").then(kind.path)
}

/// Where one of them is.
pub(crate) fn one(kind: &table::Kind, id: &str) -> Path {
    all(kind).value(id)
}

fn is_deleted(object: &Json) -> bool {
    object.get("deleted") == Some(&Json::Bool(true))
}

/// The time of an answer, as its head says it.
fn date(answer: &Answer) -> Option<Timestamp> {
    let text = answer.header("date")?;
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|at| at.timestamp())
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

fn written(answer: &Answer) -> Result<Written> {
    if answer.status < 400 {
        return Ok(Written::Done {
            object: answer.json()?,
            replayed: is_replayed(answer),
        });
    }
    let refusal = Refusal::of(answer);
    if answer.status == 500 && refusal.replayed.is_none() {
        return Err(
            Error::new(Kind::Transient, "the server failed while it wrote")
                .help("it is looked up and tried again"),
        );
    }
    if answer.status == 409 || refusal.code.as_deref() == Some("lock_timeout") {
        // Another call works on the same object or under the same key.
        return Err(
            Error::new(Kind::Transient, "another call works on the same object")
                .help("it is tried again"),
        );
    }
    Ok(Written::Refused(refusal))
}

impl Refusal {
    fn of(answer: &Answer) -> Refusal {
        let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = body.get("error").unwrap_or(&Json::Null);
        let word = |name| text(error, name).map(str::to_owned);
        Refusal {
            status: answer.status,
            kind: word("type").unwrap_or_default(),
            code: word("code"),
            param: word("param"),
            message: word("message").unwrap_or_default(),
            replayed: is_replayed(answer).then(|| {
                let request = answer.header("original-request");
                request.unwrap_or("an earlier one").to_owned()
            }),
        }
    }

    /// Whether a key was used before with other parameters.
    pub(crate) fn is_other_use_of_key(&self) -> bool {
        self.kind == "idempotency_error"
    }

    /// Whether what is named is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404 || self.code.as_deref() == Some("resource_missing")
    }

    /// Whether the server has no such call: the refusal is none of the API's own.
    pub(crate) fn is_no_call(&self) -> bool {
        self.status == 404 && self.kind.is_empty()
    }

    /// What Stripe says, without these values.
    pub(crate) fn words<'a>(&self, values: impl Iterator<Item = &'a str>) -> String {
        let mut message: String = self.message.chars().take(400).collect();
        for value in values.filter(|value| value.len() > 2) {
            message = message.replace(value, "…");
        }
        let mut words = match &self.code {
            Some(code) => format!("{code} ({})", self.status),
            None => format!("status {}", self.status),
        };
        if let Some(param) = &self.param {
            words.push_str(&format!(" at `{param}`"));
        }
        if !message.is_empty() {
            words.push_str(": ");
            words.push_str(&message);
        }
        words
    }

    /// The refusal of a reading, as an error.
    pub(crate) fn into_error(self, what: &str) -> Error {
        let kind = if self.is_missing() {
            Kind::Unsupported
        } else {
            Kind::Unexpected
        };
        Error::new(
            kind,
            format!("{what} is refused: {}", self.words(std::iter::empty())),
        )
        .help("see the system's settings `url` and `version`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_without_the_values_that_were_sent() {
        let refusal = Refusal {
            status: 400,
            code: Some("email_invalid".to_owned()),
            param: Some("email".to_owned()),
            message: "Invalid email address: ann@x".to_owned(),
            ..Refusal::default()
        };
        let words = refusal.words(["ann@x"].into_iter());
        assert_eq!(
            words,
            "email_invalid (400) at `email`: Invalid email address: …"
        );
    }
}
