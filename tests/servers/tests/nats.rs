//! What tests rely on when they start nats-server.

use lockstep_servers::nats::{Cluster, Options, Server};

mod client;
use client::Nats;

#[test]
fn a_killed_server_comes_back_on_its_port_with_its_messages() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    let url = server.url();
    let mut client = Nats::connect(server.port());
    client.request(
        "$JS.API.STREAM.CREATE.kept",
        r#"{"name":"kept","subjects":["kept.>"],"storage":"file"}"#,
    );
    let acknowledged = client.request("kept.a", "hello");
    assert!(acknowledged.contains("\"seq\":1"), "{acknowledged}");

    server.kill().unwrap();
    assert_eq!(server.pid(), None);
    server.restart().unwrap();

    assert_eq!(server.url(), url);
    let mut client = Nats::connect(server.port());
    let info = client.request("$JS.API.STREAM.INFO.kept", "");
    assert!(info.contains("\"messages\":1"), "{info}");
}

#[test]
fn extra_configuration_counts_and_can_be_changed() {
    let user = |password: &str| Options {
        extra: format!("authorization {{ user: app, password: {password} }}"),
        ..Options::default()
    };
    let Some(mut server) = Server::start(&user("first")) else {
        return;
    };
    assert!(Nats::try_connect(server.port(), "app", "first").is_some());
    assert!(Nats::try_connect(server.port(), "app", "second").is_none());
    server.configure(&user("second")).unwrap();
    server.restart().unwrap();
    assert!(Nats::try_connect(server.port(), "app", "first").is_none());
    assert!(Nats::try_connect(server.port(), "app", "second").is_some());
}

#[test]
fn a_cluster_goes_on_without_one_node_and_takes_it_back() {
    let Some(mut cluster) = Cluster::start(&Options::default()) else {
        return;
    };
    // Losing the leader takes an election, which is slow; tests of that are where it matters.
    let leader = cluster.leader().unwrap();
    let follower = (leader + 1) % 3;
    let mut client = Nats::connect(cluster.nodes()[leader].port());
    let made = client.request(
        "$JS.API.STREAM.CREATE.two",
        r#"{"name":"two","subjects":["two"],"storage":"file","num_replicas":3}"#,
    );
    assert!(made.contains("\"config\""), "{made}");
    cluster.node(follower).kill().unwrap();
    cluster.until_ready().unwrap();
    assert_ne!(cluster.leader(), Some(follower));
    // Two of three are enough, also where the stream has to find another leader first.
    let acknowledged = client.request("two", "hello");
    assert!(acknowledged.contains("\"seq\""), "{acknowledged}");
    cluster.restart().unwrap();
    assert!(cluster.nodes().iter().all(|node| node.pid().is_some()));
}
