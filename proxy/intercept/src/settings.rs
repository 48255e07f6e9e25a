//! The flags of the init container, parsed into a value.
//!
//! Spelling follows Go's pflag: `--flag value`, `--flag=value`, `-p value`, `-p=value`; a boolean
//! flag takes its value only after `=`.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::Error;

/// A port range, both ends included; `first <= last`, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// A network in CIDR notation; `prefix` is at most 32 (IPv4) or 128 (IPv6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Any address of the network.
    pub address: IpAddr,
    /// Length of the network part, in bits.
    pub prefix: u8,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Words for people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written: those at or above (before) the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Panic,
    Fatal,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const ALL: [LogLevel; 7] = [
        LogLevel::Panic,
        LogLevel::Fatal,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    /// The level's name as flags and log lines spell it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Panic => "panic",
            LogLevel::Fatal => "fatal",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// What the init container shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The proxy's inbound port (4143 in Linkerd's charts).
    pub incoming_proxy_port: u16,
    /// The proxy's outbound port (4140 in Linkerd's charts).
    pub outgoing_proxy_port: u16,
    /// Whose outbound connections pass untouched.
    pub proxy_uid: Option<u32>,
    /// Whose outbound connections pass untouched; group 0 never counts.
    pub proxy_gid: Option<u32>,
    /// Whether only one user exists, so that owners tell nothing; no flag, the caller knows.
    pub one_user: bool,
    /// The only inbound ports to redirect; empty means all.
    pub ports_to_redirect: Vec<u16>,
    /// Inbound ports that reach the application directly.
    pub inbound_ports_to_ignore: Vec<Ports>,
    /// Outbound ports that bypass the proxy.
    pub outbound_ports_to_ignore: Vec<Ports>,
    /// Sources whose inbound connections reach the application directly.
    pub subnets_to_ignore: Vec<Subnet>,
    /// Print the rules instead of writing them.
    pub simulate: bool,
    /// Path of the network namespace to act in; `None` is the current one.
    pub netns: Option<String>,
    /// Seconds for conntrack's close-wait state; `None` leaves the kernel's.
    pub timeout_close_wait_s: Option<u32>,
    /// Whether IPv6 is redirected too.
    pub ipv6: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LogLevel,
}

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Set the rules.
    Run(Settings),
    /// Print [`help`].
    Help,
}

/// How many port ranges and subnets one list may hold; more is a mistake, and one transaction must
/// fit the socket's buffer.
pub const LIST_ITEMS_MAX: usize = 128;

struct Flag {
    name: &'static str,
    short: Option<char>,
    boolean: bool,
    help: &'static str,
}

const fn flag(name: &'static str, short: Option<char>, boolean: bool, help: &'static str) -> Flag {
    Flag {
        name,
        short,
        boolean,
        help,
    }
}

const FLAGS: &[Flag] = &[
    flag(
        "incoming-proxy-port",
        Some('p'),
        false,
        "port to redirect incoming traffic to (required)",
    ),
    flag(
        "outgoing-proxy-port",
        Some('o'),
        false,
        "port to redirect outgoing traffic to (required)",
    ),
    flag(
        "proxy-uid",
        Some('u'),
        false,
        "user whose outgoing traffic is not redirected",
    ),
    flag(
        "proxy-gid",
        Some('g'),
        false,
        "group whose outgoing traffic is not redirected",
    ),
    flag(
        "ports-to-redirect",
        Some('r'),
        false,
        "only inbound ports to redirect, all if empty",
    ),
    flag(
        "inbound-ports-to-ignore",
        None,
        false,
        "inbound ports and ranges that are not redirected",
    ),
    flag(
        "outbound-ports-to-ignore",
        None,
        false,
        "outbound ports and ranges that are not redirected",
    ),
    flag(
        "subnets-to-ignore",
        None,
        false,
        "source networks that are not redirected",
    ),
    flag(
        "simulate",
        None,
        true,
        "print the rules instead of writing them",
    ),
    flag(
        "netns",
        None,
        false,
        "path of the network namespace to act in",
    ),
    flag(
        "use-wait-flag",
        Some('w'),
        true,
        "accepted; the kernel interface used here has no lock",
    ),
    flag(
        "timeout-close-wait-secs",
        None,
        false,
        "conntrack's close-wait timeout, 0 leaves it alone",
    ),
    flag(
        "firewall-bin-path",
        None,
        false,
        "accepted; rules are written without a program",
    ),
    flag(
        "firewall-save-bin-path",
        None,
        false,
        "accepted; rules are written without a program",
    ),
    flag(
        "iptables-mode",
        None,
        false,
        "accepted: legacy, nft or plain; nf_tables is always used",
    ),
    flag("ipv6", None, true, "redirect IPv6 too (default true)"),
    flag("log-format", None, false, "plain or json"),
    flag(
        "log-level",
        None,
        false,
        "panic, fatal, error, warn, info, debug or trace",
    ),
    flag("help", Some('h'), true, "print this text"),
];

/// The text of `--help`.
pub fn help() -> String {
    let mut out = String::from(
        "Redirects a pod's traffic to its proxy.\n\nUsage:\n  linkerd-proxy init [flags]\n\nFlags:\n",
    );
    for flag in FLAGS {
        let short = flag.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
        let _ = writeln!(out, "  {short}--{:<26} {}", flag.name, flag.help);
    }
    out
}

/// Parses the words after `init`.
///
/// # Errors
/// An unknown flag, a missing or unusable value, or a missing proxy port; the message names it.
///
/// # Source
/// linkerd/linkerd2-proxy-init proxy-init/cmd/root.go (names, defaults).
pub fn parse(args: impl Iterator<Item = String>) -> Result<Parsed, Error> {
    let mut settings = Settings {
        incoming_proxy_port: 0,
        outgoing_proxy_port: 0,
        proxy_uid: None,
        proxy_gid: None,
        one_user: false,
        ports_to_redirect: Vec::new(),
        inbound_ports_to_ignore: Vec::new(),
        outbound_ports_to_ignore: Vec::new(),
        subnets_to_ignore: Vec::new(),
        simulate: false,
        netns: None,
        timeout_close_wait_s: None,
        ipv6: true,
        log_format: LogFormat::Plain,
        log_level: LogLevel::Info,
    };
    let mut args = args;
    while let Some(word) = args.next() {
        let (flag, attached) = find(&word)?;
        let value = match attached {
            Some(value) => value,
            None if flag.boolean => "true".to_owned(),
            None => args
                .next()
                .ok_or_else(|| Error(format!("flag --{} needs a value", flag.name)))?,
        };
        if flag.name == "help" {
            return Ok(Parsed::Help);
        }
        apply(&mut settings, flag.name, &value)
            .map_err(|expected| Error(format!("--{}={value}: expected {expected}", flag.name)))?;
    }
    for (name, port) in [
        ("incoming-proxy-port", settings.incoming_proxy_port),
        ("outgoing-proxy-port", settings.outgoing_proxy_port),
    ] {
        if port == 0 {
            return Err(Error(format!("--{name} must be a valid TCP port number")));
        }
    }
    Ok(Parsed::Run(settings))
}

fn find(word: &str) -> Result<(&'static Flag, Option<String>), Error> {
    let split = |text: &str| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    let unknown = || {
        Error(format!(
            "unknown flag {word:?}, see linkerd-proxy init --help"
        ))
    };
    if let Some(rest) = word.strip_prefix("--") {
        let (name, value) = split(rest);
        let flag = FLAGS
            .iter()
            .find(|flag| flag.name == name)
            .ok_or_else(unknown)?;
        return Ok((flag, value));
    }
    let mut chars = word.strip_prefix('-').ok_or_else(unknown)?.chars();
    let letter = chars.next().ok_or_else(unknown)?;
    let flag = FLAGS
        .iter()
        .find(|flag| flag.short == Some(letter))
        .ok_or_else(unknown)?;
    let rest = chars.as_str();
    let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
    Ok((flag, value))
}

/// Stores one value; the error says what would have been accepted.
fn apply(settings: &mut Settings, name: &str, value: &str) -> Result<(), String> {
    match name {
        "incoming-proxy-port" => settings.incoming_proxy_port = port(value)?,
        "outgoing-proxy-port" => settings.outgoing_proxy_port = port(value)?,
        "proxy-uid" => settings.proxy_uid = id(value)?,
        "proxy-gid" => settings.proxy_gid = id(value)?.filter(|&gid| gid > 0),
        "ports-to-redirect" => add(&mut settings.ports_to_redirect, items(value, port)?)?,
        "inbound-ports-to-ignore" => {
            add(&mut settings.inbound_ports_to_ignore, items(value, ports)?)?
        }
        "outbound-ports-to-ignore" => {
            add(&mut settings.outbound_ports_to_ignore, items(value, ports)?)?
        }
        "subnets-to-ignore" => add(&mut settings.subnets_to_ignore, items(value, subnet)?)?,
        "simulate" => settings.simulate = boolean(value)?,
        "netns" => settings.netns = (!value.is_empty()).then(|| value.to_owned()),
        "timeout-close-wait-secs" => {
            let seconds: u32 = value.parse().map_err(|_| "a number of seconds")?;
            settings.timeout_close_wait_s = (seconds > 0).then_some(seconds);
        }
        "ipv6" => settings.ipv6 = boolean(value)?,
        "use-wait-flag" => {
            boolean(value)?;
        }
        "iptables-mode" if !matches!(value, "legacy" | "nft" | "plain" | "") => {
            return Err("legacy, nft or plain".to_owned());
        }
        "log-format" => settings.log_format = log_format(value)?,
        "log-level" => settings.log_level = log_level(value)?,
        // The remaining flags choose a program that is not used.
        _ => {}
    }
    Ok(())
}

pub(crate) fn log_format(value: &str) -> Result<LogFormat, &'static str> {
    match value {
        "plain" => Ok(LogFormat::Plain),
        "json" => Ok(LogFormat::Json),
        _ => Err("plain or json"),
    }
}

pub(crate) fn log_level(value: &str) -> Result<LogLevel, &'static str> {
    LogLevel::ALL
        .into_iter()
        .find(|level| level.name() == value || (value == "warning" && *level == LogLevel::Warn))
        .ok_or("panic, fatal, error, warn, info, debug or trace")
}

pub(crate) fn items<T>(
    value: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let items: Vec<T> = value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(parse)
        .collect::<Result<_, _>>()?;
    within_limit(&items)?;
    Ok(items)
}

/// A list that is given twice is one list, as pflag has it.
fn add<T>(all: &mut Vec<T>, more: Vec<T>) -> Result<(), String> {
    all.extend(more);
    within_limit(all)
}

fn within_limit<T>(items: &[T]) -> Result<(), String> {
    if items.len() > LIST_ITEMS_MAX {
        return Err(format!("at most {LIST_ITEMS_MAX} items"));
    }
    Ok(())
}

pub(crate) fn port(value: &str) -> Result<u16, String> {
    let port = value.trim().parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| "ports between 1 and 65535".to_owned())
}

pub(crate) fn ports(value: &str) -> Result<Ports, String> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let ports = Ports {
        first: port(first)?,
        last: port(last)?,
    };
    if ports.first > ports.last {
        return Err(format!(
            "a range whose first port is not above its last, not {value}"
        ));
    }
    Ok(ports)
}

/// A user or group id; -1 is pflag's "unset".
fn id(value: &str) -> Result<Option<u32>, String> {
    if value == "-1" {
        return Ok(None);
    }
    value
        .parse()
        .map(Some)
        .map_err(|_| "a numeric id, or -1".to_owned())
}

pub(crate) fn subnet(value: &str) -> Result<Subnet, String> {
    let expected = || "networks such as 10.0.0.0/8".to_owned();
    let (address, prefix) = value.split_once('/').ok_or_else(expected)?;
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let prefix: u8 = prefix.parse().map_err(|_| expected())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    if prefix > bits {
        return Err(expected());
    }
    Ok(Subnet { address, prefix })
}

/// The words that Go's `strconv.ParseBool` takes.
fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Settings, String> {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Parsed::Run(settings)) => Ok(settings),
            Ok(Parsed::Help) => Err("help".to_owned()),
            Err(error) => Err(error.0),
        }
    }

    #[test]
    fn takes_the_arguments_of_the_injected_container() {
        let settings = parse_line(
            "--firewall-bin-path iptables-nft --firewall-save-bin-path iptables-nft-save --ipv6=false \
             --incoming-proxy-port 4143 -o=4140 -u2102 --proxy-gid -1 \
             --inbound-ports-to-ignore 4190,4191,4567-4568 --outbound-ports-to-ignore=443, \
             --timeout-close-wait-secs 60 --log-format json --log-level warning -w \
             --subnets-to-ignore 10.0.0.0/8,fd00::/8",
        );
        let range = |first, last| Ports { first, last };
        let expected = Settings {
            incoming_proxy_port: 4143,
            outgoing_proxy_port: 4140,
            proxy_uid: Some(2102),
            proxy_gid: None,
            one_user: false,
            ports_to_redirect: vec![],
            inbound_ports_to_ignore: vec![range(4190, 4190), range(4191, 4191), range(4567, 4568)],
            outbound_ports_to_ignore: vec![range(443, 443)],
            subnets_to_ignore: vec![
                Subnet {
                    address: IpAddr::from([10, 0, 0, 0]),
                    prefix: 8,
                },
                Subnet {
                    address: IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0]),
                    prefix: 8,
                },
            ],
            simulate: false,
            netns: None,
            timeout_close_wait_s: Some(60),
            ipv6: false,
            log_format: LogFormat::Json,
            log_level: LogLevel::Warn,
        };
        assert_eq!(Ok(expected), settings);
    }

    #[test]
    fn a_list_may_be_given_in_parts() {
        let settings = parse_line(
            "-p 1 -o 2 -r 80 -r 81,82 --inbound-ports-to-ignore 9 --inbound-ports-to-ignore 10-11",
        );
        let settings = settings.expect("usable");
        assert_eq!(vec![80, 81, 82], settings.ports_to_redirect);
        assert_eq!(2, settings.inbound_ports_to_ignore.len());
    }

    #[test]
    fn names_the_flag_and_value_that_are_wrong() {
        let ports = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140";
        for (line, message) in [
            ("", "--incoming-proxy-port must be a valid TCP port number"),
            ("-p 4143", "--outgoing-proxy-port must be a valid TCP port number"),
            ("--what 1", "unknown flag \"--what\", see linkerd-proxy init --help"),
            ("install", "unknown flag \"install\", see linkerd-proxy init --help"),
            ("-p", "flag --incoming-proxy-port needs a value"),
            ("-p 70000", "--incoming-proxy-port=70000: expected ports between 1 and 65535"),
            ("--proxy-uid=me", "--proxy-uid=me: expected a numeric id, or -1"),
            ("--ipv6=maybe", "--ipv6=maybe: expected true or false"),
            (
                "--inbound-ports-to-ignore 9-8",
                "--inbound-ports-to-ignore=9-8: expected a range whose first port is not above its last, not 9-8",
            ),
            ("--subnets-to-ignore 10.0.0.0/33", "--subnets-to-ignore=10.0.0.0/33: expected networks such as 10.0.0.0/8"),
            ("--log-level loud", "--log-level=loud: expected panic, fatal, error, warn, info, debug or trace"),
            ("--iptables-mode ebpf", "--iptables-mode=ebpf: expected legacy, nft or plain"),
        ] {
            let full = if line.contains("-p") && !line.contains("--proxy-uid") || line.is_empty() {
                line.to_owned()
            } else {
                format!("{ports} {line}")
            };
            assert_eq!(Err(message.to_owned()), parse_line(&full), "{line}");
        }
    }

    #[test]
    fn help_lists_every_flag() {
        assert_eq!(Err("help".to_owned()), parse_line("--help"));
        assert!(FLAGS.iter().all(|flag| help().contains(flag.name)));
    }
}
