//! What a configuration says about one Salesforce account.
//!
//! Settings are checked once, when the account is opened; the rest of the crate trusts them.

use std::path::PathBuf;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use lockstep_http_client::Grant;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where everybody may log in, but not by the client-credentials flow.
const LOGIN: &str = "https://login.salesforce.com";
/// The same for sandboxes.
const LOGIN_SANDBOX: &str = "https://test.salesforce.com";

/// The settings of a Salesforce system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where tokens are given: the account's own address (`https://NAME.my.salesforce.com`), which the client-credentials flow needs.
    #[serde(default = "defaults::url")]
    pub url: String,
    /// The consumer key of the connected app.
    pub client_id: String,
    /// The consumer secret of the connected app, for the client-credentials flow; either this or `jwt`.
    #[serde(default)]
    pub client_secret: Option<Secret<String>>,
    /// Whom the app stands for by a key of its own, for the JWT bearer flow.
    #[serde(default)]
    pub jwt: Option<Jwt>,
    /// The version of the API, 46.0 or later.
    #[serde(default = "defaults::version")]
    pub api_version: String,
    /// How far behind a change its time may become visible, in seconds (1 to 86400); windows overlap by it.
    #[serde(default = "defaults::overlap")]
    #[schemars(range(min = 1, max = 86_400))]
    pub overlap_s: u32,
    /// Most calls a second, over every flow that uses the account in this process (0.1 to 1000).
    #[serde(default = "defaults::per_second")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub calls_per_second: f64,
    /// Most calls at once (1 to 25).
    #[serde(default = "defaults::concurrent")]
    #[schemars(range(min = 1, max = 25))]
    pub calls_at_once: usize,
    /// Up to which share of the account's calls of a day, by whomever they were used, calls are made (0.01 to 1).
    #[serde(default = "defaults::share")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub daily_share: f64,
    /// Most records that one query asks for (1 to 2000).
    #[serde(default = "defaults::page")]
    #[schemars(range(min = 1, max = 2000))]
    pub page_max: usize,
    /// Most records of one object that are listed in the order of another column than `Id`: they are held in memory meanwhile (1000 to 10000000).
    #[serde(default = "defaults::listing_max")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub listing_max: usize,
    /// Whether records are saved that a duplicate rule with an alert warns of.
    #[serde(default)]
    pub allow_duplicates: bool,
    /// A file of certificates (PEM) to trust beside the system's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Whom a connected app stands for by signing for them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The user's name, such as `lockstep@example.com`.
    pub user: String,
    /// The private key in PEM whose certificate the app has, such as `${file:salesforce.key}`.
    pub key: Secret<String>,
    /// Who checks the signature; `https://login.salesforce.com`, or `https://test.salesforce.com` for sandboxes, where absent.
    #[serde(default)]
    pub audience: Option<String>,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn url() -> String {
        super::LOGIN.to_owned()
    }
    pub(super) fn version() -> String {
        "60.0".to_owned()
    }
    pub(super) fn overlap() -> u32 {
        300
    }
    pub(super) fn per_second() -> f64 {
        10.0
    }
    pub(super) fn concurrent() -> usize {
        4
    }
    pub(super) fn share() -> f64 {
        0.9
    }
    pub(super) fn page() -> usize {
        2000
    }
    pub(super) fn listing_max() -> usize {
        500_000
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them, and credentials that are missing, said twice, or of a flow that the address does not offer.
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
        within("overlap_s", self.overlap_s.into(), 1.0, 86_400.0)?;
        within("calls_per_second", self.calls_per_second, 0.1, 1000.0)?;
        within("calls_at_once", self.calls_at_once as f64, 1.0, 25.0)?;
        within("daily_share", self.daily_share, 0.01, 1.0)?;
        within("page_max", self.page_max as f64, 1.0, 2000.0)?;
        within("listing_max", self.listing_max as f64, 1000.0, 10_000_000.0)?;
        let version = &self.api_version;
        let number = version.strip_suffix(".0").map(str::parse::<u32>);
        if !number.is_some_and(|number| number.is_ok_and(|number| (46..=999).contains(&number))) {
            return Err(Error::config(format!(
                "`api_version = {version}` is no version of the API that Lockstep can use"
            ))
            .help("give a version such as `60.0`; collections need 46.0 or later"));
        }
        if self.client_secret.is_some() == self.jwt.is_some() {
            return Err(Error::config("either `client_secret` or `jwt` is wanted")
                .help("take the consumer secret of the connected app, or a key of your own with the user that it stands for"));
        }
        let is_shared = [LOGIN, LOGIN_SANDBOX].contains(&self.url.trim_end_matches('/'));
        if is_shared && self.client_secret.is_some() {
            return Err(Error::config(format!(
                "`{}` gives no tokens for `client_secret`",
                self.url
            ))
            .help("give the account's own address as `url`: https://NAME.my.salesforce.com"));
        }
        Ok(())
    }

    /// What is given for a token.
    pub(crate) fn grant(&self) -> Grant {
        match &self.jwt {
            Some(jwt) => Grant::JwtBearer {
                subject: jwt.user.clone(),
                audience: jwt.audience.clone().unwrap_or_else(|| self.audience()),
                key_pem: jwt.key.clone(),
                key_id: None,
            },
            None => Grant::ClientCredentials {
                secret: (self.client_secret.clone()).unwrap_or_else(|| Secret::new(String::new())),
            },
        }
    }

    fn audience(&self) -> String {
        let is_sandbox = self.url.starts_with(LOGIN_SANDBOX) || self.url.contains(".sandbox.");
        (if is_sandbox { LOGIN_SANDBOX } else { LOGIN }).to_owned()
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
        let own = r#""url": "https://x.my.salesforce.com", "client_id": "i", "client_secret": "s""#;
        let jwt = r#""client_id": "i", "jwt": {"user": "u@x", "key": "k"}"#;
        for fine in [own, jwt] {
            config(&format!("{{{fine}}}")).unwrap().check().unwrap();
        }
        for (text, part) in [
            (r#""client_id": "i""#.to_owned(), "either"),
            (
                format!(r#"{own}, "jwt": {{"user": "u", "key": "k"}}"#),
                "either",
            ),
            (
                r#""client_id": "i", "client_secret": "s""#.to_owned(),
                "gives no tokens",
            ),
            (format!(r#"{own}, "page_max": 2001"#), "1 to 2000"),
            (format!(r#"{own}, "overlap_s": 0"#), "1 to 86400"),
            (format!(r#"{own}, "daily_share": 1.5"#), "0.01 to 1"),
            (
                format!(r#"{own}, "api_version": "v60.0""#),
                "`api_version = v60.0`",
            ),
            (format!(r#"{own}, "api_version": "45.0""#), "45.0"),
        ] {
            let error = config(&format!("{{{text}}}")).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"clientid": "t"}"#).is_err());
    }

    #[test]
    fn sandboxes_have_an_audience_of_their_own() {
        let audience = |url: &str| {
            let text = format!(
                r#"{{"url": "{url}", "client_id": "i", "jwt": {{"user": "u", "key": "k"}}}}"#
            );
            match config(&text).unwrap().grant() {
                Grant::JwtBearer { audience, .. } => audience,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(audience("https://x.my.salesforce.com"), LOGIN);
        assert_eq!(
            audience("https://x--dev.sandbox.my.salesforce.com"),
            LOGIN_SANDBOX
        );
        assert_eq!(audience("https://test.salesforce.com"), LOGIN_SANDBOX);
        assert!(config(r#"{"client_id": "i", "jwt": {"user": "u"}}"#).is_err());
    }
}
