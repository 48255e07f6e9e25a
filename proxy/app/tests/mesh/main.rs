//! Two real proxies between a client and a server, in network namespaces with real redirect rules.
//!
//! Needs root: without it every test here ends early. The control plane is the testkit's. Covers what
//! applications, operators and other proxies see; decisions are tested in `core`.

#![allow(clippy::tests_outside_test_module)]

mod admin;
mod backends;
mod edges;
mod fixture;
mod gateway;
mod http;
mod ingress;
mod ipv6;
mod lifecycle;
mod metrics;
mod opaque;
mod policy;
mod rewrite;
mod routes;
mod spire;
mod streams;
mod tap;
mod trace;
