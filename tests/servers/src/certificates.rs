//! Certificates for TLS tests: an authority, and leaves that it signed, as PEM files.
//!
//! The authority never serves: clients on rustls refuse a certificate that is authority and server at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The names under which a server on this machine is reached.
pub const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate's PEM file.
    pub certificate: PathBuf,
    /// The key's PEM file (PKCS #8).
    pub key: PathBuf,
    /// The PEM file of the authority that signed it.
    pub authority: PathBuf,
}

impl Authority {
    /// A new authority that writes its files, `NAME.pem` first, into an existing folder.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = folder.join(format!("{name}.pem"));
        write(&certificate, &params.self_signed(&key)?.pem())?;
        Ok(Authority {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The PEM file that clients trust this authority by.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A certificate for a server with these DNS names and addresses; [`LOOPBACK`] for one on this machine.
    ///
    /// # Errors
    ///
    /// When a name is no name, or a file cannot be written.
    pub fn server(&self, file: &str, names: &[&str]) -> Result<Leaf> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(file, file, params)
    }

    /// A certificate for a client, whose common name says who it is.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn client(&self, file: &str, common_name: &str) -> Result<Leaf> {
        let mut params = CertificateParams::new(vec![common_name.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, common_name, params)
    }

    fn sign(&self, file: &str, common_name: &str, mut params: CertificateParams) -> Result<Leaf> {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = Leaf {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
            authority: self.certificate.clone(),
        };
        write(
            &leaf.certificate,
            &params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        write(&leaf.key, &key.serialize_pem())?;
        Ok(leaf)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
