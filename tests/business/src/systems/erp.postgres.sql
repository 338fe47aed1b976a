-- The enterprise resource planning system in PostgreSQL: the tables of erp.sql with real types.
-- Its own tables have keys of several kinds, because sources do: a uuid, numbers, and the business key itself.

-- Q is a quotation: such an order is nobody else's business, and its contract knows no such status.
CREATE TYPE order_status AS ENUM ('O', 'S', 'X', 'Q');

CREATE TABLE partners (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner_code  varchar(40) NOT NULL UNIQUE,     -- P-<customer>
    full_name     text NOT NULL,
    segment_code  char(1) NOT NULL CHECK (segment_code IN ('C', 'B', 'H')),
    email_address text,
    country_iso   char(2) NOT NULL,
    state         varchar(100) NOT NULL,
    city          varchar(100) NOT NULL,
    postcode      varchar(20) NOT NULL,
    region_code   char(1) NOT NULL CHECK (region_code IN ('C', 'E', 'S', 'W')),
    active_flag   boolean NOT NULL,
    heard_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE products (
    id           uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    sku          varchar(40) NOT NULL UNIQUE,
    title        text NOT NULL,
    category     text NOT NULL,
    subcategory  text NOT NULL,
    list_price   numeric(12,2) NOT NULL,
    discontinued boolean NOT NULL DEFAULT false,
    datasheet    text NOT NULL DEFAULT repeat(md5(random()::text), 120)
);
-- The data sheet is large and the target small, so titles, too, are kept out of line, and an update of the price does not send them.
-- A product whose number changes has to be told whole, so the row before tells what the row after leaves out.
ALTER TABLE products ALTER datasheet SET STORAGE EXTERNAL, ALTER title SET STORAGE EXTERNAL;
ALTER TABLE products SET (toast_tuple_target = 128);
ALTER TABLE products REPLICA IDENTITY FULL;

CREATE TABLE orders (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_no     varchar(40) NOT NULL UNIQUE,
    partner_code varchar(40) NOT NULL,             -- P-<customer>; partners come from elsewhere and may come later
    ordered_on   date NOT NULL,
    shipped_on   date,
    ship_code    varchar(4) NOT NULL,              -- 1ST, 2ND, STD, SAME
    status       order_status NOT NULL,
    to_city      text NOT NULL,
    to_state     text NOT NULL,
    to_zip       text NOT NULL
);
CREATE INDEX orders_partner ON orders (partner_code);
-- What is deleted or renamed is told by its number, not by a key that nobody else knows.
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_order_no_key;

CREATE TABLE order_lines (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_no varchar(40) NOT NULL REFERENCES orders (order_no) DEFERRABLE INITIALLY DEFERRED,
    pos      integer NOT NULL,
    sku      varchar(40) NOT NULL REFERENCES products (sku) DEFERRABLE INITIALLY DEFERRED,
    qty      smallint NOT NULL,
    amount   numeric(14,4) NOT NULL,
    rebate   numeric(4,2) NOT NULL,
    margin   numeric NOT NULL,
    UNIQUE (order_no, pos)
);
CREATE INDEX order_lines_sku ON order_lines (sku);
ALTER TABLE order_lines REPLICA IDENTITY USING INDEX order_lines_order_no_pos_key;

CREATE TABLE stock (
    sku          varchar(40) NOT NULL REFERENCES products (sku) DEFERRABLE INITIALLY DEFERRED,
    site         varchar(20) NOT NULL,
    qty_on_hand  integer NOT NULL,
    qty_reserved integer NOT NULL,
    counted_at   timestamptz NOT NULL,
    PRIMARY KEY (sku, site)
);

CREATE TABLE ar_invoices (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_ref  varchar(40) NOT NULL UNIQUE,
    order_no     varchar(40) NOT NULL,
    partner_code varchar(40) NOT NULL,             -- P-<customer>
    issued       date NOT NULL,
    due          date NOT NULL CHECK (due >= issued),
    total        numeric(14,2) NOT NULL CHECK (total >= 0),
    state        char(1) NOT NULL                  -- D, S, P, V
);

CREATE TABLE ar_payments (
    id          uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    payment_ref varchar(40) NOT NULL UNIQUE,
    invoice_ref varchar(40) NOT NULL,
    amount      numeric(14,2) NOT NULL CHECK (amount > 0),
    means       varchar(20) NOT NULL,
    received_at timestamptz NOT NULL
);

-- Which of the editor's transactions took effect: it asks when a commit went unanswered. Mapped by nobody.
CREATE TABLE marks (mark text PRIMARY KEY);
