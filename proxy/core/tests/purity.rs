//! Keeps runtimes, clocks, TLS and gRPC out of the crate that decides.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn core_depends_on_parsers_only() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "linkerd-proxy-core",
            "--edges",
            "normal",
        ])
        .args(["--prefix", "none", "--format", "{lib}", "--offline"])
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let found: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let allowed = [
        "httparse",
        "linkerd_proxy_core",
        "regex",
        "regex_automata",
        "regex_syntax",
    ];
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(BTreeSet::from(allowed), found, "{errors}");
}
