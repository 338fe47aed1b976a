-- The enterprise resource planning system: it owns products, orders, order lines and stock,
-- and hears of customers (partners), invoices and payments.
CREATE TABLE partners (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    partner_code  TEXT NOT NULL UNIQUE,            -- P-<customer>
    full_name     TEXT NOT NULL,
    segment_code  TEXT NOT NULL,                   -- C, B, H
    email_address TEXT,
    country_iso   TEXT NOT NULL,
    state         TEXT NOT NULL,
    city          TEXT NOT NULL,
    postcode      TEXT NOT NULL,
    region_code   TEXT NOT NULL,                   -- C, E, S, W
    active_flag   BOOLEAN NOT NULL
);

CREATE TABLE products (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sku          TEXT NOT NULL UNIQUE,
    title        TEXT NOT NULL,
    category     TEXT NOT NULL,
    subcategory  TEXT NOT NULL,
    list_price   TEXT NOT NULL,                    -- exact decimal as text
    discontinued INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE orders (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    order_no     TEXT NOT NULL UNIQUE,
    partner_code TEXT NOT NULL,                    -- P-<customer>
    ordered_on   DATE NOT NULL,
    shipped_on   DATE,
    ship_code    TEXT NOT NULL,                    -- 1ST, 2ND, STD, SAME
    status       TEXT NOT NULL,                    -- O open, S shipped, X cancelled
    to_city      TEXT NOT NULL,
    to_state     TEXT NOT NULL,
    to_zip       TEXT NOT NULL
);
CREATE INDEX orders_partner ON orders (partner_code);

CREATE TABLE order_lines (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    order_no TEXT NOT NULL,
    pos      INTEGER NOT NULL,
    sku      TEXT NOT NULL,
    qty      INTEGER NOT NULL,
    amount   TEXT NOT NULL,                        -- exact decimal as text
    rebate   DECIMAL(4,2) NOT NULL,                -- SQLite makes a double of it, as it does
    margin   TEXT NOT NULL,
    UNIQUE (order_no, pos)
);
CREATE INDEX order_lines_sku ON order_lines (sku);

CREATE TABLE stock (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sku          TEXT NOT NULL,
    site         TEXT NOT NULL,
    qty_on_hand  INTEGER NOT NULL,
    qty_reserved INTEGER NOT NULL,
    counted_at   TIMESTAMP NOT NULL,
    UNIQUE (sku, site)
);

CREATE TABLE ar_invoices (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    invoice_ref  TEXT NOT NULL UNIQUE,
    order_no     TEXT NOT NULL,
    partner_code TEXT NOT NULL,                    -- P-<customer>
    issued       DATE NOT NULL,
    due          DATE NOT NULL,
    total        TEXT NOT NULL,                    -- exact decimal as text
    state        TEXT NOT NULL                     -- D, S, P, V
);

CREATE TABLE ar_payments (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_ref TEXT NOT NULL UNIQUE,
    invoice_ref TEXT NOT NULL,
    amount      TEXT NOT NULL,
    means       TEXT NOT NULL,
    received_at TEXT NOT NULL
);
