//! Scripted peers and a control plane made of values, for tests and benches.
//!
//! ```text
//! world (values) ──messages──▶ protobuf ──control──▶ gRPC on h2 ──▶ the proxy under test
//! authority (CA) ──Certify───────────────────────┘     workload: a SPIFFE agent on a unix socket
//! echo: servers that show what reached them     client: requests that show what came back
//! namespace, pod: network namespaces with redirect rules and a real proxy process
//! ```
//!
//! Nothing here checks what a control plane must check (tokens, existence): it says what it is told.

pub mod authority;
pub mod client;
pub mod config;
pub mod control;
pub mod decide;
pub mod echo;
mod grpc;
pub mod messages;
pub mod namespace;
pub mod pod;
pub mod workload;
pub mod world;
