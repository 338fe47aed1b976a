//! The **inbox**: a system that other programs speak for, by publishing observations to the log.
//!
//! A program publishes to `ls.inbox.<system>.<entity>`; `source` reads that stream like any source reads its system, and capture gates and publishes what it finds; `desk` answers publishers once their verdict is durable.
//! Observations come in contract form, so the mapping is the identity and nobody writes one.
//!
//! What cannot be read is quarantined with its reason like what breaks the contract, never dropped; messages that the stream no longer keeps and nobody read are an alarm, never a skip.

mod desk;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Connector, DynSource};
use lockstep_core::contract::Contract;
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{FieldMap, Mapping};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::capture::OpenSource;
use crate::config::{Config, System};
use crate::log::{self, INBOX, Log, StreamConfig};

pub use desk::Desk;
use source::Inbox;

/// The name of the connector in configurations.
pub(crate) const NAME: &str = "inbox";

/// How long the log remembers the id of a published message.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Code → page, for trouble with inboxes.
pub const CODES: &[(&str, &str)] = &[(
    "LS-I001",
    "Messages of an inbox were removed from the stream LS_INBOX before they were read: no runtime read it for longer than `log.max_age`.\n\
         Check: how long nothing ran; a longer `log.max_age` for the next time.\n\
         Safe: nothing goes on by itself, because what is gone is in no system of ours. \
         Let the programs publish the current state of their records again, then set `begin` of the system to the sequence that the message gives: reading goes on there.",
)];

/// The settings of an inbox.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Read nothing before this sequence of the stream `LS_INBOX`: for after messages were lost, so that somebody has said so.
    #[serde(default)]
    pub(crate) begin: Option<u64>,
}

/// The connector as configurations know it; its source is made by the runtime, which has the log.
#[must_use]
pub fn connector() -> Connector {
    Connector::new(NAME, env!("CARGO_PKG_VERSION")).runtime_source::<Settings>()
}

/// The stream of observations, kept as long as settled events are.
pub(crate) fn stream(max_age: Option<Duration>, max_bytes: Option<u64>) -> StreamConfig {
    StreamConfig {
        name: INBOX.to_owned(),
        subjects: vec!["ls.inbox.>".to_owned()],
        max_age,
        max_bytes,
        max_per_subject: None,
        duplicate_window: max_age.unwrap_or(DUPLICATE_WINDOW).min(DUPLICATE_WINDOW),
    }
}

/// How an entity stands in an inbox: as in its contract.
pub(crate) fn mapping(contract: &Contract) -> Mapping {
    let fields = contract.fields.iter();
    Mapping {
        table: contract.entity.clone(),
        fields: fields
            .map(|field| (field.name.clone(), FieldMap::Column(field.name.clone())))
            .collect(),
        ..Mapping::default()
    }
}

/// The contracts of the entities that an inbox takes, by entity.
pub(crate) type Contracts = HashMap<String, Arc<Contract>>;

/// Makes the stream of observations, where the configuration has an inbox.
///
/// # Errors
/// A log that has the stream with other settings, or cannot make it.
pub(crate) async fn ensure(log: &dyn Log, config: &Config) -> Result<()> {
    match configured(config) {
        Some(stream) => log.ensure_stream(&stream).await.map_err(log::to_error),
        None => Ok(()),
    }
}

/// The stream of observations, where the configuration has an inbox.
pub(crate) fn configured(config: &Config) -> Option<StreamConfig> {
    let has_inbox = config.systems.values().any(System::is_inbox);
    has_inbox.then(|| stream(config.log.max_age(), config.log.max_bytes()))
}

/// How to open the inbox of a system that takes these entities.
///
/// # Errors
/// Settings that do not fit; the configuration was checked, so there are none.
pub(crate) fn opener(
    system: &System,
    contracts: Contracts,
    log: &Arc<dyn Log>,
    desk: &Arc<Desk>,
) -> Result<OpenSource> {
    let settings = serde_json::Value::Object(system.settings.clone().into_iter().collect());
    let settings: Settings = serde_json::from_value(settings).map_err(|error| {
        let message = format!("the settings of the inbox `{}` do not fit", system.name);
        Error::config(message).because(error)
    })?;
    let (name, log, desk) = (system.name.clone(), Arc::clone(log), Arc::clone(desk));
    Ok(Box::new(move |_| {
        let (settings, log, desk) = (settings.clone(), Arc::clone(&log), Arc::clone(&desk));
        let inbox = Inbox::new(&name, settings, &contracts, log, desk);
        Box::pin(async move { Ok(Box::new(inbox) as Box<dyn DynSource>) })
    }))
}
