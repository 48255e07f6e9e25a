//! One gRPC call: its request, and its messages as they come.

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::RecvStream;
use http::{HeaderMap, Request};

use super::options::Options;
use super::Board;

const PREFIX_BYTES: usize = 5;

/// A request that can be sent again and again.
pub(crate) struct Call {
    request: Request<()>,
    body: Bytes,
}

impl Call {
    /// The call that worker or stream `index` makes; the request files are taken in turn.
    pub(crate) fn new(options: &Options, index: usize) -> Result<Self, String> {
        let uri = format!("http://{}{}", options.address, options.path);
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| error.to_string())?;
        let message = &options.requests[index % options.requests.len()];
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        let length = u32::try_from(message.len()).map_err(|_| "a request is too long")?;
        body.extend_from_slice(&[0]);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(message);
        let body = body.freeze();
        Ok(Self { request, body })
    }

    async fn send(&self, sender: SendRequest<Bytes>) -> Result<h2::client::ResponseFuture, String> {
        let mut sender = sender.ready().await.map_err(|error| error.to_string())?;
        let (response, mut stream) = sender
            .send_request(self.request.clone(), false)
            .map_err(|error| error.to_string())?;
        stream
            .send_data(self.body.clone(), true)
            .map_err(|error| error.to_string())?;
        Ok(response)
    }

    /// Makes the call and waits for its end.
    pub(crate) async fn once(&self, sender: SendRequest<Bytes>) -> Result<(), String> {
        let response = self.send(sender).await?;
        let mut response = response.await.map_err(|error| error.to_string())?;
        if let Some(status) = status(response.headers()) {
            return verdict(&status);
        }
        let body = response.body_mut();
        while let Some(chunk) = chunk(body).await? {
            drop(chunk);
        }
        verdict(&ending(body).await)
    }

    /// Tells the board of each message until the stream ends; returns why it did.
    pub(crate) async fn follow(
        &self,
        sender: SendRequest<Bytes>,
        index: usize,
        board: &Board,
    ) -> String {
        match self.messages(sender, index, board).await {
            Ok(status) => status,
            Err(why) => why,
        }
    }

    async fn messages(
        &self,
        sender: SendRequest<Bytes>,
        index: usize,
        board: &Board,
    ) -> Result<String, String> {
        let response = self.send(sender).await?;
        let mut response = response.await.map_err(|error| error.to_string())?;
        if let Some(status) = status(response.headers()) {
            return Ok(status);
        }
        let body = response.body_mut();
        let mut held = BytesMut::new();
        while let Some(chunk) = chunk(body).await? {
            held.extend_from_slice(&chunk);
            while let Some(message) = take(&mut held) {
                board.message(index, &message);
            }
        }
        Ok(ending(body).await)
    }
}

async fn chunk(body: &mut RecvStream) -> Result<Option<Bytes>, String> {
    let Some(chunk) = body.data().await else {
        return Ok(None);
    };
    let chunk = chunk.map_err(|error| error.to_string())?;
    body.flow_control()
        .release_capacity(chunk.len())
        .map_err(|error| error.to_string())?;
    Ok(Some(chunk))
}

/// Splits the first whole message off.
fn take(held: &mut BytesMut) -> Option<Bytes> {
    let head = held.get(1..PREFIX_BYTES)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if held.len() < PREFIX_BYTES + length {
        return None;
    }
    let mut message = held.split_to(PREFIX_BYTES + length).freeze();
    message.advance(PREFIX_BYTES);
    Some(message)
}

fn status(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let code = text("grpc-status")?;
    Some(format!(
        "{code} {}",
        text("grpc-message").unwrap_or_default()
    ))
}

async fn ending(body: &mut RecvStream) -> String {
    match body.trailers().await {
        Ok(Some(trailers)) => status(&trailers).unwrap_or_else(|| "no status".to_owned()),
        Ok(None) => "no trailers".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn verdict(status: &str) -> Result<(), String> {
    if status.starts_with("0 ") {
        Ok(())
    } else {
        Err(status.to_owned())
    }
}
