//! From two versions and the migrations between them to a [`Way`].

use semver::Version;

use super::{BAD_MIGRATION, Fault, Move, NO_WAY, Step, Way, is_shown};
use crate::contract::{self, Checker, Contract, Field, Migration};
use crate::diagnostic::suggestion;
use crate::gate::cast::CastPlan;
use crate::gate::expression::{Expression, Scope};
use crate::shape::{Column, Shape};
use crate::value::{Type, Value};

/// Most steps between two versions.
const STEPS_MAX: usize = 10_000;

pub(super) fn up(
    old: &Contract,
    new: &Contract,
    migrations: &[Migration],
) -> Result<Way, Vec<Fault>> {
    let mut steps = Vec::new();
    for (at, migration) in between(&old.version, &new.version, migrations) {
        // Records from before the version that the migration begins with may lack its fields.
        let lacks = old.version < migration.from;
        let listed = migration.up.iter().enumerate();
        steps.extend(listed.map(|(n, step)| Planned {
            pointer: format!("/migrations/{at}/up/{n}"),
            step,
            lacks,
        }));
    }
    Compiler::new(old, new, &steps).way(&steps)
}

pub(super) fn down(
    old: &Contract,
    new: &Contract,
    migrations: &[Migration],
) -> Result<Way, Vec<Fault>> {
    let mut steps = Vec::new();
    for (at, migration) in between(&old.version, &new.version, migrations)
        .into_iter()
        .rev()
    {
        let listed = migration.down.iter().enumerate();
        steps.extend(listed.map(|(n, step)| Planned {
            pointer: format!("/migrations/{at}/down/{n}"),
            step,
            lacks: new.version > migration.to,
        }));
    }
    Compiler::new(new, old, &steps).way(&steps)
}

/// The migrations that lie between two versions, in their order, with where each stands in the list.
fn between<'m>(
    old: &Version,
    new: &Version,
    migrations: &'m [Migration],
) -> Vec<(usize, &'m Migration)> {
    let mut found: Vec<_> = migrations
        .iter()
        .enumerate()
        .filter(|(_, migration)| *old < migration.to && migration.to <= *new)
        .collect();
    found.sort_by(|(_, a), (_, b)| (&a.to, &a.from).cmp(&(&b.to, &b.from)));
    found
}

/// A step to be taken.
struct Planned<'m> {
    pointer: String,
    step: &'m contract::Step,
    /// Whether the record may lack the step's field, because it is of a version beyond the migration's.
    lacks: bool,
}

/// A field on the way.
#[derive(Clone, Debug)]
struct Slot {
    name: String,
    kind: Option<Type>,
    nullable: bool,
    at: usize,
}

struct Compiler<'a> {
    from: &'a Contract,
    to: &'a Contract,
    slots: Vec<Slot>,
    steps: Vec<Step>,
    faults: Vec<Fault>,
}

impl<'a> Compiler<'a> {
    fn new(from: &'a Contract, to: &'a Contract, steps: &[Planned<'_>]) -> Compiler<'a> {
        let slot = |(at, field): (usize, &Field)| Slot {
            name: field.name.clone(),
            kind: Some(field.kind),
            nullable: field.nullable,
            at,
        };
        let mut compiler = Compiler {
            from,
            to,
            slots: from.fields.iter().enumerate().map(slot).collect(),
            steps: Vec::new(),
            faults: Vec::new(),
        };
        if steps.len() > STEPS_MAX {
            let message = format!("there are {} steps between the two versions", steps.len());
            let help = format!("keep to at most {STEPS_MAX}");
            compiler.fault(BAD_MIGRATION, "/migrations", message, help);
        }
        compiler
    }

    fn way(mut self, steps: &[Planned<'_>]) -> Result<Way, Vec<Fault>> {
        if self.faults.is_empty() {
            for (n, planned) in steps.iter().enumerate() {
                self.step(planned, &steps[n + 1..]);
            }
        }
        let to = self.to;
        let moves: Vec<Option<Move>> = to.fields.iter().map(|field| self.field(field)).collect();
        let key = self.key();
        let checker = Checker::compile(to);
        if let Err(error) = &checker {
            let message = format!("the contract's checks do not compile: {}", error.chain());
            self.fault(BAD_MIGRATION, "", message, "mend the contract".to_owned());
        }
        let (Ok(checker), true) = (checker, self.faults.is_empty()) else {
            return Err(self.faults);
        };
        Ok(Way {
            plain: self.is_plain(),
            width: self.from.fields.len(),
            steps: self.steps,
            moves: moves.into_iter().flatten().collect(),
            shape: to.shape(),
            checker,
            shown: to.fields.iter().map(|f| is_shown(f.class)).collect(),
            key,
        })
    }

    /// Whether every record is the same on both sides: nothing moves, and nothing new is asked of a value.
    fn is_plain(&self) -> bool {
        let same = |(a, b): (&Field, &Field)| {
            a.name == b.name
                && a.kind == b.kind
                && a.required == b.required
                && a.nullable == b.nullable
                && a.limits == b.limits
                && a.allowed == b.allowed
                && a.default == b.default
                && a.inner.is_none()
                && b.inner.is_none()
        };
        let (from, to) = (self.from, self.to);
        self.steps.is_empty()
            && from.fields.len() == to.fields.len()
            && from.fields.iter().zip(&to.fields).all(same)
            && from.rules == to.rules
    }

    fn step(&mut self, planned: &Planned<'_>, later: &[Planned<'_>]) {
        use contract::Step as Written;
        let pointer = planned.pointer.as_str();
        match planned.step {
            Written::Rename { from, to } => {
                if self.slot(to).is_some() {
                    let message = format!("there is a field `{to}` already");
                    let help = format!("drop `{to}` first, or use another name");
                    self.fault(BAD_MIGRATION, pointer, message, help);
                } else if let Some(at) = self.known(planned, from) {
                    self.slots[at].name.clone_from(to);
                }
            }
            Written::Drop { field } => {
                if let Some(at) = self.known(planned, field) {
                    self.slots.remove(at);
                }
            }
            Written::Set { field, value } => {
                let kind = self.kind_at_end(field, later);
                self.add(field, kind, value.is_null(), Step::Set(value.clone()));
            }
            Written::Map { field, values } => {
                if let Some(at) = self.known(planned, field) {
                    let slot = self.slots[at].clone();
                    let kind = self.kind_at_end(field, later).or(slot.kind);
                    let map = Step::Map {
                        at: slot.at,
                        values: values.clone(),
                    };
                    self.add(field, kind, slot.nullable, map);
                }
            }
            Written::Compute { field, expression } => {
                self.compute(pointer, field, expression, later);
            }
        }
    }

    fn compute(&mut self, pointer: &str, field: &str, text: &str, later: &[Planned<'_>]) {
        let known = self.slot(field).and_then(|at| self.slots[at].kind);
        let kind = self.kind_at_end(field, later).or(known);
        let column = |slot: &Slot| Column {
            name: slot.name.clone(),
            kind: slot.kind,
            nullable: slot.nullable,
            length: None,
            list: false,
        };
        let shape = Shape {
            name: self.from.entity.clone(),
            columns: self.slots.iter().map(column).collect(),
            key: Vec::new(),
        };
        match Expression::compile(text, Scope::Fields(&shape), kind) {
            Ok(expression) => {
                let inputs = self.slots.iter().map(|slot| slot.at).collect();
                let step = Step::Compute { expression, inputs };
                self.add(field, kind, true, step);
            }
            Err(error) => {
                let message = format!("the expression for `{field}` does not compile: {error}");
                let help = "the record before the step has the fields of the older version, as earlier steps left them";
                self.fault(BAD_MIGRATION, pointer, message, help.to_owned());
            }
        }
    }

    /// The type that a field has when every step is taken, if it is left under any name.
    fn kind_at_end(&self, field: &str, later: &[Planned<'_>]) -> Option<Type> {
        let mut name = field;
        for planned in later {
            match planned.step {
                contract::Step::Rename { from, to } if from == name => name = to,
                contract::Step::Drop { field } if field == name => return None,
                _ => {}
            }
        }
        let at = self.to.field(name)?;
        Some(self.to.fields[at].kind)
    }

    /// A field gets the cell of a step.
    fn add(&mut self, field: &str, kind: Option<Type>, nullable: bool, step: Step) {
        let at = self.from.fields.len() + self.steps.len();
        self.steps.push(step);
        let slot = Slot {
            name: field.to_owned(),
            kind,
            nullable,
            at,
        };
        match self.slot(field) {
            Some(known) => self.slots[known] = slot,
            None => self.slots.push(slot),
        }
    }

    /// Where a field of the target version comes from.
    fn field(&mut self, field: &Field) -> Option<Move> {
        let default = field.default.clone();
        let Some(slot) = self.slot(&field.name).map(|at| self.slots[at].clone()) else {
            if field.required && default.is_none() {
                let (from, to) = (&self.from.version, &self.to.version);
                let message = format!(
                    "`{}` is required in {to}, and records of {from} do not have it",
                    field.name
                );
                let help = "give it a default, or write a step under `lockstep.migrations` that sets, computes or renames it";
                self.fault(
                    NO_WAY,
                    &format!("/fields/{}", field.name),
                    message,
                    help.to_owned(),
                );
                return None;
            }
            // A whole record says that it has none, or a target could not take it as whole.
            let none = field.nullable.then_some(Value::Null);
            return Some(Move::New(default.or(none)));
        };
        let known = field.allowed.as_ref().and_then(|allowed| {
            let fallback = allowed.fallback.clone()?;
            (!allowed.open).then(|| (allowed.values.clone(), fallback))
        });
        match CastPlan::choose(slot.kind, field.kind) {
            Ok(cast) => Some(Move::Cell {
                at: slot.at,
                cast,
                default,
                known,
            }),
            Err(never) => {
                let message = format!("`{}`: {never}", field.name);
                let help = "write a step under `lockstep.migrations` that computes it";
                self.fault(
                    NO_WAY,
                    &format!("/fields/{}", field.name),
                    message,
                    help.to_owned(),
                );
                None
            }
        }
    }

    /// The key must be the same values in the same order, or every id, lane and place would change with it.
    fn key(&mut self) -> Vec<(usize, usize)> {
        let (from, to) = (self.from, self.to);
        let mut pairs = Vec::new();
        let same = from.key.len() == to.key.len()
            && from.key.iter().zip(&to.key).all(|(old, new)| {
                let (Some(old_field), Some(new_field)) =
                    (from.fields.get(*old), to.fields.get(*new))
                else {
                    return false;
                };
                let slot = self.slot(&new_field.name).map(|at| self.slots[at].at);
                pairs.push((*old, *new));
                slot == Some(*old) && old_field.kind == new_field.kind
            });
        if !same {
            let names = |contract: &Contract| {
                let fields = contract
                    .key
                    .iter()
                    .filter_map(|at| contract.fields.get(*at));
                let named = fields.map(|field| format!("{} ({})", field.name, field.kind));
                named.collect::<Vec<_>>().join(", ")
            };
            let message = format!(
                "the key is {} in {} and {} in {}: a migration cannot change it",
                names(from),
                from.version,
                names(to),
                to.version
            );
            let help = "keep the key's fields, order and types (renaming them is fine), or make another entity";
            self.fault(BAD_MIGRATION, "/key", message, help.to_owned());
        }
        pairs
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }

    fn known(&mut self, planned: &Planned<'_>, name: &str) -> Option<usize> {
        let found = self.slot(name);
        if found.is_none() && !planned.lacks {
            let message = format!("there is no field `{name}` at this step");
            let known = self.slots.iter().map(|slot| slot.name.as_str());
            let help = suggestion(name, known);
            self.fault(BAD_MIGRATION, &planned.pointer, message, help);
        }
        found
    }

    fn fault(&mut self, code: &'static str, pointer: &str, message: String, help: String) {
        self.faults.push(Fault {
            code,
            pointer: pointer.to_owned(),
            message,
            help,
        });
    }
}
