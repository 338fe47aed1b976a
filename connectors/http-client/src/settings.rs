//! What a client is made with. Every limit has a default, and every one can be set.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use url::Url;

use crate::{Auth, Budget};

/// Reads from an answer's status and headers how long the system wants to be left alone; all clients of the system then wait.
pub type Pace = Arc<dyn Fn(u16, &HeaderMap) -> Option<Duration> + Send + Sync>;

/// The settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct Settings {
    /// The system's name in the configuration, for messages and for the budget that its clients share.
    pub system: String,
    /// What paths are relative to: scheme, host, port and possibly a path; no user, no query.
    pub base: Url,
    /// How requests are authorized.
    pub auth: Auth,
    /// The member of a token's answer that says on which host the API is, such as `instance_url`; paths are kept, and where the answer says nothing it is the base.
    pub base_in: Option<String>,
    /// How often the system may be asked.
    pub budget: Budget,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How often a request is tried again, and how long in all.
    pub retry: Retry,
    /// Most bytes of an answer's body.
    pub body_max: usize,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// A PEM file of authorities that are trusted beside the machine's.
    pub ca_file: Option<PathBuf>,
    /// Learns from headers how long to wait, where a vendor tells it in its own way.
    pub pace: Option<Pace>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Making a connection.
    pub connect: Duration,
    /// Silence in the middle of an answer.
    pub idle: Duration,
    /// One try of a request, from its first byte to the answer's last.
    pub total: Duration,
}

/// How often a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Most tries of one request, the first included.
    pub tries: u32,
    /// The first wait; each further one is twice as long, with jitter.
    pub first: Duration,
    /// Most time that one request waits between its tries, in all; a system that asks for more gets an error that says so.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            system: String::new(),
            base: Url::parse("http://localhost/").expect("a constant address"),
            auth: Auth::None,
            base_in: None,
            budget: Budget::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            body_max: 32 * 1024 * 1024,
            headers: Vec::new(),
            ca_file: None,
            pace: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(60),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            tries: 5,
            first: Duration::from_millis(250),
            patience: Duration::from_secs(30),
        }
    }
}

/// Headers may hold credentials, so only their names are shown.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Settings")
            .field("system", &self.system)
            .field("host", &self.base.host_str())
            .field("auth", &self.auth)
            .field("base_in", &self.base_in)
            .field("budget", &self.budget)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .field("body_max", &self.body_max)
            .field("headers", &names)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
