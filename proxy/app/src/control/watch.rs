//! Streams that are followed for ever: reopened with backoff, within the configured limits.

use super::client::Client;
use super::grpc::{code, Status};
use crate::settings::StreamLimits;
use linkerd_proxy_core::backoff::Backoff;
use prost::Message;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::{timeout_at, Instant};
use tracing::debug;

/// What a watch tells its owner.
#[derive(Debug)]
pub enum Event<M> {
    /// A new stream begins; what it says first replaces what older ones said.
    Opened,
    /// A message.
    Message(M),
    /// The stream failed and will be reopened unless the owner breaks.
    Failed(Status),
}

/// How to follow streams.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Between attempts.
    pub backoff: Backoff,
    /// Per stream; ignored for services in our own pod.
    pub limits: StreamLimits,
}

const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Follows a stream until the owner breaks.
pub async fn follow<Req: Message, Res: Message + Default>(
    client: &Client,
    path: &str,
    request: &Req,
    manner: Manner,
    mut on: impl FnMut(Event<Res>) -> ControlFlow<()>,
) {
    let limits = if client.is_loopback() {
        StreamLimits::default()
    } else {
        manner.limits
    };
    let mut attempt = 0;
    loop {
        let opened = Instant::now();
        let ended = one_stream(client, path, request, limits, &mut on, &mut attempt).await;
        match ended {
            Ended::Owner => return,
            Ended::Clean => {
                debug!(path, "watch ended, opening it again");
                attempt = if opened.elapsed() > Duration::from_secs(1) {
                    0
                } else {
                    attempt
                };
            }
            Ended::Failed(status) => {
                debug!(path, %status, "watch failed");
                if on(Event::Failed(status)).is_break() {
                    return;
                }
            }
        }
        let delay = crate::random::with(|rng| manner.backoff.delay(attempt, rng));
        attempt += 1;
        tokio::time::sleep(delay).await;
    }
}

enum Ended {
    Owner,
    Clean,
    Failed(Status),
}

async fn one_stream<Req: Message, Res: Message + Default>(
    client: &Client,
    path: &str,
    request: &Req,
    limits: StreamLimits,
    on: &mut impl FnMut(Event<Res>) -> ControlFlow<()>,
    attempt: &mut u32,
) -> Ended {
    let start = Instant::now();
    let first_by = start + limits.initial.unwrap_or(FAR);
    let end_by = start + limits.lifetime.unwrap_or(FAR);
    let first = timeout_at(first_by, async {
        let mut stream = client.server_stream::<Req, Res>(path, request).await?;
        let message = stream.next().await?;
        Ok::<_, Status>((stream, message))
    });
    let (mut stream, mut message) = match first.await {
        Err(_) => return Ended::Failed(Status::new(code::DEADLINE_EXCEEDED, "no message in time")),
        Ok(Err(status)) => return Ended::Failed(status),
        Ok(Ok(opened)) => opened,
    };
    *attempt = 0;
    if on(Event::Opened).is_break() {
        return Ended::Owner;
    }
    loop {
        match message {
            None => return Ended::Clean,
            Some(message) => {
                if on(Event::Message(message)).is_break() {
                    return Ended::Owner;
                }
            }
        }
        let idle_by = Instant::now() + limits.idle.unwrap_or(FAR);
        message = match timeout_at(idle_by.min(end_by), stream.next()).await {
            Err(_) => return Ended::Clean,
            Ok(Err(status)) => return Ended::Failed(status),
            Ok(Ok(message)) => message,
        };
    }
}
