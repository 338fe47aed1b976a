//! The session that calls are authorized with: logging in, and again when the server has forgotten it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lockstep_core::connector::{Boxed, Secret};
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{Authorize, Client, HttpError, Outgoing};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use crate::fault::Fault;

/// Who works in the database, and under which session.
pub(crate) struct Session {
    /// A client without authorization: logging in is the only thing it is for.
    client: Client,
    path: String,
    user: String,
    password: Secret<String>,
    held: Mutex<Option<Held>>,
}

struct Held {
    user: i64,
    header: Secret<String>,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        path: String,
        user: String,
        password: Secret<String>,
    ) -> Session {
        Session {
            client,
            path,
            user,
            password,
            held: Mutex::new(None),
        }
    }

    /// The user's own id.
    pub(crate) async fn user(&self) -> Result<i64> {
        Ok(self.ensure().await?.0)
    }

    /// The session at hand, or a new one; whoever comes while another logs in waits for that.
    async fn ensure(&self) -> Result<(i64, Secret<String>)> {
        let mut held = self.held.lock().await;
        if held.is_none() {
            *held = Some(self.login().await?);
        }
        match &*held {
            Some(held) => Ok((held.user, held.header.clone())),
            None => Err(Error::unexpected("a session that was just made is gone")),
        }
    }

    async fn login(&self) -> Result<Held> {
        let parameters = json!([self.user, { "password": self.password.expose() }]);
        let body = json!({ "id": 1, "method": "common.db.login", "params": parameters });
        // A session more does no harm: the server forgets unused ones.
        let request = self
            .client
            .post(&self.path)
            .json(&body)
            .safe_to_repeat(true);
        let answer = request.send().await.map_err(|error| self.refused(error))?;
        let answer: Json = answer.json()?;
        if let Some(error) = answer.get("error") {
            return Err(Fault::of(error).error("a login"));
        }
        let session = answer.get("result").unwrap_or(&Json::Null);
        let (Some(user), Some(key)) = (
            session.get(0).and_then(Json::as_i64),
            session.get(1).and_then(Json::as_str),
        ) else {
            return Err(
                Error::unexpected("the server's answer to a login holds no session")
                    .help("check that the address is that of a Tryton server"),
            );
        };
        let token = BASE64_STANDARD.encode(format!("{}:{user}:{key}", self.user));
        tracing::debug!(system = self.client.system(), "logged in");
        Ok(Held {
            user,
            header: Secret::new(format!("Session {token}")),
        })
    }

    fn refused(&self, error: Error) -> Error {
        match HttpError::of(&error).map(|error| error.status) {
            Some(401 | 403) => Error::new(
                Kind::Unauthorized,
                format!("user `{}` cannot log in", self.user),
            )
            .because(error)
            .help(
                "check `user` and `password`; too many wrong tries lock the user out for a while",
            ),
            Some(404) => Error::config("there is no such database on the server")
                .because(error)
                .help("check `database` and the address"),
            _ => error,
        }
    }
}

impl Authorize for Session {
    fn headers<'a>(
        &'a self,
        _: &'a Outgoing<'a>,
    ) -> Boxed<'a, Result<Vec<(String, Secret<String>)>>> {
        Box::pin(async {
            let (_, header) = self.ensure().await?;
            Ok(vec![("authorization".to_owned(), header)])
        })
    }

    fn refused(&self) -> Boxed<'_, Result<bool>> {
        Box::pin(async {
            *self.held.lock().await = None;
            Ok(true)
        })
    }
}
