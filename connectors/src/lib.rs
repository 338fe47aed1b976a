#![doc = include_str!("../README.md")]

use lockstep_core::connector::Registry;

/// Every connector that this build was made with.
///
/// A binary with connectors of its own adds them: `registry().with(acme::connector())`.
#[must_use]
pub fn registry() -> Registry {
    let registry = Registry::default();
    #[cfg(feature = "clickhouse")]
    let registry = registry.with(lockstep_clickhouse::connector());
    #[cfg(feature = "http")]
    let registry = registry.with(lockstep_http::connector());
    #[cfg(feature = "hubspot")]
    let registry = registry.with(lockstep_hubspot::connector());
    #[cfg(feature = "mongodb")]
    let registry = registry.with(lockstep_mongodb::connector());
    #[cfg(feature = "mysql")]
    let registry = registry.with(lockstep_mysql::connector());
    #[cfg(feature = "odata")]
    let registry = registry.with(lockstep_odata::connector());
    #[cfg(feature = "parquet")]
    let registry = registry.with(lockstep_parquet::connector());
    #[cfg(feature = "postgres")]
    let registry = registry.with(lockstep_postgres::connector());
    #[cfg(feature = "salesforce")]
    let registry = registry.with(lockstep_salesforce::connector());
    #[cfg(feature = "sqlite")]
    let registry = registry.with(lockstep_sqlite::connector());
    #[cfg(feature = "stripe")]
    let registry = registry.with(lockstep_stripe::connector());
    #[cfg(feature = "tryton")]
    let registry = registry.with(lockstep_tryton::connector());
    registry
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    #[test]
    fn the_built_in_connectors_are_found_by_name() {
        let registry = super::registry();
        let sqlite = registry.get("sqlite").unwrap();
        assert_eq!(sqlite.offers(), ["source", "sink", "reader"]);
        #[cfg(feature = "postgres")]
        assert!(registry.get("postgres").is_ok());
        let help = registry
            .get("sqlit")
            .err()
            .and_then(|error| error.help_text().map(str::to_owned));
        assert_eq!(help.as_deref(), Some("did you mean `sqlite`?"));
    }
}
