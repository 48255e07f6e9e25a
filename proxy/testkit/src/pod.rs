//! A pod: a namespace with redirect rules, a scripted control plane on its loopback, and a real proxy.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::authority::write_identity;
use crate::client;
use crate::control::ControlPlane;
use crate::echo;
use crate::namespace::Namespace;

/// The user that proxies run as, exempt from the redirect.
pub const PROXY_UID: u32 = 2102;
const CONTROL: &str = "127.0.0.1:8086";
const ADMIN: &str = "127.0.0.1:4191";
/// Numbers the pods of this process, for the names of their folders.
static PODS: AtomicU32 = AtomicU32::new(0);
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How a proxy is started.
pub struct Proxy<'a> {
    /// Path of the `linkerd-proxy` binary.
    pub binary: &'a str,
    /// Mesh identity of the pod.
    pub identity: &'a str,
    /// Address of the pod, for `INBOUND_IPS`.
    pub ip: &'a str,
    /// Further environment variables, without `LINKERD2_PROXY_`.
    pub environment: &'a [(&'a str, &'a str)],
    /// Descriptors that it may have open; `None` for as many as the test.
    pub descriptors: Option<u32>,
}

/// A running pod; its proxy and files end with it.
pub struct Pod {
    /// Where it runs.
    pub namespace: Namespace,
    proxy: Child,
    folder: PathBuf,
}

impl Pod {
    /// Starts the control plane and the proxy inside `namespace`, writes the rules, waits until ready.
    ///
    /// # Panics
    /// Without root, or when the proxy does not become ready in time; its log went to standard error.
    pub fn start(namespace: &Namespace, control: &ControlPlane, proxy: &Proxy<'_>) -> Self {
        let (plane, name) = (control.clone(), proxy.identity.to_owned());
        let (ready, started) = std::sync::mpsc::channel();
        namespace.background(async move {
            let listener = TcpListener::bind(CONTROL)
                .await
                .expect("the port is free in a new namespace");
            let _ = ready.send(());
            let _ = plane.serve(listener).await;
        });
        started.recv().expect("the control plane listens");
        let flags = format!(
            "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid {PROXY_UID} \
             --inbound-ports-to-ignore 4190,4191 --log-level error"
        );
        let code = namespace.run(move || {
            linkerd_proxy_intercept::main(flags.split_whitespace().map(str::to_owned))
        });
        assert_eq!(ExitCode::SUCCESS, code, "redirect rules of {name}");
        let number = PODS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pod-{}-{number}", std::process::id()));
        write_identity(&folder, proxy.identity).expect("the temporary folder is writable");
        let child = launch(namespace, control, proxy, &folder);
        let mut pod = Self {
            namespace: namespace.clone(),
            proxy: child,
            folder,
        };
        pod.wait_until_ready(&name);
        pod
    }

    /// Kills the proxy and starts one with other settings in its place.
    ///
    /// # Panics
    /// As [`Pod::start`].
    pub fn restart(&mut self, control: &ControlPlane, proxy: &Proxy<'_>) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        self.proxy = launch(&self.namespace, control, proxy, &self.folder);
        self.wait_until_ready(proxy.identity);
    }

    fn wait_until_ready(&mut self, name: &str) {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.proxy.try_wait() {
                panic!("proxy of {name} ended: {status}");
            }
            let answer = self.admin("/ready");
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.status.is_success())
            {
                return;
            }
            assert!(
                start.elapsed() < READY_WITHIN,
                "proxy of {name} is not ready: {answer:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the proxy's admin server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn admin(&self, path: &'static str) -> std::io::Result<client::Answer> {
        let request = http::Request::get(path)
            .header("host", ADMIN)
            .body("")
            .expect("a literal path");
        self.namespace.block_on(None, async move {
            client::send(ADMIN.parse().expect("literal"), request).await
        })
    }

    /// The proxy's metrics page.
    ///
    /// # Panics
    /// The admin server does not answer.
    pub fn metrics(&self) -> String {
        self.admin("/metrics")
            .expect("the admin server answers")
            .body
    }

    /// Serves an application inside the pod.
    ///
    /// # Panics
    /// The port is taken.
    pub fn serve(&self, port: u16, kind: echo::Kind) {
        serve(&self.namespace, port, kind);
    }

    /// Tells the proxy to end and returns how it did.
    ///
    /// # Panics
    /// The process cannot be waited for.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.proxy);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.proxy.wait().expect("our own child")
    }
}

fn launch(
    namespace: &Namespace,
    control: &ControlPlane,
    proxy: &Proxy<'_>,
    folder: &Path,
) -> Child {
    let mut command = match proxy.descriptors {
        None => Command::new(proxy.binary),
        Some(count) => {
            let mut shell = Command::new("sh");
            let limited = format!("ulimit -n {count} && exec \"$0\"");
            shell.args(["-c", &limited, proxy.binary]);
            shell
        }
    };
    command
        .uid(PROXY_UID)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.envs(environment(proxy, control.anchors(), folder));
    readable(folder);
    namespace.run(move || command.spawn().expect("the proxy's binary exists"))
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Serves an application in a namespace.
///
/// # Panics
/// The port is taken.
pub fn serve(namespace: &Namespace, port: u16, kind: echo::Kind) {
    let (ready, started) = std::sync::mpsc::channel();
    namespace.background(async move {
        // Of both families, where there are both.
        let listener = match TcpListener::bind(("::", port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("0.0.0.0", port))
                .await
                .expect("the port is free"),
        };
        let _ = ready.send(());
        let _ = echo::serve(listener, kind).await;
    });
    started.recv().expect("the application listens");
}

/// The environment that the injector would write, for a control plane on loopback.
pub fn environment(proxy: &Proxy<'_>, anchors: &str, folder: &Path) -> Vec<(String, String)> {
    let folder = folder.display();
    let token = format!("{folder}/token");
    let folder = folder.to_string();
    let name = proxy.identity;
    let workload = r#"{"ns":"test","pod":"test"}"#;
    let mut pairs = vec![
        ("LOG", "warn,linkerd=info"),
        ("ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
        ("CONTROL_LISTEN_ADDR", "0.0.0.0:4190"),
        ("INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
        ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:4140"),
        ("INBOUND_IPS", proxy.ip),
        ("DESTINATION_SVC_ADDR", CONTROL),
        ("POLICY_SVC_ADDR", CONTROL),
        ("IDENTITY_SVC_ADDR", CONTROL),
        ("DESTINATION_CONTEXT", workload),
        ("POLICY_WORKLOAD", workload),
        ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8"),
        ("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8"),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
        ("IDENTITY_DIR", &folder),
        ("IDENTITY_TOKEN_FILE", &token),
        ("IDENTITY_TRUST_ANCHORS", anchors),
        ("IDENTITY_LOCAL_NAME", name),
        ("SHUTDOWN_GRACE_PERIOD", "5s"),
    ];
    pairs.extend(proxy.environment);
    pairs
        .into_iter()
        .map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), value.to_owned()))
        .collect()
}

/// The proxy runs as another user than the test.
fn readable(folder: &Path) {
    use std::os::unix::fs::{chown, PermissionsExt};
    chown(folder, Some(PROXY_UID), None).expect("root may change owners");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("our own folder");
    for file in fs::read_dir(folder).expect("our own folder").flatten() {
        chown(file.path(), Some(PROXY_UID), None).expect("root may change owners");
    }
}
