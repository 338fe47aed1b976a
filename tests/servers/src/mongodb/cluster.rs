//! A replica set of three members.

use anyhow::{Context, Result};

use super::{Options, READY_DEADLINE, SET, Server};
use crate::{find, skip, wait};

/// Three members of one replica set; killed, and their data removed, when dropped.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
}

impl Cluster {
    /// Starts three members, or says that the test is skipped because there is no mongod.
    ///
    /// # Panics
    ///
    /// When mongod is there but the members do not find together, and where nothing may be skipped.
    #[must_use]
    pub fn start() -> Option<Cluster> {
        if find::mongod().is_none() {
            skip("mongod");
            return None;
        }
        Some(Cluster::launch().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn launch() -> Result<Cluster> {
        let options = Options::default();
        let members = (0..3)
            .map(|_| Server::member(&options))
            .collect::<Result<Vec<_>>>()?;
        let ports: Vec<u16> = members.iter().map(Server::port).collect();
        members[0].initiate(&ports)?;
        let cluster = Cluster { members };
        cluster.until_primary()?;
        Ok(cluster)
    }

    fn primary(&self) -> Option<usize> {
        self.members.iter().position(Server::is_primary)
    }

    /// Waits until one of the members takes writes.
    ///
    /// # Errors
    ///
    /// When none is elected in time.
    pub fn until_primary(&self) -> Result<()> {
        wait::until("the election of a primary", READY_DEADLINE, || {
            Ok(self.primary().map(|_| ()))
        })
    }

    /// Ends the primary with SIGKILL.
    ///
    /// # Errors
    ///
    /// When there is none, or it could not be killed.
    pub fn kill_primary(&mut self) -> Result<()> {
        let primary = self.primary().context("there is no primary")?;
        self.members[primary].kill()
    }

    /// Where anybody connects to a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let hosts: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("127.0.0.1:{}", member.port()))
            .collect();
        format!("mongodb://{}/{database}?replicaSet={SET}", hosts.join(","))
    }
}
