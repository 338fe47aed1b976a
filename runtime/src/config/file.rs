//! The configuration file as it is written: its keys, types and what each is for.
//!
//! The JSON Schema of the file is derived from here, and so is every finding about an unknown key or a wrong type.

use std::collections::BTreeMap;

use lockstep_core::connector::{RawConfig, Secret};
use lockstep_core::contract::drift::Action;
use lockstep_core::gate::{Mapping, ValueMaps};
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration of a Lockstep runtime: which systems there are, how entities stand in them, and what flows where.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "lockstep.toml")]
pub(crate) struct FileText {
    /// The folder of the contracts; every `*.odcs.yaml` below it is read.
    #[serde(default = "contracts")]
    pub(crate) contracts: String,
    /// Which log keeps the events, and for how long.
    #[serde(default)]
    pub(crate) log: LogText,
    /// The runtime's own HTTP interface.
    #[serde(default)]
    pub(crate) api: ApiText,
    /// Rules over all records of an entity.
    #[serde(default)]
    pub(crate) rules: RulesText,
    /// How idle flows are told from dead ones.
    #[serde(default)]
    pub(crate) canary: CanaryText,
    /// What to do when systems no longer fit their contracts, and how often to look.
    #[serde(default)]
    pub(crate) drift: DriftText,
    /// Which versions of contracts may run.
    #[serde(default)]
    pub(crate) versions: VersionsText,
    /// Value maps by name: a system's value = the contract's value; used in both directions.
    #[serde(default)]
    pub(crate) values: ValueMaps,
    /// The systems by name.
    #[serde(default)]
    pub(crate) systems: BTreeMap<String, SystemText>,
    /// The flows by name: which entity goes from which system to which.
    #[serde(default)]
    pub(crate) flows: BTreeMap<String, FlowText>,
}

fn contracts() -> String {
    "contracts".to_owned()
}

/// Which log keeps the events, and for how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogText {
    /// The engine of the log.
    pub(crate) engine: Engine,
    /// Embedded: the log's file; a relative path starts at the configuration's folder. `lockstep.log` if absent.
    pub(crate) path: Option<String>,
    /// NATS: the addresses of one cluster's servers, such as `nats://host:4222` or `tls://host:4222`.
    pub(crate) servers: Option<Vec<String>>,
    /// NATS: a user, with `password`.
    pub(crate) user: Option<String>,
    /// NATS: the user's password, as `${NAME}` or `${file:path}`.
    pub(crate) password: Option<Secret<String>>,
    /// NATS: a token, as `${NAME}` or `${file:path}`.
    pub(crate) token: Option<Secret<String>>,
    /// NATS: a credentials file (JWT and seed); a relative path starts at the configuration's folder.
    pub(crate) credentials: Option<String>,
    /// NATS: the seed of an nkey, as `${NAME}` or `${file:path}`.
    pub(crate) nkey: Option<Secret<String>>,
    /// NATS: whom to trust, and who we are; encrypts the connection.
    pub(crate) tls: Option<TlsText>,
    /// NATS: how many servers keep each stream: 1, 3 or 5. 1 if absent.
    pub(crate) replicas: Option<u8>,
    /// NATS: a server's monitoring address, such as `http://host:8222`; lets `check` and `status` see how soon its disk holds what it acknowledged.
    pub(crate) monitor: Option<String>,
    /// How long settled events are kept, such as `7d`; for ever if absent.
    pub(crate) max_age: Option<String>,
    /// Most bytes of settled events, such as `2GiB`; no bound if absent.
    pub(crate) max_bytes: Option<String>,
}

impl Default for LogText {
    fn default() -> Self {
        LogText {
            engine: Engine::Embedded,
            path: None,
            servers: None,
            user: None,
            password: None,
            token: None,
            credentials: None,
            nkey: None,
            tls: None,
            replicas: None,
            monitor: None,
            max_age: None,
            max_bytes: None,
        }
    }
}

/// Files for an encrypted connection to the log's servers; relative paths start at the configuration's folder.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsText {
    /// Certificates of the authorities to trust; the system's if absent.
    pub(crate) ca: Option<String>,
    /// Our certificate, with `key`, for servers that want one.
    pub(crate) certificate: Option<String>,
    /// The key of our certificate.
    pub(crate) key: Option<String>,
}

/// The engine of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// One file, for one runtime.
    Embedded,
    /// NATS JetStream, for several runtimes on several machines.
    Nats,
}

/// The runtime's own HTTP interface.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApiText {
    /// The address it listens on, on this machine only; port 0 takes a free one.
    pub(crate) listen: String,
    /// The folder of its token and address files; a relative path starts at the configuration's folder.
    pub(crate) folder: String,
}

impl Default for ApiText {
    fn default() -> Self {
        ApiText {
            listen: "127.0.0.1:0".to_owned(),
            folder: ".lockstep".to_owned(),
        }
    }
}

/// Rules over all records of an entity: unique, exists, volume, fresh.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RulesText {
    /// How often they are judged while Lockstep runs, such as `5m`, or `never`; `1h` if absent. Each time the source's table is read once.
    pub(crate) every: Option<String>,
}

/// The canary: a mark that goes from every source to every target, so that idle flows can be told from dead ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CanaryText {
    /// How often a mark is sent, such as `1m`, or `never`.
    pub(crate) every: String,
    /// How long each part of the way may take to answer before the flow counts as stalled.
    pub(crate) deadline: String,
}

impl Default for CanaryText {
    fn default() -> Self {
        CanaryText {
            every: "15s".to_owned(),
            deadline: "30s".to_owned(),
        }
    }
}

/// What to do when systems no longer fit their contracts, and how often to look.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DriftText {
    /// How often every system is looked at, such as `10m`; beside that at the start and at every change of a table that is seen.
    pub(crate) every: String,
    /// What becomes of columns that nobody mapped. `ignore` if absent.
    pub(crate) additive: Option<Action>,
    /// What becomes of an entity whose table does not fit any more. `hold` if absent.
    pub(crate) breaking: Option<Action>,
    /// Whether the whole run ends, with exit code 1, once `fail` ended a flow. If absent everything else goes on, and the run ends only when nothing is left.
    pub(crate) exit: bool,
}

impl Default for DriftText {
    fn default() -> Self {
        DriftText {
            every: "10m".to_owned(),
            additive: None,
            breaking: None,
            exit: false,
        }
    }
}

/// A policy about drift: one word for all of it, or one for each kind.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PolicyText {
    /// For each kind.
    Each(EachText),
    /// For all of it.
    All(Action),
}

/// A policy about drift by kind; what is absent is as the wider policy says.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EachText {
    /// What becomes of columns that nobody mapped.
    pub(crate) additive: Option<Action>,
    /// What becomes of an entity whose table does not fit any more.
    pub(crate) breaking: Option<Action>,
}

/// Which versions of contracts may run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VersionsText {
    /// By entity, the version that may run although the log has run a newer one.
    pub(crate) accept_older: BTreeMap<String, String>,
    /// By entity, older major versions whose subscribers get what is said as that major has it, beside those whose sunset has not come.
    pub(crate) publish_majors: BTreeMap<String, Vec<u64>>,
}

/// One deployed business system. Every key beside `connector`, `map`, `drift`, `create_tables`, `capture` and `query` is a setting of the connector.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SystemText {
    /// The connector that knows its kind.
    pub(crate) connector: String,
    /// How each entity stands in it: one mapping for both directions.
    #[serde(default)]
    pub(crate) map: BTreeMap<String, Mapping>,
    /// What to do when its tables no longer fit, where that differs from `[drift]`.
    #[serde(default)]
    pub(crate) drift: Option<PolicyText>,
    /// Whether tables that its mappings write and that it does not have are made from their contracts.
    #[serde(default)]
    pub(crate) create_tables: bool,
    /// How its changes are observed. `log` if absent.
    #[serde(default)]
    pub(crate) capture: Option<CaptureText>,
    /// How its tables are read, where it is captured by query.
    #[serde(default)]
    pub(crate) query: Option<QueryText>,
    /// The connector's settings; secrets as `${NAME}` (environment) or `${file:path}`.
    #[serde(flatten)]
    pub(crate) settings: RawConfig,
}

/// How changes of a system are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CaptureText {
    /// By the connector's own source: the system's log, or what stands for one.
    Log,
    /// By asking for rows again and again: for tables that can give no log, such as views, foreign tables, or where the role may not replicate.
    Query,
}

/// How tables are read that can give no log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueryText {
    /// How often the tables are read, such as `30s`. `1m` if absent.
    pub(crate) every: Option<String>,
    /// When they are read instead, as minute, hour, day of the month, month and day of the week, such as `0 2 * * *`.
    pub(crate) cron: Option<String>,
    /// The time zone of `cron`, such as `Europe/Berlin`. UTC if absent.
    pub(crate) zone: Option<String>,
    /// Most rows that are read at once, which is what a crash may repeat. 2000 if absent.
    #[schemars(range(min = 1, max = 20_000))]
    pub(crate) chunk_rows: Option<u32>,
    /// How much of a table may go at once, in percent of its rows, rounded up; beyond that its deletes are withheld. 20 if absent.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) deletes_max_percent: Option<u8>,
    /// What is special about tables, by their names as mappings have them.
    pub(crate) tables: BTreeMap<String, QueryTableText>,
}

/// What is special about a table that can give no log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueryTableText {
    /// The columns that together tell every row from the others, where the system does not say: for views and foreign tables.
    pub(crate) key: Vec<String>,
    /// A column that grows with every change of a row: an integer, an instant or a day. If absent, every row is compared every time.
    pub(crate) watermark: Option<String>,
    /// How far back of what was read each reading begins, so that commits that come late are not lost: a time such as `5m` (`1m` if absent), or a number for a column of integers (1000 if absent).
    pub(crate) overlap: Option<OverlapText>,
    /// With `watermark`: how often the whole table is compared, which finds deletes and whatever the column did not show, such as `12h`, or `never`. `1d` if absent.
    pub(crate) sweep: Option<String>,
    /// How much of the table may go at once, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) deletes_max_percent: Option<u8>,
}

/// How far back a reading begins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OverlapText {
    /// For columns of integers.
    Count(u64),
    /// For columns of instants and days.
    Time(String),
}

/// When what is captured is applied in the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeText {
    /// At once.
    Realtime,
    /// Collected for a time or up to a number.
    Batched,
    /// At certain times, all that is there by then.
    Scheduled,
}

/// What readers of a target see together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Each record is as it was at some time, and those of one lane in their order.
    #[default]
    Record,
    /// All flows of one source to one target that say so are as they were at one time: its transactions arrive whole, in the order of their commits.
    Transaction,
}

/// How rows that are there already get to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Snapshot {
    /// Through the log, like every change: whoever reads the log has them, too.
    #[default]
    Log,
    /// Checked like every change, but from the source straight into the flow's only target; changes take the log.
    Direct,
}

/// One entity from one system to others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowText {
    /// The entity, by its contract's name.
    pub(crate) entity: String,
    /// The system that says it.
    pub(crate) from: String,
    /// The systems that hear it.
    pub(crate) to: Vec<String>,
    /// When what is captured is applied in the targets. `realtime` if absent.
    #[serde(default)]
    pub(crate) mode: Option<ModeText>,
    /// Batched: how long changes are collected, such as `30s`. Scheduled: how often everything is applied, such as `1h`.
    #[serde(default)]
    pub(crate) every: Option<String>,
    /// Batched: how many changes are collected at most. 1000 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max: Option<u32>,
    /// Scheduled: when everything is applied, as minute, hour, day of the month, month and day of the week, such as `0 2 * * 1-5`.
    #[serde(default)]
    pub(crate) cron: Option<String>,
    /// Scheduled: the time zone of `cron`, such as `Europe/Berlin`. UTC if absent.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// What to do when tables of its ends no longer fit, where that differs from the system's policy and from `[drift]`.
    #[serde(default)]
    pub(crate) drift: Option<PolicyText>,
    /// What stands in the targets together: each record by itself, or whole transactions of the source.
    #[serde(default)]
    pub(crate) consistency: Consistency,
    /// How rows that are there already get to the target: through the log, or straight into the flow's only target, which is faster and leaves them out of the log.
    #[serde(default)]
    pub(crate) snapshot: Snapshot,
    /// By target that is still on an older version of the contract, that version: `1`, `1.2` or `1.2.0`. It gets records as that version has them.
    #[serde(default)]
    pub(crate) versions: BTreeMap<String, String>,
}
