//! HTTP/1: reading and writing messages. The connection's state machine is in [`conn`].

pub(super) mod body;
pub(super) mod conn;
pub(super) mod read;
pub(super) mod write;
