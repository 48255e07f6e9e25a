//! The messages of Linkerd's proxy API, generated from `proto/` by `make gen`.
//!
//! Each proto package is a module: `io.linkerd.proxy.destination` is [`destination`]. Maps are
//! ordered, so that equal messages encode to equal bytes.

macro_rules! generated {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[allow(missing_docs, clippy::all)]
        pub mod $name {
            include!(concat!("gen/", stringify!($name), ".rs"));
        }
    )*};
}

generated! {
    /// Endpoints and service profiles.
    destination,
    /// Matches and filters of gRPC routes.
    grpc_route,
    /// Matches and filters of HTTP routes.
    http_route,
    /// Parts of HTTP messages.
    http_types,
    /// How a proxy gets its certificate.
    identity,
    /// What a proxy does with connections to its own pod.
    inbound,
    /// Where a configuration comes from.
    meta,
    /// Addresses.
    net,
    /// Filters of routes whose bytes the proxy does not read.
    opaque_route,
    /// Where a proxy sends its pod's requests, and how.
    outbound,
    /// What a proxy tells about the requests that pass it.
    tap,
    /// Matches of TLS routes.
    tls_route,
    /// The first message on a direct connection between proxies.
    transport_header,
    /// How a proxy outside of Kubernetes gets its certificate.
    workload,
}

pub mod convert;
pub mod otlp;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::transport_header::{session_protocol, Header, SessionProtocol};

    #[test]
    fn transport_header_has_linkerds_bytes() {
        let header = Header {
            port: 8080,
            name: String::new(),
            session_protocol: Some(SessionProtocol {
                kind: Some(session_protocol::Kind::Http2(session_protocol::Http2 {})),
            }),
        };
        let bytes = header.encode_to_vec();
        assert_eq!([0x08, 0x90, 0x3f, 0x1a, 0x02, 0x12, 0x00], bytes[..]);
    }
}
