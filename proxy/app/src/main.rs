//! The data plane of the mesh.

mod admin;
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
       linkerd-proxy --version
       linkerd-proxy --help
";
/// What Linkerd's proxy returns for settings that it cannot use.
const EXIT_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("init") => linkerd_proxy_intercept::main(std::env::args().skip(2)),
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
    let level = match log::install(env("LINKERD2_PROXY_LOG").as_deref(), format.as_deref()) {
        Ok(level) => level,
        Err(error) => {
            complain(&format!("{error}\n"));
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    match settings::read(&env) {
        Ok(settings) => run::run(settings, level),
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
