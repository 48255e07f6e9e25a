//! What to watch.

use super::{bad, filters, ip, routes, Invalid};
use crate::tap::observe_request as api;
use linkerd_proxy_core::authorize::IpNet;
use linkerd_proxy_core::tap::{Match, Tcp, Text, DEPTH_MAX};

/// Reads a condition; an empty one holds for everything.
///
/// # Errors
/// When a part is missing, malformed or nested too deeply.
pub fn condition(message: Option<api::Match>) -> Result<Match, Invalid> {
    read(message.unwrap_or_default(), 0)
}

fn read(message: api::Match, depth: usize) -> Result<Match, Invalid> {
    use api::r#match::Match as Kind;
    if depth > DEPTH_MAX {
        return Err(bad("depth of match", depth));
    }
    let seq = |seq: api::r#match::Seq| -> Result<Vec<Match>, Invalid> {
        seq.matches
            .into_iter()
            .map(|m| read(m, depth + 1))
            .collect()
    };
    let label = |label: api::r#match::Label| {
        if label.key.is_empty() {
            return Err(Invalid::Missing("label"));
        }
        Ok((label.key, label.value))
    };
    Ok(match message.r#match {
        None => Match::All(Vec::new()),
        Some(Kind::All(all)) => Match::All(seq(all)?),
        Some(Kind::Any(any)) => Match::Any(seq(any)?),
        Some(Kind::Not(not)) => Match::Not(Box::new(read(*not, depth + 1)?)),
        Some(Kind::Source(addr)) => Match::Source(tcp(addr)?),
        Some(Kind::Destination(addr)) => Match::Destination(tcp(addr)?),
        Some(Kind::DestinationLabel(message)) => {
            let (key, value) = label(message)?;
            Match::DestinationLabel(key, value)
        }
        Some(Kind::RouteLabel(message)) => {
            let (key, value) = label(message)?;
            Match::RouteLabel(key, value)
        }
        Some(Kind::Http(http)) => self::http(http)?,
    })
}

fn http(message: api::r#match::Http) -> Result<Match, Invalid> {
    use api::r#match::http::Match as Kind;
    Ok(match message.r#match.ok_or(Invalid::Missing("match"))? {
        Kind::Scheme(scheme) => Match::Scheme(filters::scheme(scheme)?),
        Kind::Method(method) => Match::Method(routes::method(method)?),
        Kind::Authority(matching) => Match::Authority(text(matching)?),
        Kind::Path(matching) => Match::Path(text(matching)?),
    })
}

fn text(message: api::r#match::http::StringMatch) -> Result<Text, Invalid> {
    use api::r#match::http::string_match::Match as Kind;
    match message.r#match.ok_or(Invalid::Missing("text"))? {
        Kind::Exact(exact) => Ok(Text::Exact(exact)),
        Kind::Prefix(prefix) => Ok(Text::Prefix(prefix)),
    }
}

fn tcp(message: api::r#match::Tcp) -> Result<Tcp, Invalid> {
    use api::r#match::tcp::Match as Kind;
    match message.r#match.ok_or(Invalid::Missing("address"))? {
        Kind::Netmask(netmask) => {
            let addr = ip(netmask.ip)?;
            u8::try_from(netmask.mask)
                .ok()
                .and_then(|prefix| IpNet::new(addr, prefix))
                .map(Tcp::Net)
                .ok_or_else(|| bad("mask", netmask.mask))
        }
        Kind::Ports(range) => {
            let port = |value: u32| u16::try_from(value).map_err(|_| bad("port", value));
            let (low, high) = (port(range.min)?, port(range.max)?);
            let high = if high == 0 { low } else { high };
            if low == 0 || low > high {
                return Err(bad("ports", format!("{low}-{high}")));
            }
            Ok(Tcp::Ports(low, high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::r#match::Match as Kind;

    fn wrap(kind: Kind) -> api::Match {
        api::Match {
            r#match: Some(kind),
        }
    }

    #[test]
    fn nothing_said_is_everything() {
        assert_eq!(Ok(Match::All(vec![])), condition(None));
    }

    #[test]
    fn ports_have_an_order() {
        let ports = |min, max| {
            let range = api::r#match::tcp::PortRange { min, max };
            let kind = api::r#match::tcp::Match::Ports(range);
            condition(Some(wrap(Kind::Source(api::r#match::Tcp {
                r#match: Some(kind),
            }))))
        };
        assert_eq!(Ok(Match::Source(Tcp::Ports(80, 80))), ports(80, 0));
        assert_eq!(Ok(Match::Source(Tcp::Ports(80, 90))), ports(80, 90));
        assert!(ports(90, 80).is_err() && ports(0, 0).is_err() && ports(70_000, 0).is_err());
    }

    #[test]
    fn depth_has_a_limit() {
        let mut deep = wrap(Kind::All(api::r#match::Seq::default()));
        for _ in 0..DEPTH_MAX + 1 {
            deep = wrap(Kind::Not(Box::new(deep)));
        }
        assert!(condition(Some(deep)).is_err());
    }
}
