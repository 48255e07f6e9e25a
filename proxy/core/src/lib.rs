//! Decisions of the proxy as synchronous functions over values.
//!
//! Nothing here owns a socket, reads a clock, draws randomness or logs: callers pass bytes, `now`
//! and a random source in and carry out what comes back. A test keeps runtimes, TLS and gRPC out
//! of the dependency tree.

pub mod access_log;
pub mod authorize;
pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod classify;
pub mod der;
pub mod detect;
pub mod dns;
pub mod dst;
pub mod endpoint;
pub mod engine;
pub mod failure;
pub mod filter;
pub mod identity;
pub mod labels;
pub mod meta;
pub mod octets;
pub mod outbound;
pub mod path;
pub mod profile;
pub mod rate_limit;
pub mod retry;
pub mod rng;
pub mod route;
pub mod server;
pub mod speaker;
pub mod tap;
pub mod timeout;
pub mod trace;
pub mod transport_header;
