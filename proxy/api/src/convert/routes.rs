//! Matches of HTTP and gRPC routes.

use super::{bad, Invalid};
use crate::{grpc_route, http_route, http_types};
use linkerd_proxy_core::route::{full_regex, HostMatch, Match, PathMatch, ValueMatch};

/// Reads host conditions.
///
/// # Errors
/// When one is empty.
pub fn hosts(messages: Vec<http_route::HostMatch>) -> Result<Vec<HostMatch>, Invalid> {
    messages
        .into_iter()
        .map(|message| match message.r#match {
            Some(http_route::host_match::Match::Exact(name)) => Ok(HostMatch::Exact(
                name.trim_end_matches('.').to_ascii_lowercase(),
            )),
            Some(http_route::host_match::Match::Suffix(suffix)) => {
                let mut labels = suffix.reverse_labels;
                labels.reverse();
                Ok(HostMatch::Suffix(
                    format!(".{}", labels.join(".")).to_ascii_lowercase(),
                ))
            }
            None => Err(Invalid::Missing("host match")),
        })
        .collect()
}

/// Reads the matches of an HTTP rule.
///
/// # Errors
/// When an expression does not compile or a condition is empty.
pub fn http_matches(messages: Vec<http_route::HttpRouteMatch>) -> Result<Vec<Match>, Invalid> {
    messages
        .into_iter()
        .map(|message| {
            let query = message
                .query_params
                .into_iter()
                .map(|param| {
                    let value = match param.value {
                        Some(http_route::query_param_match::Value::Exact(text)) => {
                            ValueMatch::Exact(text.into_bytes())
                        }
                        Some(http_route::query_param_match::Value::Regex(text)) => {
                            ValueMatch::Regex(regex(&text)?)
                        }
                        None => return Err(Invalid::Missing("query parameter value")),
                    };
                    Ok((param.name, value))
                })
                .collect::<Result<_, _>>()?;
            Ok(Match {
                path: message.path.map(path).transpose()?,
                headers: headers(message.headers)?,
                query,
                method: message.method.map(method).transpose()?,
            })
        })
        .collect()
}

/// Reads the matches of a gRPC rule; a rule without any still takes only POST.
///
/// # Errors
/// When an expression does not compile or a condition is empty.
pub fn grpc_matches(messages: Vec<grpc_route::GrpcRouteMatch>) -> Result<Vec<Match>, Invalid> {
    let any = PathMatch::Rpc {
        service: String::new(),
        method: String::new(),
    };
    if messages.is_empty() {
        return Ok(vec![Match {
            path: Some(any),
            ..Match::default()
        }]);
    }
    messages
        .into_iter()
        .map(|message| {
            let path = match message.rpc {
                Some(rpc) => PathMatch::Rpc {
                    service: rpc.service,
                    method: rpc.method,
                },
                None => any.clone(),
            };
            Ok(Match {
                path: Some(path),
                headers: headers(message.headers)?,
                ..Match::default()
            })
        })
        .collect()
}

fn path(message: http_route::PathMatch) -> Result<PathMatch, Invalid> {
    match message.kind {
        Some(http_route::path_match::Kind::Exact(text)) => Ok(PathMatch::Exact(text)),
        Some(http_route::path_match::Kind::Prefix(text)) => Ok(PathMatch::Prefix(text)),
        Some(http_route::path_match::Kind::Regex(text)) => Ok(PathMatch::Regex(regex(&text)?)),
        None => Err(Invalid::Missing("path match")),
    }
}

fn headers(messages: Vec<http_route::HeaderMatch>) -> Result<Vec<(String, ValueMatch)>, Invalid> {
    messages
        .into_iter()
        .map(|message| {
            let value = match message.value {
                Some(http_route::header_match::Value::Exact(bytes)) => ValueMatch::Exact(bytes),
                Some(http_route::header_match::Value::Regex(text)) => {
                    ValueMatch::Regex(regex(&text)?)
                }
                None => return Err(Invalid::Missing("header value")),
            };
            Ok((message.name.to_ascii_lowercase(), value))
        })
        .collect()
}

/// Reads a method.
///
/// # Errors
/// When none is named.
pub fn method(message: http_types::HttpMethod) -> Result<String, Invalid> {
    match message.r#type {
        Some(http_types::http_method::Type::Registered(code)) => {
            http_types::http_method::Registered::try_from(code)
                .map(|method| method.as_str_name().to_string())
                .map_err(|_| bad("method", code))
        }
        Some(http_types::http_method::Type::Unregistered(name)) if !name.is_empty() => Ok(name),
        Some(http_types::http_method::Type::Unregistered(_)) | None => {
            Err(Invalid::Missing("method"))
        }
    }
}

/// Reads an expression that must match a whole value.
///
/// # Errors
/// When it does not compile.
pub fn regex(text: &str) -> Result<regex::Regex, Invalid> {
    full_regex(text).ok_or_else(|| bad("regex", text))
}
