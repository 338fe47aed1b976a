//! What goes wrong on the wire, in Lockstep's kinds and with a cure.

use std::fmt;

use lockstep_core::{Error, Kind};

use crate::client::{by_state, words};

/// An error message of the server.
///
/// Its detail is left out on purpose: it may hold values of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The five letters that name the error in every language.
    pub(crate) state: String,
    /// What the server says.
    pub(crate) message: String,
}

/// Tells whether a server refused with this state.
pub(crate) fn is_state(error: &Error, state: &str) -> bool {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<Refusal>())
        .any(|refusal| refusal.state == state)
}

impl Refusal {
    /// Reads the body of an error message; what is not there stays empty.
    pub(crate) fn parse(body: &[u8]) -> Refusal {
        let mut refusal = Refusal::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, text)) = field.split_first() else {
                continue;
            };
            let text = || String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => refusal.state = text(),
                b'M' => refusal.message = text(),
                _ => {}
            }
        }
        refusal
    }

    /// The refusal as an error of the kind that fits it.
    pub(crate) fn into_error(self) -> Error {
        let (kind, help) = by_state(&self.state);
        let error = Error::new(
            kind,
            format!("the server says: {}", words(&self.state, &self.message)),
        );
        match help {
            Some(help) => error.help(help),
            None => error,
        }
        .because(self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}", self.state)
    }
}

impl std::error::Error for Refusal {}

/// A connection that failed while in use.
pub(super) fn cut(error: &std::io::Error) -> Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(alert @ rustls::Error::AlertReceived(_)) = inner {
        return Error::new(Kind::Unauthorized, "the server ended the TLS connection")
            .because(alert.clone())
            .help(
                "it may ask for a client certificate: name one with sslcert and sslkey in the url",
            );
    }
    Error::transient("the connection to the server was cut").because(error.to_string())
}

/// A connection that the server closed without a word.
pub(super) fn closed() -> Error {
    Error::transient("the server closed the connection")
        .help("it is tried again; the server's log says why it did")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_is_known_by_its_state_in_any_language() {
        let body = b"SFATAL\0VFATAL\0C28P01\0Mmot de passe\0Dsecret row\0\0";
        let error = Refusal::parse(body).into_error();
        assert_eq!(error.kind(), Kind::Unauthorized);
        assert!(is_state(&error, "28P01") && !is_state(&error, "28000"));
        assert!(error.chain().contains("mot de passe"));
        assert!(!error.chain().contains("secret row"));
    }

    #[test]
    fn values_stay_out_of_messages() {
        let error = Refusal::parse(b"C22P02\0Minvalid input: \"Ann\"\0").into_error();
        assert!(!error.chain().contains("Ann"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Refusal::parse(&body).into_error();
        }
    }
}
