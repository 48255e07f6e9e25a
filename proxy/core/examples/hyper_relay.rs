//! The relay of `engine_relay` on plain hyper and h2, to compare with: same arguments, one thread.
#![allow(missing_docs, clippy::print_stdout)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io::Error;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, LocalSet};

#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

struct Pool {
    target: SocketAddr,
    h2: bool,
    idle: RefCell<Vec<client1::SendRequest<Incoming>>>,
    shared: tokio::sync::Mutex<Option<client2::SendRequest<Incoming>>>,
}

impl Pool {
    async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Error> {
        if self.h2 {
            let mut shared = self.shared.lock().await;
            if shared.is_none() {
                let io = TcpStream::connect(self.target).await?;
                io.set_nodelay(true)?;
                let (sender, conn) = client2::handshake(Local, TokioIo::new(io))
                    .await
                    .map_err(Error::other)?;
                spawn_local(conn);
                *shared = Some(sender);
            }
            let mut sender = shared.clone().ok_or_else(|| Error::other("no sender"))?;
            drop(shared);
            if request.uri().authority().is_none() {
                let host = request.headers().get("host").and_then(|h| h.to_str().ok());
                let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
                let uri = format!("http://{}{path}", host.unwrap_or("relay"));
                *request.uri_mut() = uri.parse::<Uri>().map_err(Error::other)?;
            }
            return sender.send_request(request).await.map_err(Error::other);
        }
        if let Some(authority) = request.uri().authority().cloned() {
            let value = authority.as_str().parse().map_err(Error::other)?;
            request.headers_mut().insert("host", value);
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            *request.uri_mut() = path.parse::<Uri>().map_err(Error::other)?;
            *request.version_mut() = http::Version::HTTP_11;
        }
        let idle = self.idle.borrow_mut().pop();
        let mut sender = match idle {
            Some(sender) => sender,
            None => {
                let io = TcpStream::connect(self.target).await?;
                io.set_nodelay(true)?;
                let (sender, conn) = client1::handshake(TokioIo::new(io))
                    .await
                    .map_err(Error::other)?;
                spawn_local(conn);
                sender
            }
        };
        sender.ready().await.map_err(Error::other)?;
        let response = sender.send_request(request).await.map_err(Error::other);
        self.idle.borrow_mut().push(sender);
        response
    }
}

async fn relay(
    pool: Rc<Pool>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    Ok(match pool.send(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => {
            let body = Empty::new().map_err(|never| match never {}).boxed();
            let mut response = Response::new(body);
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
            response
        }
    })
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, front, back] = args.as_slice() else {
        return Err(Error::other("usage: hyper_relay LISTEN TARGET FRONT BACK"));
    };
    let pool = Rc::new(Pool {
        target: target.parse().map_err(Error::other)?,
        h2: back == "h2",
        idle: RefCell::default(),
        shared: tokio::sync::Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen.as_str()).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (io, _) = listener.accept().await?;
            io.set_nodelay(true)?;
            let pool = pool.clone();
            let service = service_fn(move |request| relay(pool.clone(), request));
            if front == "h2" {
                spawn_local(http2::Builder::new(Local).serve_connection(TokioIo::new(io), service));
            } else {
                spawn_local(http1::Builder::new().serve_connection(TokioIo::new(io), service));
            }
        }
    })
}
