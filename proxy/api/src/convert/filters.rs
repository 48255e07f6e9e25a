//! Filters, timeouts and retries of routes.

use super::{bad, duration, Invalid};
use crate::{grpc_route, http_route, http_types, inbound, outbound};
use linkerd_proxy_core::backoff::Backoff;
use linkerd_proxy_core::breaker::{Accrual, Rule as BreakRule};
use linkerd_proxy_core::filter::{
    FailureInjector, Filter, HeaderModifier, Injected, PathModifier, Redirect, Rewrite,
};
use linkerd_proxy_core::retry::Retry;
use linkerd_proxy_core::timeout::Timeouts;
use std::sync::Arc;
use std::time::Duration;

const MISSING: Invalid = Invalid::Missing("filter");

/// Reads the filters and the rewrite of an outbound HTTP rule or backend.
///
/// # Errors
/// When one is empty or makes no sense: what cannot be applied must not be skipped.
pub fn outbound_http(
    messages: Vec<outbound::http_route::Filter>,
    change: Option<http_route::UrlRewrite>,
) -> Filters {
    use outbound::http_route::filter::Kind;
    let read = |message: outbound::http_route::Filter| match message.kind.ok_or(MISSING)? {
        Kind::FailureInjector(injector) => http_failure(injector),
        Kind::RequestHeaderModifier(m) => request_headers(m),
        Kind::Redirect(message) => redirect(message),
        Kind::ResponseHeaderModifier(m) => {
            modifier(m.add, m.set, m.remove).map(Filter::ResponseHeaders)
        }
    };
    let change = change.into_iter().map(rewrite);
    messages.into_iter().map(read).chain(change).collect()
}

/// Reads the filters and the response headers of an outbound gRPC rule or backend.
///
/// # Errors
/// As [`outbound_http`].
pub fn outbound_grpc(
    messages: Vec<outbound::grpc_route::Filter>,
    change: Option<http_route::ResponseHeaderModifier>,
) -> Filters {
    use outbound::grpc_route::filter::Kind;
    let read = |message: outbound::grpc_route::Filter| match message.kind.ok_or(MISSING)? {
        Kind::FailureInjector(injector) => grpc_failure(injector),
        Kind::RequestHeaderModifier(m) => request_headers(m),
    };
    let change = change
        .into_iter()
        .map(|m| modifier(m.add, m.set, m.remove).map(Filter::ResponseHeaders));
    messages.into_iter().map(read).chain(change).collect()
}

/// Reads the filters of an inbound HTTP rule.
///
/// # Errors
/// As [`outbound_http`].
pub fn inbound_http(messages: Vec<inbound::http_route::Filter>) -> Filters {
    use inbound::http_route::filter::Kind;
    let read = |message: inbound::http_route::Filter| match message.kind.ok_or(MISSING)? {
        Kind::FailureInjector(injector) => http_failure(injector),
        Kind::RequestHeaderModifier(m) => request_headers(m),
        Kind::Redirect(message) => redirect(message),
    };
    messages.into_iter().map(read).collect()
}

/// Reads the filters of an inbound gRPC rule.
///
/// # Errors
/// As [`outbound_http`].
pub fn inbound_grpc(messages: Vec<inbound::grpc_route::Filter>) -> Filters {
    use inbound::grpc_route::filter::Kind;
    let read = |message: inbound::grpc_route::Filter| match message.kind.ok_or(MISSING)? {
        Kind::FailureInjector(injector) => grpc_failure(injector),
        Kind::RequestHeaderModifier(m) => request_headers(m),
    };
    messages.into_iter().map(read).collect()
}

/// All filters of a rule, or why they cannot be applied.
pub type Filters = Result<Arc<[Filter]>, Invalid>;

fn http_failure(message: http_route::HttpFailureInjector) -> Result<Filter, Invalid> {
    Ok(Filter::Fail(FailureInjector {
        kind: Injected::Http(status(message.status)?),
        message: message.message,
        ratio: ratio(message.ratio)?,
    }))
}

fn grpc_failure(message: grpc_route::GrpcFailureInjector) -> Result<Filter, Invalid> {
    let code = u16::try_from(message.code).map_err(|_| bad("gRPC code", message.code))?;
    Ok(Filter::Fail(FailureInjector {
        kind: Injected::Grpc(code),
        message: message.message,
        ratio: ratio(message.ratio)?,
    }))
}

fn status(value: u32) -> Result<u16, Invalid> {
    u16::try_from(value)
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| bad("status", value))
}

/// Reads a share; none means always.
///
/// # Errors
/// The denominator is 0.
pub fn ratio(message: Option<http_route::Ratio>) -> Result<(u32, u32), Invalid> {
    match message {
        None => Ok((1, 1)),
        Some(ratio) if ratio.denominator == 0 => Err(bad("ratio's denominator", 0)),
        Some(ratio) => Ok((ratio.numerator, ratio.denominator)),
    }
}

fn request_headers(message: http_route::RequestHeaderModifier) -> Result<Filter, Invalid> {
    modifier(message.add, message.set, message.remove).map(Filter::RequestHeaders)
}

fn modifier(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: Vec<String>,
) -> Result<HeaderModifier, Invalid> {
    Ok(HeaderModifier {
        add: headers(add)?,
        set: headers(set)?,
        remove: remove.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
    })
}

fn headers(message: Option<http_types::Headers>) -> Result<Vec<(String, Vec<u8>)>, Invalid> {
    let pair = |header: http_types::headers::Header| {
        let text = |b: &u8| *b == b'\t' || (*b >= 0x20 && *b != 0x7f);
        if !header.value.iter().all(text) {
            return Err(bad("value of header", &header.name));
        }
        Ok((name(&header.name)?, header.value))
    };
    message
        .map(|message| message.headers.into_iter().map(pair).collect())
        .unwrap_or(Ok(Vec::new()))
}

/// A field name in lower case.
fn name(text: &str) -> Result<String, Invalid> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 1024 || !text.bytes().all(token) {
        return Err(bad("header name", text));
    }
    Ok(text.to_ascii_lowercase())
}

fn redirect(message: http_route::RequestRedirect) -> Result<Filter, Invalid> {
    let port = u16::try_from(message.port).map_err(|_| bad("port", message.port))?;
    Ok(Filter::Redirect(Redirect {
        scheme: message.scheme.map(scheme).transpose()?,
        host: new_host(message.host)?,
        port: (port != 0).then_some(port),
        path: new_path(message.path)?,
        status: match message.status {
            0 => None,
            value => Some(status(value)?),
        },
    }))
}

fn rewrite(message: http_route::UrlRewrite) -> Result<Filter, Invalid> {
    Ok(Filter::Rewrite(Rewrite {
        host: new_host(message.host)?,
        path: new_path(message.path)?,
    }))
}

fn visible(text: &str) -> bool {
    text.bytes().all(|b| (0x21..0x7f).contains(&b))
}

fn new_host(host: String) -> Result<Option<String>, Invalid> {
    if !visible(&host) || host.contains(['/', '@', '?', '#']) {
        return Err(bad("host", host));
    }
    Ok((!host.is_empty()).then_some(host))
}

fn new_path(message: Option<http_route::PathModifier>) -> Result<Option<PathModifier>, Invalid> {
    use http_route::path_modifier::Replace;
    match message.and_then(|path| path.replace) {
        None => Ok(None),
        Some(Replace::Full(text)) if text.starts_with('/') && visible(&text) => {
            Ok(Some(PathModifier::Full(text)))
        }
        Some(Replace::Prefix(text)) if visible(&text) => Ok(Some(PathModifier::Prefix(text))),
        Some(Replace::Full(text) | Replace::Prefix(text)) => Err(bad("path", text)),
    }
}

/// Reads `http` or `https`.
///
/// # Errors
/// For any other.
pub fn scheme(message: http_types::Scheme) -> Result<String, Invalid> {
    use http_types::scheme::{Registered, Type};
    match message.r#type {
        Some(Type::Registered(code)) => match Registered::try_from(code) {
            Ok(Registered::Http) => Ok("http".into()),
            Ok(Registered::Https) => Ok("https".into()),
            Err(_) => Err(bad("scheme", code)),
        },
        Some(Type::Unregistered(text)) if text.eq_ignore_ascii_case("http") => Ok("http".into()),
        Some(Type::Unregistered(text)) if text.eq_ignore_ascii_case("https") => Ok("https".into()),
        Some(Type::Unregistered(text)) => Err(bad("scheme", text)),
        None => Err(Invalid::Missing("scheme")),
    }
}

/// Reads a rule's timeouts; `old` is the field that they replaced.
///
/// # Errors
/// When a duration makes no sense.
pub fn timeouts(
    message: Option<http_route::Timeouts>,
    old: Option<prost_types::Duration>,
) -> Result<Timeouts, Invalid> {
    let read = |value: Option<prost_types::Duration>| {
        let limit = value.map(duration).transpose()?;
        // Zero means no limit, as in Gateway API.
        Ok(limit.filter(|limit| !limit.is_zero()))
    };
    match message {
        None => Ok(Timeouts {
            request: read(old)?,
            ..Timeouts::default()
        }),
        Some(message) => Ok(Timeouts {
            request: read(message.request)?,
            response: read(message.response)?,
            idle: read(message.idle)?,
            headers: None,
        }),
    }
}

/// Reads how HTTP requests are sent again.
///
/// # Errors
/// When a status range, timeout or backoff makes no sense.
pub fn http_retry(message: outbound::http_route::Retry) -> Result<Arc<Retry>, Invalid> {
    let ranges = message.conditions.unwrap_or_default().status_ranges;
    let statuses = ranges
        .into_iter()
        .map(|range| {
            let (low, high) = (status(range.start)?, status(range.end)?);
            if low > high {
                return Err(bad("status range", format!("{low}-{high}")));
            }
            Ok((low, high))
        })
        .collect::<Result<_, Invalid>>()?;
    Ok(Arc::new(Retry {
        limit: message.max_retries,
        body_bytes_max: body_bytes(message.max_request_bytes),
        statuses,
        codes: Vec::new(),
        timeout: positive(message.timeout)?,
        backoff: message.backoff.map(backoff).transpose()?,
    }))
}

/// Reads how gRPC requests are sent again.
///
/// # Errors
/// When a timeout or backoff makes no sense.
pub fn grpc_retry(message: outbound::grpc_route::Retry) -> Result<Arc<Retry>, Invalid> {
    let on = message.conditions.unwrap_or_default();
    let codes = [
        (on.cancelled, 1),
        (on.deadine_exceeded, 4),
        (on.resource_exhausted, 8),
        (on.internal, 13),
        (on.unavailable, 14),
    ];
    Ok(Arc::new(Retry {
        limit: message.max_retries,
        body_bytes_max: body_bytes(message.max_request_bytes),
        statuses: Vec::new(),
        codes: codes
            .into_iter()
            .filter_map(|(wanted, code)| wanted.then_some(code))
            .collect(),
        timeout: positive(message.timeout)?,
        backoff: message.backoff.map(backoff).transpose()?,
    }))
}

/// Whatever is asked for, a request's copy stays small.
fn body_bytes(asked: u32) -> usize {
    usize::try_from(asked)
        .unwrap_or(usize::MAX)
        .min(linkerd_proxy_core::retry::REPLAY_BYTES)
}

fn positive(message: Option<prost_types::Duration>) -> Result<Option<Duration>, Invalid> {
    let limit = message.map(duration).transpose()?;
    Ok(limit.filter(|limit| !limit.is_zero()))
}

/// Reads a backoff.
///
/// # Errors
/// When the bounds are zero or the wrong way round, or the jitter is negative.
pub fn backoff(message: outbound::ExponentialBackoff) -> Result<Backoff, Invalid> {
    let min = message
        .min_backoff
        .ok_or(Invalid::Missing("min_backoff"))
        .and_then(duration)?;
    let max = message
        .max_backoff
        .ok_or(Invalid::Missing("max_backoff"))
        .and_then(duration)?;
    let jitter = f64::from(message.jitter_ratio);
    if min > max || max.is_zero() {
        return Err(bad("backoff", format!("{min:?} to {max:?}")));
    }
    if !(0.0..=100.0).contains(&jitter) {
        return Err(bad("jitter", jitter));
    }
    Ok(Backoff { min, max, jitter })
}

/// Reads when endpoints are taken out.
///
/// # Errors
/// When a bound makes no sense.
pub fn accrual(message: outbound::FailureAccrual) -> Result<Option<Accrual>, Invalid> {
    use outbound::failure_accrual::Kind;
    let (rule, pause) = match message.kind {
        None => return Ok(None),
        Some(Kind::ConsecutiveFailures(consecutive)) => {
            let failures = match consecutive.max_failures {
                0 => return Err(bad("max_failures", 0)),
                failures => failures,
            };
            (BreakRule::Consecutive { failures }, consecutive.backoff)
        }
        Some(Kind::Unified(unified)) => {
            let threshold = unified.success_rate_threshold;
            if !(0.0..=1.0).contains(&threshold) {
                return Err(bad("success_rate_threshold", threshold));
            }
            if unified.min_requests > 1_000_000 {
                return Err(bad("min_requests", unified.min_requests));
            }
            let window = positive(unified.decay)?.unwrap_or(Duration::from_secs(10));
            if window < Duration::from_millis(10) {
                return Err(bad("decay", format!("{window:?}")));
            }
            let rule = BreakRule::Unified {
                threshold,
                window,
                min_requests: unified.min_requests,
                failures: unified.max_consecutive_failures,
            };
            (rule, unified.backoff)
        }
    };
    let pause = pause.ok_or(Invalid::Missing("backoff"))?;
    Ok(Some(Accrual {
        rule,
        heeds_hints: pause.respect_retry_after_hint,
        backoff: backoff(pause)?,
        ready_min: message
            .ejection
            .map_or(0, |limits| limits.min_ready_endpoints),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &[u8]) -> http_types::Headers {
        http_types::Headers {
            headers: vec![http_types::headers::Header {
                name: name.into(),
                value: value.into(),
            }],
        }
    }

    #[test]
    fn header_names_and_values_must_be_legal() {
        for (name, value, legal) in [
            ("X-A", &b"1"[..], true),
            ("x a", b"1", false),
            ("", b"1", false),
            ("x", b"a\r\nb: c", false),
            ("x", b"\xffa", true),
        ] {
            let read = headers(Some(header(name, value)));
            assert_eq!(legal, read.is_ok(), "{name:?} {value:?}");
            if let Ok(read) = read {
                assert_eq!(name.to_ascii_lowercase(), read[0].0);
            }
        }
    }

    #[test]
    fn an_empty_filter_is_refused() {
        let filter = outbound::http_route::Filter { kind: None };
        assert_eq!(Err(MISSING), outbound_http(vec![filter], None));
    }

    #[test]
    fn failures_without_ratio_always_strike_and_zero_denominators_are_refused() {
        let injector = |ratio| {
            http_failure(http_route::HttpFailureInjector {
                status: 503,
                message: String::new(),
                ratio,
            })
        };
        let Ok(Filter::Fail(always)) = injector(None) else {
            panic!("no failure");
        };
        assert_eq!((1, 1), always.ratio);
        let ratio = http_route::Ratio {
            numerator: 1,
            denominator: 0,
        };
        assert!(injector(Some(ratio)).is_err());
    }

    #[test]
    fn redirects_carry_no_hostile_text() {
        let host = |host: &str| {
            redirect(http_route::RequestRedirect {
                host: host.into(),
                ..Default::default()
            })
            .is_ok()
        };
        assert!(host("example.com") && host(""));
        assert!(!host("a\r\nset-cookie: b") && !host("a/b") && !host("a b"));
    }

    #[test]
    fn backoffs_have_an_order() {
        let make = |min, max, jitter_ratio| {
            let time = |nanos| Some(prost_types::Duration { seconds: 0, nanos });
            backoff(outbound::ExponentialBackoff {
                min_backoff: time(min),
                max_backoff: time(max),
                jitter_ratio,
                respect_retry_after_hint: false,
            })
            .is_ok()
        };
        assert!(make(1, 2, 0.5) && make(0, 1, 0.0));
        assert!(!make(2, 1, 0.0) && !make(0, 0, 0.0) && !make(1, 2, -1.0));
        assert!(!make(1, 2, f32::NAN));
    }
}
