//! Outbound policy.

use super::routes::{grpc_matches, hosts, http_matches};
use super::{destination, duration, metadata, Invalid};
use crate::outbound as api;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::{
    Backend, ClientPolicy, Distribution, Load, Protocol, Routes, RulePolicy, Target,
};
use linkerd_proxy_core::route::{Route, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
                .map(|h| http_routes(h.routes))
                .transpose()?
                .unwrap_or(no_routes()),
            http2: detect
                .http2
                .map(|h| http_routes(h.routes))
                .transpose()?
                .unwrap_or(no_routes()),
            opaque: detect
                .opaque
                .map(opaque)
                .transpose()?
                .unwrap_or(Distribution::Empty),
        },
        Kind::Opaque(bytes) => Protocol::Opaque(opaque(bytes)?),
        Kind::Http1(http) => Protocol::Http1(http_routes(http.routes)?),
        Kind::Http2(http) => Protocol::Http2(http_routes(http.routes)?),
        Kind::Grpc(grpc) => Protocol::Http2(grpc_routes(grpc.routes)?),
        Kind::Tls(tls) => {
            let rule = tls
                .routes
                .into_iter()
                .next()
                .and_then(|route| route.rules.into_iter().next());
            Protocol::Tls(match rule {
                Some(rule) if rule.filters.is_empty() => tls_distribution(rule.backends)?,
                Some(_) | None => forbidden(),
            })
        }
    };
    Ok(ClientPolicy {
        meta: metadata(message.metadata, "default"),
        protocol,
    })
}

fn no_routes() -> Routes {
    Arc::new([])
}

/// What a filter of a byte route makes of it: nothing may pass.
fn forbidden() -> Distribution {
    Distribution::FirstAvailable(vec![Backend {
        meta: Arc::new(Meta::default_named("forbidden")),
        target: Target::Fail("connection forbidden by route".into()),
    }])
}

fn opaque(message: api::proxy_protocol::Opaque) -> Result<Distribution, Invalid> {
    let rule = message
        .routes
        .into_iter()
        .next()
        .and_then(|route| route.rules.into_iter().next());
    match rule {
        Some(rule) if rule.filters.is_empty() => opaque_distribution(rule.backends),
        Some(_) => Ok(forbidden()),
        None => Ok(Distribution::Empty),
    }
}

fn http_routes(messages: Vec<api::HttpRoute>) -> Result<Routes, Invalid> {
    let mut routes = Vec::with_capacity(messages.len());
    for route in messages {
        let mut rules = Vec::with_capacity(route.rules.len());
        for rule in route.rules {
            let mut unsupported = unsupported(
                rule.timeouts
                    .is_some_and(|t| t != crate::http_route::Timeouts::default()),
                rule.retry.is_some(),
            );
            for filter in &rule.filters {
                use api::http_route::filter::Kind;
                unsupported.push(match filter.kind {
                    Some(Kind::FailureInjector(_)) => "failure injector",
                    Some(Kind::RequestHeaderModifier(_)) => "request header modifier",
                    Some(Kind::Redirect(_)) => "redirect",
                    Some(Kind::ResponseHeaderModifier(_)) => "response header modifier",
                    None => "unknown filter",
                });
            }
            let distribution = http_distribution(rule.backends)?;
            rules.push(Rule {
                matches: http_matches(rule.matches)?,
                policy: RulePolicy {
                    distribution,
                    unsupported,
                },
            });
        }
        let meta = metadata(route.metadata, "default");
        routes.push(Route {
            meta,
            hosts: hosts(route.hosts)?,
            rules,
        });
    }
    Ok(routes.into())
}

fn grpc_routes(messages: Vec<api::GrpcRoute>) -> Result<Routes, Invalid> {
    let mut routes = Vec::with_capacity(messages.len());
    for route in messages {
        let mut rules = Vec::with_capacity(route.rules.len());
        for rule in route.rules {
            let mut unsupported = unsupported(
                rule.timeouts
                    .is_some_and(|t| t != crate::http_route::Timeouts::default()),
                rule.retry.is_some(),
            );
            for filter in &rule.filters {
                use api::grpc_route::filter::Kind;
                unsupported.push(match filter.kind {
                    Some(Kind::FailureInjector(_)) => "failure injector",
                    Some(Kind::RequestHeaderModifier(_)) => "request header modifier",
                    None => "unknown filter",
                });
            }
            let distribution = grpc_distribution(rule.backends)?;
            rules.push(Rule {
                matches: grpc_matches(rule.matches)?,
                policy: RulePolicy {
                    distribution,
                    unsupported,
                },
            });
        }
        let meta = metadata(route.metadata, "default");
        routes.push(Route {
            meta,
            hosts: hosts(route.hosts)?,
            rules,
        });
    }
    Ok(routes.into())
}

fn unsupported(timeouts: bool, retry: bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    if timeouts {
        names.push("timeouts");
    }
    if retry {
        names.push("retry");
    }
    names
}

/// The same distribution exists four times on the wire.
macro_rules! distribution {
    ($name:ident, $module:ident) => {
        fn $name(message: Option<api::$module::Distribution>) -> Result<Distribution, Invalid> {
            use api::$module::distribution::Kind;
            match message.and_then(|distribution| distribution.kind) {
                None | Some(Kind::Empty(_)) => Ok(Distribution::Empty),
                Some(Kind::FirstAvailable(first)) => first
                    .backends
                    .into_iter()
                    .map(|route| backend(route.backend))
                    .collect::<Result<_, _>>()
                    .map(Distribution::FirstAvailable),
                Some(Kind::RandomAvailable(random)) => random
                    .backends
                    .into_iter()
                    .map(|weighted| {
                        let route = weighted.backend.ok_or(Invalid::Missing("backend"))?;
                        Ok((backend(route.backend)?, weighted.weight))
                    })
                    .collect::<Result<_, _>>()
                    .map(Distribution::RandomAvailable),
            }
        }
    };
}

distribution!(http_distribution, http_route);
distribution!(grpc_distribution, grpc_route);
distribution!(opaque_distribution, opaque_route);
distribution!(tls_distribution, tls_route);

fn backend(message: Option<api::Backend>) -> Result<Backend, Invalid> {
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
            }
        }
    };
    Ok(Backend { meta, target })
}

fn load(message: Option<api::backend::balance_p2c::Load>) -> Result<Load, Invalid> {
    use api::backend::balance_p2c::Load as Kind;
    let (default_rtt, decay) = match message {
        None => return Ok(Load::default()),
        Some(Kind::PeakEwma(ewma)) => (ewma.default_rtt, ewma.decay),
        Some(Kind::PenaltyPeakEwma(ewma)) => (ewma.default_rtt, ewma.decay),
    };
    let base = Load::default();
    Ok(Load {
        default_rtt: default_rtt
            .map(duration)
            .transpose()?
            .unwrap_or(base.default_rtt),
        decay: decay.map(duration).transpose()?.unwrap_or(base.decay),
    })
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
        let Protocol::Opaque(distribution) = policy.protocol else {
            panic!("not opaque");
        };
        let expected = Target::Balance {
            path: "web.ns:80".into(),
            load: Load::default(),
        };
        assert_eq!(expected, distribution.backends()[0].target);
    }

    #[test]
    fn a_malformed_path_is_refused_and_not_fatal() {
        assert!(policy(opaque_policy("nonsense")).is_err());
    }
}
