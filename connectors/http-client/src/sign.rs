//! Keyed hashes, as webhooks and signed requests use them; compared in constant time.

use ring::hmac;

/// The hash under a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: only for vendors that sign with nothing better.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// The HMAC of the parts, one after the other.
#[must_use]
pub fn mac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm(hash), key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// Whether `signature` is the HMAC of the parts; takes as long for a wrong one as for the right one.
#[must_use]
pub fn is_mac(hash: Hash, key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let key = hmac::Key::new(algorithm(hash), key);
    hmac::verify(&key, &parts.concat(), signature).is_ok()
}

/// Bytes in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hexadecimal digits of either case stand for.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

fn algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let parts: &[&[u8]] = &[b"what do ya want ", b"for nothing?"];
        let signature = mac(Hash::Sha256, b"Jefe", parts);
        assert_eq!(hex(&signature), expected);
        assert!(is_mac(
            Hash::Sha256,
            b"Jefe",
            parts,
            &unhex(expected).unwrap()
        ));
        assert!(!is_mac(Hash::Sha256, b"Jefa", parts, &signature));
        assert!(!is_mac(Hash::Sha256, b"Jefe", parts, &signature[..31]));
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("Ff00"), Some(vec![255, 0]));
    }
}
