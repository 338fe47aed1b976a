//! The protocol: pages and their links, batches, tokens against forged requests, and what the service says of itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lockstep_core::connector::{OpenContext, Secret};
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{
    Answer, Auth, Budget, Client, Grant, HttpError, Json, Method, OAuth2, Path, Secretly, Settings,
    Timeouts, Url,
};
use tokio::sync::Mutex;

use crate::batch::{self, MULTIPART, Operation, Part, Reply};
use crate::config::{BatchStyle, ChangeSets, Config};
use crate::metadata::Service;
use crate::refusal::{Refusal, explain, stands_in_the_way};
use crate::table::{Table, annotation};

/// Longer addresses are sent inside a batch: gateways cut them otherwise.
const ADDRESS_MAX: usize = 2000;
/// What is read, with every digit.
pub(crate) const ACCEPT: &str = "application/json;odata.metadata=minimal;IEEE754Compatible=true";
/// What is sent, with every digit.
pub(crate) const SENT: &str = "application/json;IEEE754Compatible=true";
/// Answers that say something of the request at hand.
const REFUSALS: [u16; 9] = [400, 404, 405, 406, 409, 410, 412, 415, 422];

/// A service, as it is called.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    pub(crate) config: Config,
    service: RwLock<Option<Arc<Service>>>,
    /// The token against forged requests, and the session's cookies.
    forgery: Mutex<Option<(Secret<String>, Secret<String>)>>,
    /// Whether the service turned out not to take batches in JSON.
    no_json: AtomicBool,
}

/// A page of records.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) records: Vec<Json>,
    /// Where the next page is.
    pub(crate) next: Option<String>,
    /// Where changes behind the last page are told.
    pub(crate) delta: Option<String>,
}

impl Api {
    /// Sets up the calls of a service; calls nothing yet.
    pub(crate) fn open(config: Config, cx: &OpenContext) -> Result<Api> {
        config.check()?;
        let address = |name: &str, text: &str| {
            Url::parse(text).map_err(|error| {
                Error::config(format!("`{name} = {text}` is no address"))
                    .help("give the root of the service, such as https://host/sap/opu/odata4/…/")
                    .because(error)
            })
        };
        let auth = match (&config.user, &config.password, &config.token, &config.oauth) {
            (Some(user), Some(password), ..) => Auth::Basic {
                user: user.clone(),
                password: password.clone(),
            },
            (_, _, Some(token), _) => Auth::Bearer(token.clone()),
            (.., Some(oauth)) => Auth::OAuth2(OAuth2 {
                token_url: address("token_url", &oauth.token_url)?,
                client_id: oauth.client_id.clone(),
                grant: Grant::ClientCredentials {
                    secret: oauth.client_secret.clone(),
                },
                scopes: oauth.scopes.clone(),
                extra: Vec::new(),
                secret_in: Secretly::Body,
            }),
            _ => Auth::None,
        };
        let mut headers: Vec<(String, String)> = config
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().clone()))
            .collect();
        headers.push(("OData-Version".to_owned(), "4.0".to_owned()));
        headers.push(("OData-MaxVersion".to_owned(), "4.01".to_owned()));
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base: address("url", config.url.trim_end_matches('/'))?,
            auth,
            budget: Budget {
                per_second: config.calls_per_second,
                concurrent: config.calls_at_once,
                ..Budget::default()
            },
            timeouts: Timeouts {
                total: Duration::from_secs(config.timeout_s),
                ..Timeouts::default()
            },
            body_max: config.answer_bytes,
            headers,
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            ..Settings::default()
        })?;
        Ok(Api {
            client,
            config,
            service: RwLock::default(),
            forgery: Mutex::default(),
            no_json: AtomicBool::new(false),
        })
    }

    pub(crate) fn system(&self) -> &str {
        self.client.system()
    }

    /// What the service says of itself, read anew.
    pub(crate) async fn look(&self) -> Result<Arc<Service>> {
        let request = self
            .client
            .get("$metadata")
            .header("accept", "application/xml");
        let answer = request.send().await.map_err(explain)?;
        let text = std::str::from_utf8(&answer.body).unwrap_or_default();
        let service = Service::parse(text).map_err(|why| {
            Error::unexpected(format!("`$metadata` of system `{}` {why}", self.system())).help(
                "see the setting `url`: it is the root of an OData 4 service; a login page may stand before it",
            )
        })?;
        let service = Arc::new(service);
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&service));
        Ok(service)
    }

    /// What the service said of itself when it was asked last.
    pub(crate) fn known(&self) -> Option<Arc<Service>> {
        self.service
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A table, as far as the service was looked at.
    pub(crate) async fn table(&self, name: &str) -> Result<Table> {
        let service = match self.known() {
            Some(service) => service,
            None => self.look().await?,
        };
        Table::of(&service, name, self.config.table(name))
    }

    /// A page of records by the address of a set with options, or by a link of the service.
    pub(crate) async fn page(
        &self,
        address: &str,
        prefer: &str,
    ) -> Result<Result<Listed, Refusal>> {
        let (tree, base) = if address.len() > ADDRESS_MAX && self.config.batch != BatchStyle::None {
            match self.long(address, prefer).await? {
                Ok(tree) => (tree, None),
                Err(refusal) => return Ok(Err(refusal)),
            }
        } else {
            let request = self.client.get(address).header("accept", ACCEPT);
            let request = match prefer {
                "" => request,
                prefer => request.header("prefer", prefer),
            };
            let answer = request
                .accept_status(&REFUSALS)
                .send()
                .await
                .map_err(explain)?;
            if answer.status >= 400 {
                return Ok(Err(Refusal::parse(answer.status, &answer.body)));
            }
            (answer.tree()?, Some(answer))
        };
        let link = |name: &str| -> Result<Option<String>> {
            let Some(link) = annotation(&tree, name) else {
                return Ok(None);
            };
            match &base {
                Some(answer) => answer.link(link).map(Some),
                None => Ok(Some(link.to_owned())),
            }
        };
        let (next, delta) = (link("nextLink")?, link("deltaLink")?);
        let Some(records) = tree.get("value").and_then(Json::as_list) else {
            return Err(Error::unexpected(format!(
                "an answer of system `{}` holds no list of records",
                self.system()
            ))
            .help("see the setting `url`: it is the root of an OData 4 service"));
        };
        Ok(Ok(Listed {
            records: records.to_vec(),
            next,
            delta,
        }))
    }

    /// A page whose address is too long for a line.
    async fn long(&self, address: &str, prefer: &str) -> Result<Result<Json, Refusal>> {
        let base = self.client.base().as_str().trim_end_matches('/');
        let relative = address.strip_prefix(base).unwrap_or(address);
        let mut headers = vec![("Accept", ACCEPT.to_owned())];
        if !prefer.is_empty() {
            headers.push(("Prefer", prefer.to_owned()));
        }
        let operation = Operation {
            method: "GET",
            url: relative.trim_start_matches('/').to_owned(),
            headers,
            body: String::new(),
        };
        let replies = self.batch(&[operation], false, true).await?;
        let Some(reply) = replies.into_iter().next().flatten() else {
            return Err(Error::transient("a batch was not answered"));
        };
        if let Some(error) = stands_in_the_way(&reply, self.system()) {
            return Err(error);
        }
        if reply.status >= 400 {
            return Ok(Err(Refusal::of(&reply)));
        }
        let tree = reply
            .json()
            .ok_or_else(|| Error::unexpected("an answer inside a batch is no JSON"))?;
        Ok(Ok(tree))
    }

    /// Carries writes out; of each what the service answers, none where it did not come to it.
    pub(crate) async fn write(&self, operations: &[Operation]) -> Result<Vec<Option<Reply>>> {
        let replies = match self.config.batch {
            BatchStyle::None => {
                let mut replies = Vec::with_capacity(operations.len());
                for operation in operations {
                    replies.push(Some(self.single(operation).await?));
                }
                replies
            }
            _ => {
                let together = self.config.change_sets == ChangeSets::Together;
                self.batch(operations, together, false).await?
            }
        };
        let mut all = replies.iter().flatten();
        match all.find_map(|reply| stands_in_the_way(reply, self.system())) {
            Some(error) => Err(error),
            None => Ok(replies),
        }
    }

    async fn single(&self, operation: &Operation) -> Result<Reply> {
        let method = Method::from_bytes(operation.method.as_bytes())
            .map_err(|error| Error::unexpected("an unknown method").because(error))?;
        let answer = self
            .send(&|| {
                let path = Path::from(&operation.url);
                let mut request = self.client.request(method.clone(), path);
                for (name, value) in &operation.headers {
                    request = request.header(name, value);
                }
                let request = match operation.body.as_str() {
                    "" => request,
                    body => request.body(body.to_owned(), SENT),
                };
                request.accept_status(&REFUSALS).accept_status(&[428])
            })
            .await?;
        let headers = answer.headers.iter();
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Ok(Reply {
            status: answer.status,
            headers: headers.collect(),
            body: answer.body.to_vec(),
        })
    }

    /// Sends operations as one request.
    async fn batch(
        &self,
        operations: &[Operation],
        together: bool,
        is_safe: bool,
    ) -> Result<Vec<Option<Reply>>> {
        let is_later = self.known().is_some_and(|service| service.is_later);
        let json = match self.config.batch {
            BatchStyle::Json => true,
            BatchStyle::Auto => is_later && !self.no_json.load(Ordering::Relaxed),
            _ => false,
        };
        let (body, kind, accept) = if json {
            let body = batch::json(operations, together);
            (body, "application/json", "application/json")
        } else {
            let body = batch::multipart(operations, together);
            (body, MULTIPART, "multipart/mixed")
        };
        let answer = self
            .send(&|| {
                let request = self.client.post("$batch").body(body.clone(), kind);
                let request = request.header("accept", accept).accept_status(&REFUSALS);
                let request = request.header("prefer", "odata.continue-on-error");
                request.safe_to_repeat(is_safe)
            })
            .await?;
        if json && answer.status >= 400 && self.config.batch == BatchStyle::Auto {
            self.no_json.store(true, Ordering::Relaxed);
            return Box::pin(self.batch(operations, together, is_safe)).await;
        }
        if answer.status >= 400 {
            let refusal = Refusal::parse(answer.status, &answer.body);
            return Err(Error::unsupported(format!(
                "system `{}` takes no batches: {}",
                self.system(),
                refusal.words(&[])
            ))
            .help("say `batch = \"none\"` for a service without `$batch`"));
        }
        if json {
            return Ok(batch::read_json(&answer.tree()?, operations.len()));
        }
        let parts = batch::read_multipart(
            answer.header("content-type").unwrap_or_default(),
            &answer.body,
        );
        let parts = parts.ok_or_else(|| {
            Error::transient(format!(
                "the answer of system `{}` to a batch cannot be read, or ends early",
                self.system()
            ))
        })?;
        Ok(told(parts, operations.len(), together))
    }

    /// Sends a request that may change something, with a token where the service wants one.
    async fn send(
        &self,
        request: &(dyn Fn() -> lockstep_http_client::Request + Sync),
    ) -> Result<Answer> {
        let mut renewed = false;
        loop {
            let token = self.forgery.lock().await.clone();
            let mut sent = request();
            if let Some((token, cookies)) = &token {
                sent = sent.header("x-csrf-token", token.expose());
                if !cookies.expose().is_empty() {
                    sent = sent.header("cookie", cookies.expose());
                }
            }
            let error = match sent.send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wanted = HttpError::of(&error).is_some_and(|http| {
                let header = http.headers.get("x-csrf-token");
                let text = header
                    .and_then(|header| header.to_str().ok())
                    .unwrap_or_default();
                http.status == 403 && text.eq_ignore_ascii_case("required")
            });
            if !wanted || renewed {
                return Err(explain(error));
            }
            renewed = true;
            self.renew().await?;
        }
    }

    /// Fetches a token against forged requests, with the session that it belongs to.
    async fn renew(&self) -> Result<()> {
        let mut held = self.forgery.lock().await;
        let request = self.client.get("").header("x-csrf-token", "Fetch");
        let answer = request.send().await.map_err(explain)?;
        let Some(token) = answer.header("x-csrf-token") else {
            return Err(Error::new(
                Kind::Unauthorized,
                format!(
                    "system `{}` wants an x-csrf-token and gives none",
                    self.system()
                ),
            )
            .help("check the user's permissions for the service"));
        };
        let cookies = answer.headers.get_all("set-cookie").iter();
        let cookies: Vec<&str> = cookies
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
            .collect();
        *held = Some((
            Secret::new(token.to_owned()),
            Secret::new(cookies.join("; ")),
        ));
        Ok(())
    }
}

/// The answers of a batch by its operations: each write has a change set of its own, or all stand in one.
fn told(parts: Vec<Part>, count: usize, together: bool) -> Vec<Option<Reply>> {
    let mut replies = vec![None; count];
    if together && count > 0 {
        match parts.into_iter().next() {
            Some(Part::One(refused)) => replies.fill(Some(refused)),
            Some(Part::Set(set)) => {
                for (slot, reply) in replies.iter_mut().zip(set) {
                    *slot = Some(reply);
                }
            }
            None => {}
        }
        return replies;
    }
    for (slot, part) in replies.iter_mut().zip(parts) {
        *slot = match part {
            Part::One(reply) => Some(reply),
            Part::Set(set) => set.into_iter().next(),
        };
    }
    replies
}
