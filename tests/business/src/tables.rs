//! The table of tables: every entity in every system, column by column.
//!
//! The SQL in `systems/` declares the same tables; a test holds the two together.

use crate::record::{Entity, Record, int, text};
use crate::shape::How::{
    Bool, Codes, Computed, Date, DayFirst, Decimal, FirstName, Instant, Int, LastName, Not, Prefix,
    Text, Units,
};
use crate::shape::{Column, How, Table};

const fn c(name: &'static str, field: &'static str, how: How) -> Column {
    Column { name, field, how }
}

const COUNTRIES: How = Codes(&[("United States", "US"), ("Canada", "CA"), ("Mexico", "MX")]);
const KINDS: How = Codes(&[
    ("B2C", "Consumer"),
    ("B2B", "Corporate"),
    ("SOHO", "Home Office"),
]);
const STAGES: How = Codes(&[("Open", "open"), ("Won", "shipped"), ("Lost", "cancelled")]);
const SEGMENTS: How = Codes(&[("C", "Consumer"), ("B", "Corporate"), ("H", "Home Office")]);
const REGIONS: How = Codes(&[
    ("C", "Central"),
    ("E", "East"),
    ("S", "South"),
    ("W", "West"),
]);
const SHIP_CODES: How = Codes(&[
    ("1ST", "First Class"),
    ("2ND", "Second Class"),
    ("STD", "Standard Class"),
    ("SAME", "Same Day"),
]);
const ORDER_STATUS: How = Codes(&[("O", "open"), ("S", "shipped"), ("X", "cancelled")]);
const INVOICE_STATE: How = Codes(&[("D", "draft"), ("S", "sent"), ("P", "paid"), ("V", "void")]);
const INVOICE_STATUS: How = Codes(&[
    ("DRAFT", "draft"),
    ("SENT", "sent"),
    ("PAID", "paid"),
    ("VOID", "void"),
]);
const METHODS: How = Codes(&[("CC", "card"), ("WIRE", "transfer"), ("CHK", "check")]);

fn full_address(customer: &Record) -> String {
    let part = |field| text(customer, field);
    format!(
        "{}, {} {}",
        part("city"),
        part("state"),
        part("postal_code")
    )
}

fn pack(line: &Record) -> String {
    let bulk = int(line, "quantity") >= 10;
    if bulk { "bulk" } else { "piece" }.to_owned()
}

pub(crate) const TABLES: &[Table] = &[
    Table {
        system: "crm",
        entity: Entity::Customer,
        name: "companies",
        columns: &[
            c("account_no", "id", Text),
            c("first_name", "name", FirstName),
            c("last_name", "name", LastName),
            c("kind", "segment", KINDS),
            c("mail", "email", Text),
            c("country_name", "country", COUNTRIES),
            c("state_name", "state", Text),
            c("town", "city", Text),
            c("zip", "postal_code", Text),
            c("sales_region", "region", Text),
            c("is_active", "active", Bool),
        ],
        only: Some(("stage", "customer")),
    },
    Table {
        system: "crm",
        entity: Entity::Order,
        name: "deals",
        columns: &[
            c("deal_no", "id", Text),
            c("account_no", "customer_id", Text),
            c("opened_on", "order_date", Date),
            c("closed_on", "ship_date", Date),
            c("stage", "status", STAGES),
            c("ship_to", "ship_city", Text),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::Customer,
        name: "partners",
        columns: &[
            c("partner_code", "id", Prefix("P-")),
            c("full_name", "name", Text),
            c("segment_code", "segment", SEGMENTS),
            c("email_address", "email", Text),
            c("country_iso", "country", Text),
            c("state", "state", Text),
            c("city", "city", Text),
            c("postcode", "postal_code", Text),
            c("region_code", "region", REGIONS),
            c("active_flag", "active", Bool),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::Product,
        name: "products",
        columns: &[
            c("sku", "id", Text),
            c("title", "name", Text),
            c("category", "category", Text),
            c("subcategory", "sub_category", Text),
            c("list_price", "list_price", Decimal),
            c("discontinued", "active", Not),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::Order,
        name: "orders",
        columns: &[
            c("order_no", "id", Text),
            c("partner_code", "customer_id", Prefix("P-")),
            c("ordered_on", "order_date", Date),
            c("shipped_on", "ship_date", Date),
            c("ship_code", "ship_mode", SHIP_CODES),
            c("status", "status", ORDER_STATUS),
            c("to_city", "ship_city", Text),
            c("to_state", "ship_state", Text),
            c("to_zip", "ship_postal_code", Text),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::OrderLine,
        name: "order_lines",
        columns: &[
            c("order_no", "order_id", Text),
            c("pos", "line_no", Int),
            c("sku", "product_id", Text),
            c("qty", "quantity", Int),
            c("amount", "sales", Decimal),
            c("rebate", "discount", Decimal),
            c("margin", "profit", Decimal),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::StockLevel,
        name: "stock",
        columns: &[
            c("sku", "product_id", Text),
            c("site", "location", Text),
            c("qty_on_hand", "on_hand", Int),
            c("qty_reserved", "reserved", Int),
            c("counted_at", "counted_at", Instant),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::Invoice,
        name: "ar_invoices",
        columns: &[
            c("invoice_ref", "id", Text),
            c("order_no", "order_id", Text),
            c("partner_code", "customer_id", Prefix("P-")),
            c("issued", "issued_on", Date),
            c("due", "due_on", Date),
            c("total", "amount", Decimal),
            c("state", "status", INVOICE_STATE),
        ],
        only: None,
    },
    Table {
        system: "erp",
        entity: Entity::Payment,
        name: "ar_payments",
        columns: &[
            c("payment_ref", "id", Text),
            c("invoice_ref", "invoice_id", Text),
            c("amount", "amount", Decimal),
            c("means", "method", Text),
            c("received_at", "received_at", Instant),
        ],
        only: None,
    },
    Table {
        system: "billing",
        entity: Entity::Customer,
        name: "debtors",
        columns: &[
            c("debtor_ref", "id", Text),
            c("name", "name", Text),
            c("mail", "email", Text),
            c("country", "country", Text),
            c("zip", "postal_code", Text),
            c("city", "city", Text),
            c("is_active", "active", Bool),
        ],
        only: None,
    },
    Table {
        system: "billing",
        entity: Entity::Product,
        name: "items",
        columns: &[
            c("item_code", "id", Text),
            c("description", "name", Text),
            c("price_cents", "list_price", Units(2)),
            c("on_sale", "active", Bool),
        ],
        only: None,
    },
    Table {
        system: "billing",
        entity: Entity::Order,
        name: "sales_orders",
        columns: &[
            c("order_ref", "id", Text),
            c("debtor_ref", "customer_id", Text),
            c("ordered_on", "order_date", DayFirst),
            c("shipped_on", "ship_date", DayFirst),
            c("state", "status", Text),
            c("ship_city", "ship_city", Text),
            c("ship_state", "ship_state", Text),
            c("ship_zip", "ship_postal_code", Text),
        ],
        only: None,
    },
    Table {
        system: "billing",
        entity: Entity::Invoice,
        name: "invoices",
        columns: &[
            c("invoice_no", "id", Text),
            c("order_ref", "order_id", Text),
            c("debtor_ref", "customer_id", Text),
            c("issued_on", "issued_on", DayFirst),
            c("due_on", "due_on", DayFirst),
            c("amount_cents", "amount", Units(2)),
            c("status", "status", INVOICE_STATUS),
        ],
        only: None,
    },
    Table {
        system: "billing",
        entity: Entity::Payment,
        name: "payments",
        columns: &[
            c("payment_no", "id", Text),
            c("invoice_no", "invoice_id", Text),
            c("amount_cents", "amount", Units(2)),
            c("method", "method", METHODS),
            c("received_at", "received_at", Instant),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::Customer,
        name: "dim_customer",
        columns: &[
            c("customer_key", "id", Prefix("CUST:")),
            c("customer_name", "name", Text),
            c("segment", "segment", Text),
            c("email", "email", Text),
            c("country", "country", Text),
            c("state", "state", Text),
            c("city", "city", Text),
            c("postal_code", "postal_code", Text),
            c("region", "region", Text),
            c("is_active", "active", Bool),
            c("full_address", "+full_address", Computed(full_address)),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::Product,
        name: "dim_product",
        columns: &[
            c("product_key", "id", Prefix("PROD:")),
            c("product_name", "name", Text),
            c("category", "category", Text),
            c("sub_category", "sub_category", Text),
            c("list_price", "list_price", Decimal),
            c("is_active", "active", Bool),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::Order,
        name: "fact_order",
        columns: &[
            c("order_key", "id", Prefix("ORD:")),
            c("customer_key", "customer_id", Prefix("CUST:")),
            c("order_date", "order_date", Date),
            c("ship_date", "ship_date", Date),
            c("ship_mode", "ship_mode", Text),
            c("status", "status", Text),
            c("ship_city", "ship_city", Text),
            c("ship_state", "ship_state", Text),
            c("ship_postal_code", "ship_postal_code", Text),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::OrderLine,
        name: "fact_order_line",
        columns: &[
            c("order_key", "order_id", Prefix("ORD:")),
            c("line_no", "line_no", Int),
            c("product_key", "product_id", Prefix("PROD:")),
            c("quantity", "quantity", Int),
            c("sales_e4", "sales", Units(4)),
            c("discount", "discount", Decimal),
            c("profit_e4", "profit", Units(4)),
            c("pack", "+pack", Computed(pack)),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::StockLevel,
        name: "fact_stock",
        columns: &[
            c("product_key", "product_id", Prefix("PROD:")),
            c("location", "location", Text),
            c("on_hand", "on_hand", Int),
            c("reserved", "reserved", Int),
            c("counted_at", "counted_at", Instant),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::Invoice,
        name: "fact_invoice",
        columns: &[
            c("invoice_key", "id", Prefix("INV:")),
            c("order_key", "order_id", Prefix("ORD:")),
            c("customer_key", "customer_id", Prefix("CUST:")),
            c("issued_on", "issued_on", Date),
            c("due_on", "due_on", Date),
            c("amount", "amount", Decimal),
            c("currency", "currency", Text),
            c("status", "status", Text),
        ],
        only: None,
    },
    Table {
        system: "warehouse",
        entity: Entity::Payment,
        name: "fact_payment",
        columns: &[
            c("payment_key", "id", Prefix("PAY:")),
            c("invoice_key", "invoice_id", Prefix("INV:")),
            c("amount_cents", "amount", Units(2)),
            c("currency", "currency", Text),
            c("method", "method", Text),
            c("received_at", "received_at", Instant),
        ],
        only: None,
    },
];
