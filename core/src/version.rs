//! The order of the states of one record.

use std::fmt;

use crate::position::Mark;

/// One state of a record among its states: later states have greater versions.
///
/// For an entity with a single writer it is the place of the change in its source, since one source tells its changes in order.
/// As text it has a fixed width and sorts as the version does, which is what the CloudEvents `sequence` attribute asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub Mark);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_text())
    }
}

impl std::str::FromStr for Version {
    type Err = crate::position::NotAPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Version(text.parse()?))
    }
}
