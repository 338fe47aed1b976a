-- The billing system: it owns invoices and payments, counts money in cents and writes dates day first;
-- it hears of customers (debtors), orders (sales_orders) and products (items).
CREATE TABLE debtors (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    debtor_ref TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    mail       TEXT,
    country    TEXT NOT NULL,
    zip        TEXT NOT NULL,
    city       TEXT NOT NULL,
    is_active  BOOLEAN NOT NULL
);

CREATE TABLE items (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    item_code   TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    on_sale     BOOLEAN NOT NULL
);

CREATE TABLE sales_orders (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    order_ref  TEXT NOT NULL UNIQUE,
    debtor_ref TEXT NOT NULL,
    ordered_on TEXT NOT NULL,                      -- dd.mm.yyyy
    shipped_on TEXT,
    state      TEXT NOT NULL,
    ship_city  TEXT NOT NULL,
    ship_state TEXT NOT NULL,
    ship_zip   TEXT NOT NULL
);

CREATE TABLE invoices (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    invoice_no   TEXT NOT NULL UNIQUE,
    order_ref    TEXT NOT NULL,
    debtor_ref   TEXT NOT NULL,
    issued_on    TEXT NOT NULL,                    -- dd.mm.yyyy
    due_on       TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    status       TEXT NOT NULL                     -- DRAFT, SENT, PAID, VOID
);
CREATE INDEX invoices_order ON invoices (order_ref);
CREATE INDEX invoices_debtor ON invoices (debtor_ref);

CREATE TABLE payments (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_no   TEXT NOT NULL UNIQUE,
    invoice_no   TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    method       TEXT NOT NULL,                    -- CC, WIRE, CHK
    received_at  TEXT NOT NULL
);
CREATE INDEX payments_invoice ON payments (invoice_no);
