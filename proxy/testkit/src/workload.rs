//! A SPIFFE agent: the Workload API of a machine, told from what a test sets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use linkerd_proxy_api::workload::{X509svid, X509svidResponse};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::grpc::{self, Call, Code, Status};

const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// Numbers the agents of this process, for the names of their sockets.
static AGENTS: AtomicU32 = AtomicU32::new(0);

/// A running agent; its socket ends with it.
pub struct Agent {
    socket: PathBuf,
    svids: watch::Sender<Option<X509svidResponse>>,
    refused: Arc<AtomicU32>,
}

/// What streams follow, and how many of them were refused.
#[derive(Clone)]
struct Script {
    said: watch::Receiver<Option<X509svidResponse>>,
    refused: Arc<AtomicU32>,
}

impl Agent {
    /// Listens on a socket that every user may use, and refuses everybody.
    ///
    /// # Panics
    /// The temporary folder is not writable.
    pub fn start() -> Self {
        let number = AGENTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let (svids, said) = watch::channel(None);
        let refused = Arc::<AtomicU32>::default();
        let script = Script {
            said,
            refused: refused.clone(),
        };
        let (ready, started) = std::sync::mpsc::channel();
        let path = socket.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime needs descriptors only");
            runtime.block_on(async {
                let listener = UnixListener::bind(&path).expect("the folder is writable");
                let everybody = fs::Permissions::from_mode(0o777);
                fs::set_permissions(&path, everybody).expect("our own socket");
                let _ = ready.send(());
                serve(listener, script).await;
            });
        });
        started.recv().expect("the agent listens");
        Self {
            socket,
            svids,
            refused,
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Says this from now on, on open streams too.
    pub fn say(&self, svids: Vec<X509svid>) {
        self.svids.send_replace(Some(X509svidResponse { svids }));
    }

    /// Refuses everybody from now on, and ends open streams.
    pub fn refuse(&self) {
        self.svids.send_replace(None);
    }

    /// How many calls and streams were refused so far.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

/// A certificate for `id` by `authority`, with the trust anchors of `bundle`.
///
/// # Panics
/// `id` is no URI.
pub fn svid(authority: &Authority, id: &str, bundle: &[&Authority]) -> X509svid {
    let svid = authority.svid(id).expect("an identity is a URI");
    let roots: Vec<_> = bundle.iter().map(|one| one.root().to_vec()).collect();
    X509svid {
        spiffe_id: id.to_owned(),
        x509_svid: svid.chain,
        x509_svid_key: svid.key,
        bundle: roots.concat(),
    }
}

/// Serves until the agent is gone.
async fn serve(listener: UnixListener, script: Script) {
    let mut said = script.said.clone();
    let accept = async {
        while let Ok((socket, _)) = listener.accept().await {
            let script = script.clone();
            tokio::spawn(grpc::serve(socket, move |call| {
                answer(script.clone(), call)
            }));
        }
    };
    tokio::select! {
        () = accept => {}
        () = async { while said.changed().await.is_ok() {} } => {}
    }
}

async fn answer(mut script: Script, mut call: Call) {
    let status = script.follow(&mut call).await;
    // The client may have gone first.
    let _ = call.finish(status);
}

impl Script {
    /// Streams what is said until nothing is.
    async fn follow(&mut self, call: &mut Call) -> Status {
        if call.path != FETCH {
            return Status(Code::Unimplemented, format!("no method {}", call.path));
        }
        let meant = call.metadata.get("workload.spiffe.io");
        if meant.is_none_or(|value| value != "true") {
            let reason = "security header missing from request";
            return Status(Code::InvalidArgument, reason.to_owned());
        }
        loop {
            let Some(response) = self.said.borrow_and_update().clone() else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Status(Code::PermissionDenied, "no identity issued".to_owned());
            };
            if call.send(&response).is_err() {
                return Status(Code::Ok, String::new());
            }
            let more = tokio::select! {
                changed = self.said.changed() => changed.is_ok(),
                () = call.closed() => false,
            };
            if !more {
                return Status(Code::Ok, String::new());
            }
        }
    }
}
