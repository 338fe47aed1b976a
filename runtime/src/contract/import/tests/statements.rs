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
        "dump.sql:14:1",
        "RENAME TO other` is not taken over",
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
    for part in ["f:2:1", "f:3:1", "LS-I102"] {
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
