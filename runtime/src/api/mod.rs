//! The running process's own HTTP interface, and how the command line finds it.
//!
//! It listens on loopback only. [`Access`] is the file that holds its address and the token that every request must bear; it is readable by its owner alone and goes when the run ends.

mod access;
mod client;
mod hooks;
mod reach;
mod server;

use lockstep_core::error::{Error, Kind};
use serde::{Deserialize, Serialize};

use crate::explain;

pub use access::Access;
pub use client::{Client, Reached};
pub use hooks::Hooks;
pub use reach::Reach;
pub use server::Server;

/// An error of the process, as the command line is told it.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    message: String,
    code: Option<String>,
    help: Option<String>,
    /// Whether it may pass by itself.
    passes: bool,
}

impl Told {
    fn of(error: &Error) -> Told {
        Told {
            message: error.chain(),
            code: error.error_code().map(str::to_owned),
            help: error.help_text().map(str::to_owned),
            passes: error.kind().is_retryable(),
        }
    }

    fn into_error(self) -> Error {
        let kind = if self.passes {
            Kind::Transient
        } else {
            Kind::Unexpected
        };
        let mut error = Error::new(kind, self.message);
        // Another version may have codes that this one does not know.
        if let Some((code, _)) = self.code.as_deref().and_then(explain::page) {
            error = error.code(code);
        }
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_and_its_cure_on_the_way_to_the_command_line() {
        let error = Error::transient("the log cannot be used").code("LS-L006");
        let error = error.help("start the server");
        let text = serde_json::to_string(&Told::of(&error)).unwrap();
        let told = serde_json::from_str::<Told>(&text).unwrap().into_error();
        assert_eq!(told.kind(), Kind::Transient);
        assert_eq!(told.error_code(), Some("LS-L006"));
        assert_eq!(told.help_text(), Some("start the server"));
        assert_eq!(told.chain(), "the log cannot be used");
    }
}
