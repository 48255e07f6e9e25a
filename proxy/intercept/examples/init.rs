//! Runs the init container's work by itself: `cargo run -p linkerd-proxy-intercept --example init -- FLAGS`.

fn main() -> std::process::ExitCode {
    linkerd_proxy_intercept::main(std::env::args().skip(1))
}
