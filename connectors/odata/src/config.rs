//! What a configuration says about one OData service.
//!
//! Settings are checked once, when the service is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of an OData service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The root of the service, under which `$metadata` is: `https://org.crm.dynamics.com/api/data/v9.2`.
    pub url: String,
    /// The user of a basic authorization.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// A bearer token, where it does not end.
    #[serde(default)]
    pub token: Option<Secret<String>>,
    /// Client credentials of OAuth 2.0, such as an application of Microsoft Entra.
    #[serde(default)]
    pub oauth: Option<OAuth>,
    /// Headers of every request, such as `sap-client` or the `APIKey` of a gateway.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret<String>>,
    /// The property that holds when a record changed last, of tables that do not say another.
    #[serde(default)]
    pub modified: Option<String>,
    /// What is special about tables, by the names of their entity sets.
    #[serde(default)]
    pub tables: BTreeMap<String, TableConfig>,
    /// How many seconds before the newest known change a window begins again (1 to 86400).
    #[serde(default = "defaults::overlap")]
    #[schemars(range(min = 1, max = 86_400))]
    pub overlap_s: u32,
    /// How many writes are sent in one request.
    #[serde(default)]
    pub batch: BatchStyle,
    /// What of a batch is done together.
    #[serde(default)]
    pub change_sets: ChangeSets,
    /// Most changes of one batch (1 to 1000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch_max: usize,
    /// Most records that one page asks for (1 to 5000).
    #[serde(default = "defaults::page")]
    #[schemars(range(min = 1, max = 5000))]
    pub page_max: usize,
    /// Most records of one entity set that are listed where its key gives no order: they are held in memory (1000 to 10000000).
    #[serde(default = "defaults::listing_max")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub listing_max: usize,
    /// Most calls a second; no bound where absent (0.01 to 1000).
    #[serde(default)]
    pub calls_per_second: Option<f64>,
    /// Most calls at once (1 to 64).
    #[serde(default = "defaults::concurrent")]
    #[schemars(range(min = 1, max = 64))]
    pub calls_at_once: usize,
    /// How many seconds one call may take (1 to 3600).
    #[serde(default = "defaults::timeout")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_s: u64,
    /// Most bytes of an answer (1024 to 1073741824).
    #[serde(default = "defaults::answer")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub answer_bytes: usize,
    /// A file of certificates (PEM) to trust beside the system's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Client credentials of OAuth 2.0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// The token endpoint: `https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token`.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret<String>,
    /// The scopes that are asked for: `https://org.crm.dynamics.com/.default`.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// What is special about one table.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// The property that holds when a record changed last.
    #[serde(default)]
    pub modified: Option<String>,
    /// Whether the service is asked for delta links, which tell what changed and what is gone.
    #[serde(default)]
    pub track_changes: bool,
    /// Navigation properties that are read with each record, and written with it when it is made, as columns that hold lists.
    #[serde(default)]
    pub expand: Vec<String>,
    /// How records are made.
    #[serde(default)]
    pub create: CreateBy,
}

/// How records are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateBy {
    /// By `POST` to the entity set.
    #[default]
    Post,
    /// By `PATCH` to the key or alternate key that the contract's key maps to, with `If-None-Match: *`: no second record can come of it.
    Key,
}

/// How writes are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStyle {
    /// As JSON where the service is of version 4.01 and takes it, else as multipart.
    #[default]
    Auto,
    /// As JSON.
    Json,
    /// As multipart, which every service with `$batch` takes.
    Multipart,
    /// One by one, without `$batch`.
    None,
}

/// What of a batch is done together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeSets {
    /// Every change for itself, with `Prefer: odata.continue-on-error`.
    #[default]
    Each,
    /// All of them in one change set; halved where it is refused, until what is refused stands alone.
    Together,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn overlap() -> u32 {
        120
    }
    pub(super) fn batch_max() -> usize {
        100
    }
    pub(super) fn page() -> usize {
        1000
    }
    pub(super) fn listing_max() -> usize {
        500_000
    }
    pub(super) fn concurrent() -> usize {
        4
    }
    pub(super) fn timeout() -> u64 {
        120
    }
    pub(super) fn answer() -> usize {
        64 << 20
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them, and credentials that are said twice or in part.
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
        within("batch_max", self.batch_max as f64, 1.0, 1000.0)?;
        within("page_max", self.page_max as f64, 1.0, 5000.0)?;
        within("listing_max", self.listing_max as f64, 1000.0, 10_000_000.0)?;
        within("calls_at_once", self.calls_at_once as f64, 1.0, 64.0)?;
        within("timeout_s", self.timeout_s as f64, 1.0, 3600.0)?;
        let answer = self.answer_bytes as f64;
        within("answer_bytes", answer, 1024.0, 1_073_741_824.0)?;
        if let Some(rate) = self.calls_per_second {
            within("calls_per_second", rate, 0.01, 1000.0)?;
        }
        let ways = [
            self.user.is_some(),
            self.token.is_some(),
            self.oauth.is_some(),
        ];
        if ways.into_iter().filter(|is_said| *is_said).count() > 1 {
            return Err(Error::config("credentials are said twice")
                .help("give one of `user`, `token` and `oauth`"));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(Error::config("`user` and `password` go together")
                .help("give both, or neither of them"));
        }
        Ok(())
    }

    /// What is special about a table.
    pub(crate) fn table(&self, name: &str) -> TableConfig {
        self.tables.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn credentials_are_said_once_and_bounds_are_named() {
        config(r#"{"url": "https://x/y"}"#).check().unwrap();
        for (text, part) in [
            (r#"{"url": "x", "user": "a"}"#, "go together"),
            (
                r#"{"url": "x", "user": "a", "password": "b", "token": "c"}"#,
                "twice",
            ),
            (r#"{"url": "x", "page_max": 0}"#, "1 to 5000"),
            (r#"{"url": "x", "calls_per_second": 0}"#, "0.01 to 1000"),
        ] {
            let error = config(text).check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"url": "x", "urll": 1}"#).is_err());
    }
}
