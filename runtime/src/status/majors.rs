//! What is told of older majors whose subscribers are still served.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Board;

/// An older major of an entity whose subscribers still hear what is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MajorStatus {
    /// The entity.
    pub entity: String,
    /// The older major.
    pub major: u64,
    /// The version as which its subscribers get records.
    pub version: String,
    /// The day from which it may be gone; absent where the configuration lists it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Events that were published for it since the start.
    pub published: u64,
    /// Events since the start that are no records of it, and so were left out.
    pub left_out: u64,
    /// Why nothing can be published for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl Board {
    /// The older majors of an entity that are published from now on; what was counted of them stays.
    pub(crate) fn majors(&self, entity: &str, mut majors: Vec<MajorStatus>) {
        let mut inner = self.inner();
        for major in &mut majors {
            let same = |known: &&MajorStatus| known.entity == entity && known.major == major.major;
            if let Some(known) = inner.majors.iter().find(same) {
                major.published = known.published;
                major.left_out = known.left_out;
            }
        }
        inner.majors.retain(|known| known.entity != entity);
        inner.majors.extend(majors);
    }

    /// Of an entity's older majors only these are published any more.
    pub(crate) fn majors_left(&self, entity: &str, left: &[u64]) {
        let stays = |known: &MajorStatus| known.entity != entity || left.contains(&known.major);
        self.inner().majors.retain(stays);
    }

    /// Events were published for an older major, or left out.
    pub(crate) fn copied(&self, entity: &str, major: u64, published: u64, left_out: u64) {
        let mut inner = self.inner();
        let same = |known: &&mut MajorStatus| known.entity == entity && known.major == major;
        if let Some(known) = inner.majors.iter_mut().find(same) {
            known.published += published;
            known.left_out += left_out;
        }
    }

    /// The older majors that are published here.
    #[must_use]
    pub fn older_majors(&self) -> Vec<MajorStatus> {
        self.inner().majors.clone()
    }
}
