//! What a configuration says about one Tryton database.
//!
//! Settings are checked once, when a connection is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::connector::{OpenContext, Secret};
use lockstep_core::{Error, Result};
use lockstep_http_client::{Budget, Settings, Timeouts, Url};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a Tryton system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server is: `https://erp.example.com`.
    pub url: String,
    /// The database.
    pub database: String,
    /// Which of Tryton's interfaces is used.
    #[serde(default)]
    pub api: Api,
    /// Over JSON-RPC the user that reads and writes; one of Lockstep's own, so that its writes can be told from others'.
    #[serde(default)]
    pub user: Option<String>,
    /// Over JSON-RPC the user's password.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// Over REST the key of the user's application.
    #[serde(default)]
    pub key: Option<Secret<String>>,
    /// The own id of the company to work in; the user's own where absent.
    #[serde(default)]
    pub company: Option<i64>,
    /// The language of translated fields, such as `en` or `de`; the user's own where absent.
    #[serde(default)]
    pub language: Option<String>,
    /// How many seconds before the newest known change a window begins again: transactions that take long are seen late (1 to 86400).
    #[serde(default = "defaults::overlap_secs")]
    #[schemars(range(min = 1, max = 86_400))]
    pub overlap_secs: u32,
    /// Most records that one call reads (1 to 10000).
    #[serde(default = "defaults::page_max")]
    #[schemars(range(min = 1, max = 10_000))]
    pub page_max: usize,
    /// Most changes that the sink takes in one batch (1 to 1000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch_max: usize,
    /// Whether what Tryton asks a person to confirm is confirmed; a change that needs it is rejected otherwise.
    #[serde(default)]
    pub accept_warnings: bool,
    /// By model, the buttons that move its `state`, for models that Lockstep does not know and instead of what it knows.
    #[serde(default)]
    pub workflows: BTreeMap<String, Vec<Step>>,
    /// Most calls a second; no bound where absent (0.01 to 1000).
    #[serde(default)]
    pub calls_per_second: Option<f64>,
    /// Most calls at once (1 to 32).
    #[serde(default = "defaults::concurrent")]
    #[schemars(range(min = 1, max = 32))]
    pub concurrent: usize,
    /// How many seconds one call may take (1 to 3600).
    #[serde(default = "defaults::timeout_secs")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_secs: u64,
    /// Most bytes of an answer (1024 to 1073741824).
    #[serde(default = "defaults::answer_bytes")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub answer_bytes: usize,
    /// A PEM file of authorities that are trusted beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// An interface of a Tryton server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// JSON-RPC, with a user's name and password: every series, many records in a call, and a lock against edits in between.
    #[default]
    Rpc,
    /// REST, with the key of an application: from series 8.0 on, one record in a change, and no lock.
    Rest,
}

/// What calls are authorized with.
#[derive(Debug)]
pub(crate) enum Access {
    Login {
        user: String,
        password: Secret<String>,
    },
    Key(Secret<String>),
}

/// One step of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The state before it.
    pub from: String,
    /// The state after it.
    pub to: String,
    /// The button that takes it, such as `quote`; where absent, Tryton takes the step by itself.
    #[serde(default)]
    pub button: Option<String>,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn overlap_secs() -> u32 {
        120
    }
    pub(super) fn page_max() -> usize {
        1000
    }
    pub(super) fn batch_max() -> usize {
        100
    }
    pub(super) fn concurrent() -> usize {
        4
    }
    pub(super) fn timeout_secs() -> u64 {
        120
    }
    pub(super) fn answer_bytes() -> usize {
        64 * 1024 * 1024
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        within("overlap_secs", self.overlap_secs as usize, 1, 86_400)?;
        within("page_max", self.page_max, 1, 10_000)?;
        within("batch_max", self.batch_max, 1, 1000)?;
        within("concurrent", self.concurrent, 1, 32)?;
        let seconds = usize::try_from(self.timeout_secs).unwrap_or(usize::MAX);
        within("timeout_secs", seconds, 1, 3600)?;
        within("answer_bytes", self.answer_bytes, 1024, 1_073_741_824)?;
        if let Some(rate) = self.calls_per_second
            && !(0.01..=1000.0).contains(&rate)
        {
            return Err(Error::config(format!(
                "`calls_per_second = {rate}` is out of bounds: it must be 0.01 to 1000"
            ))
            .help("leave `calls_per_second` out to ask as often as is needed"));
        }
        let is_word = |text: &str| {
            let mut chars = text.chars();
            !text.is_empty() && chars.all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        };
        if !is_word(&self.database) {
            return Err(Error::config(format!(
                "`database = \"{}\"` is not a database's name",
                self.database
            ))
            .help("give the name that stands in the address of the web client, such as `erp`"));
        }
        let buttons = self.workflows.values().flatten();
        if let Some(step) = buttons
            .filter_map(|step| step.button.as_deref())
            .find(|button| !is_word(button))
        {
            return Err(
                Error::config(format!("`{step}` is not the name of a button"))
                    .help("give the name of the method, such as `quote`"),
            );
        }
        Ok(())
    }

    /// What calls are authorized with.
    ///
    /// # Errors
    /// Credentials of the other interface, or none.
    pub(crate) fn access(&self) -> Result<Access> {
        let wanted = |message: &str, help: &str| Err(Error::config(message).help(help));
        match (self.api, &self.user, &self.password, &self.key) {
            (Api::Rpc, Some(user), Some(password), None) => Ok(Access::Login {
                user: user.clone(),
                password: password.clone(),
            }),
            (Api::Rpc, ..) => wanted(
                "`api = \"rpc\"` takes `user` and `password`, and no `key`",
                "name the user and its password, or set `api = \"rest\"` to use a key",
            ),
            (Api::Rest, None, None, Some(key)) => Ok(Access::Key(key.clone())),
            (Api::Rest, ..) => wanted(
                "`api = \"rest\"` takes a `key`, and neither `user` nor `password`",
                "give the key of a validated REST application of the user, or leave `api` out to log in with a password",
            ),
        }
    }

    /// How its server is asked.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn settings(&self, cx: &OpenContext) -> Result<Settings> {
        let base = Url::parse(&self.url).map_err(|error| {
            Error::config(format!("the address of system `{}` is none", cx.system))
                .because(error)
                .help("give scheme and host: `https://erp.example.com`")
        })?;
        let total = Duration::from_secs(self.timeout_secs);
        Ok(Settings {
            system: cx.system.clone(),
            base,
            budget: Budget {
                per_second: self.calls_per_second,
                concurrent: self.concurrent,
                ..Budget::default()
            },
            timeouts: Timeouts {
                idle: total,
                total,
                ..Timeouts::default()
            },
            body_max: self.answer_bytes,
            ca_file: self.ca_file.as_ref().map(|file| cx.folder.join(file)),
            ..Settings::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"url": "https://erp.example.com", "database": "erp", "user": "lockstep", "password": "p"{more}}}"#
        ))
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        config("").unwrap().check().unwrap();
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_both_bounds() {
        for (more, part) in [
            (r#", "page_max": 0"#, "1 to 10000"),
            (r#", "batch_max": 1001"#, "1 to 1000"),
            (r#", "overlap_secs": 0"#, "1 to 86400"),
            (r#", "concurrent": 33"#, "1 to 32"),
            (r#", "calls_per_second": 0"#, "0.01 to 1000"),
            (
                r#", "workflows": {"a.b": [{"from": "a", "to": "b", "button": "x/y"}]}"#,
                "`x/y`",
            ),
        ] {
            let error = config(more).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#", "pasword": "p""#).is_err());
    }

    #[test]
    fn each_interface_has_its_own_credentials() {
        let access = |text: &str| {
            let text = format!(r#"{{"url": "https://erp.example.com", "database": "erp"{text}}}"#);
            serde_json::from_str::<Config>(&text).unwrap().access()
        };
        let login = r#", "user": "u", "password": "p""#;
        assert!(matches!(access(login), Ok(Access::Login { .. })));
        let rest = r#", "api": "rest", "key": "k""#;
        assert!(matches!(access(rest), Ok(Access::Key(_))));
        for wrong in [
            "",
            r#", "user": "u""#,
            r#", "key": "k""#,
            r#", "api": "rest""#,
            r#", "api": "rest", "user": "u", "password": "p""#,
            r#", "api": "rest", "user": "u", "key": "k""#,
        ] {
            let error = access(wrong).unwrap_err();
            assert!(error.help_text().is_some(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let shown = format!("{:?}", config(r#", "key": "k""#).unwrap());
        assert!(
            !shown.contains("\"p\"") && !shown.contains("\"k\""),
            "{shown}"
        );
    }
}
