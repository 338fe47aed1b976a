//! What a configuration says about one Stripe account.
//!
//! Settings are checked once, when the account is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::convert::Form;

/// The settings of a Stripe system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The secret or restricted key of the account (`sk_…` or `rk_…`).
    pub api_key: Secret<String>,
    /// Where the API is; Stripe's own where absent.
    #[serde(default = "defaults::url")]
    pub url: String,
    /// The version of the API to ask for, as in `2024-06-20` (header `Stripe-Version`); the account's own where absent.
    #[serde(default)]
    pub version: Option<String>,
    /// The connected account to work in (header `Stripe-Account`).
    #[serde(default)]
    pub account: Option<String>,
    /// The secrets that webhooks are signed with (`whsec_…`): several while one takes another's place.
    #[serde(default)]
    pub webhook_secrets: Vec<Secret<String>>,
    /// How far the time in a webhook's signature may be from now, in seconds (1 to 86400).
    #[serde(default = "defaults::tolerance")]
    #[schemars(range(min = 1, max = 86_400))]
    pub webhook_tolerance_s: u32,
    /// Columns beside those the connector knows, by table and then by path, with their types: `metadata.crm_id`, or a field of an object that is expanded, such as `customer.email` of invoices.
    #[serde(default)]
    pub columns: BTreeMap<String, BTreeMap<String, ColumnType>>,
    /// Whether the account's list of events is read; without it changes are seen by webhooks and by reading whole tables.
    #[serde(default = "defaults::events")]
    pub events: bool,
    /// How far back the list of events is read again, in seconds, because events do not come in the order of their times (1 to 86400).
    #[serde(default = "defaults::overlap")]
    #[schemars(range(min = 1, max = 86_400))]
    pub events_overlap_s: u32,
    /// Most calls a second, over every flow that uses the account in this process (0.1 to 1000).
    #[serde(default = "defaults::per_second")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub calls_per_second: f64,
    /// Most calls at once (1 to 64).
    #[serde(default = "defaults::concurrent")]
    #[schemars(range(min = 1, max = 64))]
    pub calls_at_once: usize,
    /// Most records of one table that are listed: they are held in memory while a listing is read (1000 to 10000000).
    #[serde(default = "defaults::listing_max")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub listing_max: usize,
    /// Most records that one page asks for (1 to 100).
    #[serde(default = "defaults::page")]
    #[schemars(range(min = 1, max = 100))]
    pub page_max: usize,
    /// A file of certificates (PEM) to trust beside the system's own.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
}

/// The type of a column, as a configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// A whole number, such as an amount in the currency's smallest unit.
    Int,
    /// An exact number.
    Decimal,
    /// A string, or the id of another record.
    Text,
    /// An instant, in seconds.
    Timestamp,
    /// Anything, as JSON.
    Json,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn url() -> String {
        "https://api.stripe.com".to_owned()
    }
    pub(super) fn tolerance() -> u32 {
        300
    }
    pub(super) fn overlap() -> u32 {
        60
    }
    pub(super) fn events() -> bool {
        true
    }
    pub(super) fn per_second() -> f64 {
        20.0
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
    /// The first setting outside its bounds, with both of them.
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
        let whole = |name, value: usize, low: f64, high: f64| within(name, value as f64, low, high);
        within(
            "webhook_tolerance_s",
            f64::from(self.webhook_tolerance_s),
            1.0,
            86_400.0,
        )?;
        within(
            "events_overlap_s",
            f64::from(self.events_overlap_s),
            1.0,
            86_400.0,
        )?;
        within("calls_per_second", self.calls_per_second, 0.1, 1000.0)?;
        whole("calls_at_once", self.calls_at_once, 1.0, 64.0)?;
        whole("listing_max", self.listing_max, 1000.0, 10_000_000.0)?;
        whole("page_max", self.page_max, 1.0, 100.0)?;
        if self.api_key.expose().trim().is_empty() {
            return Err(Error::config("`api_key` is empty")
                .help("take a secret or restricted key from the account's dashboard"));
        }
        if self
            .webhook_secrets
            .iter()
            .any(|key| key.expose().is_empty())
        {
            return Err(Error::config("an empty text stands in `webhook_secrets`")
                .help("take the signing secret from the webhook endpoint's page"));
        }
        for (table, columns) in &self.columns {
            let bad = |path: &&String| path.split('.').any(str::is_empty);
            if let Some(path) = columns.keys().find(bad) {
                return Err(Error::config(format!(
                    "`columns.{table}` names a column `{path}`, which no path leads to"
                ))
                .help("a column is a field's name, or names with dots between them"));
            }
        }
        Ok(())
    }
}

impl From<ColumnType> for Form {
    fn from(kind: ColumnType) -> Form {
        match kind {
            ColumnType::Bool => Form::Bool,
            ColumnType::Int => Form::Int,
            ColumnType::Decimal => Form::Decimal,
            ColumnType::Text => Form::Text,
            ColumnType::Timestamp => Form::Time,
            ColumnType::Json => Form::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        let config = config(r#"{"api_key": "sk_test_1"}"#).unwrap();
        config.check().unwrap();
        assert_eq!(config.url, "https://api.stripe.com");
        assert!(!format!("{config:?}").contains("sk_test_1"));
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_both_bounds() {
        for (name, value, part) in [
            ("page_max", "101", "1 to 100"),
            ("calls_per_second", "0.01", "0.1 to 1000"),
            ("webhook_tolerance_s", "0", "1 to 86400"),
            ("columns", r#"{"customers": {"a..b": "int"}}"#, "`a..b`"),
            ("webhook_secrets", r#"[""]"#, "webhook_secrets"),
        ] {
            let text = format!(r#"{{"api_key": "sk", "{name}": {value}}}"#);
            let error = config(&text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"api_key": "sk", "colums": {}}"#).is_err());
    }
}
