//! The data plane of the mesh.

mod admin;
mod clock;
mod cni;
mod control;
mod drain;
mod http;
mod identity;
mod inbound;
mod log;
mod memory;
mod net;
mod outbound;
mod policy;
mod random;
mod ready;
mod run;
mod settings;
mod tap;
mod telemetry;

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
The data plane of the mesh: one proxy beside each application.

Usage: linkerd-proxy               run the proxy; settings come from LINKERD2_PROXY_*
       linkerd-proxy init [flags]  redirect a pod's traffic to the proxy
       linkerd-proxy validate [flags]
                                   prove that a pod's traffic is redirected
       linkerd-proxy cni install   keep the CNI plugin on this node; settings come from its chart
       linkerd-proxy cni repair    delete pods that started before the plugin was there
       linkerd-proxy --version
       linkerd-proxy --help

By another name it is another program: linkerd-cni, linkerd2-network-validator, linkerd-await.
";
/// What Linkerd's proxy returns for settings that it cannot use.
const EXIT_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    match name.rsplit('/').next() {
        Some(linkerd_proxy_intercept::cni::NAME) => return linkerd_proxy_intercept::cni::main(),
        Some("linkerd2-network-validator") => return linkerd_proxy_intercept::validate::main(args),
        Some("linkerd-await") => return ready::main(args),
        _ => {}
    }
    match args.next().as_deref() {
        Some("init") => linkerd_proxy_intercept::main(args),
        Some("validate") => linkerd_proxy_intercept::validate::main(args),
        Some("cni") => cni::main(args.next().as_deref()),
        Some("--version" | "-V") => say(&format!("linkerd-proxy {}\n", env!("CARGO_PKG_VERSION"))),
        Some("--help" | "-h") => say(HELP),
        Some(other) => {
            complain(&format!("unknown argument {other:?}\n\n{HELP}"));
            ExitCode::from(EXIT_SETTINGS)
        }
        None => proxy(),
    }
}

fn proxy() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let format = env("LINKERD2_PROXY_LOG_FORMAT");
    let log = match log::install(env("LINKERD2_PROXY_LOG").as_deref(), format.as_deref()) {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("{error}\n"));
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    match settings::read(&env) {
        Ok(settings) => run::run(settings, log),
        Err(problems) => {
            for problem in problems {
                tracing::error!("{}", problem.0);
            }
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // There is nobody left to tell when stderr is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
