-- The data warehouse in PostgreSQL: the star of warehouse.sql with real types, in a schema of its own.
CREATE SCHEMA star;
SET search_path = star;

CREATE TABLE dim_customer (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_key  varchar(64) NOT NULL UNIQUE,     -- CUST:<customer>
    customer_name text NOT NULL,
    segment       varchar(20) NOT NULL,
    email         text,
    country       char(2) NOT NULL,
    state         varchar(100) NOT NULL,
    city          varchar(100) NOT NULL,
    postal_code   varchar(20) NOT NULL,
    region        varchar(20) NOT NULL,
    is_active     boolean NOT NULL,
    full_address  text NOT NULL,                   -- computed on the way in
    initial       text GENERATED ALWAYS AS (left(customer_name, 1)) STORED
);

CREATE TABLE dim_product (
    id           uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    product_key  varchar(64) NOT NULL UNIQUE,      -- PROD:<product>
    product_name text NOT NULL,
    category     text NOT NULL,
    sub_category text NOT NULL,
    list_price   numeric(12,2) NOT NULL CHECK (list_price >= 0),
    is_active    boolean NOT NULL
);

CREATE TABLE fact_order (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_key        varchar(64) NOT NULL UNIQUE,  -- ORD:<order>
    customer_key     varchar(64) NOT NULL,
    order_date       date NOT NULL,
    ship_date        date,
    ship_mode        varchar(20) NOT NULL,
    status           varchar(20) NOT NULL,
    ship_city        text NOT NULL,
    ship_state       text NOT NULL,
    ship_postal_code text NOT NULL
);

CREATE TYPE pack_size AS ENUM ('piece', 'bulk');

CREATE TABLE fact_order_line (
    order_key   varchar(64) NOT NULL,
    line_no     integer NOT NULL,
    product_key varchar(64) NOT NULL,
    quantity    integer NOT NULL,
    sales_e4    bigint NOT NULL,                   -- ten-thousandths
    discount    numeric(4,2) NOT NULL,
    profit_e4   bigint NOT NULL,
    pack        pack_size NOT NULL,                -- computed on the way in
    PRIMARY KEY (order_key, line_no)
);

CREATE TABLE fact_invoice (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_key  varchar(64) NOT NULL UNIQUE,      -- INV:<invoice>
    order_key    varchar(64) NOT NULL,
    customer_key varchar(64) NOT NULL,
    issued_on    date NOT NULL,
    due_on       date NOT NULL,
    amount       numeric NOT NULL,
    currency     char(3) NOT NULL,
    status       varchar(10) NOT NULL
);

CREATE TABLE fact_payment (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_key  varchar(64) NOT NULL UNIQUE,      -- PAY:<payment>
    invoice_key  varchar(64) NOT NULL,
    amount_cents integer NOT NULL,
    currency     char(3) NOT NULL,
    method       varchar(20) NOT NULL,
    received_at  timestamp NOT NULL                -- without a zone, as many keep it; UTC is meant
);

CREATE TABLE fact_stock (
    product_key varchar(64) NOT NULL,
    location    varchar(20) NOT NULL,
    on_hand     integer NOT NULL,
    reserved    integer NOT NULL,
    counted_at  timestamptz NOT NULL,
    PRIMARY KEY (product_key, location)
);

-- Whoever looks around finds the tables without naming their schema.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = star, public', current_database());
END $$;
