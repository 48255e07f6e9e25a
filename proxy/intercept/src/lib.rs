//! Puts the proxy into a pod's traffic: `linkerd-proxy init`, the init container.
//!
//! ```text
//! arguments ──settings──▶ Settings ──plan──▶ Ruleset ──netlink──▶ bytes ──kernel──▶ nf_tables
//!                                               └──text──▶ what is logged
//! ```
//!
//! Everything left of `kernel` is a pure function of its argument; `kernel` is the only module that
//! opens a socket. No `nft` or `iptables` binary is needed. The network validator and the CNI plugin
//! do not exist yet.

mod kernel;
mod netlink;
pub mod plan;
pub mod settings;
mod text;
pub mod users;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use plan::{Family, Ruleset};
use settings::{LogFormat, LogLevel, Parsed, Settings};

/// Why `init` failed: one sentence for the user.
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
        Err(error) => return fail(&Log::default(), &error),
    };
    let log = Log {
        format: settings.log_format,
        level: settings.log_level,
    };
    let settings = Settings {
        one_user: users::one_user(&kernel::uid_map()),
        ..settings
    };
    match init(&settings, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&log, &error),
    }
}

fn init(settings: &Settings, log: &Log) -> Result<(), Error> {
    let rulesets = plan::plan(settings);
    if settings.simulate {
        log.info("simulating: no rule is written", &[]);
        for ruleset in &rulesets {
            log.ruleset(ruleset);
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
                log.ruleset(ruleset);
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

fn fail(log: &Log, error: &Error) -> ExitCode {
    log.write(LogLevel::Error, &error.0, &[]);
    ExitCode::FAILURE
}

/// Standard error as `plain` or `json` lines.
#[derive(Default)]
struct Log {
    format: LogFormat,
    level: LogLevel,
}

impl Log {
    fn info(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(LogLevel::Info, message, fields);
    }

    fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(LogLevel::Warn, message, fields);
    }

    fn ruleset(&self, ruleset: &Ruleset) {
        for line in text::render(ruleset).lines() {
            self.write(LogLevel::Info, line, &[]);
        }
    }

    fn write(&self, level: LogLevel, message: &str, fields: &[(&str, &str)]) {
        if level > self.level {
            return;
        }
        let line = match self.format {
            LogFormat::Plain => plain_line(level, message, fields),
            LogFormat::Json => json_line(level, message, fields),
        };
        // Nothing is left to tell anyone when standard error is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn plain_line(level: LogLevel, message: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!("{:<5} {message}", level.name().to_uppercase());
    for (key, value) in fields {
        let _ = write!(line, " {key}={value}");
    }
    line.push('\n');
    line
}

fn json_line(level: LogLevel, message: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!(
        "{{\"level\":\"{}\",\"msg\":{}",
        level.name(),
        json_string(message)
    );
    for (key, value) in fields {
        let _ = write!(line, ",{}:{}", json_string(key), json_string(value));
    }
    line.push_str("}\n");
    line
}

fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_carry_level_message_and_fields() {
        assert_eq!(
            "INFO  rules set family=ip\n",
            plain_line(LogLevel::Info, "rules set", &[("family", "ip")])
        );
        assert_eq!(
            "{\"level\":\"error\",\"msg\":\"bad \\\"x\\\"\\u000a\",\"k\":\"v\"}\n",
            json_line(LogLevel::Error, "bad \"x\"\n", &[("k", "v")])
        );
    }
}
