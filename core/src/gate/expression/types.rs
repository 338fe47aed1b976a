//! The types of expressions, and which of them go together.

use std::fmt;

use crate::value::Type;

/// The type of a part of an expression. Any of them may be null when the expression runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// Only null.
    Null,
    Bool,
    Int,
    Double,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Uuid,
    /// Known only when the expression runs: JSON, and columns without a declared type.
    Dyn,
    List(Box<Ty>),
    /// A map with text keys or others of one type.
    Map(Box<Ty>, Box<Ty>),
}

impl From<Option<Type>> for Ty {
    fn from(kind: Option<Type>) -> Ty {
        match kind {
            None | Some(Type::Json) => Ty::Dyn,
            Some(Type::Bool) => Ty::Bool,
            Some(Type::Int) => Ty::Int,
            Some(Type::Decimal { .. }) => Ty::Decimal,
            Some(Type::Float) => Ty::Double,
            Some(Type::Text) => Ty::Text,
            Some(Type::Bytes) => Ty::Bytes,
            Some(Type::Date) => Ty::Date,
            Some(Type::Time) => Ty::Time,
            Some(Type::Timestamp) => Ty::Timestamp,
            Some(Type::Uuid) => Ty::Uuid,
        }
    }
}

impl Ty {
    /// Tells whether a value of this type may stand for a value of a contract or column type.
    pub(super) fn gives(&self, wanted: Type) -> bool {
        match (self, wanted) {
            (Ty::Null | Ty::Dyn, _) | (_, Type::Json) => *self != Ty::Bytes,
            (Ty::Int, Type::Decimal { .. }) => true,
            (ty, wanted) => *ty == Ty::from(Some(wanted)),
        }
    }

    /// The type that holds values of both, if there is one.
    pub(super) fn join(self, other: Ty) -> Option<Ty> {
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Ty::Null, ty) | (ty, Ty::Null) => Some(ty),
            (Ty::Dyn, _) | (_, Ty::Dyn) => Some(Ty::Dyn),
            (Ty::Int, Ty::Decimal) | (Ty::Decimal, Ty::Int) => Some(Ty::Decimal),
            (Ty::List(a), Ty::List(b)) => Some(Ty::List(Box::new(a.join(*b)?))),
            (Ty::Map(ak, av), Ty::Map(bk, bv)) => {
                Some(Ty::Map(Box::new(ak.join(*bk)?), Box::new(av.join(*bv)?)))
            }
            _ => None,
        }
    }

    /// Tells whether `==` has a meaning between the two.
    pub(super) fn equates(&self, other: &Ty) -> bool {
        self.clone().join(other.clone()).is_some()
    }

    /// Tells whether `<` has a meaning inside the type.
    pub(super) fn is_ordered(&self) -> bool {
        !matches!(
            self,
            Ty::Null | Ty::Dyn | Ty::List(_) | Ty::Map(..) | Ty::Bytes | Ty::Uuid
        )
    }

    /// Tells whether this is the type, or may turn out to be.
    pub(super) fn may_be(&self, ty: &Ty) -> bool {
        self == ty || matches!(self, Ty::Dyn | Ty::Null)
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Ty::Null => "null",
            Ty::Bool => "bool",
            Ty::Int => "int",
            Ty::Double => "double",
            Ty::Decimal => "decimal",
            Ty::Text => "text",
            Ty::Bytes => "bytes",
            Ty::Date => "date",
            Ty::Time => "time",
            Ty::Timestamp => "timestamp",
            Ty::Uuid => "uuid",
            Ty::Dyn => "json",
            Ty::List(of) => return write!(f, "list({of})"),
            Ty::Map(key, value) => return write!(f, "map({key}, {value})"),
        };
        f.write_str(name)
    }
}

/// What to write to come from one type to another: `; write date(…)`, or nothing where there is no way.
pub(super) fn conversion(from: &Ty, wanted: Type) -> String {
    let function = match wanted {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Decimal { .. } => "dec",
        Type::Float => "double",
        Type::Text => "string",
        Type::Date => "date",
        Type::Time => "time",
        Type::Timestamp => "timestamp",
        Type::Uuid => "uuid",
        Type::Bytes | Type::Json => return String::new(),
    };
    if matches!(from, Ty::List(_) | Ty::Map(..) | Ty::Bytes) {
        return String::new();
    }
    format!("; write {function}(…)")
}
