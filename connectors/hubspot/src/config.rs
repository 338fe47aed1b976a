//! What a configuration says about one HubSpot account.
//!
//! Settings are checked once, when the account is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a HubSpot system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The access token of a private app (`pat-…`); either this or `oauth`.
    #[serde(default)]
    pub access_token: Option<Secret<String>>,
    /// What a public app refreshes its access tokens with.
    #[serde(default)]
    pub oauth: Option<OAuth>,
    /// Where the API is; HubSpot's own where absent.
    #[serde(default = "defaults::url")]
    pub url: String,
    /// The app's client secret, which webhooks are signed with.
    #[serde(default)]
    pub webhook_secret: Option<Secret<String>>,
    /// How far the time in a webhook's signature may be from now, in seconds (1 to 86400).
    #[serde(default = "defaults::tolerance")]
    #[schemars(range(min = 1, max = 86_400))]
    pub webhook_tolerance_s: u32,
    /// Properties beside those that the account describes, by object and then by name, with their types; needed where the token may not read properties.
    #[serde(default)]
    pub columns: BTreeMap<String, BTreeMap<String, ColumnType>>,
    /// How far the search may be behind a change, in seconds (1 to 86400).
    #[serde(default = "defaults::delay")]
    #[schemars(range(min = 1, max = 86_400))]
    pub search_delay_s: u32,
    /// Most calls a second, over every flow that uses the account in this process (0.1 to 1000).
    #[serde(default = "defaults::per_second")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub calls_per_second: f64,
    /// Most calls at once (1 to 64).
    #[serde(default = "defaults::concurrent")]
    #[schemars(range(min = 1, max = 64))]
    pub calls_at_once: usize,
    /// Most records of one object that are listed: they are held in memory while a listing is read (1000 to 10000000).
    #[serde(default = "defaults::listing_max")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub listing_max: usize,
    /// Most records that one page asks for (1 to 100).
    #[serde(default = "defaults::page")]
    #[schemars(range(min = 1, max = 100))]
    pub page_max: usize,
    /// A file of certificates (PEM) to trust beside the system's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// How a public app gets its access tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// The app's client id.
    pub client_id: String,
    /// The app's client secret.
    pub client_secret: Secret<String>,
    /// The refresh token that the account gave the app.
    pub refresh_token: Secret<String>,
}

/// The type of a column, as a configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// An exact number.
    Decimal,
    /// A string, or one of a list of choices.
    Text,
    /// A day.
    Date,
    /// An instant, in milliseconds.
    Timestamp,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn url() -> String {
        "https://api.hubapi.com".to_owned()
    }
    pub(super) fn tolerance() -> u32 {
        300
    }
    pub(super) fn delay() -> u32 {
        60
    }
    pub(super) fn per_second() -> f64 {
        9.0
    }
    pub(super) fn concurrent() -> usize {
        4
    }
    pub(super) fn listing_max() -> usize {
        500_000
    }
    pub(super) fn page() -> usize {
        100
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them, and credentials that are missing or said twice.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        let day = 86_400.0;
        within(
            "webhook_tolerance_s",
            self.webhook_tolerance_s.into(),
            1.0,
            day,
        )?;
        within("search_delay_s", self.search_delay_s.into(), 1.0, day)?;
        within("calls_per_second", self.calls_per_second, 0.1, 1000.0)?;
        within("calls_at_once", self.calls_at_once as f64, 1.0, 64.0)?;
        within("listing_max", self.listing_max as f64, 1000.0, 10_000_000.0)?;
        within("page_max", self.page_max as f64, 1.0, 100.0)?;
        if self.access_token.is_some() == self.oauth.is_some() {
            return Err(Error::config("either `access_token` or `oauth` is wanted")
                .help("take the token of a private app, or the three values of a public one"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn credentials_are_said_once_and_bounds_are_named() {
        config(r#"{"access_token": "t"}"#).unwrap().check().unwrap();
        let oauth = r#"{"client_id": "i", "client_secret": "s", "refresh_token": "r"}"#;
        config(&format!(r#"{{"oauth": {oauth}}}"#))
            .unwrap()
            .check()
            .unwrap();
        for (text, part) in [
            ("{}".to_owned(), "either"),
            (
                format!(r#"{{"access_token": "t", "oauth": {oauth}}}"#),
                "either",
            ),
            (
                r#"{"access_token": "t", "page_max": 101}"#.to_owned(),
                "1 to 100",
            ),
            (
                r#"{"access_token": "t", "search_delay_s": 0}"#.to_owned(),
                "1 to 86400",
            ),
        ] {
            let error = config(&text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"acces_token": "t"}"#).is_err());
    }
}
