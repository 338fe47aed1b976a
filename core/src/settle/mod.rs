//! Step four, **settle**: which system is right, field by field.
//!
//! An entity with a single writer and no match rules is settled by the gate already: its changes go to the settled subject directly and this step costs nothing.
//! That is the only route there is so far; entities with several writers are refused when the configuration is read, so nothing is ever settled by accident.

use std::collections::BTreeSet;

/// Where the gate sends an entity's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Straight to the settled subject: there is one writer.
    Settled,
    /// Nowhere: several systems write the entity, and settling them is not built yet.
    Unsettled {
        /// The systems that write it.
        writers: Vec<String>,
    },
}

/// Decides the route of an entity from the systems that write it.
#[must_use]
pub fn route<'a>(writers: impl IntoIterator<Item = &'a str>) -> Route {
    let writers: BTreeSet<&str> = writers.into_iter().collect();
    if writers.len() <= 1 {
        return Route::Settled;
    }
    Route::Unsettled {
        writers: writers.into_iter().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_is_settled_and_two_are_not() {
        assert_eq!(route(["crm", "crm"]), Route::Settled);
        let Route::Unsettled { writers } = route(["erp", "crm"]) else {
            panic!("settled")
        };
        assert_eq!(writers, ["crm", "erp"]);
    }
}
