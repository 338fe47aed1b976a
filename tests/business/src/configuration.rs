//! The configuration of the four systems, for whatever they and the log are made of.
//!
//! One text is the model; what differs for NATS and PostgreSQL is put in its place, and a place that is not found is an error.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::systems::{POSTGRES, connector};

/// The configuration for SQLite systems and the embedded log; paths in it are relative to the stage's folder.
pub const CONFIGURATION: &str = include_str!("systems/lockstep.toml");

/// Where the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// In a file of the stage's folder.
    Embedded,
    /// On a nats-server.
    Nats {
        /// Where clients connect.
        server: String,
        /// Where the server tells about itself.
        monitor: String,
    },
}

/// What stands otherwise where a system is a PostgreSQL database: the system, the text, the other text.
const OTHERWISE: [(&str, &str, &str); 11] = [
    (
        "erp",
        "connector = \"sqlite\"\npath = \"erp.db\"",
        "connector = \"postgres\"\nurl = \"${file:erp.url}\"",
    ),
    ("erp", "row.discontinued == 0", "!row.discontinued"),
    (
        "warehouse",
        "connector = \"sqlite\"\npath = \"warehouse.db\"",
        "connector = \"postgres\"\nurl = \"${file:warehouse.url}\"",
    ),
    ("warehouse", "\"dim_customer\"", "\"star.dim_customer\""),
    ("warehouse", "\"dim_product\"", "\"star.dim_product\""),
    ("warehouse", "\"fact_order\"", "\"star.fact_order\""),
    (
        "warehouse",
        "\"fact_order_line\"",
        "\"star.fact_order_line\"",
    ),
    ("warehouse", "\"fact_stock\"", "\"star.fact_stock\""),
    ("warehouse", "\"fact_invoice\"", "\"star.fact_invoice\""),
    ("warehouse", "\"fact_payment\"", "\"star.fact_payment\""),
    ("log", "engine = \"embedded\"\npath = \"lockstep.log\"", ""),
];

/// The configuration for the systems of a folder and a log.
///
/// # Errors
/// The model has changed so that something finds no place in it.
pub fn configuration(folder: &Path, log: &Log) -> Result<String> {
    let mut text = CONFIGURATION.to_owned();
    for (part, from, to) in OTHERWISE {
        let to = match (part, log) {
            ("log", Log::Embedded) => continue,
            ("log", Log::Nats { server, monitor }) => {
                format!("engine = \"nats\"\nservers = [\"{server}\"]\nmonitor = \"{monitor}\"")
            }
            (system, _)
                if POSTGRES.contains(&system) && connector(folder, system) == "postgres" =>
            {
                to.to_owned()
            }
            _ => continue,
        };
        ensure!(
            text.matches(from).count() == 1,
            "the configuration holds `{from}` {} times instead of once",
            text.matches(from).count()
        );
        text = text.replace(from, &to);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_every_table_and_every_flow() {
        for table in crate::shape::tables() {
            let section = format!("[systems.{}.map.{}]", table.system, table.entity);
            let at = CONFIGURATION.find(&section);
            let rest = &CONFIGURATION[at.unwrap_or_else(|| panic!("{section}"))..];
            assert!(
                rest.lines()
                    .nth(1)
                    .unwrap()
                    .contains(&format!("\"{}\"", table.name)),
                "{section}"
            );
        }
        for entity in crate::record::Entity::ALL {
            let flow = format!(
                "entity = \"{entity}\"\nfrom = \"{}\"\nto = {:?}",
                entity.owner(),
                entity.targets()
            );
            assert!(CONFIGURATION.contains(&flow), "{flow}");
        }
    }

    #[test]
    fn everything_that_differs_finds_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let plain = configuration(folder.path(), &Log::Embedded).unwrap();
        assert_eq!(plain, CONFIGURATION);
        for system in POSTGRES {
            std::fs::write(
                crate::systems::url_path(folder.path(), system),
                "postgres://",
            )
            .unwrap();
        }
        let log = Log::Nats {
            server: "nats://127.0.0.1:4222".to_owned(),
            monitor: "http://127.0.0.1:8222".to_owned(),
        };
        let text = configuration(folder.path(), &log).unwrap();
        assert_eq!(text.matches("\"postgres\"").count(), 2);
        assert_eq!(text.matches("\"sqlite\"").count(), 2);
        assert_eq!(text.matches("\"star.").count(), 7);
        assert!(text.contains("servers = [\"nats://127.0.0.1:4222\"]"));
        assert!(!text.contains("embedded"));
    }
}
