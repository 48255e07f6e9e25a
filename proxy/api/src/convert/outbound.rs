//! Outbound policy.

use super::routes::{grpc_matches, hosts, http_matches};
use super::{destination, duration, filters, metadata, Invalid};
use crate::outbound as api;
use linkerd_proxy_core::breaker::Accrual;
use linkerd_proxy_core::filter::Filter;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::{
    Backend, ByteRoute, ClientPolicy, Distribution, Load, Mirror, Protocol, Routes, RulePolicy,
    Target, FORBIDDEN,
};
use linkerd_proxy_core::route::{HostMatch, Route, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longer hints of endpoints are not believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Reads the policy of a target.
///
/// # Errors
/// When the protocol is missing, or a route or backend makes no sense.
pub fn policy(message: api::OutboundPolicy) -> Result<ClientPolicy, Invalid> {
    use api::proxy_protocol::Kind;
    let kind = message
        .protocol
        .and_then(|protocol| protocol.kind)
        .ok_or(Invalid::Missing("protocol"))?;
    let protocol = match kind {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: detect
                .timeout
                .map(duration)
                .transpose()?
                .unwrap_or(Duration::from_secs(10)),
            http1: detect
                .http1
                .map(|h| http_routes(h.routes, h.failure_accrual))
                .transpose()?
                .unwrap_or(no_routes()),
            http2: detect
                .http2
                .map(|h| http_routes(h.routes, h.failure_accrual))
                .transpose()?
                .unwrap_or(no_routes()),
            opaque: detect
                .opaque
                .map(opaque)
                .transpose()?
                .unwrap_or_else(no_bytes),
        },
        Kind::Opaque(bytes) => Protocol::Opaque(opaque(bytes)?),
        Kind::Http1(http) => Protocol::Http1(http_routes(http.routes, http.failure_accrual)?),
        Kind::Http2(http) => Protocol::Http2(http_routes(http.routes, http.failure_accrual)?),
        Kind::Grpc(grpc) => Protocol::Http2(grpc_routes(grpc.routes, grpc.failure_accrual)?),
        Kind::Tls(tls) => Protocol::Tls(
            tls.routes
                .into_iter()
                .map(tls_byte_route)
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(ClientPolicy {
        meta: metadata(message.metadata, "default"),
        protocol,
    })
}

fn no_routes() -> Routes {
    Arc::new([])
}

/// What a filter of a byte route makes of it: nothing passes, because that is forbidden or because
/// the route is misconfigured.
fn refused(text: &str) -> Backend {
    let forbidden = text == FORBIDDEN;
    let name = if forbidden { "forbidden" } else { "invalid" };
    Backend::new(
        Arc::new(Meta::default_named(name)),
        Target::Fail(text.into()),
    )
}

fn no_bytes() -> ByteRoute {
    ByteRoute {
        meta: Arc::new(Meta::default_named("default")),
        snis: Vec::new(),
        distribution: Distribution::Empty,
    }
}

/// Bytes know neither hosts nor paths, so the first rule of the first route is for all of them.
fn opaque(message: api::proxy_protocol::Opaque) -> Result<ByteRoute, Invalid> {
    let Some(route) = message.routes.into_iter().next() else {
        return Ok(no_bytes());
    };
    Ok(ByteRoute {
        meta: metadata(route.metadata, "default"),
        snis: Vec::new(),
        distribution: match route.rules.into_iter().next() {
            Some(rule) => match opaque_refusal(&rule.filters) {
                None => opaque_route(rule.backends, None)?,
                Some(why) => Distribution::FirstAvailable(vec![refused(why)]),
            },
            None => Distribution::Empty,
        },
    })
}

fn tls_byte_route(route: api::TlsRoute) -> Result<ByteRoute, Invalid> {
    Ok(ByteRoute {
        meta: metadata(route.metadata, "default"),
        snis: route.snis.into_iter().map(sni).collect::<Result<_, _>>()?,
        distribution: match route.rules.into_iter().next() {
            Some(rule) => match tls_refusal(&rule.filters) {
                None => tls_route(rule.backends, None)?,
                Some(why) => Distribution::FirstAvailable(vec![refused(why)]),
            },
            None => Distribution::Empty,
        },
    })
}

fn sni(message: crate::tls_route::SniMatch) -> Result<HostMatch, Invalid> {
    use crate::tls_route::sni_match::Match;
    match message.r#match.ok_or(Invalid::Missing("SNI match"))? {
        Match::Exact(name) => Ok(HostMatch::Exact(name.to_ascii_lowercase())),
        Match::Suffix(suffix) => {
            let mut labels = suffix.reverse_labels;
            labels.reverse();
            let ending = format!(".{}", labels.join("."));
            Ok(HostMatch::Suffix(ending.to_ascii_lowercase()))
        }
    }
}

/// HTTP and gRPC rules differ only in their messages.
macro_rules! rules {
    ($name:ident, $route:ident, $matches:ident, $filters:path, $change:ident, $retry:path, $distribution:ident, $grpc:literal) => {
        fn $name(
            messages: Vec<api::$route>,
            accrual: Option<api::FailureAccrual>,
        ) -> Result<Routes, Invalid> {
            let accrual = breaker(accrual)?;
            let rule = |rule: api::$distribution::Rule| {
                #[allow(deprecated)]
                let old_timeout = rule.request_timeout;
                Ok(Rule {
                    matches: $matches(rule.matches)?,
                    policy: RulePolicy {
                        distribution: $distribution(rule.backends, accrual.as_ref())?,
                        filters: $filters(rule.filters, rule.$change)?,
                        mirrors: mirrors(rule.mirrors, accrual.as_ref())?,
                        timeouts: filters::timeouts(rule.timeouts, old_timeout)?,
                        retry: rule.retry.map($retry).transpose()?,
                        obeys_headers: rule.allow_l5d_request_headers,
                        grpc: $grpc,
                    },
                })
            };
            messages
                .into_iter()
                .map(|route| {
                    Ok(Route {
                        meta: metadata(route.metadata, "default"),
                        hosts: hosts(route.hosts)?,
                        rules: route
                            .rules
                            .into_iter()
                            .map(rule)
                            .collect::<Result<_, Invalid>>()?,
                    })
                })
                .collect()
        }
    };
}

rules!(
    http_routes,
    HttpRoute,
    http_matches,
    filters::outbound_http,
    rewrite,
    filters::http_retry,
    http_route,
    false
);
rules!(
    grpc_routes,
    GrpcRoute,
    grpc_matches,
    filters::outbound_grpc,
    response_header_modifier,
    filters::grpc_retry,
    grpc_route,
    true
);

fn breaker(message: Option<api::FailureAccrual>) -> Result<Option<Arc<Accrual>>, Invalid> {
    let accrual = message.map(filters::accrual).transpose()?.flatten();
    Ok(accrual.map(Arc::new))
}

/// Filters of byte routes and their backends refuse, whatever they say; one that says nothing forbids.
macro_rules! refusal {
    ($name:ident, $route:ident) => {
        fn $name(filters: &[api::$route::Filter]) -> Option<&str> {
            use api::$route::filter::Kind;
            filters.first().map(|filter| match &filter.kind {
                Some(Kind::Invalid(invalid)) => invalid.message.as_str(),
                Some(Kind::Forbidden(_)) | None => FORBIDDEN,
            })
        }
    };
}

refusal!(opaque_refusal, opaque_route);
refusal!(tls_refusal, tls_route);

type Breaker<'a> = Option<&'a Arc<Accrual>>;

/// The same distribution exists four times on the wire.
macro_rules! distribution {
    ($name:ident, $read:ident) => {
        fn $name(
            message: Option<api::$name::Distribution>,
            accrual: Breaker<'_>,
        ) -> Result<Distribution, Invalid> {
            use api::$name::distribution::Kind;
            match message.and_then(|distribution| distribution.kind) {
                None | Some(Kind::Empty(_)) => Ok(Distribution::Empty),
                Some(Kind::FirstAvailable(first)) => first
                    .backends
                    .into_iter()
                    .map(|route| $read(route, accrual))
                    .collect::<Result<_, _>>()
                    .map(Distribution::FirstAvailable),
                Some(Kind::RandomAvailable(random)) => random
                    .backends
                    .into_iter()
                    .map(|weighted| {
                        let route = weighted.backend.ok_or(Invalid::Missing("backend"))?;
                        Ok(($read(route, accrual)?, weighted.weight))
                    })
                    .collect::<Result<_, _>>()
                    .map(Distribution::RandomAvailable),
            }
        }
    };
}

distribution!(http_route, http_backend);
distribution!(grpc_route, grpc_backend);
distribution!(opaque_route, opaque_backend);
distribution!(tls_route, tls_backend);

fn http_backend(
    message: api::http_route::RouteBackend,
    accrual: Breaker<'_>,
) -> Result<Backend, Invalid> {
    let filters = filters::outbound_http(message.filters, message.rewrite)?;
    let mirrors = mirrors(message.mirrors, accrual)?;
    backend(message.backend, filters, mirrors, accrual)
}

fn grpc_backend(
    message: api::grpc_route::RouteBackend,
    accrual: Breaker<'_>,
) -> Result<Backend, Invalid> {
    let filters = filters::outbound_grpc(message.filters, message.response_header_modifier)?;
    let mirrors = mirrors(message.mirrors, accrual)?;
    backend(message.backend, filters, mirrors, accrual)
}

fn opaque_backend(
    message: api::opaque_route::RouteBackend,
    _: Breaker<'_>,
) -> Result<Backend, Invalid> {
    if let Some(why) = opaque_refusal(&message.filters) {
        return Ok(refused(why));
    }
    backend(message.backend, Arc::new([]), Vec::new(), None)
}

fn tls_backend(message: api::tls_route::RouteBackend, _: Breaker<'_>) -> Result<Backend, Invalid> {
    if let Some(why) = tls_refusal(&message.filters) {
        return Ok(refused(why));
    }
    backend(message.backend, Arc::new([]), Vec::new(), None)
}

fn mirrors(
    messages: Vec<api::RequestMirror>,
    accrual: Breaker<'_>,
) -> Result<Vec<Mirror>, Invalid> {
    let read = |message: api::RequestMirror| {
        Ok(Mirror {
            backend: backend(message.backend, Arc::new([]), Vec::new(), accrual)?,
            ratio: filters::ratio(message.ratio)?,
        })
    };
    messages.into_iter().map(read).collect()
}

fn backend(
    message: Option<api::Backend>,
    filters: Arc<[Filter]>,
    mirrors: Vec<Mirror>,
    accrual: Breaker<'_>,
) -> Result<Backend, Invalid> {
    let message = message.ok_or(Invalid::Missing("backend"))?;
    let meta = metadata(message.metadata, "default");
    let target = match message.kind {
        None => Target::Fail(format!("backend {} is not usable", meta.name)),
        Some(api::backend::Kind::Forward(addr)) => {
            Target::Forward(Box::new(destination::endpoint(addr, &BTreeMap::new())?))
        }
        Some(api::backend::Kind::Balancer(balancer)) => {
            use api::backend::endpoint_discovery::Kind;
            let kind = balancer.discovery.and_then(|discovery| discovery.kind);
            let Kind::Dst(dst) = kind.ok_or(Invalid::Missing("discovery"))?;
            destination::path(&dst.path)?;
            Target::Balance {
                path: dst.path,
                load: load(balancer.load)?,
                accrual: accrual.cloned(),
            }
        }
    };
    Ok(Backend {
        meta,
        target,
        filters,
        mirrors,
    })
}

fn load(message: Option<api::backend::balance_p2c::Load>) -> Result<Load, Invalid> {
    use api::backend::balance_p2c::Load as Kind;
    let base = Load::default();
    let or = |message: Option<prost_types::Duration>, default: Duration| {
        message
            .map(duration)
            .transpose()
            .map(|d| d.unwrap_or(default))
    };
    match message {
        None => Ok(base),
        Some(Kind::PeakEwma(ewma)) => Ok(Load {
            default_rtt: or(ewma.default_rtt, base.default_rtt)?,
            decay: or(ewma.decay, base.decay)?,
            penalty: None,
        }),
        Some(Kind::PenaltyPeakEwma(ewma)) => Ok(Load {
            default_rtt: or(ewma.default_rtt, base.default_rtt)?,
            decay: or(ewma.decay, base.decay)?,
            penalty: Some((
                or(ewma.penalty, Duration::from_secs(5))?,
                or(ewma.max_retry_after, RETRY_AFTER_MAX)?.min(RETRY_AFTER_MAX),
            )),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(path: &str) -> api::Backend {
        use api::backend::endpoint_discovery::{DestinationGet, Kind};
        api::Backend {
            kind: Some(api::backend::Kind::Balancer(api::backend::BalanceP2c {
                discovery: Some(api::backend::EndpointDiscovery {
                    kind: Some(Kind::Dst(DestinationGet { path: path.into() })),
                }),
                load: None,
            })),
            ..Default::default()
        }
    }

    fn opaque_policy(path: &str) -> api::OutboundPolicy {
        use api::opaque_route::{distribution, Distribution, RouteBackend, Rule};
        let backends = vec![RouteBackend {
            backend: Some(balancer(path)),
            filters: vec![],
        }];
        let first = distribution::FirstAvailable { backends };
        let rule = Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            filters: vec![],
        };
        let route = api::OpaqueRoute {
            metadata: None,
            rules: vec![rule],
        };
        api::OutboundPolicy {
            protocol: Some(api::ProxyProtocol {
                kind: Some(api::proxy_protocol::Kind::Opaque(
                    api::proxy_protocol::Opaque {
                        routes: vec![route],
                    },
                )),
            }),
            metadata: None,
        }
    }

    #[test]
    fn balancers_carry_their_path() {
        let policy = policy(opaque_policy("web.ns:80")).expect("valid");
        let Protocol::Opaque(route) = policy.protocol else {
            panic!("not opaque");
        };
        let expected = Target::Balance {
            path: "web.ns:80".into(),
            load: Load::default(),
            accrual: None,
        };
        assert_eq!(expected, route.distribution.backends()[0].target);
    }

    #[test]
    fn a_malformed_path_is_refused_and_not_fatal() {
        assert!(policy(opaque_policy("nonsense")).is_err());
    }
}
