//! Reaching the server: TCP or a Unix socket, and TLS as the configuration asks for it.
//!
//! The only cryptography provider is *ring*. Trust follows libpq's words: `verify-full` checks chain and name, `verify-ca` the chain, `require` the chain where a root certificate is named, `prefer` nothing.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use lockstep_core::{Error, Result};
use postgres_protocol::message::frontend;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::der::{Hash, signature_hash};
use super::failure;
use super::socket::Socket;
use crate::config::{Endpoint, Host, TlsMode};

/// Connects, with TLS where it is asked for.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Socket> {
    let host = match &endpoint.host {
        Host::Tcp(host) => host,
        Host::Socket(folder) => return local(folder, endpoint).await,
    };
    let mut stream = reach(host, endpoint).await?;
    if endpoint.tls == TlsMode::Disable {
        return Ok(Socket::Plain(stream));
    }
    let mut ask = BytesMut::new();
    frontend::ssl_request(&mut ask);
    let cut = |error: std::io::Error| failure::cut(&error);
    stream.write_all(&ask).await.map_err(cut)?;
    // One byte and no more: whatever follows has to be TLS.
    match stream.read_u8().await.map_err(cut)? {
        b'S' => secure(stream, host, endpoint).await,
        b'N' if endpoint.tls == TlsMode::Prefer => Ok(Socket::Plain(stream)),
        b'N' => Err(Error::config(format!("the server at {endpoint} does not offer TLS"))
            .help("set ssl = on at the server; or, where the network itself is trusted, sslmode=disable in the url")),
        other => Err(super::unexpected(other, "the start of TLS")),
    }
}

async fn reach(host: &str, endpoint: &Endpoint) -> Result<TcpStream> {
    let unreachable = |error: std::io::Error| {
        Error::transient(format!("cannot reach the server at {endpoint}"))
            .because(error)
            .help("check host and port, that the server runs, and that it listens on this address")
    };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let addresses = tokio::net::lookup_host((host, endpoint.port)).await;
    for address in addresses.map_err(unreachable)? {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.map_err(unreachable)?;
        // A connection that is only read would otherwise never notice that the other machine is gone.
        socket.set_keepalive(true).map_err(unreachable)?;
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

#[cfg(unix)]
async fn local(folder: &Path, endpoint: &Endpoint) -> Result<Socket> {
    let path = folder.join(format!(".s.PGSQL.{}", endpoint.port));
    let stream = tokio::net::UnixStream::connect(&path).await;
    stream.map(Socket::Local).map_err(|error| {
        Error::transient(format!("cannot reach the server at {}", path.display()))
            .because(error)
            .help("check the folder and the port, and that the server runs")
    })
}

#[cfg(not(unix))]
async fn local(_folder: &Path, endpoint: &Endpoint) -> Result<Socket> {
    Err(Error::unsupported(format!(
        "{endpoint} is a Unix socket, which this system does not have"
    ))
    .help("name a host"))
}

async fn secure(stream: TcpStream, host: &str, endpoint: &Endpoint) -> Result<Socket> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::config(format!(
            "`{host}` is not a host that a certificate can name"
        ))
        .because(error)
        .help("use a DNS name or an address")
    })?;
    let connector = TlsConnector::from(Arc::new(client(endpoint)?));
    let stream = connector.connect(name, stream).await;
    stream
        .map(|stream| Socket::Tls(Box::new(stream)))
        .map_err(|error| refused(&error, endpoint))
}

/// Says why a handshake failed, and how to mend it.
fn refused(error: &std::io::Error, endpoint: &Endpoint) -> Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return failure::cut(error);
    };
    let (message, help) = match inner {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            "the server's certificate is for another host",
            "name the host in the url as the certificate does, or give the server a certificate with this name",
        ),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "the server's certificate is signed by an unknown authority",
            "name the authority's PEM file with sslrootcert in the url",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => (
            "the server's certificate has expired",
            "give the server a new certificate; check this machine's clock",
        ),
        rustls::Error::InvalidCertificate(_) => (
            "the server's certificate cannot be trusted",
            "check the certificate; a self-signed one must not be its own authority",
        ),
        _ => (
            "the server and Lockstep cannot agree on TLS",
            "the server must offer TLS 1.2 or newer",
        ),
    };
    Error::config(format!("{message}, so {endpoint} was not connected to"))
        .because(inner.clone())
        .help(help)
}

fn client(endpoint: &Endpoint) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let failed = |error: rustls::Error| Error::config("cannot set up TLS").because(error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier(endpoint, &provider)?);
    let (Some(certificate), Some(key)) = (&endpoint.client_certificate, &endpoint.client_key)
    else {
        return Ok(builder.with_no_client_auth());
    };
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, key_der)
        .map_err(|error| {
            Error::config("the client's certificate and key do not go together")
                .with("sslcert", certificate.display())
                .with("sslkey", key.display())
                .because(error)
                .help("name the key that belongs to the certificate")
        })
}

fn verifier(
    endpoint: &Endpoint,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let named = match endpoint.tls {
        TlsMode::VerifyFull => true,
        TlsMode::VerifyCa => false,
        // As libpq does: a root certificate that somebody named is not there for nothing.
        TlsMode::Require if endpoint.root_certificate.is_some() => false,
        TlsMode::Require | TlsMode::Prefer | TlsMode::Disable => {
            let provider = Arc::clone(provider);
            return Ok(Arc::new(Lenient {
                chain: None,
                provider,
            }));
        }
    };
    let roots = Arc::new(roots(endpoint)?);
    let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| {
            Error::config("no authority is known that could have signed the server's certificate")
                .because(error)
                .help("name the authority's PEM file with sslrootcert in the url")
        })?;
    if named {
        return Ok(chain);
    }
    Ok(Arc::new(Lenient {
        chain: Some(chain),
        provider: Arc::clone(provider),
    }))
}

fn roots(endpoint: &Endpoint) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(path) = &endpoint.root_certificate {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| {
                Error::config(format!(
                    "`{}` holds a certificate that cannot be read",
                    path.display()
                ))
                .because(error)
                .help("name a PEM file of certificates of authorities")
            })?;
        }
    }
    let native = rustls_native_certs::load_native_certs().certs;
    let (_, ignored) = store.add_parsable_certificates(native);
    if ignored > 0 {
        tracing::debug!(
            ignored,
            "some of the system's root certificates cannot be read"
        );
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(path, &error))?;
    if read.is_empty() {
        return Err(
            Error::config(format!("`{}` holds no certificate", path.display()))
                .help("name a PEM file with BEGIN CERTIFICATE in it"),
        );
    }
    Ok(read)
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::config(format!("`{}` cannot be read as PEM", path.display()))
        .because(error.to_string())
        .help("check the path and that Lockstep may read the file")
}

/// What a password exchange is bound to: a hash of the server's certificate, where its kind is known.
pub(super) fn certificate_digest(certificate: &[u8]) -> Option<Vec<u8>> {
    let wanted = match signature_hash(certificate)? {
        Hash::Sha256 => rustls::crypto::hash::HashAlgorithm::SHA256,
        Hash::Sha384 => rustls::crypto::hash::HashAlgorithm::SHA384,
    };
    let suites = ring::ALL_CIPHER_SUITES
        .iter()
        .filter_map(|suite| suite.tls13());
    let mut hashes = suites.map(|suite| suite.common.hash_provider);
    let hash = hashes.find(|hash| hash.algorithm() == wanted)?;
    Some(hash.hash(certificate).as_ref().to_vec())
}

/// Trusts any certificate, or any of a known authority whatever name it bears.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is the last thing that is looked at, so everything else was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
