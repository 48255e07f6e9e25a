//! Everything the proxy is told at start, read once from the environment.
//!
//! Parsing is a pure function of a lookup and reports every problem at once.
//! Source: linkerd2-proxy linkerd/app/src/env.rs (names, defaults, formats).

pub mod identity;
pub mod parse;

use identity::Identity;
use linkerd_proxy_core::access_log::Format;
use linkerd_proxy_core::authorize::IpNet;
use linkerd_proxy_core::backoff::Backoff;
use linkerd_proxy_core::dst::Suffixes;
use linkerd_proxy_core::endpoint::Http2Params;
use linkerd_proxy_core::engine::Limits;
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::server::DefaultPolicy;
use parse::{
    parse_addr, parse_addrs, parse_any, parse_attributes, parse_bool, parse_duration, parse_ips,
    parse_jitter, parse_nets, parse_ports, parse_size, HostPort, PortSet,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A part of the control plane and who it must prove to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlAddr {
    /// Host and port.
    pub addr: HostPort,
    /// Its identity and SNI; `None` for plaintext to loopback.
    pub identity: Option<Id>,
}

/// Limits on a watch.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct StreamLimits {
    /// Until the first message.
    pub initial: Option<Duration>,
    /// Between messages.
    pub idle: Option<Duration>,
    /// In all.
    pub lifetime: Option<Duration>,
}

/// Where spans go and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The collector.
    pub collector: ControlAddr,
    /// A file with an attribute in each line.
    pub attributes_file: Option<String>,
    /// Attributes that come before those of the file.
    pub first: Vec<(String, String)>,
    /// Attributes that come after them.
    pub last: Vec<(String, String)>,
}

/// Bounds of the time that an answer of DNS holds.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct DnsTtl {
    /// At least.
    pub min: Option<Duration>,
    /// At most.
    pub max: Option<Duration>,
}

/// Socket options and timeouts of one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// Protocol detection.
    pub detect_timeout: Duration,
    /// Connecting.
    pub connect_timeout: Duration,
    /// Between attempts to connect.
    pub connect_backoff: Backoff,
    /// Keepalive of accepted connections.
    pub accept_keepalive: Option<Duration>,
    /// Keepalive of made connections.
    pub connect_keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT of accepted connections.
    pub accept_user_timeout: Option<Duration>,
    /// TCP_USER_TIMEOUT of made connections.
    pub connect_user_timeout: Option<Duration>,
    /// Backlog of the listener.
    pub backlog: u32,
    /// Requests at once before they are shed.
    pub max_in_flight: usize,
    /// Requests that may wait for an endpoint.
    pub queue_capacity: usize,
    /// How long they wait.
    pub failfast_timeout: Duration,
    /// Connections of bytes that may wait for an endpoint.
    pub tcp_queue_capacity: usize,
    /// How long they wait.
    pub tcp_failfast_timeout: Duration,
    /// Idle HTTP/1 connections per endpoint.
    pub max_idle_conns: usize,
    /// How long an idle HTTP/1 connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long unused discoveries and policies are kept.
    pub discovery_idle_timeout: Duration,
    /// Server-side HTTP/2.
    pub server_http2: Http2,
}

impl Http2 {
    /// These settings, changed by what discovery says about an endpoint.
    pub fn for_endpoint(mut self, params: Option<&Http2Params>) -> Self {
        let Some(params) = params else {
            return self;
        };
        self.stream_window = params.stream_window.unwrap_or(self.stream_window);
        self.connection_window = params.connection_window.unwrap_or(self.connection_window);
        self.adaptive = params.adaptive;
        if let Some((interval, timeout, while_idle)) = params.keep_alive {
            self.keep_alive = Some((interval, timeout));
            self.ping_idle = while_idle;
        }
        self
    }
}

/// HTTP/2 windows and pings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Http2 {
    /// Initial window of a stream.
    pub stream_window: u32,
    /// Initial window of the connection.
    pub connection_window: u32,
    /// Interval and timeout of pings.
    pub keep_alive: Option<(Duration, Duration)>,
    /// Streams that a peer may open; `None` for the library's choice.
    pub max_concurrent_streams: Option<u32>,
    /// Octets of a head or trailer section, of HTTP/1 too.
    pub head_bytes: u32,
    /// Whether windows follow the path's bandwidth and delay; then the sizes count for nothing.
    pub adaptive: bool,
    /// Whether connections without streams are pinged too.
    pub ping_idle: bool,
}

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Worker threads.
    pub cores: usize,
    /// Outbound listeners, one or two.
    pub outbound_addrs: Vec<SocketAddr>,
    /// Inbound listener.
    pub inbound_addr: SocketAddr,
    /// Admin listener.
    pub admin_addr: SocketAddr,
    /// Listener for those who watch.
    pub tap_addr: SocketAddr,
    /// Who may watch; `None` for nobody.
    pub tap_client: Option<Id>,
    /// How long a drain may take.
    pub shutdown_grace: Duration,
    /// Whether and how inbound requests are logged.
    pub access_log: Option<Format>,
    /// Whether POST /shutdown works.
    pub shutdown_endpoint: bool,
    /// How long idle series are kept.
    pub metrics_retain_idle: Duration,
    /// Inbound direction.
    pub inbound: Direction,
    /// Outbound direction.
    pub outbound: Direction,
    /// HTTP/2 of connections that we make.
    pub client_http2: Http2,
    /// Our pod's addresses; empty for any.
    pub inbound_ips: Vec<IpAddr>,
    /// Ports whose policy is watched from the start.
    pub inbound_ports: Vec<u16>,
    /// Policy until the control plane has answered.
    pub default_policy: DefaultPolicy,
    /// Whether opaque connections to other proxies of ours share one connection.
    pub opaque_streams: bool,
    /// Networks of the cluster, for the `cluster-*` policies.
    pub cluster_networks: Vec<IpNet>,
    /// Ports that are opaque until the control plane says otherwise.
    pub opaque_ports: PortSet,
    /// Destinations that are looked up.
    pub profile_networks: Vec<IpNet>,
    /// Names that are looked up.
    pub profile_suffixes: Suffixes,
    /// How long an inbound request may wait for the profile of its name.
    pub profile_timeout: Duration,
    /// What any peer may make the proxy hold or do.
    pub limits: Limits,
    /// Series of one family of metrics.
    pub series_max: usize,
    /// Whether requests say by header where they go.
    pub ingress: bool,
    /// Names for which this proxy is a gateway; none for no gateway.
    pub gateway_suffixes: Suffixes,
    /// Whether local applications see our `l5d-*` response headers.
    pub informational_headers: bool,
    /// Whether inbound metrics carry authorities.
    pub inbound_authority_labels: bool,
    /// Whether metrics of outbound routes carry the names that requests are for.
    pub hostname_labels: bool,
    /// Our identity.
    pub identity: Identity,
    /// The destination service.
    pub destination: ControlAddr,
    /// Sent with lookups.
    pub destination_context: String,
    /// The policy service.
    pub policy: ControlAddr,
    /// Sent with policy watches.
    pub policy_workload: String,
    /// Limits of watches.
    pub stream_limits: StreamLimits,
    /// Where spans go.
    pub trace: Option<Trace>,
    /// Limits of how long names of the control plane hold.
    pub dns_ttl: DnsTtl,
}

/// One problem: variable, value and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

/// Octets of a head when no setting says otherwise.
const HEAD_BYTES: u32 = 64 * 1024;
/// Fields of a head that the engine can hold.
const FIELDS_MAX: usize = 512;
/// How long a peer may take next to nothing of what waits for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Series of a family of metrics when no setting says otherwise.
const SERIES_MAX: usize = 20_000;
const PREFIX: &str = "LINKERD2_PROXY_";

/// Looks variables up and collects problems.
struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The value, if the variable is set and not empty.
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty())
    }

    fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.text(name)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.problems.push(Problem(format!(
                    "{PREFIX}{name}={value}: expected {expected}"
                )));
                None
            }
        }
    }

    fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problems.push(Problem(format!(
                "{PREFIX}{name}: expected a value, it is required"
            )));
            String::new()
        })
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.read(name, parse_duration).unwrap_or(default)
    }

    fn control(&mut self, name: &str) -> ControlAddr {
        let missing = HostPort {
            host: String::new(),
            port: 0,
        };
        let addr_name = format!("{name}_SVC_ADDR");
        self.required(&addr_name);
        let addr = self.read(&addr_name, HostPort::parse).unwrap_or(missing);
        let name_name = format!("{name}_SVC_NAME");
        let identity = self.read(&name_name, parse_id);
        if identity.is_none() && !addr.is_loopback() && addr.port != 0 {
            self.problems.push(Problem(format!(
                "{PREFIX}{name_name}: expected an identity because {PREFIX}{addr_name} is not loopback"
            )));
        }
        let identity = identity.filter(|_| !addr.is_loopback());
        ControlAddr { addr, identity }
    }

    /// All of it is set, or nothing; the jitter may be left out.
    fn backoff(&mut self, prefix: &str, default: Backoff) -> Backoff {
        let min = self.read(&format!("{prefix}_MIN"), parse_duration);
        let max = self.read(&format!("{prefix}_MAX"), parse_duration);
        let jitter = self.read(&format!("{prefix}_JITTER"), parse_jitter);
        match (min, max, jitter) {
            (None, None, None) => return default,
            (Some(min), Some(max), jitter) if !min.is_zero() && min <= max => {
                return Backoff {
                    min,
                    max,
                    jitter: jitter.unwrap_or(0.0),
                }
            }
            _ => {}
        }
        self.problems.push(Problem(format!(
            "{PREFIX}{prefix}_MIN: expected it above zero and with {PREFIX}{prefix}_MAX, which is not smaller"
        )));
        default
    }

    /// Octets of a head. The engine has one limit for all connections, so one that is set counts for
    /// both directions, and the larger of two.
    fn head_bytes(&mut self) -> u32 {
        let set = ["INBOUND", "OUTBOUND"].map(|direction| {
            let name = format!("{direction}_SERVER_HTTP2_MAX_HEADER_LIST_SIZE");
            self.read(&name, parse_size)
        });
        set.into_iter().flatten().max().unwrap_or(HEAD_BYTES)
    }

    fn server_http2(&mut self, direction: &str, head_bytes: u32) -> Http2 {
        let prefix = format!("{direction}_SERVER_HTTP2");
        let stream = self.read(&format!("{prefix}_INITIAL_STREAM_WINDOW_SIZE"), parse_size);
        let connection = self.read(
            &format!("{prefix}_INITIAL_CONNECTION_WINDOW_SIZE"),
            parse_size,
        );
        let (stream_window, connection_window) =
            stream.zip(connection).unwrap_or((65_535, 1 << 20));
        // They are Linkerd's, and the engine's are its own.
        for name in [
            "MAX_FRAME_SIZE",
            "MAX_PENDING_ACCEPT_RESET_STREAMS",
            "MAX_SEND_BUF_SIZE",
        ] {
            self.read(&format!("{prefix}_{name}"), parse_size);
        }
        let interval = self.read(&format!("{prefix}_KEEP_ALIVE_INTERVAL"), parse_duration);
        let timeout = self.read(&format!("{prefix}_KEEP_ALIVE_TIMEOUT"), parse_duration);
        Http2 {
            stream_window,
            connection_window,
            keep_alive: interval.zip(timeout),
            max_concurrent_streams: self
                .read(&format!("{prefix}_MAX_CONCURRENT_STREAMS"), parse_size),
            head_bytes,
            adaptive: self
                .read(&format!("{prefix}_ADAPTIVE_FLOW_CONTROL"), parse_bool)
                .unwrap_or(false),
            ping_idle: false,
        }
    }

    fn direction(&mut self, name: &str, defaults: &Defaults) -> Direction {
        let key = |suffix: &str| format!("{name}_{suffix}");
        Direction {
            detect_timeout: self.duration(&key("DETECT_TIMEOUT"), Duration::from_secs(10)),
            connect_timeout: self.duration(&key("CONNECT_TIMEOUT"), defaults.connect_timeout),
            connect_backoff: self.backoff(&key("CONNECT_EXP_BACKOFF"), defaults.backoff),
            accept_keepalive: self.read(&key("ACCEPT_KEEPALIVE"), parse_duration),
            connect_keepalive: self.read(&key("CONNECT_KEEPALIVE"), parse_duration),
            accept_user_timeout: self.read(&key("ACCEPT_USER_TIMEOUT"), parse_duration),
            connect_user_timeout: self.read(&key("CONNECT_USER_TIMEOUT"), parse_duration),
            backlog: self
                .read(&key("TCP_LISTEN_BACKLOG"), parse_size)
                .unwrap_or(4096),
            max_in_flight: self
                .read(&key("MAX_IN_FLIGHT"), parse_any("a number"))
                .unwrap_or(100_000),
            queue_capacity: self
                .read(&key("HTTP_QUEUE_CAPACITY"), parse_any("a number"))
                .unwrap_or(10_000),
            failfast_timeout: self.duration(&key("HTTP_FAILFAST_TIMEOUT"), defaults.failfast),
            tcp_queue_capacity: self
                .read(&key("TCP_QUEUE_CAPACITY"), parse_any("a number"))
                .unwrap_or(10_000),
            tcp_failfast_timeout: self.duration(&key("TCP_FAILFAST_TIMEOUT"), defaults.failfast),
            max_idle_conns: self
                .read(defaults.max_idle, parse_any("a number"))
                .unwrap_or(10_000),
            pool_idle_timeout: self.duration(
                &key("HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"),
                Duration::from_secs(3),
            ),
            discovery_idle_timeout: self
                .duration(&key("DISCOVERY_IDLE_TIMEOUT"), defaults.discovery_idle),
            server_http2: self.server_http2(name, defaults.head_bytes),
        }
    }
}

/// Where the directions differ.
struct Defaults {
    connect_timeout: Duration,
    backoff: Backoff,
    failfast: Duration,
    discovery_idle: Duration,
    max_idle: &'static str,
    head_bytes: u32,
}

fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse(text).ok_or_else(|| "a DNS-like name or a URI".into())
}

fn parse_suffixes(text: &str) -> Result<Suffixes, String> {
    Suffixes::parse(text).ok_or_else(|| "names separated by commas, or . for every name".into())
}

fn backoff(max_s: u64) -> Backoff {
    Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(max_s),
        jitter: 0.1,
    }
}

/// Reads all settings.
///
/// # Errors
/// Every problem found, not only the first.
pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Vec<Problem>> {
    let mut r = Reader {
        lookup,
        problems: Vec::new(),
    };
    let head_bytes = r.head_bytes();
    let inbound = r.direction(
        "INBOUND",
        &Defaults {
            connect_timeout: Duration::from_millis(300),
            backoff: backoff(10),
            failfast: Duration::from_secs(1),
            discovery_idle: Duration::from_secs(90),
            max_idle: "MAX_IDLE_CONNS_PER_ENDPOINT",
            head_bytes,
        },
    );
    let outbound = r.direction(
        "OUTBOUND",
        &Defaults {
            connect_timeout: Duration::from_secs(1),
            backoff: backoff(60),
            failfast: Duration::from_secs(3),
            discovery_idle: Duration::from_secs(5),
            max_idle: "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT",
            head_bytes,
        },
    );
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let single = r
        .read("OUTBOUND_LISTEN_ADDR", parse_addr)
        .unwrap_or(local(4140));
    let outbound_addrs = r
        .read("OUTBOUND_LISTEN_ADDRS", parse_addrs)
        .unwrap_or(vec![single]);
    let cluster_networks = r
        .read("POLICY_CLUSTER_NETWORKS", parse_nets)
        .unwrap_or_default();
    let default_policy = r
        .read("INBOUND_DEFAULT_POLICY", |text| {
            DefaultPolicy::parse(text).ok_or_else(|| {
                "deny, all-authenticated, all-unauthenticated, cluster-authenticated, \
                 cluster-unauthenticated or audit"
                    .into()
            })
        })
        .unwrap_or(DefaultPolicy::AllUnauthenticated);
    let needs_networks = matches!(
        default_policy,
        DefaultPolicy::ClusterAuthenticated
            | DefaultPolicy::ClusterUnauthenticated
            | DefaultPolicy::Audit
    );
    if needs_networks && cluster_networks.is_empty() {
        r.problems.push(Problem(format!(
            "{PREFIX}INBOUND_DEFAULT_POLICY={}: expected {PREFIX}POLICY_CLUSTER_NETWORKS to be set with it",
            default_policy.name()
        )));
    }
    let authority_labels = r.read("INBOUND_METRICS_AUTHORITY_LABELS", |text| match text {
        "unsafe" => Ok(true),
        _ => Err("unsafe or nothing".into()),
    });
    let ingress = r.read("INGRESS_MODE", parse_bool).unwrap_or(false);
    let hide = r
        .read("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", parse_bool)
        .unwrap_or(ingress);
    let settings = Settings {
        cores: cores(&mut r),
        outbound_addrs,
        inbound_addr: r
            .read("INBOUND_LISTEN_ADDR", parse_addr)
            .unwrap_or(([0, 0, 0, 0], 4143).into()),
        admin_addr: r
            .read("ADMIN_LISTEN_ADDR", parse_addr)
            .unwrap_or(local(4191)),
        tap_addr: r
            .read("CONTROL_LISTEN_ADDR", parse_addr)
            .unwrap_or(([0, 0, 0, 0], 4190).into()),
        tap_client: r.read("TAP_SVC_NAME", parse_id),
        shutdown_grace: r.duration("SHUTDOWN_GRACE_PERIOD", Duration::from_secs(120)),
        // Any other value means off, as in Linkerd.
        access_log: r.text("ACCESS_LOG").as_deref().and_then(Format::parse),
        shutdown_endpoint: r
            .read("SHUTDOWN_ENDPOINT_ENABLED", parse_bool)
            .unwrap_or(false),
        metrics_retain_idle: r.duration("METRICS_RETAIN_IDLE", Duration::from_secs(600)),
        inbound,
        outbound,
        client_http2: Http2 {
            stream_window: r
                .read("HTTP2_INITIAL_STREAM_WINDOW_SIZE", parse_size)
                .unwrap_or(65_535),
            connection_window: r
                .read("HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", parse_size)
                .unwrap_or(1 << 20),
            keep_alive: None,
            max_concurrent_streams: None,
            head_bytes,
            adaptive: false,
            ping_idle: false,
        },
        inbound_ips: r.read("INBOUND_IPS", parse_ips).unwrap_or_default(),
        inbound_ports: r
            .read("INBOUND_PORTS", parse_ports)
            .unwrap_or_default()
            .iter()
            .collect(),
        default_policy,
        cluster_networks,
        opaque_ports: r
            .read("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", parse_ports)
            .unwrap_or_default(),
        opaque_streams: r.read("OPAQUE_STREAMS", parse_bool).unwrap_or(true),
        profile_networks: r
            .read("DESTINATION_PROFILE_NETWORKS", parse_nets)
            .unwrap_or_default(),
        profile_suffixes: r
            .read("DESTINATION_PROFILE_SUFFIXES", parse_suffixes)
            .unwrap_or_else(|| {
                Suffixes::parse("svc.cluster.local").expect("a constant name is valid")
            }),
        profile_timeout: r.duration(
            "DESTINATION_PROFILE_INITIAL_TIMEOUT",
            Duration::from_millis(500),
        ),
        limits: limits(&mut r, head_bytes),
        series_max: r
            .read("LIMIT_SERIES", parse_any("a number"))
            .unwrap_or(SERIES_MAX),
        ingress,
        gateway_suffixes: r
            .read("INBOUND_GATEWAY_SUFFIXES", parse_suffixes)
            .unwrap_or_default(),
        informational_headers: !hide,
        inbound_authority_labels: authority_labels.unwrap_or(false),
        hostname_labels: r
            .read("OUTBOUND_METRICS_HOSTNAME_LABELS", parse_bool)
            .unwrap_or(false),
        identity: Identity::read(&mut r),
        destination: r.control("DESTINATION"),
        destination_context: r.text("DESTINATION_CONTEXT").unwrap_or_default(),
        policy: r.control("POLICY"),
        policy_workload: r.required("POLICY_WORKLOAD"),
        stream_limits: StreamLimits {
            initial: r.read("CONTROL_STREAM_INITIAL_TIMEOUT", parse_duration),
            idle: r.read("CONTROL_STREAM_IDLE_TIMEOUT", parse_duration),
            lifetime: r.read("CONTROL_STREAM_LIFETIME", parse_duration),
        },
        trace: trace(&mut r),
        dns_ttl: DnsTtl {
            min: r.read("DNS_MIN_TTL", parse_duration),
            max: r.read("DNS_MAX_TTL", parse_duration),
        },
    };
    let limits = [
        settings.stream_limits.initial,
        settings.stream_limits.idle,
        settings.stream_limits.lifetime,
    ];
    let set: Vec<Duration> = limits.into_iter().flatten().collect();
    if !set.is_sorted() {
        r.problems.push(Problem(format!(
            "{PREFIX}CONTROL_STREAM_LIFETIME: expected initial timeout, idle timeout and lifetime in ascending order"
        )));
    }
    if r.problems.is_empty() {
        Ok(settings)
    } else {
        Err(r.problems)
    }
}

/// The engine's limits; but applications keep connections open for as long as they like, and may be
/// slow readers.
fn limits(r: &mut Reader<'_>, head_bytes: u32) -> Limits {
    let default = Limits::default();
    let fields = |text: &str| {
        let fields = text.parse().ok();
        let fields = fields.filter(|fields| (1..=FIELDS_MAX).contains(fields));
        fields.ok_or_else(|| format!("a number up to {FIELDS_MAX}"))
    };
    Limits {
        head_bytes: head_bytes as usize,
        head_fields: r
            .read("LIMIT_HEAD_FIELDS", fields)
            .unwrap_or(default.head_fields),
        head_timeout: r.duration("LIMIT_HEAD_TIMEOUT", default.head_timeout),
        idle_timeout: r.duration("LIMIT_IDLE_TIMEOUT", Duration::ZERO),
        stall_timeout: r.duration("LIMIT_STALL_TIMEOUT", STALL_TIMEOUT),
        early_resets: r
            .read("LIMIT_EARLY_RESETS", parse_size)
            .unwrap_or(default.early_resets),
        glitches: r
            .read("LIMIT_GLITCHES", parse_size)
            .unwrap_or(default.glitches),
        noise: r
            .read("LIMIT_IDLE_FRAMES", parse_size)
            .unwrap_or(default.noise),
        ..default
    }
}

fn trace(r: &mut Reader<'_>) -> Option<Trace> {
    r.text("TRACE_COLLECTOR_SVC_ADDR")?;
    let collector = r.control("TRACE_COLLECTOR");
    let named = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
    let service = r
        .text("TRACE_SERVICE_NAME")
        .unwrap_or("linkerd-proxy".into());
    let host = (r.lookup)("HOSTNAME").filter(|name| !name.is_empty());
    let first = [
        named("service.name", Some(service)),
        named("host.name", host),
    ];
    let extra = r.text("TRACE_EXTRA_ATTRIBUTES").unwrap_or_default();
    let standard = (r.lookup)("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut last = parse_attributes(&extra);
    last.extend(parse_attributes(&standard.replace(',', "\n")));
    Some(Trace {
        collector,
        attributes_file: r.text("TRACE_ATTRIBUTES_PATH"),
        first: first.into_iter().flatten().collect(),
        last,
    })
}

/// Worker count; malformed values are ignored, as Linkerd does.
/// Source: linkerd2-proxy linkerd2-proxy/src/rt.rs (rule).
fn cores(r: &mut Reader<'_>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let number = |name: &str| r.text(name).and_then(|text| text.parse::<usize>().ok());
    let ratio = r
        .text("CORES_MAX_RATIO")
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|ratio| *ratio > 0.0 && *ratio <= 1.0)
        .map(|ratio| (available as f64 * ratio).round() as usize);
    let upper = number("CORES_MAX").or(ratio).unwrap_or(1);
    let lower = number("CORES_MIN").or(number("CORES")).unwrap_or(1);
    upper.max(lower).clamp(1, available)
}

#[cfg(test)]
mod tests;
