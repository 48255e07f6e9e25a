//! Connections that stop being HTTP: websockets and CONNECT.

use super::body::Body;
use crate::drain::Drain;
use crate::net::relay::relay;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

/// A request that may leave HTTP.
pub struct Pending {
    client: OnUpgrade,
    protocol: Option<HeaderValue>,
    connect: bool,
}

impl Pending {
    /// Notes what the request asks for before its headers are stripped; `None` when nothing.
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        let connect = *request.method() == Method::CONNECT;
        let protocol = request.headers().get(UPGRADE).cloned();
        let h2c = protocol
            .as_ref()
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"h2c"));
        if request.version() != Version::HTTP_11 || h2c || (protocol.is_none() && !connect) {
            return None;
        }
        Some(Self {
            client: hyper::upgrade::on(request),
            protocol,
            connect,
        })
    }

    /// Puts the headers back that ask for it.
    pub fn request<B>(&self, request: &mut Request<B>) {
        if let Some(protocol) = &self.protocol {
            request.headers_mut().insert(UPGRADE, protocol.clone());
            request
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }

    /// Joins both connections when the server agreed; returns whether it did.
    pub fn complete(self, response: &mut Response<hyper::body::Incoming>, drain: Drain) -> bool {
        let agreed = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (self.connect && response.status().is_success());
        if !agreed {
            return false;
        }
        let server = hyper::upgrade::on(response);
        let client = self.client;
        tokio::spawn(async move {
            let _held = drain;
            match tokio::try_join!(client, server) {
                Ok((client, server)) => {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    if let Err(error) = relay(&mut client, &mut server).await {
                        debug!(%error, "upgraded connection ended");
                    }
                }
                Err(error) => debug!(%error, "upgrade failed"),
            }
        });
        true
    }
}

/// Keeps the headers of a switching response, which stripping would remove.
pub fn response(response: &mut Response<Body>, protocol: Option<HeaderValue>) {
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}
