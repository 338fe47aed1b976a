//! What a connector cannot do, declared by its harness: checks then hold it to what it says instead of leaving it out in silence.

/// What a connector says of itself and its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How repeating a create that was done already is kept from creating twice.
    pub creates: Creates,
    /// What a delete does in the system.
    pub deletes: Deletes,
    /// Whether a record can get another key.
    pub key_changes: bool,
    /// Whether a table can be emptied at once.
    pub truncates: bool,
    /// Whether the system gives records ids of its own, which the sink tells.
    pub own_ids: bool,
    /// Whether pages over the key may be bounded, filtered by any column and read backwards; where not, the reader refuses what it cannot do.
    pub bounds: bool,
    /// Whether the first table has a growing column.
    pub growing: bool,
    /// Whether the system keeps a journal.
    pub journal: bool,
    /// Whether the system calls (webhooks).
    pub calls: bool,
}

/// How a create is kept from being done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creates {
    /// Progress is kept in the data's own transaction.
    Transaction,
    /// The system itself writes by the contract's key.
    Upsert,
    /// An idempotency key that the system remembers, after a look-up.
    IdempotencyKey,
    /// A look-up by the contract's key before each create; one writer at a time.
    LookUp,
}

/// What a delete does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// The record is gone.
    Hard,
    /// The record is kept, marked as gone; reading it back leaves it out.
    Soft,
    /// The system takes none: they are refused.
    Refused,
}

impl Manifest {
    /// A database: transactions and everything that SQL can do, without a growing column of its own, a journal or calls.
    pub const DATABASE: Manifest = Manifest {
        creates: Creates::Transaction,
        deletes: Deletes::Hard,
        key_changes: true,
        truncates: true,
        own_ids: false,
        bounds: true,
        growing: false,
        journal: false,
        calls: false,
    };

    /// A business system behind an API: no transactions, ids of its own, a look-up before each create.
    pub const API: Manifest = Manifest {
        creates: Creates::LookUp,
        deletes: Deletes::Hard,
        key_changes: false,
        truncates: false,
        own_ids: true,
        bounds: false,
        growing: true,
        journal: false,
        calls: false,
    };

    /// Whether the sink keeps progress in the data's own transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.creates == Creates::Transaction
    }
}

/// Says why a check ends early.
#[allow(clippy::print_stderr, reason = "tests say it to their reader")]
pub(crate) fn declared(what: &str) {
    eprintln!("declared: {what}");
}
