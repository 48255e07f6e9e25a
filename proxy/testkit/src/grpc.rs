//! The little of gRPC that a scripted server needs: one request message, any number of answers.

use std::future::{poll_fn, Future};
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite};

/// A request's method path and message may be this long.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// gRPC status codes that are used here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    Unimplemented = 12,
}

/// How a call ends without an answer.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) Code, pub(crate) String);

/// One call: its path, its message, and where the answers go.
pub(crate) struct Call {
    /// `/package.Service/Method`.
    pub(crate) path: String,
    /// What came with it.
    pub(crate) metadata: HeaderMap,
    /// The request message.
    pub(crate) message: Bytes,
    respond: SendResponse<Bytes>,
    stream: Option<h2::SendStream<Bytes>>,
}

impl Call {
    /// Sends one message; an error means that the client has gone.
    pub(crate) fn send(&mut self, message: &impl prost::Message) -> Result<(), h2::Error> {
        if self.stream.is_none() {
            self.stream = Some(self.respond.send_response(head(), false)?);
        }
        let stream = self.stream.as_mut().expect("set above");
        stream.send_data(frame(message), false)
    }

    /// Ends the call with a status.
    pub(crate) fn finish(mut self, Status(code, message): Status) -> Result<(), h2::Error> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(code as u16));
        if let Ok(message) = HeaderValue::from_str(&message) {
            trailers.insert("grpc-message", message);
        }
        if let Some(mut stream) = self.stream {
            return stream.send_trailers(trailers);
        }
        let mut head = head();
        head.headers_mut().extend(trailers);
        self.respond.send_response(head, true).map(drop)
    }

    /// Returns when the client has reset the stream or closed the connection.
    pub(crate) async fn closed(&mut self) {
        let _ = match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
    }
}

/// Serves a connection until it ends: every call runs in a task of its own.
pub(crate) async fn serve<I, F, S>(socket: I, handler: S) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Call) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = h2::server::handshake(socket)
        .await
        .map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        let handler = handler.clone();
        tokio::spawn(async move {
            let (head, body) = request.into_parts();
            // A client that breaks off needs no answer.
            if let Ok(message) = read_message(body).await {
                handler(Call {
                    path: head.uri.path().to_owned(),
                    metadata: head.headers,
                    message,
                    respond,
                    stream: None,
                })
                .await;
            }
        });
    }
    Ok(())
}

/// Reads the one message of a request: a flag byte, a length, the bytes.
async fn read_message(mut body: h2::RecvStream) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(io::Error::other)?;
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other("request message is too long"));
        }
        // Server-streaming clients may keep their half open, so the length decides.
        if bytes.len() >= 5 {
            let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
            if bytes.len() >= 5 + length {
                return Ok(bytes.split_to(5 + length).split_off(5).freeze());
            }
        }
    }
    Err(io::Error::other("request ended before its message"))
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    head
}

fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("scripted messages are small"));
    message.encode(&mut out).expect("the buffer grows");
    out.freeze()
}
