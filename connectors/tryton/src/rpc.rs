//! Calls over JSON-RPC: a user's session, many records in a call, and the server's own optimistic lock.
//!
//! Errors come with status 200; a call that changes something is sent once.

use std::sync::Arc;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use lockstep_http_client::{Auth, Authorize, Client as Http, Settings};
use serde_json::{Map, Value as Json, json};

use crate::client::{Edit, Search};
use crate::fault::Fault;
use crate::session::Session;

/// Most warnings that one call may want confirmed.
const WARNINGS_MAX: usize = 8;

/// Speaks JSON-RPC with one database.
pub(crate) struct Rpc {
    http: Http,
    session: Arc<Session>,
    path: String,
    accepts: bool,
}

impl std::fmt::Debug for Rpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl Rpc {
    /// The first call logs in.
    pub(crate) fn new(
        settings: Settings,
        database: &str,
        user: String,
        password: Secret<String>,
        accepts: bool,
    ) -> Result<Rpc> {
        // The slash at the end belongs to the address: without it the server redirects.
        let path = format!("{database}/rpc/");
        let bare = Http::new(Settings {
            auth: Auth::None,
            ..settings.clone()
        })?;
        let session = Arc::new(Session::new(bare, path.clone(), user, password));
        let shared: Arc<dyn Authorize> = session.clone();
        Ok(Rpc {
            http: Http::new(Settings {
                auth: Auth::Custom(shared),
                ..settings
            })?,
            session,
            path,
            accepts,
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

    pub(crate) async fn ask(
        &self,
        model: &str,
        method: &str,
        parameters: &[(&str, Json)],
        context: &Map<String, Json>,
    ) -> Result<Json, Fault> {
        let mut params: Vec<Json> = parameters.iter().map(|(_, value)| value.clone()).collect();
        params.push(Json::Object(context.clone()));
        let method = format!("model.{model}.{method}");
        self.post(&self.path, &method, Json::Array(params), true)
            .await
    }

    pub(crate) async fn search(
        &self,
        search: Search<'_>,
        context: &Map<String, Json>,
    ) -> Result<Json, Fault> {
        let parameters = [
            ("domain", search.domain.clone()),
            ("offset", json!(0)),
            ("limit", json!(search.limit)),
            ("order", search.order.clone()),
            ("fields_names", json!(search.fields)),
        ];
        self.ask(search.model, "search_read", &parameters, context)
            .await
    }

    pub(crate) async fn create(
        &self,
        model: &str,
        records: &[&Map<String, Json>],
        context: Map<String, Json>,
    ) -> Result<Vec<i64>, Fault> {
        let ids = self
            .change(model, "create", vec![json!(records)], context)
            .await?;
        Ok(serde_json::from_value(ids).unwrap_or_default())
    }

    pub(crate) async fn write(
        &self,
        model: &str,
        edits: &[Edit<'_>],
        context: Map<String, Json>,
    ) -> Result<(), Fault> {
        let each = edits.iter();
        let params = each.flat_map(|edit| [json!([edit.id]), Json::Object(edit.values.clone())]);
        let stamps = edits.iter().map(|edit| (edit.id, edit.stamp));
        let context = stamped(model, stamps, context);
        self.change(model, "write", params.collect(), context)
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(
        &self,
        model: &str,
        records: &[(i64, &Json)],
        context: Map<String, Json>,
    ) -> Result<(), Fault> {
        let ids: Vec<i64> = records.iter().map(|(id, _)| *id).collect();
        let context = stamped(model, records.iter().copied(), context);
        self.change(model, "delete", vec![json!(ids)], context)
            .await?;
        Ok(())
    }

    pub(crate) async fn press(
        &self,
        model: &str,
        button: &str,
        id: i64,
        context: Map<String, Json>,
    ) -> Result<(), Fault> {
        self.change(model, button, vec![json!([id])], context)
            .await?;
        Ok(())
    }

    /// A call that changes something: sent once, because nobody can tell whether a failed one was carried out.
    async fn change(
        &self,
        model: &str,
        method: &str,
        mut params: Vec<Json>,
        context: Map<String, Json>,
    ) -> Result<Json, Fault> {
        params.push(Json::Object(context.clone()));
        let params = Json::Array(params);
        let method = format!("model.{model}.{method}");
        for _ in 0..WARNINGS_MAX {
            match self.post(&self.path, &method, params.clone(), false).await {
                Err(Fault::Warning { name, .. }) if self.accepts => {
                    self.confirm(&name, context.clone()).await?;
                }
                answer => return answer,
            }
        }
        self.post(&self.path, &method, params, false).await
    }

    /// Says yes, once, to what Tryton asks.
    async fn confirm(&self, name: &str, context: Map<String, Json>) -> Result<(), Fault> {
        let user = self.session.user().await?;
        let warning = json!([{ "user": user, "name": name, "always": false }]);
        let params = json!([warning, context]);
        let method = "model.res.user.warning.create";
        self.post(&self.path, method, params, false).await?;
        Ok(())
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

/// The context of a call that goes through only if the records are as they were read.
fn stamped<'a>(
    model: &str,
    records: impl Iterator<Item = (i64, &'a Json)>,
    mut context: Map<String, Json>,
) -> Map<String, Json> {
    let known = records.filter(|(_, stamp)| stamp.is_string());
    let stamps: Map<String, Json> = known
        .map(|(id, stamp)| (format!("{model},{id}"), stamp.clone()))
        .collect();
    context.insert("_timestamp".to_owned(), Json::Object(stamps));
    context
}
