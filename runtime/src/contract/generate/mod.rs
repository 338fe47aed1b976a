//! A contract in other forms: JSON Schema, Rust, documentation, AsyncAPI, Avro, SQL, OpenLineage, canonical ODCS.
//!
//! Every generator is a pure function of contracts: the same contract gives the same bytes.
//! What a form cannot say stands in it as a comment or description, so that its readers know where the contract is stricter.

pub mod asyncapi;
pub mod avro;
pub mod docs;
pub mod example;
pub mod json_schema;
pub mod lineage;
pub mod rust;
pub mod sql;
#[cfg(test)]
pub(in crate::contract) mod tests;
mod words;
