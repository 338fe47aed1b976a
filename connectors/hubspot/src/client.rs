//! The protocol: calls of the CRM's API, its pages, its batches and its refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Result};
use lockstep_http_client::{
    Answer, Auth, Budget, Client, Grant, HttpError, OAuth2, Path, Request, Secretly, Settings, Url,
};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Config;

/// Most bytes of one answer.
const BODY_MAX: usize = 64 << 20;
/// Most records of one batch.
pub(crate) const BATCH_MAX: usize = 100;
/// How long one search comes after another: the account has five of them a second.
const SEARCH_PAUSE: Duration = Duration::from_millis(200);
/// Most characters of names in an address; more are asked for by batches.
const NAMES_MAX: usize = 4000;
/// How long an account is left alone whose calls of the day are used up.
const DAY_PAUSE: Duration = Duration::from_secs(900);
/// How far clocks may be apart without anybody minding.
const CLOCK_MAX_S: i64 = 5;
/// Answers that say something of the records at hand.
const REFUSALS: [u16; 4] = [400, 404, 409, 415];

/// An account, as it is called.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    page_max: usize,
    search: Arc<Mutex<Option<Instant>>>,
    /// How far the account's clock is ahead of this machine's, by the last answer.
    ahead_s: Arc<AtomicI64>,
}

/// What HubSpot says to a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The records, as they are now.
    Done(Vec<Json>),
    /// It does not do it, or not all of it.
    Refused(Refusal),
}

/// Why HubSpot does not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// Its category.
    pub(crate) category: String,
    /// What HubSpot says; it may quote values.
    pub(crate) message: String,
}

impl Api {
    /// Sets up the calls of an account; calls nothing yet.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Api> {
        config.check()?;
        let address = |text: &str| {
            Url::parse(text).map_err(|error| {
                Error::config(format!("`url = {text}` is no address"))
                    .help("leave `url` out for HubSpot itself")
                    .because(error)
            })
        };
        let auth = match (&config.access_token, &config.oauth) {
            (Some(token), _) => Auth::Bearer(token.clone()),
            (None, Some(oauth)) => Auth::OAuth2(OAuth2 {
                token_url: address(&format!(
                    "{}/oauth/v1/token",
                    config.url.trim_end_matches('/')
                ))?,
                client_id: oauth.client_id.clone(),
                grant: Grant::RefreshToken {
                    secret: Some(oauth.client_secret.clone()),
                    refresh_token: oauth.refresh_token.clone(),
                },
                scopes: Vec::new(),
                extra: Vec::new(),
                secret_in: Secretly::Body,
            }),
            (None, None) => Auth::None,
        };
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base: address(&config.url)?,
            auth,
            budget: Budget {
                per_second: Some(config.calls_per_second),
                concurrent: config.calls_at_once,
                ..Budget::default()
            },
            body_max: BODY_MAX,
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            pace: Some(Arc::new(pace)),
            ..Settings::default()
        })?;
        Ok(Api {
            client,
            page_max: config.page_max,
            search: Arc::default(),
            ahead_s: Arc::default(),
        })
    }

    /// What time it is there.
    pub(crate) fn now(&self) -> Timestamp {
        there(Timestamp::now(), self.ahead_s.load(Ordering::Relaxed))
    }

    /// Sends a request; says of an error what its body tells.
    async fn ask(&self, request: Request) -> Result<Answer> {
        let answer = request.send().await.map_err(explain)?;
        let date = answer
            .header("date")
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        if let Some(date) = date {
            let ahead_s = date.timestamp().as_second() - Timestamp::now().as_second();
            self.ahead_s.store(ahead_s, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// The properties of an object; none where they cannot be read.
    pub(crate) async fn properties(&self, table: &str) -> Result<Option<Vec<Json>>> {
        let path = Path::default().then("crm/v3/properties").value(table);
        let answer = self
            .ask(self.client.get(path).accept_status(&[403, 404, 405]))
            .await?;
        if answer.status >= 400 {
            return Ok(None);
        }
        Ok(Some(results(&answer)?.0))
    }

    /// A page of an object's records, in the order of their ids, and where the next one begins.
    pub(crate) async fn list(
        &self,
        table: &str,
        properties: &[String],
        after: Option<&str>,
    ) -> Result<Result<(Vec<Json>, Option<String>), Refusal>> {
        let names = properties.join(",");
        let is_long = names.len() > NAMES_MAX;
        let limit = self.page_max.to_string();
        let mut query = vec![("limit", limit.as_str()), ("archived", "false")];
        if !is_long {
            query.push(("properties", &names));
        }
        query.extend(after.map(|after| ("after", after)));
        let request = self.client.get(objects(table)).query(&query);
        let answer = self.ask(request.accept_status(&[400, 404])).await?;
        if answer.status >= 400 {
            return Ok(Err(Refusal::of(&answer)));
        }
        let (mut records, next) = results(&answer)?;
        if is_long {
            let ids: Vec<String> = records.iter().filter_map(id).collect();
            records = self
                .read(table, &ids, None, properties)
                .await?
                .unwrap_or_default();
        }
        Ok(Ok((records, next)))
    }

    /// Records that a search finds.
    pub(crate) async fn search(&self, table: &str, body: &Json) -> Result<Vec<Json>> {
        self.wait().await;
        let request = self.client.post(objects(table).then("search"));
        let answer = self.ask(request.json(body).safe_to_repeat(true)).await?;
        Ok(results(&answer)?.0)
    }

    /// Waits until there may be a search: those of an account are counted apart, and no header tells of them.
    async fn wait(&self) {
        let mut next = self.search.lock().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at).await;
        }
        *next = Some(Instant::now() + SEARCH_PAUSE);
    }

    /// Records by their ids or by the values of a property; those that are not there are left out. None where records cannot be found by that property.
    pub(crate) async fn read(
        &self,
        table: &str,
        ids: &[String],
        by: Option<&str>,
        properties: &[String],
    ) -> Result<Option<Vec<Json>>> {
        let mut records = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH_MAX) {
            let inputs: Vec<Json> = some.iter().map(|id| json!({ "id": id })).collect();
            let mut body = json!({ "inputs": inputs, "properties": properties });
            if let Some(by) = by {
                body["idProperty"] = json!(by);
            }
            let request = self.client.post(objects(table).then("batch/read"));
            let request = request.json(&body).safe_to_repeat(true);
            let answer = self.ask(request.accept_status(&[400, 404])).await?;
            if answer.status >= 400 {
                if by.is_none() && some.len() > 1 {
                    for one in some {
                        let one = std::slice::from_ref(one);
                        let read = Box::pin(self.read(table, one, None, properties)).await?;
                        records.extend(read.unwrap_or_default());
                    }
                    continue;
                }
                if by.is_some() {
                    return Ok(None);
                }
                // A text that is no id names no record.
                continue;
            }
            records.extend(results(&answer)?.0);
        }
        Ok(Some(records))
    }

    /// Makes or changes records: `what` is `upsert`, `update` or `archive`. All of them may be repeated.
    pub(crate) async fn batch(&self, table: &str, what: &str, inputs: &[Json]) -> Result<Written> {
        let path = objects(table).then("batch").then(what);
        let request = self.client.post(path).json(&json!({ "inputs": inputs }));
        let request = request.safe_to_repeat(true).accept_status(&REFUSALS);
        let answer = self.ask(request).await?;
        // Where some were refused the rest was done; whoever needs to know which asks one by one.
        if answer.status >= 400 || answer.status == 207 {
            return Ok(Written::Refused(Refusal::of(&answer)));
        }
        if answer.body.is_empty() {
            return Ok(Written::Done(Vec::new()));
        }
        Ok(Written::Done(results(&answer)?.0))
    }

    /// The ids that records are associated with, by the records' ids.
    pub(crate) async fn links(
        &self,
        from: &str,
        to: &str,
        ids: &[String],
    ) -> Result<Vec<(String, Vec<String>)>> {
        let mut links = Vec::new();
        for some in ids.chunks(BATCH_MAX) {
            let path = Path::default()
                .then("crm/v4/associations")
                .value(from)
                .value(to);
            let inputs: Vec<Json> = some.iter().map(|id| json!({ "id": id })).collect();
            let request = self.client.post(path.then("batch/read"));
            let request = request
                .json(&json!({ "inputs": inputs }))
                .safe_to_repeat(true);
            let answer = self.ask(request.accept_status(&[404, 405])).await?;
            if answer.status >= 400 {
                for id in some {
                    links.push((id.clone(), self.links_of(from, to, id).await?));
                }
                continue;
            }
            for result in results(&answer)?.0 {
                let Some(id) = result.get("from").and_then(id) else {
                    continue;
                };
                let to = result
                    .get("to")
                    .and_then(Json::as_array)
                    .into_iter()
                    .flatten();
                links.push((
                    id,
                    to.filter_map(|to| to.get("toObjectId"))
                        .filter_map(plain)
                        .collect(),
                ));
            }
        }
        Ok(links)
    }

    async fn links_of(&self, from: &str, to: &str, id: &str) -> Result<Vec<String>> {
        let path = Path::default().then("crm/v4/objects").value(from).value(id);
        let request = self.client.get(path.then("associations").value(to));
        let answer = self.ask(request.accept_status(&[404])).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let (all, _) = results(&answer)?;
        Ok(all
            .iter()
            .filter_map(|one| one.get("toObjectId"))
            .filter_map(plain)
            .collect())
    }

    /// Associates two records in the default way, or takes every association of them away.
    pub(crate) async fn link(
        &self,
        from: &str,
        id: &str,
        to: &str,
        other: &str,
        is_wanted: bool,
    ) -> Result<Option<Refusal>> {
        let path = Path::default().then("crm/v4/objects").value(from).value(id);
        let request = match is_wanted {
            true => self
                .client
                .put(path.then("associations/default").value(to).value(other)),
            false => self
                .client
                .delete(path.then("associations").value(to).value(other)),
        };
        let answer = self.ask(request.accept_status(&REFUSALS)).await?;
        Ok((answer.status >= 400).then(|| Refusal::of(&answer)))
    }
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

fn objects(table: &str) -> Path {
    Path::default().then("crm/v3/objects").value(table)
}

fn id(record: &Json) -> Option<String> {
    record.get("id").and_then(plain)
}

fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The records of an answer, and where the next page begins.
fn results(answer: &Answer) -> Result<(Vec<Json>, Option<String>)> {
    let mut body: Json = answer.json()?;
    let next = body
        .get("paging")
        .and_then(|paging| plain(paging.get("next")?.get("after")?));
    match body.get_mut("results").map(Json::take) {
        Some(Json::Array(records)) => Ok((records, next)),
        _ => Err(Error::unexpected("an answer of HubSpot holds no results")
            .help("see the system's setting `url`")),
    }
}

/// Adds what a vendor's error says: the scopes that are missing, or that the day's calls are used up.
fn explain(error: Error) -> Error {
    let body =
        HttpError::of(&error).map(|http| (http.status, Refusal::parse(http.status, &http.body)));
    match body {
        Some((403, refusal)) if refusal.category == "MISSING_SCOPES" => error
            .help("give the app the scopes of these objects (crm.objects.…, crm.schemas.…), and install it again"),
        Some((429, refusal)) if refusal.category == "DAILY" => error
            .after(DAY_PAUSE)
            .help("the account's calls of the day are used up; they begin anew at midnight of its time zone"),
        _ => error,
    }
}

/// How long HubSpot wants to be left alone: the interval of a limit that is used up.
fn pace(status: u16, headers: &lockstep_http_client::HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let left = number("x-hubspot-ratelimit-remaining");
    if status != 429 && left != Some(0) {
        return None;
    }
    // What is waited for at most: the limit counts over ten seconds.
    let interval = number("x-hubspot-ratelimit-interval-milliseconds").unwrap_or(10_000);
    let share = if status == 429 {
        interval
    } else {
        interval / 10
    };
    Some(Duration::from_millis(share.min(10_000)))
}

impl Refusal {
    fn of(answer: &Answer) -> Refusal {
        Refusal::parse(answer.status, &answer.body)
    }

    fn parse(status: u16, body: &[u8]) -> Refusal {
        let body: Json = serde_json::from_slice(body).unwrap_or_default();
        // Of a batch that was done in part, the first error.
        let error = body
            .get("errors")
            .and_then(|errors| errors.get(0))
            .filter(|_| status == 207);
        let error = error.unwrap_or(&body);
        let word = |name: &str| {
            error
                .get(name)
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let policy = word("policyName");
        Refusal {
            status,
            category: if policy.is_empty() {
                word("category")
            } else {
                policy
            },
            message: word("message"),
        }
    }

    /// What HubSpot says, without these values.
    pub(crate) fn words<'a>(&self, values: impl Iterator<Item = &'a str>) -> String {
        let mut message: String = self.message.chars().take(400).collect();
        for value in values.filter(|value| value.len() > 2) {
            message = message.replace(value, "…");
        }
        format!("{} ({}): {message}", self.category, self.status)
    }
}

#[cfg(test)]
mod tests {
    use lockstep_http_client::HeaderMap;

    use super::*;

    #[test]
    fn a_limit_that_is_used_up_is_waited_for() {
        let headers = |left: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-hubspot-ratelimit-remaining", left.parse().unwrap());
            headers.insert(
                "x-hubspot-ratelimit-interval-milliseconds",
                "10000".parse().unwrap(),
            );
            headers
        };
        assert_eq!(pace(200, &headers("5")), None);
        assert_eq!(pace(200, &headers("0")), Some(Duration::from_secs(1)));
        assert_eq!(pace(429, &headers("0")), Some(Duration::from_secs(10)));
        assert_eq!(pace(200, &HeaderMap::new()), None);
    }

    #[test]
    fn the_time_is_that_of_the_account() {
        let here = Timestamp::from_second(1_700_000_000).unwrap();
        for (ahead_s, expected) in [(0, 0), (-1, 0), (5, 0), (3600, 3600), (-7200, -7200)] {
            assert_eq!(
                there(here, ahead_s).as_second() - here.as_second(),
                expected
            );
        }
    }

    #[test]
    fn a_refusal_is_told_without_the_values_that_were_sent() {
        let body =
            br#"{"status":"error","category":"VALIDATION_ERROR","message":"ann@x is no email"}"#;
        let words = Refusal::parse(400, body).words(["ann@x"].into_iter());
        assert_eq!(words, "VALIDATION_ERROR (400): … is no email");
        let daily = Refusal::parse(
            429,
            br#"{"policyName": "DAILY", "category": "RATE_LIMITS"}"#,
        );
        assert_eq!(daily.category, "DAILY");
    }
}
