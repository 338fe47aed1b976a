//! Calls of the server: what may be repeated, the context they are made in, and their answers.
//!
//! Knows JSON-RPC as Tryton speaks it; knows nothing of models.

use std::sync::Arc;

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Result};
use lockstep_http_client::{Auth, Client as Http, Settings};
use serde_json::{Map, Value as Json, json};
use tokio::sync::OnceCell;

use crate::config::Config;
use crate::fault::Fault;
use crate::session::Session;

/// Most warnings that one call may want confirmed.
const WARNINGS_MAX: usize = 8;

/// Calls one database of a server.
pub(crate) struct Client {
    http: Http,
    session: Arc<Session>,
    path: String,
    company: Option<i64>,
    language: Option<String>,
    accepts: bool,
    context: OnceCell<Map<String, Json>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; the first call logs in.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Client> {
        config.check()?;
        let settings = config.settings(cx)?;
        // The slash at the end belongs to the address: without it the server redirects.
        let path = format!("{}/rpc/", config.database);
        let session = Arc::new(Session::new(
            Http::new(Settings {
                auth: Auth::None,
                ..settings.clone()
            })?,
            path.clone(),
            config.user.clone(),
            config.password.clone(),
        ));
        let shared: Arc<dyn lockstep_http_client::Authorize> = session.clone();
        Ok(Client {
            http: Http::new(Settings {
                auth: Auth::Custom(shared),
                ..settings
            })?,
            session,
            path,
            company: config.company,
            language: config.language.clone(),
            accepts: config.accept_warnings,
            context: OnceCell::new(),
        })
    }

    /// The server's version, which it tells everybody.
    pub(crate) async fn version(&self) -> Result<String> {
        let call = self.post("rpc/", "common.server.version", json!([]), true);
        let version = call
            .await
            .map_err(|fault| fault.error("a question for its version"))?;
        Ok(version.as_str().unwrap_or("unknown").to_owned())
    }

    /// A call that changes nothing.
    pub(crate) async fn read(&self, method: &str, params: Vec<Json>) -> Result<Json, Fault> {
        let context = Json::Object(self.context().await?);
        self.read_as(method, params, context).await
    }

    async fn read_as(
        &self,
        method: &str,
        mut params: Vec<Json>,
        context: Json,
    ) -> Result<Json, Fault> {
        params.push(context);
        self.post(&self.path, method, Json::Array(params), true)
            .await
    }

    /// A call that changes something: sent once, because nobody can tell whether a failed one was carried out.
    ///
    /// `more` is added to the context.
    pub(crate) async fn change(
        &self,
        method: &str,
        params: Vec<Json>,
        more: Map<String, Json>,
    ) -> Result<Json, Fault> {
        let mut context = self.context().await?;
        context.extend(more);
        let mut params = params;
        params.push(Json::Object(context));
        let params = Json::Array(params);
        for _ in 0..WARNINGS_MAX {
            match self.post(&self.path, method, params.clone(), false).await {
                Err(Fault::Warning { name, .. }) if self.accepts => self.confirm(&name).await?,
                answer => return answer,
            }
        }
        self.post(&self.path, method, params, false).await
    }

    /// Says yes, once, to what Tryton asks.
    async fn confirm(&self, name: &str) -> Result<(), Fault> {
        let user = self.session.user().await?;
        let warning = json!([{ "user": user, "name": name, "always": false }]);
        let context = Json::Object(self.context().await?);
        let params = json!([warning, context]);
        let method = "model.res.user.warning.create";
        self.post(&self.path, method, params, false).await?;
        Ok(())
    }

    /// What every call tells of its surroundings: the user's own, with what the configuration says instead.
    ///
    /// Records that are not active are asked for too: to hide a record is not to delete it.
    async fn context(&self) -> Result<Map<String, Json>> {
        let context = self.context.get_or_try_init(|| async {
            let method = "model.res.user.get_preferences";
            let asked = self
                .read_as(method, vec![Json::Bool(true)], json!({}))
                .await;
            let own = asked.map_err(|fault| fault.error("the user's preferences"))?;
            let mut context = Map::new();
            for name in [
                "company",
                "company_filter",
                "companies",
                "employee",
                "language",
            ] {
                if let Some(value) = own.get(name) {
                    context.insert(name.to_owned(), value.clone());
                }
            }
            if let Some(company) = self.company {
                context.insert("company".to_owned(), json!(company));
            }
            if let Some(language) = &self.language {
                context.insert("language".to_owned(), json!(language));
            }
            context.insert("active_test".to_owned(), Json::Bool(false));
            Ok::<_, Error>(context)
        });
        Ok(context.await?.clone())
    }

    async fn post(
        &self,
        path: &str,
        method: &str,
        params: Json,
        is_safe: bool,
    ) -> Result<Json, Fault> {
        // With exactly these members, errors come as JSON and not as pages.
        let body = json!({ "id": 1, "method": method, "params": params });
        let request = self.http.post(path).json(&body).safe_to_repeat(is_safe);
        let answer = request
            .send()
            .await
            .map_err(|error| error.with("method", method))?;
        let mut answer: Json = answer
            .json()
            .map_err(|error: Error| error.with("method", method))?;
        if let Some(error) = answer.get("error") {
            return Err(Fault::of(error));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(Error::unexpected(format!(
                "the server's answer to `{method}` holds neither a result nor an error"
            ))
            .help("check that the address is that of a Tryton server")
            .into()),
        }
    }
}
