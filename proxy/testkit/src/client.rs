//! Requests that show what came back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every exchange here must end within this.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, lossily as text.
    pub body: String,
    /// Its trailers, empty when there are none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header or else trailer, as text; empty when absent.
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name));
        value
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }
}

/// Sends one request on a connection of its own, HTTP/2 when the request says so.
///
/// # Errors
/// No connection, no response, or none in time.
pub async fn send(to: SocketAddr, request: Request<&'static str>) -> io::Result<Answer> {
    let exchange = async {
        let socket = TokioIo::new(TcpStream::connect(to).await?);
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let response = if request.version() == Version::HTTP_2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), socket)
                    .await
                    .map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(socket)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let (parts, body) = response.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body,
            trailers,
        })
    };
    tokio::time::timeout(TIMEOUT, exchange).await?
}

/// Sends `bytes` (if any), then reads until `until` bytes came or the peer closed.
///
/// # Errors
/// No connection, it broke, or nothing in time.
pub async fn exchange(to: SocketAddr, bytes: &[u8], until: usize) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut socket = TcpStream::connect(to).await?;
        socket.write_all(bytes).await?;
        let mut answer = vec![0; until];
        let mut length = 0;
        while length < until {
            match socket.read(&mut answer[length..]).await? {
                0 => break,
                read => length += read,
            }
        }
        answer.truncate(length);
        Ok(answer)
    };
    tokio::time::timeout(TIMEOUT, exchange).await?
}
