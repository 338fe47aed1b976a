//! What a configuration says about one API: where its description is, and the secrets that the description names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lockstep_core::connector::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a system that a file describes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file that describes the API (YAML); `lockstep connectors try FILE` shows what it reads.
    pub file: PathBuf,
    /// The API's address, where it is not the description's `base`, such as for a sandbox.
    #[serde(default)]
    pub url: Option<String>,
    /// The secrets that the description names, such as `token`.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret<String>>,
    /// A PEM file of authorities that are trusted beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}
