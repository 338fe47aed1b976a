-- The data warehouse: a star of dimensions and facts with prefixed keys; it owns nothing and hears of everything.
CREATE TABLE dim_customer (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    customer_key  TEXT NOT NULL UNIQUE,            -- CUST:<customer>
    customer_name TEXT NOT NULL,
    segment       TEXT NOT NULL,
    email         TEXT,
    country       TEXT NOT NULL,
    state         TEXT NOT NULL,
    city          TEXT NOT NULL,
    postal_code   TEXT NOT NULL,
    region        TEXT NOT NULL,
    is_active     BOOLEAN NOT NULL,
    full_address  TEXT NOT NULL                    -- computed on the way in
);

CREATE TABLE dim_product (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    product_key  TEXT NOT NULL UNIQUE,             -- PROD:<product>
    product_name TEXT NOT NULL,
    category     TEXT NOT NULL,
    sub_category TEXT NOT NULL,
    list_price   DECIMAL(12,2) NOT NULL,
    is_active    BOOLEAN NOT NULL
);

CREATE TABLE fact_order (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    order_key        TEXT NOT NULL UNIQUE,         -- ORD:<order>
    customer_key     TEXT NOT NULL,
    order_date       DATE NOT NULL,
    ship_date        DATE,
    ship_mode        TEXT NOT NULL,
    status           TEXT NOT NULL,
    ship_city        TEXT NOT NULL,
    ship_state       TEXT NOT NULL,
    ship_postal_code TEXT NOT NULL
);

CREATE TABLE fact_order_line (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    order_key   TEXT NOT NULL,
    line_no     INTEGER NOT NULL,
    product_key TEXT NOT NULL,
    quantity    INTEGER NOT NULL,
    sales_e4    INTEGER NOT NULL,                  -- ten-thousandths
    discount    TEXT NOT NULL,
    profit_e4   INTEGER NOT NULL,
    pack        TEXT NOT NULL,                     -- computed on the way in: bulk or piece
    UNIQUE (order_key, line_no)
);

CREATE TABLE fact_invoice (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    invoice_key  TEXT NOT NULL UNIQUE,             -- INV:<invoice>
    order_key    TEXT NOT NULL,
    customer_key TEXT NOT NULL,
    issued_on    DATE NOT NULL,
    due_on       DATE NOT NULL,
    amount       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    status       TEXT NOT NULL
);

CREATE TABLE fact_payment (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_key  TEXT NOT NULL UNIQUE,             -- PAY:<payment>
    invoice_key  TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    method       TEXT NOT NULL,
    received_at  TEXT NOT NULL
);

CREATE TABLE fact_stock (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    product_key TEXT NOT NULL,
    location    TEXT NOT NULL,
    on_hand     INTEGER NOT NULL,
    reserved    INTEGER NOT NULL,
    counted_at  TIMESTAMP NOT NULL,
    UNIQUE (product_key, location)
);
