//! Whether what a contract refers to is there: the properties of other entities that relationships and `exists` rules name.
//!
//! Owns the words about references that lead nowhere; which contracts and releases there are is handed in, for a contract alone cannot know.

use std::cmp::Reverse;

use super::{Check, Contract, Loaded, Reference, Step};
use crate::diagnostic::{Diagnostic, nearest};
use crate::value::Type;

/// A reference that leads nowhere.
const NOWHERE: &str = "LS-C050";
/// Most names that a message lists.
const LISTED_MAX: usize = 8;

/// What references may lead to.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// The contracts as they stand.
    pub contracts: Vec<&'a Contract>,
    /// What was released of them, or of contracts that are gone.
    pub releases: Vec<&'a Contract>,
    /// Whether there are contracts that could not be read: an entity that is not among these may still be there.
    pub partial: bool,
}

/// One reference of a contract.
#[derive(Clone, Debug)]
struct Link<'a> {
    /// Where it stands, as [`Places`](super::Places) names it.
    pointer: String,
    /// The field whose values lead there.
    from: &'a str,
    to: Reference,
}

impl<'a> Known<'a> {
    /// Every reference of a contract that leads nowhere, or to what cannot be equal, each at its place.
    #[must_use]
    pub fn dangling(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        for (link, finding) in self.faults(&loaded.contract) {
            let finding = match loaded.places.at(&link.pointer) {
                Some(place) => finding.at(place.clone()),
                None => finding,
            };
            // A relationship with an outcome is a reference and a rule at one place.
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
        found
    }

    /// What a contract refers to although no contract has it, each once and without a place.
    #[must_use]
    pub fn missing(&self, contract: &Contract) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        for (_, finding) in self.faults(contract) {
            if finding.code == NOWHERE && !found.contains(&finding) {
                found.push(finding);
            }
        }
        found
    }

    /// The references of a contract that lead nowhere and never did, as far as releases tell; `exists` rules included.
    #[must_use]
    pub fn dead(&self, contract: &Contract) -> Vec<Reference> {
        let links = links(contract).into_iter().map(|link| link.to);
        links.filter(|to| !self.led(to)).collect()
    }

    /// Whether a reference leads somewhere, or did.
    fn led(&self, to: &Reference) -> bool {
        let mut all = self.contracts.iter().chain(&self.releases);
        let known = |contract: &&Contract| contract.entity == to.entity;
        (self.partial && !self.contracts.iter().any(known))
            || all.any(|contract| known(contract) && contract.field(&to.field).is_some())
    }

    fn faults<'c>(&self, contract: &'c Contract) -> Vec<(Link<'c>, Diagnostic)> {
        let links = links(contract).into_iter();
        links
            .filter_map(|link| {
                let finding = self.fault(contract, &link)?;
                Some((link, finding))
            })
            .collect()
    }

    fn fault(&self, own: &Contract, link: &Link<'_>) -> Option<Diagnostic> {
        let Reference { entity, field } = &link.to;
        let there = || self.contracts.iter().filter(|c| c.entity == *entity);
        let Some(first) = there().next() else {
            return (!self.partial).then(|| self.no_entity(link));
        };
        // Two contracts of one entity are a finding of their own; either may be the one that is meant.
        let found = there().find_map(|c| c.field(field).map(|at| &c.fields[at]));
        let Some(found) = found else {
            return Some(self.no_field(link, first));
        };
        let from = own.field(link.from).map(|at| &own.fields[at])?;
        (!comparable(from.kind, found.kind)).then(|| {
            let message = format!(
                "`{}` is of type {}, and `{entity}.{field}`, which it refers to, of type {}",
                link.from, from.kind, found.kind
            );
            Diagnostic::warning("LS-C051", message)
                .help("give both the same type, or refer to another property")
        })
    }

    fn no_entity(&self, link: &Link<'_>) -> Diagnostic {
        let Reference { entity, field } = &link.to;
        let (from, last) = (link.from, self.last(entity, None));
        let message = match last {
            Some(last) => format!(
                "`{from}` refers to `{entity}.{field}`, and the contract of `{entity}` is gone; {} was its last release",
                last.version
            ),
            None => format!(
                "`{from}` refers to `{entity}.{field}`, and no contract here describes `{entity}`"
            ),
        };
        let mut names: Vec<&str> = self.contracts.iter().map(|c| c.entity.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let help = help(entity, &names, "or write its contract");
        Diagnostic::error(NOWHERE, message).help(help)
    }

    fn no_field(&self, link: &Link<'_>, holder: &Contract) -> Diagnostic {
        let Reference { entity, field } = &link.to;
        let from = link.from;
        let names: Vec<&str> = holder.fields.iter().map(|f| f.name.as_str()).collect();
        let (message, help) = match (renamed(holder, field), self.last(entity, Some(field))) {
            (Some(now), _) => (
                format!("`{from}` refers to `{entity}.{field}`, which has another name now"),
                format!("write `{entity}.{now}`"),
            ),
            (None, Some(last)) => {
                let which = if last.version.major == holder.version.major {
                    String::new()
                } else {
                    format!("major {} of ", last.version.major)
                };
                let message = format!(
                    "`{from}` refers to `{entity}.{field}`, which only {which}`{entity}` had until {}",
                    last.version
                );
                (message, help(field, &names, "or bring it back"))
            }
            (None, None) => (
                format!(
                    "`{from}` refers to `{entity}.{field}`, and `{entity}` has no property `{field}`"
                ),
                help(field, &names, "or add it there"),
            ),
        };
        Diagnostic::error(NOWHERE, message).help(help)
    }

    /// The last release of an entity, or of those with a field.
    fn last(&self, entity: &str, field: Option<&str>) -> Option<&'a Contract> {
        let of = |c: &&&Contract| {
            c.entity == entity && field.is_none_or(|field| c.field(field).is_some())
        };
        let releases = self.releases.iter().filter(of);
        // The order of preference is the versions'; the first of equals stays.
        releases.min_by_key(|c| Reverse(&c.version)).copied()
    }
}

/// Every reference of a contract, in the order of its fields and rules.
fn links(contract: &Contract) -> Vec<Link<'_>> {
    let of_fields = contract.fields.iter().filter_map(|field| {
        Some(Link {
            pointer: format!("/fields/{}/reference", field.name),
            from: &field.name,
            to: field.reference.clone()?,
        })
    });
    let of_rules = contract.rules.iter().filter_map(|rule| match &rule.check {
        Check::Exists { entity, field } => Some(Link {
            pointer: format!("/rules/{}/exists", rule.name),
            from: rule.field.as_deref()?,
            to: Reference {
                entity: entity.clone(),
                field: field.clone(),
            },
        }),
        _ => None,
    });
    of_fields.chain(of_rules).collect()
}

/// The name that a field of older versions has now, where migrations say so.
fn renamed<'a>(contract: &'a Contract, field: &str) -> Option<&'a str> {
    let mut name: Option<&str> = None;
    for step in contract.migrations.iter().flat_map(|one| &one.up) {
        match step {
            Step::Rename { from, to } if from == name.unwrap_or(field) => name = Some(to),
            _ => {}
        }
    }
    name.filter(|name| contract.field(name).is_some())
}

/// Whether values of two types can be the same.
fn comparable(one: Type, other: Type) -> bool {
    let number = |kind: Type| matches!(kind, Type::Int | Type::Decimal { .. } | Type::Float);
    std::mem::discriminant(&one) == std::mem::discriminant(&other) || (number(one) && number(other))
}

fn help(written: &str, known: &[&str], also: &str) -> String {
    let instead = match nearest(written, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() || known.len() > LISTED_MAX => String::new(),
        None => format!("known: {};", known.join(", ")),
    };
    let help = format!("{instead} take the reference out, {also}");
    match help.strip_prefix(' ') {
        Some(alone) => alone.to_owned(),
        None => help.replacen("? take", "? else take", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Field, Migration, NoLibrary, Outcome, Rule, Step, load};

    fn contract(entity: &str, version: &str, fields: &[(&str, Type)]) -> Contract {
        let fields = fields.iter().map(|(name, kind)| Field::new(*name, *kind));
        Contract::new(entity, version.parse().unwrap(), fields.collect())
    }

    fn order(to: &str) -> Loaded {
        let text = format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: order\nversion: 1.0.0\nstatus: active\nschema:\n  - name: order\n    customProperties:\n      - {{property: lockstep.owner, value: erp}}\n    properties:\n      - {{name: id, logicalType: string, primaryKey: true, required: true}}\n      - name: buyer\n        logicalType: string\n        relationships:\n          - to: {to}\n"
        );
        load("order.odcs.yaml", &text, &NoLibrary).unwrap()
    }

    #[test]
    fn what_no_contract_has_is_missing_once_and_without_a_place() {
        let customer = contract("customer", "1.0.0", &[("id", Type::Int)]);
        let known = |partial| Known {
            contracts: vec![&customer],
            partial,
            ..Known::default()
        };
        let (order, typed) = (order("vendor.id").contract, order("customer.id").contract);
        let missing = known(false).missing(&order);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!((missing[0].code, &missing[0].place), ("LS-C050", &None));
        assert_eq!(known(true).missing(&order), []);
        // That types differ is another thing.
        assert_eq!(known(false).missing(&typed), []);
    }

    #[test]
    fn what_leads_nowhere_is_said_at_its_place_with_what_is_meant() {
        let text = |name| (name, Type::Text);
        let customer = contract(
            "customer",
            "2.0.0",
            &[text("id"), text("mail"), ("no", Type::Int)],
        );
        let older = contract(
            "customer",
            "1.3.0",
            &[text("id"), text("email"), text("fax")],
        );
        let newer = contract("customer", "1.4.0", &[text("id"), text("fax")]);
        let same = contract("customer", "2.0.0", &[text("id"), text("tel")]);
        let gone = contract("vendor", "1.1.0", &[text("id")]);
        let customer = Contract {
            migrations: vec![Migration {
                from: older.version.clone(),
                to: customer.version.clone(),
                up: vec![Step::Rename {
                    from: "email".into(),
                    to: "mail".into(),
                }],
                down: Vec::new(),
            }],
            ..customer
        };
        let releases = vec![&older, &newer, &same, &gone];
        /// Code, and parts of message and help.
        type Said = (&'static str, &'static str, &'static str);
        let table: [(&str, Option<Said>); 10] = [
            ("customer.id", None),
            ("order.id", None),
            (
                "customers.id",
                Some((
                    "LS-C050",
                    "no contract here describes `customers`",
                    "did you mean `customer`?",
                )),
            ),
            (
                "warehouse.id",
                Some((
                    "LS-C050",
                    "no contract here describes `warehouse`",
                    "known: customer, order;",
                )),
            ),
            (
                "vendor.id",
                Some((
                    "LS-C050",
                    "the contract of `vendor` is gone; 1.1.0 was",
                    "write its contract",
                )),
            ),
            (
                "customer.idd",
                Some((
                    "LS-C050",
                    "`customer` has no property `idd`",
                    "did you mean `id`?",
                )),
            ),
            (
                "customer.email",
                Some((
                    "LS-C050",
                    "which has another name now",
                    "write `customer.mail`",
                )),
            ),
            (
                "customer.fax",
                Some((
                    "LS-C050",
                    "which only major 1 of `customer` had until 1.4.0",
                    "bring it back",
                )),
            ),
            (
                "customer.tel",
                Some((
                    "LS-C050",
                    "which only `customer` had until 2.0.0",
                    "bring it back",
                )),
            ),
            (
                "customer.no",
                Some((
                    "LS-C051",
                    "`buyer` is of type text, and `customer.no`, which it refers to, of type int",
                    "same type",
                )),
            ),
        ];
        for (to, expected) in table {
            let order = order(to);
            let known = Known {
                contracts: vec![&customer, &order.contract],
                releases: releases.clone(),
                partial: false,
            };
            let found = known.dangling(&order);
            let Some((code, message, help)) = expected else {
                assert_eq!(found, Vec::new(), "{to}");
                continue;
            };
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert_eq!(found[0].code, code, "{to}");
            assert!(found[0].message.contains(message), "{to}: {found:?}");
            assert!(
                found[0].help.as_ref().unwrap().contains(help),
                "{to}: {found:?}"
            );
            let place = found[0].place.as_ref().unwrap();
            assert_eq!((place.line, place.column), (15, 17), "{to}");
        }
    }

    #[test]
    fn a_contract_that_cannot_be_read_is_not_one_that_is_missing() {
        let order = order("customers.id");
        let known = Known {
            contracts: vec![&order.contract],
            partial: true,
            ..Known::default()
        };
        assert_eq!(known.dangling(&order), Vec::new());
        assert_eq!(known.dead(&order.contract), Vec::new());
    }

    #[test]
    fn dead_is_what_no_release_ever_had_either() {
        let mut contract = order("customers.id").contract;
        contract.rules.push(Rule {
            name: "r".into(),
            field: Some("buyer".into()),
            check: Check::Exists {
                entity: "order".into(),
                field: "old".into(),
            },
            outcome: Outcome::Warn,
            tolerance: None,
        });
        let past = self::contract("order", "0.9.0", &[("old", Type::Text)]);
        let known = |releases| Known {
            contracts: vec![&contract],
            releases,
            partial: false,
        };
        let names = |known: Known<'_>| -> Vec<String> {
            let dead = known.dead(&contract).into_iter();
            dead.map(|to| format!("{}.{}", to.entity, to.field))
                .collect()
        };
        assert_eq!(names(known(Vec::new())), ["customers.id", "order.old"]);
        assert_eq!(names(known(vec![&past])), ["customers.id"]);
    }
}
