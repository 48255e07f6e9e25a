//! `testkit serve FILE`: a scripted control plane and applications until a signal.
//! `testkit decide`: for each line with a policy and requests, a line with the proxy's decisions.
//! `testkit identity AUTHORITY FOLDER NAME`: what a proxy named NAME needs in `IDENTITY_DIR`,
//! with the trust anchors as `anchors.pem`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use linkerd_proxy_testkit::authority::{write_identity, Authority};
use linkerd_proxy_testkit::config::Config;
use linkerd_proxy_testkit::control::ControlPlane;
use linkerd_proxy_testkit::decide::{self, Case};
use linkerd_proxy_testkit::echo;
use tokio::net::TcpListener;

const USAGE: &str =
    "usage: testkit serve FILE | testkit decide | testkit identity AUTHORITY FOLDER NAME";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", file] => serve(Path::new(file)),
        ["decide"] => decide_lines(),
        ["identity", authority, folder, name] => {
            identity(Path::new(authority), Path::new(folder), name)
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "testkit: {message}");
            ExitCode::FAILURE
        }
    }
}

fn decide_lines() -> Result<(), String> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let case: Case = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let decided = decide::decide(&case)?;
        let text = serde_json::to_string(&decided).map_err(|error| error.to_string())?;
        writeln!(out, "{text}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn identity(authority: &Path, folder: &Path, name: &str) -> Result<(), String> {
    let describe = |error: std::io::Error| format!("cannot write {}: {error}", folder.display());
    let authority = Authority::at(authority).map_err(describe)?;
    write_identity(folder, name).map_err(describe)?;
    std::fs::write(folder.join("anchors.pem"), authority.anchors()).map_err(describe)
}

#[tokio::main(flavor = "current_thread")]
async fn serve(file: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let config: Config =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let authority = match &config.authority {
        Some(folder) => {
            Authority::at(folder).map_err(|error| format!("{}: {error}", folder.display()))?
        }
        None => Authority::generate(),
    };
    let mut lines = Vec::new();
    if let Some(address) = config.control {
        let (listener, line) = listen(address, "control").await?;
        lines.push(line);
        tokio::spawn(ControlPlane::new(authority, config.world).serve(listener));
    }
    for application in &config.echo {
        let (listener, line) = listen(application.listen, "echo").await?;
        lines.push(line);
        tokio::spawn(echo::serve(listener, application.kind));
    }
    // Readers wait for this line; the addresses are real even where the file says port 0.
    let _ = writeln!(std::io::stdout(), "ready {}", lines.join(" "));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| error.to_string())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn listen(
    address: std::net::SocketAddr,
    name: &str,
) -> Result<(TcpListener, String), String> {
    let describe = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(describe)?;
    let bound = listener.local_addr().map_err(describe)?;
    Ok((listener, format!("{name}={bound}")))
}
