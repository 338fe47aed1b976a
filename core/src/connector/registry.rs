//! Connectors by name, registered explicitly: a line somebody can read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::described::TryFile;
use super::erased::{Boxed, DynReader, DynSink, DynSource};
use super::{OpenContext, RawConfig, Reader, Sink, Source};
use crate::diagnostic::suggestion;
use crate::error::{Error, Result};

type Open<T> = Box<dyn Fn(RawConfig, OpenContext) -> Boxed<'static, Result<Box<T>>> + Send + Sync>;

/// One kind of system: its name, the schema of its configuration, and how to open what it offers.
///
/// ```ignore
/// pub fn connector() -> Connector {
///     Connector::new("acme-crm", env!("CARGO_PKG_VERSION"))
///         .source::<CrmSource>()
///         .sink::<CrmSink>()
/// }
/// ```
pub struct Connector {
    /// The name that configurations use.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// JSON Schema of the configuration.
    pub schema: serde_json::Value,
    source: Option<Open<dyn DynSource>>,
    /// Whether the runtime itself has the source.
    runtime_source: bool,
    /// Whether its source's marks and positions tell where transactions end.
    transactions: bool,
    sink: Option<Open<dyn DynSink>>,
    reader: Option<Open<dyn DynReader>>,
    /// The schema of the files that describe its systems, and how one is tried.
    described: Option<(serde_json::Value, TryFile)>,
}

impl Connector {
    /// A connector that offers nothing yet.
    #[must_use]
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Connector {
            name,
            version,
            schema: serde_json::Value::Bool(true),
            source: None,
            runtime_source: false,
            transactions: false,
            sink: None,
            reader: None,
            described: None,
        }
    }

    /// Adds its source.
    #[must_use]
    pub fn source<S: Source + Sync>(mut self) -> Self {
        self.schema = schemars::schema_for!(S::Config).to_value();
        self.source = Some(Box::new(|config, cx| {
            Box::pin(async move {
                let source = S::open(parse(config, &cx)?, cx).await?;
                Ok(Box::new(source) as Box<dyn DynSource>)
            })
        }));
        self
    }

    /// Says that its source tells transactions: all changes of one, and of no other, have marks of one commit, and when it falls silent its position moves on beyond the last of them.
    #[must_use]
    pub fn with_transactions(mut self) -> Self {
        self.transactions = true;
        self
    }

    /// Whether its source tells transactions.
    #[must_use]
    pub fn tells_transactions(&self) -> bool {
        self.transactions
    }

    /// Says that the runtime itself has its source, with these settings: one that needs more than a connector is given, such as the log.
    #[must_use]
    pub fn runtime_source<C: schemars::JsonSchema>(mut self) -> Self {
        self.schema = schemars::schema_for!(C).to_value();
        self.runtime_source = true;
        self
    }

    /// Adds its sink.
    #[must_use]
    pub fn sink<S: Sink>(mut self) -> Self {
        self.schema = schemars::schema_for!(S::Config).to_value();
        self.sink = Some(Box::new(|config, cx| {
            Box::pin(async move {
                let sink = S::open(parse(config, &cx)?, cx).await?;
                Ok(Box::new(sink) as Box<dyn DynSink>)
            })
        }));
        self
    }

    /// Adds its reader.
    #[must_use]
    pub fn reader<R: Reader>(mut self) -> Self {
        self.schema = schemars::schema_for!(R::Config).to_value();
        self.reader = Some(Box::new(|config, cx| {
            Box::pin(async move {
                let reader = R::open(parse(config, &cx)?, cx).await?;
                Ok(Box::new(reader) as Box<dyn DynReader>)
            })
        }));
        self
    }

    /// Says that a file describes each of its systems, and how one is tried.
    #[must_use]
    pub fn described_by<D: schemars::JsonSchema>(mut self, try_file: TryFile) -> Self {
        self.described = Some((schemars::schema_for!(D).to_value(), try_file));
        self
    }

    /// The schema of the files that describe its systems, and how one is tried; none where settings say it all.
    #[must_use]
    pub fn description(&self) -> Option<(&serde_json::Value, TryFile)> {
        let (schema, try_file) = self.described.as_ref()?;
        Some((schema, *try_file))
    }

    /// What it offers, in words: `source`, `sink`, `reader`.
    #[must_use]
    pub fn offers(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        words.extend((self.source.is_some() || self.runtime_source).then_some("source"));
        words.extend(self.sink.as_ref().map(|_| "sink"));
        words.extend(self.reader.as_ref().map(|_| "reader"));
        words
    }

    /// Whether it has a reader and no source, so that changes are found by asking.
    #[must_use]
    pub fn is_only_read(&self) -> bool {
        self.reader.is_some() && self.source.is_none() && !self.runtime_source
    }

    /// The names of the configuration's settings.
    pub fn settings(&self) -> impl Iterator<Item = &str> + Clone {
        self.schema
            .get("properties")
            .and_then(serde_json::Value::as_object)
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str))
    }

    /// Opens the source.
    ///
    /// # Errors
    /// A configuration that does not fit, a system that cannot be reached, or no source at all.
    pub async fn open_source(
        &self,
        config: RawConfig,
        cx: OpenContext,
    ) -> Result<Box<dyn DynSource>> {
        let open = self.source.as_ref().ok_or_else(|| self.lacks("source"))?;
        open(config, cx).await
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// A configuration that does not fit, a system that cannot be reached, or no sink at all.
    pub async fn open_sink(&self, config: RawConfig, cx: OpenContext) -> Result<Box<dyn DynSink>> {
        let open = self.sink.as_ref().ok_or_else(|| self.lacks("sink"))?;
        open(config, cx).await
    }

    /// Opens the reader.
    ///
    /// # Errors
    /// A configuration that does not fit, a system that cannot be reached, or no reader at all.
    pub async fn open_reader(
        &self,
        config: RawConfig,
        cx: OpenContext,
    ) -> Result<Box<dyn DynReader>> {
        let open = self.reader.as_ref().ok_or_else(|| self.lacks("reader"))?;
        open(config, cx).await
    }

    fn lacks(&self, what: &str) -> Error {
        Error::unsupported(format!("connector `{}` has no {what}", self.name))
            .help(format!("it offers: {}", self.offers().join(", ")))
    }
}

fn parse<C: DeserializeOwned>(config: RawConfig, cx: &OpenContext) -> Result<C> {
    let object = serde_json::Value::Object(config.into_iter().collect());
    serde_json::from_value(object).map_err(|error| {
        // The message of serde names the setting, never its value's secrets, because types are named, not contents.
        Error::config(format!(
            "the configuration of system `{}` does not fit",
            cx.system
        ))
        .because(error)
    })
}

/// The connectors a binary was built with.
#[derive(Default)]
pub struct Registry {
    connectors: BTreeMap<&'static str, Connector>,
}

impl Registry {
    /// Adds a connector.
    ///
    /// # Panics
    /// When two connectors share a name: a mistake of whoever wrote `main`, found at the first start.
    #[must_use]
    pub fn with(mut self, connector: Connector) -> Self {
        let name = connector.name;
        assert!(
            self.connectors.insert(name, connector).is_none(),
            "two connectors are called `{name}`"
        );
        self
    }

    /// The connector of a name.
    ///
    /// # Errors
    /// An unknown name, with the nearest known one.
    pub fn get(&self, name: &str) -> Result<&Connector> {
        self.connectors.get(name).ok_or_else(|| {
            Error::config(format!("no such connector `{name}`"))
                .help(suggestion(name, self.names()))
        })
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.connectors.keys().copied()
    }

    /// Every connector, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Connector> {
        self.connectors.values()
    }
}
