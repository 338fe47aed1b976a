//! The one error that connectors and the runtime exchange.
//!
//! A [`Kind`] is named for what the runtime does when it meets it; the message says one layer only, the chain of sources says the rest.

use std::fmt;
use std::time::Duration;

/// The result of anything a connector does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the runtime does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Passing trouble (a cut connection, a lock): retry with back-off.
    Transient,
    /// The system asked for patience: retry after the stated time.
    Throttled,
    /// Credentials or permissions are missing: stop this system and tell the operator.
    Unauthorized,
    /// The configuration cannot work: stop and tell the operator.
    Config,
    /// The system cannot do what is asked: stop and tell the operator.
    Unsupported,
    /// The data is at fault: narrow the batch down and quarantine the record.
    Invalid,
    /// Somebody else took over, or the runtime is stopping: end without complaint.
    Stopped,
    /// Anything else: restart from the safe position and count it.
    Unexpected,
}

impl Kind {
    /// Tells whether trying the same thing again may succeed without anybody's help.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Transient | Kind::Throttled | Kind::Unexpected)
    }

    /// The name used in logs and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Transient => "transient",
            Kind::Throttled => "throttled",
            Kind::Unauthorized => "unauthorized",
            Kind::Config => "config",
            Kind::Unsupported => "unsupported",
            Kind::Invalid => "invalid",
            Kind::Stopped => "stopped",
            Kind::Unexpected => "unexpected",
        }
    }
}

/// An error with its kind, context and source.
///
/// `Display` says this layer only; [`Error::chain`] renders the whole story for a log line.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    code: Option<&'static str>,
    help: Option<String>,
    context: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind. Messages are lower case, without a final stop, and name the offending value.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            code: None,
            help: None,
            context: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// Short for [`Kind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Error::new(Kind::Transient, message)
    }

    /// Short for [`Kind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Error::new(Kind::Config, message)
    }

    /// Short for [`Kind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Kind::Invalid, message)
    }

    /// Short for [`Kind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Error::new(Kind::Unsupported, message)
    }

    /// Short for [`Kind::Unexpected`].
    pub fn unexpected(message: impl Into<String>) -> Self {
        Error::new(Kind::Unexpected, message)
    }

    /// The error that every call of the emitter returns once the runtime is stopping.
    #[must_use]
    pub fn stopped() -> Self {
        Error::new(Kind::Stopped, "the runtime is stopping")
    }

    /// Attaches the error underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Attaches a name and value that help to find the place.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Attaches what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Attaches the stable code whose page `lockstep explain` prints.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// Attaches how long the system asked to be left alone.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What the runtime does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to do about it, if the author knew.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The stable code, if the error has a page.
    #[must_use]
    pub fn error_code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// How long the system asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The whole story on one line: this layer, its context, then every source.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            let lead = if i == 0 { " (" } else { ", " };
            write!(f, "{lead}{name}: {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} error: {}", self.0.kind.name(), self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
