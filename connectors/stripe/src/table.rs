//! The tables: what objects of each kind hold, as the vendor documents them, and what may be done to them.
//!
//! Knows names and paths; nothing of calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape};

use crate::config::Config;
use crate::convert::Form;

/// The column that holds Stripe's own id.
pub(crate) const ID: &str = "id";
/// What columns of the metadata begin with.
pub(crate) const METADATA: &str = "metadata.";

/// One kind of object.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What the table is called.
    pub(crate) table: &'static str,
    /// Where its objects are: `/v1/…`.
    pub(crate) path: &'static str,
    /// What an object says that it is.
    pub(crate) object: &'static str,
    /// Whether the vendor's search covers it.
    pub(crate) search: bool,
    /// Whether whoever makes an object may choose its id.
    pub(crate) named: bool,
    /// Whether objects can be made at all.
    pub(crate) made: bool,
    /// What a listing has to be asked for beside its page, to hold every object.
    pub(crate) list: &'static [(&'static str, &'static str)],
    /// What becomes of an object that is deleted.
    pub(crate) remove: Remove,
    columns: &'static [Field],
}

/// What becomes of an object that is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remove {
    /// It is gone.
    Delete,
    /// It is gone; where Stripe refuses that because others refer to it, it is archived.
    DeleteOrArchive,
    /// It stays, with `active` false, and no longer bears the identity.
    Archive,
    /// It ends (a subscription) and stays, and no longer bears the identity.
    End,
    /// A draft is gone, an open one is voided and no longer bears the identity; others stay.
    Invoice,
    /// It is cancelled where that is still possible, and no longer bears the identity.
    Cancel,
    /// It cannot.
    Never,
}

/// When a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Never: Stripe fills it.
    Never,
    /// When the object is made.
    Once,
    /// Whenever it differs.
    Always,
    /// By the call that leads there.
    Act,
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    path: Option<&'static str>,
    param: Option<&'static str>,
    form: Form,
    write: Write,
}

/// One column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its name.
    pub(crate) name: String,
    /// Where it stands in an object.
    pub(crate) path: Vec<String>,
    /// What it is called when it is written.
    pub(crate) param: String,
    /// How its values stand in objects.
    pub(crate) form: Form,
    /// When it is written.
    pub(crate) write: Write,
}

/// A table as a configuration has it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its kind.
    pub(crate) kind: &'static Kind,
    items: BTreeMap<String, Item>,
    order: Vec<String>,
}

const fn field(name: &'static str, form: Form, write: Write) -> Field {
    Field {
        name,
        path: None,
        param: None,
        form,
        write,
    }
}

const fn at(
    name: &'static str,
    path: &'static str,
    param: &'static str,
    form: Form,
    write: Write,
) -> Field {
    Field {
        name,
        path: Some(path),
        param: Some(param),
        form,
        write,
    }
}

use Form::{Bool, Decimal, Int, Json, Reference, Text, Time};
use Write::{Act, Always, Never, Once};

/// Every kind, in the order in which one refers to another.
pub(crate) static KINDS: [Kind; 10] = [
    Kind {
        table: "customers",
        path: "customers",
        object: "customer",
        search: true,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Delete,
        columns: &[
            field("name", Text, Always),
            field("email", Text, Always),
            field("phone", Text, Always),
            field("description", Text, Always),
            field("address.line1", Text, Always),
            field("address.line2", Text, Always),
            field("address.city", Text, Always),
            field("address.state", Text, Always),
            field("address.postal_code", Text, Always),
            field("address.country", Text, Always),
            field("balance", Int, Always),
            field("currency", Text, Never),
            field("delinquent", Bool, Never),
            field("invoice_prefix", Text, Always),
            field("tax_exempt", Text, Always),
            field("preferred_locales", Json, Always),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "products",
        path: "products",
        object: "product",
        search: true,
        named: true,
        made: true,
        list: &[],
        remove: Remove::DeleteOrArchive,
        columns: &[
            field("name", Text, Always),
            field("description", Text, Always),
            field("active", Bool, Always),
            field("url", Text, Always),
            field("unit_label", Text, Always),
            field("statement_descriptor", Text, Always),
            field("tax_code", Reference, Always),
            field("default_price", Reference, Always),
            field("shippable", Bool, Always),
            field("images", Json, Always),
            field("created", Time, Never),
            field("updated", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "prices",
        path: "prices",
        object: "price",
        search: true,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Archive,
        columns: &[
            field("product", Reference, Once),
            field("currency", Text, Once),
            field("unit_amount", Int, Once),
            field("unit_amount_decimal", Decimal, Once),
            field("active", Bool, Always),
            field("nickname", Text, Always),
            field("lookup_key", Text, Always),
            field("type", Text, Never),
            field("billing_scheme", Text, Once),
            field("recurring.interval", Text, Once),
            field("recurring.interval_count", Int, Once),
            field("recurring.usage_type", Text, Once),
            field("tax_behavior", Text, Always),
            field("tiers_mode", Text, Once),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "plans",
        path: "plans",
        object: "plan",
        search: false,
        named: true,
        made: true,
        list: &[],
        remove: Remove::Delete,
        columns: &[
            field("product", Reference, Once),
            field("currency", Text, Once),
            field("amount", Int, Once),
            field("amount_decimal", Decimal, Once),
            field("interval", Text, Once),
            field("interval_count", Int, Once),
            field("active", Bool, Always),
            field("nickname", Text, Always),
            field("trial_period_days", Int, Always),
            field("usage_type", Text, Once),
            field("billing_scheme", Text, Once),
            field("tiers_mode", Text, Once),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "subscriptions",
        path: "subscriptions",
        object: "subscription",
        search: true,
        named: false,
        made: true,
        // Without it those that ended are left out.
        list: &[("status", "all")],
        remove: Remove::End,
        columns: &[
            field("customer", Reference, Once),
            at(
                "item.price",
                "items.data.0.price",
                "items[0][price]",
                Reference,
                Always,
            ),
            at(
                "item.plan",
                "items.data.0.plan",
                "items[0][plan]",
                Reference,
                Always,
            ),
            at(
                "item.quantity",
                "items.data.0.quantity",
                "items[0][quantity]",
                Int,
                Always,
            ),
            field("status", Text, Act),
            field("cancel_at_period_end", Bool, Always),
            field("cancel_at", Time, Always),
            field("canceled_at", Time, Never),
            field("ended_at", Time, Never),
            field("start_date", Time, Never),
            field("current_period_start", Time, Never),
            field("current_period_end", Time, Never),
            field("trial_end", Time, Always),
            field("collection_method", Text, Always),
            field("days_until_due", Int, Always),
            field("currency", Text, Once),
            field("default_payment_method", Reference, Always),
            field("latest_invoice", Reference, Never),
            field("description", Text, Always),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "invoices",
        path: "invoices",
        object: "invoice",
        search: true,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Invoice,
        columns: &[
            field("customer", Reference, Once),
            field("subscription", Reference, Once),
            field("number", Text, Never),
            field("status", Text, Act),
            field("currency", Text, Once),
            field("description", Text, Always),
            field("auto_advance", Bool, Always),
            field("collection_method", Text, Always),
            field("days_until_due", Int, Always),
            field("due_date", Time, Always),
            field("footer", Text, Always),
            field("paid_out_of_band", Bool, Act),
            field("pending_invoice_items_behavior", Text, Once),
            field("amount_due", Int, Never),
            field("amount_paid", Int, Never),
            field("amount_remaining", Int, Never),
            field("subtotal", Int, Never),
            field("tax", Int, Never),
            field("total", Int, Never),
            field("billing_reason", Text, Never),
            field("customer_email", Text, Never),
            field("hosted_invoice_url", Text, Never),
            field("payment_intent", Reference, Never),
            field("period_start", Time, Never),
            field("period_end", Time, Never),
            at(
                "finalized_at",
                "status_transitions.finalized_at",
                "",
                Time,
                Never,
            ),
            at("paid_at", "status_transitions.paid_at", "", Time, Never),
            at("voided_at", "status_transitions.voided_at", "", Time, Never),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "invoice_items",
        path: "invoiceitems",
        object: "invoiceitem",
        search: false,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Delete,
        columns: &[
            field("customer", Reference, Once),
            field("invoice", Reference, Once),
            field("subscription", Reference, Once),
            field("amount", Int, Always),
            field("unit_amount", Int, Always),
            field("currency", Text, Once),
            field("quantity", Int, Always),
            field("description", Text, Always),
            field("discountable", Bool, Always),
            field("proration", Bool, Never),
            field("period.start", Time, Always),
            field("period.end", Time, Always),
            field("date", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "payment_intents",
        path: "payment_intents",
        object: "payment_intent",
        search: true,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Cancel,
        columns: &[
            field("amount", Int, Once),
            field("currency", Text, Once),
            field("customer", Reference, Once),
            field("invoice", Reference, Never),
            field("payment_method", Reference, Always),
            field("status", Text, Act),
            field("amount_received", Int, Never),
            field("capture_method", Text, Once),
            field("description", Text, Always),
            field("receipt_email", Text, Always),
            field("latest_charge", Reference, Never),
            field("canceled_at", Time, Never),
            field("cancellation_reason", Text, Never),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "charges",
        path: "charges",
        object: "charge",
        search: true,
        named: false,
        made: false,
        list: &[],
        remove: Remove::Never,
        columns: &[
            field("amount", Int, Never),
            field("amount_captured", Int, Never),
            field("amount_refunded", Int, Never),
            field("currency", Text, Never),
            field("customer", Reference, Never),
            field("invoice", Reference, Never),
            field("payment_intent", Reference, Never),
            field("balance_transaction", Reference, Never),
            field("status", Text, Never),
            field("paid", Bool, Never),
            field("captured", Bool, Never),
            field("refunded", Bool, Never),
            field("disputed", Bool, Never),
            field("description", Text, Always),
            field("receipt_email", Text, Always),
            field("failure_code", Text, Never),
            field("failure_message", Text, Never),
            field("created", Time, Never),
            field("livemode", Bool, Never),
            field("metadata", Json, Always),
        ],
    },
    Kind {
        table: "refunds",
        path: "refunds",
        object: "refund",
        search: false,
        named: false,
        made: true,
        list: &[],
        remove: Remove::Never,
        columns: &[
            field("charge", Reference, Once),
            field("payment_intent", Reference, Once),
            field("amount", Int, Once),
            field("currency", Text, Never),
            field("reason", Text, Once),
            field("status", Text, Never),
            field("failure_reason", Text, Never),
            field("balance_transaction", Reference, Never),
            field("created", Time, Never),
            field("metadata", Json, Always),
        ],
    },
];

impl Kind {
    /// The kind of a table's name.
    ///
    /// # Errors
    /// A name that is none, with the nearest one.
    pub(crate) fn of(table: &str) -> Result<&'static Kind> {
        KINDS
            .iter()
            .find(|kind| kind.table == table)
            .ok_or_else(|| {
                Error::config(format!("Stripe has no table `{table}`"))
                    .code(lockstep_core::contract::drift::GONE)
                    .help(suggestion(table, KINDS.iter().map(|kind| kind.table)))
            })
    }
}

impl Table {
    /// A table of a kind, of which nothing but ids and metadata is looked at.
    pub(crate) fn bare(kind: &'static Kind) -> Table {
        Table {
            kind,
            items: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// A table with the columns that the configuration adds.
    ///
    /// # Errors
    /// A table that Stripe has not.
    pub(crate) fn of(name: &str, config: &Config) -> Result<Table> {
        let kind = Kind::of(name)?;
        let mut table = Table::bare(kind);
        let id = if kind.named { Once } else { Never };
        table.add(Item::of(&field(ID, Text, id)));
        for field in kind.columns {
            table.add(Item::of(field));
        }
        for (path, form) in config.columns.get(name).into_iter().flatten() {
            table.add(Item::configured(path, Form::from(*form)));
        }
        Ok(table)
    }

    /// The table with columns for the names that stand in its metadata.
    pub(crate) fn with_metadata<'a>(mut self, names: impl Iterator<Item = &'a str>) -> Table {
        for name in names {
            let path = format!("{METADATA}{name}");
            if !self.items.contains_key(&path) {
                self.add(Item::configured(&path, Text));
            }
        }
        self
    }

    fn add(&mut self, item: Item) {
        if self.items.insert(item.name.clone(), item.clone()).is_none() {
            self.order.push(item.name);
        }
    }

    /// A column; one of the metadata is there whether anybody has said so or not.
    ///
    /// # Errors
    /// A column that the table has not, with the nearest one.
    pub(crate) fn item(&self, column: &str) -> Result<Item> {
        if let Some(item) = self.items.get(column) {
            return Ok(item.clone());
        }
        if column.len() > METADATA.len() && column.starts_with(METADATA) {
            return Ok(Item::configured(column, Text));
        }
        let known: Vec<&str> = self.order.iter().map(String::as_str).collect();
        Err(
            Error::config(format!("`{}` has no column `{column}`", self.kind.table)).help(format!(
                "{}; other fields are named in the system's `columns`",
                suggestion(column, known)
            )),
        )
    }

    /// Its columns, by name.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// The shape of its rows.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        let column = |name: &String| {
            let form = self.items[name].form;
            let list = matches!(name.as_str(), "images" | "preferred_locales");
            Column::new(name, form.kind(), name != ID).listing(list)
        };
        Arc::new(Shape {
            name: self.kind.table.to_owned(),
            columns: self.order.iter().map(column).collect(),
            key: vec![0],
        })
    }
}

impl Item {
    fn of(field: &Field) -> Item {
        let path = field.path.unwrap_or(field.name);
        Item {
            name: field.name.to_owned(),
            path: path.split('.').map(str::to_owned).collect(),
            param: field
                .param
                .map_or_else(|| bracketed(field.name), str::to_owned),
            form: field.form,
            write: field.write,
        }
    }

    fn configured(path: &str, form: Form) -> Item {
        // Names in the metadata may hold dots themselves.
        let parts = match path.strip_prefix(METADATA) {
            Some(name) => vec!["metadata".to_owned(), name.to_owned()],
            None => path.split('.').map(str::to_owned).collect(),
        };
        Item {
            name: path.to_owned(),
            param: match path.strip_prefix(METADATA) {
                Some(name) => format!("metadata[{name}]"),
                None => bracketed(path),
            },
            path: parts,
            form,
            write: Always,
        }
    }

    /// The name in the metadata that the column stands for.
    pub(crate) fn metadata(&self) -> Option<&str> {
        self.name.strip_prefix(METADATA)
    }

    /// What of an object has to be expanded so that the column is there; none where it is there anyway.
    pub(crate) fn expansion(&self, table: &Table) -> Option<String> {
        let (_, objects) = self.path.split_last()?;
        let first = objects.first()?;
        let is_reference = |name: &str| {
            let item = table.items.get(name);
            item.is_some_and(|item| item.form == Reference)
        };
        is_reference(first).then(|| objects.join("."))
    }
}

/// `a.b.c` as it is written in a form: `a[b][c]`.
fn bracketed(path: &str) -> String {
    let mut parts = path.split('.');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('[');
        text.push_str(part);
        text.push(']');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, more: &str) -> Table {
        let text = format!(r#"{{"api_key": "sk", "columns": {more}}}"#);
        Table::of(name, &serde_json::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn columns_lead_into_objects_and_are_written_with_brackets() {
        let table = table("invoices", r#"{"invoices": {"customer.email": "text"}}"#);
        let item = table.item("customer.email").unwrap();
        assert_eq!(item.expansion(&table).as_deref(), Some("customer"));
        assert_eq!(item.param, "customer[email]");
        assert_eq!(table.item("paid_at").unwrap().expansion(&table), None);
        let item = table.item("metadata.crm.id").unwrap();
        assert_eq!(item.path, ["metadata", "crm.id"]);
        assert_eq!(item.param, "metadata[crm.id]");
        let error = table.item("totl").unwrap_err();
        assert!(error.help_text().unwrap().contains("`total`"), "{error:?}");
    }

    #[test]
    fn every_kind_is_a_table_whose_key_is_its_id() {
        for kind in &KINDS {
            let shape = table(kind.table, "{}")
                .with_metadata(["a"].into_iter())
                .shape();
            assert_eq!(shape.columns[shape.key[0]].name, ID);
            assert!(shape.position("metadata.a").is_some());
        }
        let error = Kind::of("customer").unwrap_err();
        assert_eq!(error.help_text(), Some("did you mean `customers`?"));
    }
}
