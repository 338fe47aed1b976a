//! Three servers that share one JetStream.

use anyhow::{Context, Result};

use super::{Options, READY_DEADLINE, Routes, STARTS, Server};
use crate::{find, port, random, skip, wait};

/// How many servers make a cluster: the fewest that outlive the loss of one.
const NODES: usize = 3;

/// A running cluster of three nodes; all are killed, and their data removed, when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster, or says that the test is skipped because there is no nats-server.
    ///
    /// # Panics
    ///
    /// When the servers are there but do not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(options: &Options) -> Option<Cluster> {
        if find::nats_server().is_none() {
            skip("nats-server");
            return None;
        }
        Some(Cluster::launch(options).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts a cluster and waits until it has a leader that all nodes follow.
    ///
    /// # Errors
    ///
    /// When there is no nats-server, or the nodes do not find each other.
    pub fn launch(options: &Options) -> Result<Cluster> {
        let mut tries = 1..=STARTS;
        loop {
            let _ = tries.next();
            let mut cluster = Cluster::prepare(options)?;
            match cluster.begin() {
                Ok(()) => return Ok(cluster),
                Err(_) if cluster.lost_a_port() && !tries.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(options: &Options) -> Result<Cluster> {
        let cluster = format!("lockstep-{}", random::hex());
        let all = (0..NODES)
            .map(|_| port::free())
            .collect::<Result<Vec<u16>>>()?;
        let nodes = all.iter().map(|&port| {
            let routes = Routes {
                cluster: cluster.clone(),
                port,
                all: all.clone(),
            };
            Server::prepare(options, port::free()?, Some(routes))
        });
        Ok(Cluster {
            nodes: nodes.collect::<Result<_>>()?,
        })
    }

    fn begin(&mut self) -> Result<()> {
        // A node is healthy once it knows the leader, which takes a majority: so all start before any is waited for.
        for node in &mut self.nodes {
            node.begin(|_| true)?;
        }
        self.until_ready()
    }

    fn lost_a_port(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.log().contains("address already in use"))
    }

    /// Waits until every running node is healthy and follows the same leader.
    ///
    /// # Errors
    ///
    /// When that does not happen in time.
    pub fn until_ready(&mut self) -> Result<()> {
        wait::until("a leader that every node follows", READY_DEADLINE, || {
            Ok(self.leader().map(|_| ()))
        })
        .with_context(|| {
            let logs: Vec<String> = self.nodes.iter().map(Server::log).collect();
            format!("they said:\n{}", logs.join("\n"))
        })
    }

    /// The node that leads the cluster's JetStream, once all running nodes are healthy and agree on it.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let running = || self.nodes.iter().filter(|node| node.pid().is_some());
        let mut leaders = running().map(|node| leader_named(&node.monitor("/jsz").ok()?));
        let first = leaders.next()??;
        let agreed = leaders.all(|leader| leader.as_ref() == Some(&first));
        if !agreed || !running().all(Server::is_healthy) {
            return None;
        }
        self.nodes
            .iter()
            .position(|node| node.pid().is_some() && node.name() == first)
    }

    /// Where clients connect, all nodes parted by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Server::url).collect();
        urls.join(",")
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// One node, to kill it or to start it again.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn node(&mut self, at: usize) -> &mut Server {
        &mut self.nodes[at]
    }

    /// Starts every node that does not run, and waits until all are ready.
    ///
    /// [`Server::restart`] waits for one node to be healthy, which without a majority never happens.
    ///
    /// # Errors
    ///
    /// When a node does not start, or they do not agree in time.
    pub fn restart(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if node.pid().is_none() {
                node.begin(|_| true)?;
            }
        }
        self.until_ready()
    }
}

/// The name of the leader in an answer of `/jsz`.
fn leader_named(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("\"leader\":")?;
    let name = rest.split('"').nth(1)?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_read_from_the_servers_answer() {
        let body = "{ \"meta_cluster\": {\n \"name\": \"c\",\n \"leader\": \"lockstep-1\",\n \"peer\": \"x\"}}";
        assert_eq!(leader_named(body).as_deref(), Some("lockstep-1"));
        assert_eq!(leader_named("{\"meta_cluster\": {\"leader\": \"\"}}"), None);
        assert_eq!(leader_named("{}"), None);
    }
}
