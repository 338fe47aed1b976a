//! The canonical contracts of Lockstep: as text, as JSON Schemas and as Rust types.
//!
//! Owns the folder `contracts/` beside this crate and the one type per entity; tests prove that text, schemas and types agree.
//! The types are for programs that write or read events; Lockstep itself works from the contracts alone.
//! Rules over several fields are not in the types: the contract's check judges them.

mod agree;
mod generate;

mod currency;
mod customer;
mod invoice;
mod order;
mod order_line;
mod payment;
mod product;
mod stock_level;

pub use agree::agree;
pub use currency::Currency;
pub use customer::{Customer, Region};
pub use generate::{folder, generate, generate_editor_schema};
pub use invoice::{Invoice, InvoiceStatus};
pub use order::{Order, OrderStatus, ShipMode};
pub use order_line::OrderLine;
pub use payment::{Payment, PaymentMethod};
pub use product::Product;
pub use stock_level::StockLevel;

/// One canonical contract as it stands in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The entity's name.
    pub entity: &'static str,
    /// The file's path below `contracts/`.
    pub path: &'static str,
    /// The YAML text.
    pub text: &'static str,
}

macro_rules! source {
    ($entity:literal) => {
        Source {
            entity: $entity,
            path: concat!($entity, "/", $entity, ".odcs.yaml"),
            text: include_str!(concat!(
                "../contracts/",
                $entity,
                "/",
                $entity,
                ".odcs.yaml"
            )),
        }
    };
}

/// Every canonical contract, by entity.
#[must_use]
pub fn contracts() -> &'static [Source] {
    const ALL: [Source; 7] = [
        source!("customer"),
        source!("invoice"),
        source!("order"),
        source!("order_line"),
        source!("payment"),
        source!("product"),
        source!("stock_level"),
    ];
    &ALL
}
