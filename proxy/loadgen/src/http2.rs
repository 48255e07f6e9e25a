//! An HTTP/2 connection (prior knowledge) with a number of workers on it.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;
use tokio::task::{spawn_local, JoinHandle};

use crate::args::Args;
use crate::pace::Pace;
use crate::tally::Tally;

/// Sends requests on as many streams as there are paces until the tally closes.
pub(crate) async fn work(args: Args, tally: Rc<Tally>, paces: Vec<Pace>) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", args.address);
    let socket = TcpStream::connect(args.address)
        .await
        .map_err(|error| describe(&error))?;
    socket.set_nodelay(true).map_err(|error| describe(&error))?;
    let (sender, connection) = h2::client::handshake(socket)
        .await
        .map_err(|error| describe(&error))?;
    let driver = spawn_local(connection);
    let request = request(&args)?;
    let streams: Vec<JoinHandle<Result<(), h2::Error>>> = paces
        .into_iter()
        .map(|pace| spawn_local(stream(sender.clone(), request.clone(), tally.clone(), pace)))
        .collect();
    for stream in streams {
        let outcome = stream.await.map_err(|error| describe(&error))?;
        outcome.map_err(|error| describe(&error))?;
    }
    driver.abort();
    Ok(())
}

fn request(args: &Args) -> Result<Request<()>, String> {
    let uri = format!("http://{}{}", args.authority, args.path);
    let mut request = Request::get(uri)
        .body(())
        .map_err(|error| error.to_string())?;
    for (name, value) in &args.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("{name}: not a header name"))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| format!("{value}: not a header value"))?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}

async fn stream(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    tally: Rc<Tally>,
    mut pace: Pace,
) -> Result<(), h2::Error> {
    while tally.open(Instant::now()) {
        let intended = pace.turn().await.map_err(|_| h2::Reason::INTERNAL_ERROR)?;
        let mut sender = sender.clone().ready().await?;
        let (response, _) = sender.send_request(request.clone(), true)?;
        let mut response = response.await?;
        let ok = response.status().is_success();
        let body = response.body_mut();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
        }
        tally.answered(intended, Instant::now(), ok);
    }
    Ok(())
}
