//! What a configuration says about one Acme system.
//!
//! Settings are checked once, when the system is opened; the rest of the crate trusts them.

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of an Acme system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API is, such as `https://acme.example.com`.
    pub url: String,
    /// The token that the API takes.
    pub token: Secret<String>,
    /// Most calls a second, over every flow that uses the system in this process (0.1 to 1000).
    #[serde(default = "defaults::per_second")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub calls_per_second: f64,
    /// Most calls at once (1 to 64).
    #[serde(default = "defaults::at_once")]
    #[schemars(range(min = 1, max = 64))]
    pub calls_at_once: usize,
    /// Most records that one page asks for (1 to 1000).
    #[serde(default = "defaults::page_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub page_max: usize,
    /// Most records of one table that are listed: they are held in memory while a listing is read (1000 to 10000000).
    #[serde(default = "defaults::listing_max")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub listing_max: usize,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn per_second() -> f64 {
        10.0
    }
    pub(super) fn at_once() -> usize {
        4
    }
    pub(super) fn page_max() -> usize {
        100
    }
    pub(super) fn listing_max() -> usize {
        500_000
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
        within("calls_per_second", self.calls_per_second, 0.1, 1000.0)?;
        within("calls_at_once", self.calls_at_once as f64, 1.0, 64.0)?;
        within("page_max", self.page_max as f64, 1.0, 1000.0)?;
        within("listing_max", self.listing_max as f64, 1000.0, 10_000_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_named_and_misspelt_settings_refused() {
        let config = |more: &str| {
            let text = format!(r#"{{"url": "http://x", "token": "t"{more}}}"#);
            serde_json::from_str::<Config>(&text)
        };
        config("").unwrap().check().unwrap();
        let error = config(r#", "page_max": 1001"#)
            .unwrap()
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("1 to 1000"), "{error:?}");
        assert!(config(r#", "page": 5"#).is_err());
    }
}
