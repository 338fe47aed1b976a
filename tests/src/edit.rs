//! Scripted edits of a business system's table.

/// One edit of the first table; `id` stands for a key and `version` for what else the row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new row.
    Insert {
        /// Its key.
        id: i64,
        /// Its values.
        version: i64,
    },
    /// Other values for a row.
    Update {
        /// Its key.
        id: i64,
        /// Its values from now on.
        version: i64,
    },
    /// A row goes.
    Delete {
        /// Its key.
        id: i64,
    },
    /// A row gets another key.
    Rekey {
        /// The key it had.
        from: i64,
        /// The key it gets.
        to: i64,
    },
}

/// Edits before, at and behind where a snapshot may stand; one list is one transaction.
pub(crate) fn script() -> Vec<Vec<Edit>> {
    use Edit::{Delete, Insert, Rekey, Update};
    // More at once than a batch may hold, on both sides of wherever the snapshot stands.
    let burst = (3..15).chain(25..35).map(|id| Update {
        id,
        version: 110 + id,
    });
    vec![
        burst.collect(),
        vec![
            Update {
                id: 0,
                version: 100,
            },
            Update {
                id: 39,
                version: 100,
            },
        ],
        vec![Delete { id: 1 }, Delete { id: 38 }],
        vec![
            Insert {
                id: 1,
                version: 101,
            },
            Insert {
                id: 200,
                version: 101,
            },
        ],
        vec![Rekey { from: 37, to: 2000 }, Rekey { from: 2, to: 2001 }],
        vec![
            Rekey { from: 36, to: 37 },
            Update {
                id: 37,
                version: 102,
            },
        ],
        vec![
            Update {
                id: 2000,
                version: 103,
            },
            Delete { id: 2001 },
        ],
        vec![
            Insert {
                id: 2,
                version: 104,
            },
            Delete { id: 2 },
            Insert {
                id: 2,
                version: 105,
            },
        ],
    ]
}
