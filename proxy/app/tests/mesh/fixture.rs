//! The mesh of these tests: one client pod, one server pod, a service in front of the server.

use std::time::{Duration, Instant};

use http::{Request, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::client::{self, Answer};
use linkerd_proxy_testkit::control::ControlPlane;
use linkerd_proxy_testkit::namespace::{permitted, Namespace};
use linkerd_proxy_testkit::pod::{Pod, Proxy, PROXY_UID};
use linkerd_proxy_testkit::world::{Endpoint, Service, World};

pub const CLIENT_IP: &str = "10.9.0.1";
pub const SERVER_IP: &str = "10.9.0.2";
pub const SERVICE: &str = "10.96.0.10:80";
pub const AUTHORITY: &str = "web.shop.svc.cluster.local:80";
pub const POD: &str = "10.9.0.2:8080";
pub const PORT: u16 = 8080;
pub const CLIENT_ID: &str = "client.shop.serviceaccount.identity.linkerd.cluster.local";
pub const SERVER_ID: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

/// Who sends: an application in the client pod, or something that no proxy touches on its way out.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Meshed,
    Unmeshed,
}

pub struct Mesh {
    pub control: ControlPlane,
    pub client: Pod,
    pub server: Pod,
}

/// The server's endpoint as the destination service would describe it.
pub fn endpoint() -> Endpoint {
    Endpoint::meshed(POD, SERVER_ID)
        .label("pod", "web-1")
        .label("deployment", "web")
}

/// A service in front of the server.
pub fn service() -> Service {
    Service::new(SERVICE, AUTHORITY).endpoint(endpoint())
}

/// The world in which that service is all there is.
pub fn world() -> World {
    World::new().service(service())
}

pub fn proxy<'a>(
    identity: &'a str,
    ip: &'a str,
    environment: &'a [(&'a str, &'a str)],
) -> Proxy<'a> {
    Proxy {
        binary: env!("CARGO_BIN_EXE_linkerd-proxy"),
        identity,
        ip,
        environment,
        descriptors: None,
    }
}

impl Mesh {
    /// Starts both pods; `None` without root.
    pub fn start(world: World) -> Option<Self> {
        Self::start_with(world, Authority::generate(), &[])
    }

    /// Starts both pods with further environment variables and another authority.
    pub fn start_with(
        world: World,
        authority: Authority,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        Self::start_limited(world, authority, environment, None)
    }

    /// Starts both pods, the server's with few descriptors.
    pub fn start_limited(
        world: World,
        authority: Authority,
        environment: &[(&str, &str)],
        descriptors: Option<u32>,
    ) -> Option<Self> {
        let limited = Proxy {
            descriptors,
            ..proxy(SERVER_ID, SERVER_IP, environment)
        };
        let client = proxy(CLIENT_ID, CLIENT_IP, environment);
        Self::of(world, authority, &client, &limited)
    }

    /// Starts both pods, with proxies that differ.
    pub fn of(
        world: World,
        authority: Authority,
        client_proxy: &Proxy<'_>,
        server_proxy: &Proxy<'_>,
    ) -> Option<Self> {
        if !permitted() {
            return None;
        }
        let (client, server) = (Namespace::new(), Namespace::new());
        client.join(client_proxy.ip, &server, server_proxy.ip);
        let control = ControlPlane::new(authority, world);
        let client = Pod::start(&client, &control, client_proxy);
        let server = Pod::start(&server, &control, server_proxy);
        Some(Self {
            control,
            client,
            server,
        })
    }

    /// Sends a request from the client pod.
    pub fn send(&self, from: From, to: &str, request: Request<&'static str>) -> Answer {
        let to = to.parse().expect("a literal address");
        let answer = self
            .client
            .namespace
            .block_on(uid(from), async move { client::send(to, request).await });
        answer.unwrap_or_else(|error| panic!("{from:?} to {to}: {error}"))
    }

    /// Sends bytes from the client pod and reads until `until` bytes came or the connection ended.
    pub fn exchange(&self, from: From, to: &str, bytes: &'static [u8], until: usize) -> Vec<u8> {
        let to = to.parse().expect("a literal address");
        let answer = self.client.namespace.block_on(uid(from), async move {
            client::exchange(to, bytes, until).await
        });
        // A reset is an ending too.
        answer.unwrap_or_default()
    }
}

fn uid(from: From) -> Option<u32> {
    match from {
        From::Meshed => None,
        From::Unmeshed => Some(PROXY_UID),
    }
}

/// A GET for the service.
pub fn get(version: Version, path: &'static str) -> Request<&'static str> {
    // HTTP/2 carries the authority in the URI, HTTP/1 in a header.
    let request = if version == Version::HTTP_2 {
        Request::get(format!("http://web.shop.svc.cluster.local{path}"))
    } else {
        Request::get(path).header("host", "web.shop.svc.cluster.local")
    };
    request.version(version).body("").expect("literal parts")
}

/// A unary gRPC call whose answer is the message that was sent.
pub fn grpc(path: &'static str) -> Request<&'static str> {
    Request::post(format!("http://web.shop.svc.cluster.local{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body("\0\0\0\0\u{4}ping")
        .expect("literal parts")
}

/// Waits until `holds` does; the promise of the product is two seconds, a busy machine gets more.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not in time: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
