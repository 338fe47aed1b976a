//! SQL whose later statements change what an earlier one said, and statements that nobody can read.

use super::*;

#[test]
fn later_statements_change_the_table() {
    let text = "\\restrict abc
CREATE TABLE public.t (id bigint PRIMARY KEY, a text, b text, gone text, c int);
COPY public.t (id, a) FROM stdin;
1\tit's; CREATE TABLE x (
\\.

CREATE UNIQUE INDEX t_a ON public.t USING btree (a);
CREATE UNIQUE INDEX t_b ON public.t USING btree (lower(b));
CREATE UNIQUE INDEX t_c ON public.t USING btree (c) WHERE (c > 0);
CREATE INDEX t_bb ON public.t USING btree (b);
ALTER TABLE ONLY public.t ALTER COLUMN a SET NOT NULL;
ALTER TABLE public.t DROP COLUMN gone;
ALTER TABLE public.t OWNER TO me;
ALTER TABLE public.t SET SCHEMA other;
ALTER TABLE public.t RENAME TO other;
";
    let draft = one(sql::import("dump.sql", text, "postgres", &asked(&[])));
    let contract = written(&draft);
    assert_eq!(skeleton(&contract.fields), "id:int! a:text! b:text? c:int?");
    let unique: Vec<bool> = contract.fields.iter().map(|field| field.unique).collect();
    assert_eq!(unique, [false, true, false, false]);
    let said = said(&draft);
    for part in [
        "that `lower(b)` is unique is not checked",
        "unique where `(c > 0)` is not checked",
        "dump.sql:14:22",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("OWNER"), "{said}");
}

#[test]
fn one_statement_that_cannot_be_read_costs_only_itself() {
    let text = "CREATE TABLE a (id int PRIMARY KEY);\nCREATE TABLE b (id int,, PRIMARY KEY (id));\nCREATE TABLE c (id int PRIMARY KEY, d text DEFAULT 'never closed);\n";
    let draft = one(sql::import("f", text, "postgres", &asked(&[])));
    let said = said(&draft);
    for part in ["f:2:24", "f:3:52", "LS-I102"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let nothing = sql::import("f", "SELECT 1;\nCREATE TABLE b (", "postgres", &asked(&[]));
    assert_eq!(codes(&nothing.unwrap_err()), ["LS-I102"]);
}

#[test]
fn numbers_of_mysql_without_a_sign_are_not_negative() {
    let text = "CREATE TABLE `t` (`id` int(11) unsigned zerofill NOT NULL AUTO_INCREMENT, `p` decimal(10,2) unsigned NOT NULL DEFAULT '0.00', `f` float unsigned, `d` double(8,2) unsigned DEFAULT NULL, `z` smallint(5) zerofill, PRIMARY KEY (`id`)) ENGINE=InnoDB;";
    let contract = written(&one(sql::import("f", text, "mysql", &asked(&[]))));
    assert_eq!(
        skeleton(&contract.fields),
        "id:int! p:decimal(10,2)! f:float? d:float? z:int?"
    );
    for field in &contract.fields {
        let least = field.limits.minimum.as_ref().unwrap().to_string();
        assert_eq!(least.trim_end_matches(['.', '0']), "", "{}", field.name);
    }
}

/// Fields as a skeleton, and what was said.
fn read(text: &str, dialect: &str) -> (String, Contract, String) {
    let draft = one(sql::import("f", text, dialect, &asked(&[])));
    let contract = written(&draft);
    (skeleton(&contract.fields), contract, said(&draft))
}

#[test]
fn words_that_no_parser_knows_cost_no_table() {
    for (dialect, text, fields, told) in [
        (
            "mysql",
            "CREATE TABLE `k` (`id` int unsigned NOT NULL, `p` float(10,2) unsigned DEFAULT '0.00', `s` set('a','b'), `n` bigint unsigned INVISIBLE, `u` varchar(9) AS (upper(`s`)) STORED, `at` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (`id`), KEY `x` (`s`(3)), FULLTEXT KEY `y` (`s`)) ENGINE=InnoDB COMMENT='Alle' /*!50100 PARTITION BY RANGE (`id`) (PARTITION p0 VALUES LESS THAN (9)) */;",
            "id:int! p:float? s:text? n:decimal(20,0)? at:timestamp!",
            "the column `u` that the database computes was left out",
        ),
        (
            "mariadb",
            "CREATE TABLE p (id bigint(20) NOT NULL PRIMARY KEY, d longtext CHECK (json_valid(`d`)), v int INVISIBLE, s timestamp(6) GENERATED ALWAYS AS ROW START, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;",
            "id:int! d:json? v:int?",
            "`s`",
        ),
        (
            "mssql",
            "CREATE TABLE [dbo].[C]([Id] [int] IDENTITY(1,1) NOT FOR REPLICATION NOT NULL, [G] [uniqueidentifier] ROWGUIDCOL NOT NULL, [Ver] [timestamp] NOT NULL, [T] [tinyint] NULL, [Sum] AS ([T]*(2)) PERSISTED, CONSTRAINT [PK] PRIMARY KEY CLUSTERED ([Id] ASC)WITH (PAD_INDEX = OFF) ON [PRIMARY]) ON [PRIMARY]\nGO\nALTER TABLE [dbo].[C] WITH CHECK ADD CONSTRAINT [CK] CHECK (([T]>=(1)))\nGO\n",
            "Id:int! G:uuid! Ver:bytes! T:int?",
            "`NOT FOR REPLICATION` is not read",
        ),
        (
            "oracle",
            "CREATE TABLE \"HR\".\"E\" (\"ID\" NUMBER(6,0), \"NAME\" VARCHAR2(20 BYTE) NOT NULL ENABLE, \"HIRED\" DATE DEFAULT SYSDATE, \"N\" NUMBER(*,0), \"TS\" TIMESTAMP (6) WITH LOCAL TIME ZONE, \"R\" RAW(16), PRIMARY KEY (\"ID\") USING INDEX TABLESPACE \"U\" ENABLE) SEGMENT CREATION IMMEDIATE TABLESPACE \"U\";",
            "ID:decimal(6,0)! NAME:text! HIRED:timestamp? N:decimal(38,0)? TS:timestamp? R:bytes?",
            "it has no offset from UTC",
        ),
        (
            "snowflake",
            "create or replace TABLE DB.PUBLIC.O (ID NUMBER(38,0) NOT NULL autoincrement start 1 increment 1 noorder, N VARCHAR(16777216) COMMENT 'the name', V VARIANT, A ARRAY, T TIMESTAMP_NTZ(9), F FLOAT, primary key (ID)) CLUSTER BY (N);",
            "ID:decimal(38,0)! N:text? V:json? A:json?{items:json!?} T:timestamp? F:float?",
            "it has no offset from UTC",
        ),
        (
            "bigquery",
            "CREATE TABLE `p.d.o` (id INT64 NOT NULL OPTIONS(description=\"The id\"), big NUMERIC, at TIMESTAMP, tags ARRAY<STRING>, addr STRUCT<street STRING NOT NULL, zip INT64>, items ARRAY<STRUCT<sku STRING, n INT64>>, PRIMARY KEY (id) NOT ENFORCED) PARTITION BY DATE(at)\nOPTIONS(description=\"All\");",
            "id:int! big:decimal(38,9)? at:timestamp? tags:json?{items:text!?} addr:json? items:json?{items:json!?}",
            "`addr`",
        ),
    ] {
        let (found, contract, said) = read(text, dialect);
        assert_eq!(found, fields, "{dialect}\n{said}");
        assert!(said.contains(told), "{dialect}\n{said}");
        assert!(!said.contains("guessed"), "{dialect}\n{said}");
        assert_eq!(contract.key, [0], "{dialect}");
    }
    let (_, contract, _) = read(
        "CREATE TABLE t (id int, b tinyint, PRIMARY KEY CLUSTERED (id))\nGO\nALTER TABLE t WITH NOCHECK ADD CHECK (b >= 1)",
        "mssql",
    );
    assert_eq!(contract.fields[1].limits.minimum, Some(Value::Int(1)));
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let text = "\nCREATE TABLE b (\n  id int PRIMARY KEY,\n  , c int\n);";
    let found = sql::import("f", text, "postgres", &asked(&[])).unwrap_err();
    let place = found[0].place.as_ref().unwrap();
    assert_eq!((found[0].code, place.line, place.column), ("LS-I102", 4, 3));
    assert!(!found[0].message.contains("Line:"), "{}", found[0].message);
}

#[test]
fn domains_lists_and_patterns_of_postgres_are_followed() {
    let (fields, contract, said) = read(
        "CREATE DOMAIN eur AS numeric(12,2) CHECK (VALUE >= 0);\nCREATE DOMAIN public.zip AS varchar(5) NOT NULL CONSTRAINT c CHECK (VALUE ~ '^[0-9]{5}$'::text);\nCREATE TABLE t (id bigint PRIMARY KEY, fee eur, zip public.zip, words text[] DEFAULT '{}'::text[] NOT NULL, deep int[][], code text CHECK (code ~ '^[A-Z]$'), ahead text CHECK (ahead ~ '^(?=a)')) PARTITION BY RANGE (id);\nCREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (9);",
        "postgres",
    );
    assert_eq!(
        fields,
        "id:int! fee:decimal(12,2)? zip:text! words:json!{items:text!?} deep:json?{items:json!?} code:text? ahead:text?"
    );
    let pattern = |at: usize| contract.fields[at].limits.pattern.as_deref();
    assert_eq!(pattern(2), Some("^[0-9]{5}$"));
    assert_eq!((pattern(5), pattern(6)), (Some("^[A-Z]$"), None));
    assert_eq!(contract.fields[3].default, Some(Value::Json("[]".into())));
    assert!(contract.fields[1].limits.minimum.is_some());
    assert!(said.contains("`t_1` names no columns"), "{said}");
    assert!(!said.contains("what follows"), "{said}");
}

#[test]
fn renamed_and_changed_columns_keep_what_was_said_of_them() {
    let (fields, contract, said) = read(
        "CREATE TABLE t (id int, a varchar(9), b int, UNIQUE KEY u (a), CHECK (b > 0), PRIMARY KEY (id));\nALTER TABLE t CHANGE COLUMN a name varchar(30) NOT NULL COMMENT 'der Name';\nALTER TABLE t RENAME COLUMN b TO amount;\nALTER TABLE t MODIFY id bigint NOT NULL;\nALTER TABLE t RENAME TO u;\nRENAME TABLE u TO thing;",
        "mysql",
    );
    assert_eq!(fields, "id:int! name:text! amount:int?");
    assert_eq!(contract.entity, "thing");
    assert!(contract.fields[1].unique);
    assert_eq!(contract.fields[1].description.as_deref(), Some("der Name"));
    assert!(contract.fields[2].limits.exclusive_minimum, "{said}");
}

/// A running table says in its own SQL what its shape does not, and its shape keeps the last word on types, key and null.
#[test]
fn a_live_table_brings_its_comments_checks_and_references() {
    use lockstep_core::connector::Definition;
    use lockstep_core::value::Decimal;
    use lockstep_core::{Column, Shape};

    let decimal = Type::Decimal {
        precision: Some(12),
        scale: Some(2),
    };
    let shape = Shape {
        name: "orders".to_owned(),
        columns: vec![
            Column::new("id", Type::Int, false),
            Column::new("customer_id", Type::Int, true),
            Column::new("state", Type::Text, false),
            Column::new("mood", Type::Text, true),
            Column::new("land", Type::Text, true),
            Column::new("total", decimal, false),
            Column::new("twice", decimal, true),
        ],
        key: vec![0],
    };
    let definition = Definition {
        dialect: "postgres",
        sql: "CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TABLE public.orders (
    id bigint NOT NULL,
    customer_id bigint,
    state text NOT NULL,
    mood mood,
    land character varying(2),
    total numeric(12,2),
    twice numeric(12,2) GENERATED ALWAYS AS ((total * (2)::numeric)) STORED
);
ALTER TABLE public.orders ADD CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text])));
ALTER TABLE public.orders ADD CHECK (((total >= (0)::numeric) AND (total < 1000.5)));
ALTER TABLE public.orders ADD CHECK ((total > (id)::numeric));
ALTER TABLE public.orders ADD FOREIGN KEY (customer_id) REFERENCES customers(id) ON DELETE CASCADE;
ALTER TABLE public.orders ADD UNIQUE (land);
COMMENT ON TABLE public.orders IS 'What was sold.';
COMMENT ON COLUMN public.orders.land IS 'Where it''s going.';
"
        .to_owned(),
    };
    let draft = one(table::import(
        "shop",
        &shape,
        Some(&definition),
        &[],
        &asked(&[]),
    ));
    let contract = written(&draft);
    assert_eq!(contract.description.as_deref(), Some("What was sold."));
    let field = |name: &str| &contract.fields[contract.field(name).unwrap()];
    let listed = |name: &str| field(name).allowed.as_ref().unwrap().values.clone();
    assert_eq!(contract.key, [0]);
    let reference = field("customer_id").reference.clone().unwrap();
    assert_eq!(
        (reference.entity.as_str(), reference.field.as_str()),
        ("customer", "id")
    );
    assert_eq!(
        listed("state"),
        [Value::text("open"), Value::text("closed")]
    );
    assert_eq!(listed("mood"), [Value::text("sad"), Value::text("it's ok")]);
    assert_eq!(field("land").limits.max_length, Some(2));
    assert_eq!(
        field("land").description.as_deref(),
        Some("Where it's going.")
    );
    assert!(field("land").unique && field("land").nullable);
    let total = field("total");
    let number = |text: &str| Some(Value::Decimal(text.parse::<Decimal>().unwrap()));
    assert_eq!(total.limits.minimum, number("0.00"));
    assert_eq!(total.limits.maximum, number("1000.50"));
    assert!(total.limits.exclusive_maximum && total.required);
    // What no bound says is told, and stands as a comment beside the field.
    let told = draft
        .findings
        .iter()
        .filter(|found| found.code == "LS-I108");
    assert_eq!(told.count(), 2, "{:?}", draft.findings);
    // Neither can a source tell what the database computes, nor a target be written there.
    assert_eq!(contract.field("twice"), None);
    let left_out = |found: &Diagnostic| found.message.contains("`twice` that the database");
    assert!(draft.findings.iter().any(left_out), "{:?}", draft.findings);
}

/// Four bytes in most systems, eight in those where the word says no size.
#[test]
fn an_integer_is_as_wide_as_its_dialect_makes_it() {
    let text = "CREATE TABLE x (id integer PRIMARY KEY, q int);";
    for dialect in sql::DIALECTS {
        let contract = written(&one(sql::import("x.sql", text, dialect, &asked(&[]))));
        let id = &contract.fields[0].limits;
        let bounds = (id.minimum.clone(), id.maximum.clone());
        let narrow = matches!(dialect, "postgres" | "mysql" | "mariadb" | "mssql");
        let expected = match narrow {
            true => (
                Some(Value::Int(i32::MIN.into())),
                Some(Value::Int(i32::MAX.into())),
            ),
            false => (None, None),
        };
        assert_eq!(bounds, expected, "{dialect}");
        if narrow {
            assert_eq!(contract.fields[1].limits, *id, "{dialect}");
        }
    }
}
