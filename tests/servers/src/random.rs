//! Names and passwords that nobody else has chosen.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Sixteen hexadecimal digits of the operating system's randomness.
pub(crate) fn hex() -> String {
    format!("{:016x}", number())
}

/// A random number: the standard library seeds its hash maps with one.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}
