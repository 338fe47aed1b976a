//! TLS as every client has it: certificates are always verified, against the machine's authorities and possibly one's own.

use std::path::Path;
use std::sync::Arc;

use lockstep_core::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The configuration of a client's connections.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (_, ignored) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(
            ignored,
            "some of the machine's root certificates cannot be read"
        );
    }
    if let Some(path) = ca_file {
        for certificate in authorities(path)? {
            roots
                .add(certificate)
                .map_err(|error| unreadable(path).because(error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("cannot set up TLS").because(error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<CertificateDer<'static>>, _>>)
        .map_err(|error| unreadable(path).because(error.to_string()))?;
    if read.is_empty() {
        return Err(unreadable(path));
    }
    Ok(read)
}

fn unreadable(path: &Path) -> Error {
    Error::config(format!(
        "`{}` holds no certificates that can be read",
        path.display()
    ))
    .help("name a PEM file of certificates of authorities with `ca_file`")
}
