//! Puts the proxy into a pod's traffic: redirect rules by init container or CNI plugin, and the
//! proof that they work.
//!
//! ```text
//! init:    arguments ──settings──▶ Settings ──plan──▶ Ruleset ──netlink──▶ bytes ──kernel──▶ nf_tables
//!                                      ▲                └──text──▶ what is logged
//! cni ADD: network configuration ──────┘
//!          + the pod, by ──api──▶ ──decide──▶
//! ```
//!
//! Everything left of `kernel` is a pure function of its argument; `kernel`, `cni/api`, `cni/install`
//! and `validate` are the edges. No `nft` or `iptables` binary is needed.

pub mod cni;
mod kernel;
mod log;
mod netlink;
pub mod plan;
pub mod settings;
mod text;
pub mod users;
pub mod validate;

use std::io::Write as _;
use std::process::ExitCode;

use log::Log;
use plan::{Family, Ruleset};
use settings::{LogLevel, Parsed, Settings};

/// Why a program failed: one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Runs `linkerd-proxy init`; `args` are the words after `init`.
///
/// Writes the redirect rules of the current network namespace (or of `--netns`) and logs them to
/// standard error. Each address family is replaced in one transaction, so running twice leaves one
/// set, and a failure leaves the family as it was. Exits 0 when the rules are in place, 1 otherwise.
///
/// Source: linkerd/linkerd2-proxy-init proxy-init/cmd/root.go (flags).
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let settings = match settings::parse(args) {
        Ok(Parsed::Run(settings)) => settings,
        Ok(Parsed::Help) => {
            // A closed standard output is the reader's choice, not a failure.
            let _ = std::io::stdout().write_all(settings::help().as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return Log::default().fail(&error),
    };
    let log = Log {
        format: settings.log_format,
        level: settings.log_level,
    };
    let settings = Settings {
        one_user: users::one_user(&kernel::uid_map()),
        ..settings
    };
    match redirect(&settings, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log.fail(&error),
    }
}

fn redirect(settings: &Settings, log: &Log) -> Result<(), Error> {
    let rulesets = plan::plan(settings);
    if settings.simulate {
        log.info("simulating: no rule is written", &[]);
        for ruleset in &rulesets {
            log_rules(log, ruleset);
        }
        return Ok(());
    }
    kernel::raise_net_admin();
    if let Some(path) = &settings.netns {
        kernel::enter(path)?;
    }
    if let Some(seconds) = settings.timeout_close_wait_s {
        kernel::set_close_wait(seconds)?;
        log.info(
            "conntrack close-wait timeout set",
            &[("seconds", &seconds.to_string())],
        );
    }
    for ruleset in &rulesets {
        match kernel::replace(ruleset) {
            Ok(()) => {
                log_rules(log, ruleset);
                let rules = ruleset.rules().count().to_string();
                log.info(
                    "redirect rules set",
                    &[("family", ruleset.family.name()), ("rules", &rules)],
                );
            }
            // A node whose kernel has no IPv6 carries no IPv6 traffic to redirect.
            Err(kernel::ReplaceError::NoFamily) if ruleset.family == Family::Ipv6 => {
                log.warn("kernel has no IPv6 tables, only IPv4 is redirected", &[]);
            }
            Err(error) => return Err(error.describe(ruleset.family)),
        }
    }
    Ok(())
}

fn log_rules(log: &Log, ruleset: &Ruleset) {
    for line in text::render(ruleset).lines() {
        log.write(LogLevel::Info, line, &[]);
    }
}
