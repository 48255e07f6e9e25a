//! What the control plane shall say, as plain values that also are the JSON of `testkit serve`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Everything that the control plane knows; a change reaches open streams at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Services by virtual address.
    pub services: Vec<Service>,
    /// Inbound policies; a port without one admits everybody and detects the protocol.
    pub servers: Vec<Server>,
}

/// A service, as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Cluster IP and port.
    pub address: SocketAddr,
    /// `name.ns.svc.cluster.local:port`.
    pub authority: String,
    /// What clients shall assume of its bytes.
    #[serde(default)]
    pub protocol: Protocol,
    /// Who serves it.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// A pod's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its mesh identity; without one the connection is plaintext.
    #[serde(default)]
    pub identity: Option<String>,
    /// The SNI that means it; its identity without one, unless that is a URI.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Whether HTTP/1 may be carried over HTTP/2 to its proxy.
    #[serde(default)]
    pub h2: bool,
    /// Whether its bytes are opaque.
    #[serde(default)]
    pub opaque: bool,
    /// The proxy's inbound port, where a transport header is understood.
    #[serde(default)]
    pub inbound_port: Option<u16>,
    /// `name:port` that a gateway at this address is asked for.
    #[serde(default)]
    pub gateway_for: Option<String>,
    /// Metric labels such as `pod` and `deployment`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What an inbound proxy shall do on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The application's port.
    pub port: u16,
    /// Name of the Server resource.
    pub name: String,
    /// What the proxy shall assume of the bytes.
    #[serde(default)]
    pub protocol: Protocol,
    /// Who is admitted.
    #[serde(default)]
    pub allow: Allow,
    /// The whole `io.linkerd.proxy.inbound.Server` in hexadecimal, for what the fields above cannot
    /// say; then they count for nothing.
    #[serde(default)]
    pub message: Option<String>,
}

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    #[default]
    Detect,
    Http1,
    Http2,
    Grpc,
    Opaque,
    Tls,
}

/// Which clients a server admits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allow {
    /// Everybody, meshed or not.
    #[default]
    All,
    /// Every client with a mesh identity.
    Meshed,
    /// Clients with one of these identities.
    Identities(Vec<String>),
    /// Nobody.
    Nobody,
}

impl World {
    /// A world without services, where every port admits everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Adds or replaces the policy of a port.
    #[must_use]
    pub fn server(mut self, server: Server) -> Self {
        self.servers.retain(|old| old.port != server.port);
        self.servers.push(server);
        self
    }
}

impl Service {
    /// A service without endpoints whose protocol is detected.
    ///
    /// # Panics
    /// `address` is not `ip:port`.
    pub fn new(address: &str, authority: &str) -> Self {
        let address = address.parse().expect("a service's address is ip:port");
        Self {
            address,
            authority: authority.to_owned(),
            protocol: Protocol::Detect,
            endpoints: vec![],
        }
    }

    /// Sets the protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }
}

impl Endpoint {
    /// An endpoint outside the mesh.
    ///
    /// # Panics
    /// `address` is not `ip:port`.
    pub fn plain(address: &str) -> Self {
        let address = address.parse().expect("an endpoint's address is ip:port");
        let labels = BTreeMap::new();
        Self {
            address,
            identity: None,
            server_name: None,
            h2: false,
            opaque: false,
            inbound_port: None,
            gateway_for: None,
            labels,
        }
    }

    /// An endpoint behind a proxy that listens on 4143 and takes HTTP/1 over HTTP/2.
    ///
    /// # Panics
    /// `address` is not `ip:port`.
    pub fn meshed(address: &str, identity: &str) -> Self {
        let identity = Some(identity.to_owned());
        Self {
            identity,
            h2: true,
            inbound_port: Some(4143),
            ..Self::plain(address)
        }
    }

    /// Sets the SNI that means it.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Marks the bytes as opaque.
    #[must_use]
    pub fn opaque(mut self) -> Self {
        self.opaque = true;
        self.h2 = false;
        self
    }

    /// Makes it a gateway to `authority` (`name:port`).
    #[must_use]
    pub fn gateway_for(mut self, authority: &str) -> Self {
        self.gateway_for = Some(authority.to_owned());
        self
    }

    /// Adds a metric label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

impl Server {
    /// A server named `name` that detects the protocol and admits everybody.
    pub fn new(port: u16, name: &str) -> Self {
        Self {
            port,
            name: name.to_owned(),
            protocol: Protocol::Detect,
            allow: Allow::All,
            message: None,
        }
    }

    /// Sets the protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets who is admitted.
    #[must_use]
    pub fn allow(mut self, allow: Allow) -> Self {
        self.allow = allow;
        self
    }
}
