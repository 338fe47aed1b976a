//! The protocol: calls of the REST API, pages of queries, collections of records, and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{
    Answer, Auth, Budget, Client, HeaderMap, HttpError, Json, OAuth2, Path, Request, Secretly,
    Settings, Timeouts, Url,
};

use crate::config::Config;
use crate::refusal::Refusal;
use crate::table::{DELETED, ID, Table, id};

/// Most bytes of one answer.
const BODY_MAX: usize = 64 << 20;
/// Most records of one collection that is written.
pub(crate) const BATCH_MAX: usize = 200;
/// Most records of one collection that is read.
const RETRIEVE_MAX: usize = 1000;
/// Most characters of a query in an address, which may have 16,384.
pub(crate) const QUERY_MAX: usize = 12_000;
/// How long a call may take: triggers run before it is answered, and nothing is heard meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const CALL_MAX: Duration = Duration::from_secs(150);
/// How long an account is left alone whose calls of the day are used up.
const DAY_PAUSE: Duration = Duration::from_secs(900);
/// How long it is left alone that does too much at once.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// How long it is left alone of whose calls of the day this share is used.
const SHARE_PAUSE: Duration = Duration::from_secs(60);
/// How far clocks may be apart without anybody minding.
const CLOCK_MAX_S: i64 = 5;
/// Answers that say something of the query or the records at hand.
const REFUSALS: [u16; 2] = [400, 404];

/// An account, as it is called.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    version: String,
    allow_duplicates: bool,
    /// How far the account's clock is ahead of this machine's, by the last answer.
    ahead_s: Arc<AtomicI64>,
}

/// What a query found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: Vec<Json>,
    /// Whether it ended in the middle, because Salesforce forgot where it was.
    pub(crate) is_cut: bool,
}

/// A record that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) id: String,
}

/// What came of a collection: of each record, or that it was refused as a whole.
pub(crate) type Written = std::result::Result<Vec<std::result::Result<Saved, Refusal>>, Refusal>;

impl Api {
    /// Sets up the calls of an account; calls nothing yet.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Api> {
        config.check()?;
        let address = |text: &str| {
            Url::parse(text).map_err(|error| {
                Error::config(format!("`url = {text}` is no address"))
                    .help("give an address such as https://NAME.my.salesforce.com")
                    .because(error)
            })
        };
        let token_url = format!("{}/services/oauth2/token", config.url.trim_end_matches('/'));
        let share = config.daily_share;
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base: address(&config.url)?,
            auth: Auth::OAuth2(OAuth2 {
                token_url: address(&token_url)?,
                client_id: config.client_id.clone(),
                grant: config.grant(),
                scopes: Vec::new(),
                extra: Vec::new(),
                secret_in: Secretly::Body,
            }),
            base_in: Some("instance_url".to_owned()),
            budget: Budget {
                per_second: Some(config.calls_per_second),
                concurrent: config.calls_at_once,
                ..Budget::default()
            },
            body_max: BODY_MAX,
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            timeouts: Timeouts {
                idle: SILENCE_MAX,
                total: CALL_MAX,
                ..Timeouts::default()
            },
            pace: Some(Arc::new(move |_, headers| pace(headers, share))),
            ..Settings::default()
        })?;
        Ok(Api {
            client,
            version: format!("v{}", config.api_version),
            allow_duplicates: config.allow_duplicates,
            ahead_s: Arc::default(),
        })
    }

    /// What time it is there, as of the last answer.
    pub(crate) fn now(&self) -> Timestamp {
        there(Timestamp::now(), self.ahead_s.load(Ordering::Relaxed))
    }

    /// Sends a request; says of an error what its body tells.
    async fn ask(&self, request: Request) -> Result<Answer> {
        let answer = request.send().await.map_err(|error| {
            let error = explain(error);
            if let (Kind::Throttled, Some(pause)) = (error.kind(), error.retry_after()) {
                self.client.slow_down(pause);
            }
            error
        })?;
        let date = answer
            .header("date")
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        if let Some(date) = date {
            let ahead_s = date.timestamp().as_second() - Timestamp::now().as_second();
            self.ahead_s.store(ahead_s, Ordering::Relaxed);
        }
        Ok(answer)
    }

    fn data(&self, words: &str) -> Path {
        let path = Path::default().then("services/data").then(&self.version);
        match words {
            "" => path,
            words => path.then(words),
        }
    }

    /// Whether calls are answered, and this version of the API is offered.
    pub(crate) async fn is_offered(&self) -> Result<bool> {
        let request = self.client.get(self.data("")).accept_status(&[404]);
        Ok(self.ask(request).await?.status != 404)
    }

    /// The limits of the account, and how much of them is left; none where the user may not see that.
    pub(crate) async fn limits(&self) -> Result<Option<Json>> {
        let request = self.client.get(self.data("limits"));
        let answer = self.ask(request.accept_status(&[403, 404])).await?;
        match answer.status {
            400.. => Ok(None),
            _ => answer.tree().map(Some),
        }
    }

    /// What an object is.
    pub(crate) async fn describe(&self, table: &str) -> Result<Result<Json, Refusal>> {
        let path = self.data("sobjects").value(table).then("describe");
        let request = self.client.get(path).accept_status(&REFUSALS);
        tried(&self.ask(request).await?)
    }

    /// What a query finds; with the records in the recycle bin, where `all` of them are wanted.
    pub(crate) async fn query(&self, query: &str, all: bool) -> Result<Result<Found, Refusal>> {
        let path = self.data(if all { "queryAll" } else { "query" });
        let mut request = self.client.get(path).query(&[("q", query)]);
        let mut found = Found::default();
        let mut pages = 0;
        loop {
            let answer = self.ask(request.accept_status(&REFUSALS)).await?;
            let mut page = match tried(&answer)? {
                Ok(page) => page,
                Err(refusal) if pages > 0 && refusal.code == "INVALID_QUERY_LOCATOR" => {
                    found.is_cut = true;
                    return Ok(Ok(found));
                }
                Err(refusal) => return Ok(Err(refusal)),
            };
            pages += 1;
            let next = page.get("nextRecordsUrl").and_then(Json::as_str);
            let next = next.map(str::to_owned);
            found.records.extend(records(&mut page)?);
            match next {
                Some(next) => request = self.client.get(next),
                None => return Ok(Ok(found)),
            }
        }
    }

    /// Records by their ids; those that are not there are left out.
    pub(crate) async fn retrieve(
        &self,
        table: &Table,
        ids: &[String],
        fields: &[String],
    ) -> Result<Result<Vec<Json>, Refusal>> {
        let text = |text: &str| Json::Text(text.to_owned());
        let mut names: Vec<Json> = vec![text(ID)];
        names.extend(
            fields
                .iter()
                .filter(|field| *field != ID)
                .map(|field| text(field)),
        );
        if table.has(DELETED) && !fields.iter().any(|field| field == DELETED) {
            names.push(text(DELETED));
        }
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(RETRIEVE_MAX) {
            let body = Json::Object(vec![
                (
                    "ids".to_owned(),
                    Json::List(some.iter().map(|id| text(id)).collect()),
                ),
                ("fields".to_owned(), Json::List(names.clone())),
            ]);
            let path = self.data("composite/sobjects").value(&table.name);
            let request = self.client.post(path).json(&body).safe_to_repeat(true);
            match tried(&self.ask(request.accept_status(&REFUSALS)).await?)? {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(Json::List(records)) => found.extend(records.into_iter().filter(is_there)),
                Ok(_) => return Err(unlike("records")),
            }
        }
        Ok(Ok(found))
    }

    /// Makes or changes records by an external id. May be repeated.
    pub(crate) async fn upsert(
        &self,
        table: &str,
        by: &str,
        records: Vec<Json>,
    ) -> Result<Written> {
        let path = self.data("composite/sobjects").value(table).value(by);
        self.save(self.client.patch(path), records).await
    }

    /// Changes records by their ids. May be repeated.
    pub(crate) async fn update(&self, records: Vec<Json>) -> Result<Written> {
        let path = self.data("composite/sobjects");
        self.save(self.client.patch(path), records).await
    }

    async fn save(&self, request: Request, records: Vec<Json>) -> Result<Written> {
        let count = records.len();
        let body = Json::Object(vec![
            ("allOrNone".to_owned(), Json::Bool(false)),
            ("records".to_owned(), Json::List(records)),
        ]);
        let mut request = request.json(&body).safe_to_repeat(true);
        if self.allow_duplicates {
            request = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true");
        }
        self.written(request, count).await
    }

    /// Puts records into the recycle bin. May be repeated.
    pub(crate) async fn delete(&self, ids: &[String]) -> Result<Written> {
        let request = self.client.delete(self.data("composite/sobjects"));
        let ids_text = ids.join(",");
        let request = request.query(&[("ids", ids_text.as_str()), ("allOrNone", "false")]);
        self.written(request, ids.len()).await
    }

    async fn written(&self, request: Request, count: usize) -> Result<Written> {
        let results = match tried(&self.ask(request.accept_status(&REFUSALS)).await?)? {
            Ok(Json::List(results)) if results.len() == count => results,
            Ok(_) => return Err(unlike("a result of each record")),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let each = results.iter().map(|result| {
            if result.get("success").and_then(Json::as_bool) == Some(true) {
                return id(result)
                    .map(|id| Ok(Saved { id }))
                    .ok_or_else(|| unlike("ids"));
            }
            Ok(Err(result
                .get("errors")
                .map(Refusal::first)
                .unwrap_or_default()))
        });
        each.collect::<Result<Vec<_>>>().map(Ok)
    }

    /// The ids of records that were deleted between two instants, of which only the minutes count.
    pub(crate) async fn deleted(
        &self,
        table: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Result<Json, Refusal>> {
        let text = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:00+00:00").to_string();
        let path = self.data("sobjects").value(table).then("deleted");
        let request = self.client.get(path);
        let request = request.query(&[("start", text(from)), ("end", text(until))]);
        tried(&self.ask(request.accept_status(&REFUSALS)).await?)
    }
}

fn tried(answer: &Answer) -> Result<Result<Json, Refusal>> {
    match answer.status {
        400.. => Ok(Err(Refusal::of(answer))),
        _ => answer.tree().map(Ok),
    }
}

/// Whether a record is one, and not in the recycle bin.
fn is_there(record: &Json) -> bool {
    let is_deleted = record.get(DELETED).and_then(Json::as_bool) == Some(true);
    !record.is_null() && !is_deleted
}

/// The records of a page.
fn records(page: &mut Json) -> Result<Vec<Json>> {
    if let Json::Object(members) = page {
        for (name, value) in members {
            if let ("records", Json::List(records)) = (name.as_str(), value) {
                return Ok(std::mem::take(records));
            }
        }
    }
    Err(unlike("records"))
}

fn unlike(what: &str) -> Error {
    Error::unexpected(format!("an answer of Salesforce does not hold {what}"))
        .help("see the system's setting `url`")
}

/// What time it is there, by this machine's clock and how far the other one is ahead of it.
///
/// The other one is told in whole seconds, so small differences are none.
fn there(here: Timestamp, ahead_s: i64) -> Timestamp {
    if ahead_s.abs() <= CLOCK_MAX_S {
        return here;
    }
    here.checked_add(jiff::SignedDuration::from_secs(ahead_s))
        .unwrap_or(here)
}

/// Says what the code of an error means: limits come as 403.
fn explain(error: Error) -> Error {
    let Some(http) = HttpError::of(&error) else {
        return error;
    };
    let refusal = Refusal::parse(&http.body);
    match refusal.code.as_str() {
        "REQUEST_LIMIT_EXCEEDED" if refusal.message.contains("oncurrent") => {
            Error::new(Kind::Throttled, error.to_string())
                .after(BUSY_PAUSE)
                .help("the account serves too many long calls at once")
                .because(http.clone())
        }
        "REQUEST_LIMIT_EXCEEDED" => Error::new(Kind::Throttled, error.to_string())
            .after(DAY_PAUSE)
            .help("the account's calls of 24 hours are used up; lower `daily_share`, or poll less often")
            .because(http.clone()),
        "API_DISABLED_FOR_ORG" | "API_CURRENTLY_DISABLED" => {
            error.help("the account's edition or the user's profile does not allow the API (`API Enabled`)")
        }
        "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY" => {
            error.help("let the integration's user see and edit the object (permission set)")
        }
        _ => error,
    }
}

/// How long Salesforce is left alone, by how many of its calls of the day are used.
fn pace(headers: &HeaderMap, share: f64) -> Option<Duration> {
    let text = headers.get("sforce-limit-info")?.to_str().ok()?;
    let usage = text.split([';', ',']).find_map(|part| {
        let (used, most) = part.trim().strip_prefix("api-usage=")?.split_once('/')?;
        Some((used.parse::<f64>().ok()?, most.parse::<f64>().ok()?))
    });
    let (used, most) = usage?;
    (used >= most * share).then_some(SHARE_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_day_are_kept_for_others() {
        let told = |text: &str, share| {
            let mut headers = HeaderMap::new();
            headers.insert("sforce-limit-info", text.parse().unwrap());
            pace(&headers, share)
        };
        assert_eq!(told("api-usage=18/5000", 0.9), None);
        assert_eq!(told("api-usage=4500/5000", 0.9), Some(SHARE_PAUSE));
        assert_eq!(
            told(
                "api-usage=4500/5000; per-app-api-usage=17/250(appName=x)",
                1.0
            ),
            None
        );
        assert_eq!(told("odd", 0.9), None);
        assert_eq!(pace(&HeaderMap::new(), 0.9), None);
    }

    #[test]
    fn the_time_is_that_of_the_account() {
        let here = Timestamp::from_second(1_700_000_000).unwrap();
        for (ahead_s, expected) in [(0, 0), (-5, 0), (3600, 3600), (-7200, -7200)] {
            assert_eq!(
                there(here, ahead_s).as_second() - here.as_second(),
                expected
            );
        }
    }
}
