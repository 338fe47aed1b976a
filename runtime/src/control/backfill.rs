//! Reading a table again because somebody asked for it.
//!
//! A request stands with the capture's other orders until the table is noted as one to be read, or, for a part of it, until a stored position of the source has it: so it outlives every crash, and is done again rather than not at all.

use std::sync::Arc;

use lockstep_core::connector::Filter;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::gate::Controls;
use super::{Outcome, Part, Wish};

/// What of an entity's table is to be read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// The entity.
    pub entity: String,
    /// What the rows fulfil; every row that flows want where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// A request to read a table again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Backfill {
    /// What tells it from other requests.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) wanted: Wanted,
    pub(crate) by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The requests to a capture; the usual one has none and never will.
#[derive(Clone, Default)]
pub struct Backfills(Option<(Arc<Controls>, Part)>);

impl Backfills {
    /// Those to the capture of a system.
    #[must_use]
    pub fn of(controls: &Arc<Controls>, system: &str) -> Backfills {
        let system = system.to_owned();
        Backfills(Some((Arc::clone(controls), Part::Capture { system })))
    }

    /// The requests that nobody took yet.
    pub(crate) fn open(&self) -> Vec<Backfill> {
        let Some((controls, part)) = &self.0 else {
            return Vec::new();
        };
        controls.wish(part).backfills
    }

    /// Hears of orders.
    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.as_ref().map(|(controls, _)| controls.subscribe()))
    }

    /// A request was taken: what it asks for is kept elsewhere by now. A log that cannot be written keeps it, and it is done again.
    pub(crate) async fn taken(&self, id: &str) {
        let Some((controls, part)) = &self.0 else {
            return;
        };
        let gone = |wish: &mut Wish| wish.backfills.retain(|known| known.id != id);
        if let Err(error) = controls.control().alter(part, gone).await {
            tracing::warn!(%part, error = error.chain(), "a backfill that began cannot be crossed off");
        }
    }
}

/// Hears of orders to the parts of a run.
pub(crate) struct Watch(Option<watch::Receiver<super::Wishes>>);

impl Watch {
    /// Waits until somebody orders something; never ends where nobody can.
    pub(crate) async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(wishes) => wishes.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

/// Adds a request, unless the same one stands there.
pub(super) fn add(wish: &mut Wish, backfill: &Backfill) -> Outcome {
    let same = |known: &Backfill| known.wanted == backfill.wanted;
    let changed = !wish.backfills.iter().any(same);
    if changed {
        wish.backfills.push(backfill.clone());
    }
    Outcome::Backfill {
        changed,
        entity: backfill.wanted.entity.clone(),
    }
}
