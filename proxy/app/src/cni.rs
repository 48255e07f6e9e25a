//! `linkerd-proxy cni install` and `cni repair`: the loops that a DaemonSet keeps on each node.

use std::process::ExitCode;
use std::time::Duration;

use linkerd_proxy_intercept::cni::{install, repair};
use linkerd_proxy_intercept::Error;
use tokio::signal::unix::{signal, SignalKind};

/// Runs `cni <action>` until SIGTERM or SIGINT; a failed round is logged and tried again.
///
/// Exits 1 when the action is unknown, the environment is incomplete, or the plugin could not be put
/// onto the node or taken off it.
pub fn main(action: Option<&str>) -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let done = match action {
        Some("install") => installed(&env),
        Some("repair") => rounds(repair::INTERVAL, || repair::step(&env)),
        other => Err(Error(format!(
            "cni {}: expected install or repair",
            other.unwrap_or("without an action")
        ))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain(&format!("ERROR {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn installed(env: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
    let installer = install::Installer::from_environment(env)?;
    let program = std::env::current_exe()
        .map_err(|error| Error(format!("cannot find this program's own file: {error}")))?;
    installer.copy_binary(&program)?;
    let result = rounds(install::INTERVAL, || installer.step());
    result.and(installer.remove())
}

/// Runs `step` at once and at each interval until a signal asks to end.
fn rounds(interval: Duration, step: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let unusable = |error: std::io::Error| Error(format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unusable)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unusable)?;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = ticks.tick() => {}
            }
            if let Err(error) = step() {
                crate::complain(&format!("WARN  {error}\n"));
            }
        }
    })
}
