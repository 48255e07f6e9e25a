//! The control plane's clients: a small gRPC codec over hyper's HTTP/2.

pub mod client;
pub mod grpc;
mod replica;
pub mod watch;
