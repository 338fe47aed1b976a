//! The command line's side.

use std::path::Path;
use std::time::Duration;

use lockstep_core::connector::Secret;
use lockstep_core::error::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Access, Told};

/// How long a request may take; a retry waits for a commit of the log and of the target.
const DEADLINE: Duration = Duration::from_secs(30);

/// Talks to a running process.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret<String>,
}

/// What was found when looking for a running process.
pub enum Reached {
    /// It runs.
    Running(Client),
    /// None runs here.
    None,
}

impl Client {
    /// Looks for the process whose files are in `folder`.
    ///
    /// A file left behind by a killed process leads nowhere and counts as none.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub async fn find(folder: &Path) -> Result<Reached> {
        let Some((address, token)) = Access::read(folder) else {
            return Ok(Reached::None);
        };
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .map_err(|error| Error::unexpected("no HTTP client").because(error))?;
        let client = Client {
            http,
            base: format!("http://{address}"),
            token,
        };
        let asked = client
            .http
            .get(format!("{}/health", client.base))
            .timeout(Duration::from_secs(2));
        match asked.bearer_auth(client.token.expose()).send().await {
            Ok(answer) if answer.status().is_success() => Ok(Reached::Running(client)),
            _ => Ok(Reached::None),
        }
    }

    /// Reads something.
    ///
    /// # Errors
    /// A process that went away, or an answer that is not what it should be.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.answer(self.http.get(format!("{}{path}", self.base)))
            .await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// A process that went away, or an answer that is not what it should be.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.answer(self.http.post(format!("{}{path}", self.base)))
            .await
    }

    /// Asks for something to be done with what is given.
    ///
    /// # Errors
    /// A process that went away, or an answer that is not what it should be.
    pub async fn post_body<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.answer(self.http.post(format!("{}{path}", self.base)).json(body))
            .await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let failed = |error: reqwest::Error| {
            Error::new(Kind::Transient, "the running process did not answer").because(error)
        };
        let answer = request
            .bearer_auth(self.token.expose())
            .send()
            .await
            .map_err(failed)?;
        if !answer.status().is_success() {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if let Ok(told) = serde_json::from_str::<Told>(&text) {
                return Err(told.into_error());
            }
            return Err(Error::unexpected(format!(
                "the running process answered {status}: {text}"
            )));
        }
        answer.json().await.map_err(failed)
    }
}
