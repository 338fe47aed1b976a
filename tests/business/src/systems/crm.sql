-- The customer relationship system: it owns the customers and hears of orders as deals.
-- Source tables carry no CHECK constraints: people and imports write nonsense into real systems, too.
CREATE TABLE companies (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    account_no   TEXT NOT NULL UNIQUE,
    stage        TEXT NOT NULL DEFAULT 'prospect', -- 'prospect' or 'customer'; only customers are anybody else's business
    first_name   TEXT NOT NULL,
    last_name    TEXT NOT NULL DEFAULT '',
    kind         TEXT NOT NULL,                    -- B2C, B2B, SOHO
    mail         TEXT,
    country_name TEXT NOT NULL,
    state_name   TEXT NOT NULL,
    town         TEXT NOT NULL,
    zip          TEXT NOT NULL,
    sales_region TEXT NOT NULL,
    is_active    BOOLEAN NOT NULL DEFAULT 1,
    remark       TEXT                              -- never leaves this system
);

-- Edited like any other table, and mapped by nobody: nothing of it may be captured.
CREATE TABLE contacts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    company_id INTEGER NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    phone      TEXT,
    note       TEXT
);
CREATE INDEX contacts_company ON contacts (company_id);

CREATE TABLE deals (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    deal_no    TEXT NOT NULL UNIQUE,
    account_no TEXT NOT NULL,
    opened_on  TEXT NOT NULL,
    closed_on  TEXT,
    stage      TEXT NOT NULL,                      -- Open, Won, Lost
    ship_to    TEXT NOT NULL
);
