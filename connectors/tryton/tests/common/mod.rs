//! A Tryton for tests, asked past the connector.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

use lockstep_core::connector::RawConfig;
use lockstep_core::{Row, Value};
use lockstep_http_client::{Client, Settings, Url};
use lockstep_servers::tryton::{DATABASE, PASSWORD, REST_KEY, Server, USER};
use serde_json::{Map, Value as Json, json};

/// A server, and somebody who works in it beside Lockstep.
pub(crate) struct Erp {
    pub(crate) server: Server,
    client: Client,
    session: String,
    context: Json,
}

/// Whether there is a Tryton on this machine; says so where not.
pub(crate) fn is_installed() -> bool {
    let found = lockstep_servers::find::tryton().is_some();
    if !found {
        lockstep_servers::skip("Tryton");
    }
    found
}

impl Erp {
    pub(crate) async fn start() -> Erp {
        Erp::start_with("").await
    }

    pub(crate) async fn start_with(settings: &str) -> Erp {
        let server = Server::start_with(settings).unwrap();
        let client = Client::new(Settings {
            system: "by hand".to_owned(),
            base: Url::parse(&server.url()).unwrap(),
            ..Settings::default()
        })
        .unwrap();
        let mut erp = Erp {
            server,
            client,
            session: String::new(),
            context: json!({}),
        };
        let login = json!([USER, { "password": PASSWORD }]);
        let session = erp.ask("common.db.login", login).await.unwrap();
        let token = format!("{USER}:{}:{}", session[0], session[1].as_str().unwrap());
        use base64::Engine as _;
        let token = base64::prelude::BASE64_STANDARD.encode(token);
        erp.session = format!("Session {token}");
        let context = erp.ask("model.res.user.get_preferences", json!([true, {}]));
        erp.context = context.await.unwrap();
        erp.context["active_test"] = json!(false);
        erp
    }

    async fn ask(&self, method: &str, params: Json) -> Result<Json, Json> {
        let mut request = self
            .client
            .post(format!("{DATABASE}/rpc/"))
            .json(&json!({ "id": 1, "method": method, "params": params }));
        if !self.session.is_empty() {
            request = request.header("authorization", &self.session);
        }
        let mut answer: Json = request.send().await.unwrap().json().unwrap();
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method of a model.
    pub(crate) async fn call(&self, model: &str, method: &str, params: Json) -> Json {
        let done = self.try_call(model, method, params).await;
        done.unwrap_or_else(|error| {
            // What it says of a field's domain is as long as a book.
            let words: String = error.to_string().chars().take(300).collect();
            panic!("{model}.{method}: {words}")
        })
    }

    pub(crate) async fn try_call(
        &self,
        model: &str,
        method: &str,
        params: Json,
    ) -> Result<Json, Json> {
        let mut params = params.as_array().unwrap().clone();
        params.push(self.context.clone());
        self.ask(&format!("model.{model}.{method}"), Json::Array(params))
            .await
    }

    /// Makes a record, and gives its id.
    pub(crate) async fn create(&self, model: &str, values: Json) -> i64 {
        let ids = self.call(model, "create", json!([[values]])).await;
        ids[0].as_i64().unwrap()
    }

    /// Some fields of the records that fulfil something, by id.
    pub(crate) async fn search(&self, model: &str, domain: Json, fields: &[&str]) -> Vec<Json> {
        let params = json!([domain, 0, null, [["id", "ASC"]], fields]);
        let records = self.call(model, "search_read", params).await;
        records.as_array().unwrap().clone()
    }

    /// The id of the only record with a name.
    pub(crate) async fn named(&self, model: &str, name: &str) -> i64 {
        let found = self
            .search(model, json!([["name", "=", name]]), &["id"])
            .await;
        found[0]["id"].as_i64().unwrap()
    }

    /// The settings of a connector for it, and more of them.
    pub(crate) fn config(&self, more: Json) -> RawConfig {
        config(&self.server.url(), more)
    }
}

/// The settings of a connector for a server at an address; the interface that is asked for decides on the credentials.
pub(crate) fn config(url: &str, more: Json) -> RawConfig {
    let mut config = Map::from_iter([
        ("url".to_owned(), json!(url)),
        ("database".to_owned(), json!(DATABASE)),
    ]);
    let credentials = if more["api"] == "rest" {
        json!({ "key": REST_KEY })
    } else {
        json!({ "user": USER, "password": PASSWORD })
    };
    for settings in [credentials, more] {
        config.extend(settings.as_object().unwrap().clone());
    }
    config.into_iter().collect()
}

/// A value as the server writes it.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(v) => Value::Bool(*v),
        Json::Number(v) => v
            .as_i64()
            .map_or_else(|| Value::Float(v.as_f64().unwrap()), Value::Int),
        Json::String(v) => Value::text(v),
        Json::Array(_) => Value::Json(json.to_string().into()),
        Json::Object(parts) if parts["__class__"] == "Decimal" => {
            Value::Decimal(parts["decimal"].as_str().unwrap().parse().unwrap())
        }
        Json::Object(parts) => {
            let part = |name: &str| parts[name].as_i64().unwrap();
            let text = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                part("year"),
                part("month"),
                part("day"),
                part("hour"),
                part("minute"),
                part("second"),
                part("microsecond")
            );
            Value::Timestamp(text.parse().unwrap())
        }
    }
}

/// A record's values in the order of some names.
pub(crate) fn row(record: &Json, names: &[&str]) -> Row {
    Row::of(
        names
            .iter()
            .map(|name| match (*name, value(&record[*name])) {
                // On SQLite the server gives numbers for them.
                ("active" | "consumable", Value::Int(number)) => Value::Bool(number == 1),
                (_, value) => value,
            }),
    )
}
