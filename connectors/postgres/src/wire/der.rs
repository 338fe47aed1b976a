//! As much of a certificate's encoding as it takes to find the hash that it was signed with; pure.
//!
//! Channel binding (RFC 5929, `tls-server-end-point`) hashes the certificate with that very function.

/// The hash of a certificate's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// SHA-256, which also stands in for MD5 and SHA-1.
    Sha256,
    /// SHA-384.
    Sha384,
}

/// Finds the hash; none where it is another one, or where the bytes are no certificate.
pub(super) fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = element(certificate, 0x30)?;
    let (_, after_content) = element(certificate, 0x30)?;
    let (algorithm, _) = element(after_content, 0x30)?;
    let (name, _) = element(algorithm, 0x06)?;
    match name {
        // 1.2.840.113549.1.1.x: RSA with MD5, SHA-1, SHA-256, SHA-384.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11] => Some(Hash::Sha256),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => Some(Hash::Sha384),
        // 1.2.840.10045.4.1 and 1.2.840.10045.4.3.x: ECDSA with SHA-1, SHA-256, SHA-384.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => Some(Hash::Sha256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Hash::Sha256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Some(Hash::Sha384),
        _ => None,
    }
}

/// The content of the element that the bytes begin with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        // A longer length is a count of bytes, then as many of them.
        long => {
            let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
            if bytes.len() > 4 {
                return None;
            }
            let length = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            (length, rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_signature_names_the_hash() {
        let name = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
        let mut certificate = vec![0x30, 0x81, 16, 0x30, 1, 0, 0x30, 10, 0x06, 8];
        certificate.extend(name);
        certificate.push(0);
        assert_eq!(signature_hash(&certificate), Some(Hash::Sha384));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>) {
            let _ = signature_hash(&bytes);
            bytes.splice(0..0, [0x30, 0x83]);
            let _ = signature_hash(&bytes);
        }
    }
}
