//! Routes of service profiles.

use super::{bad, duration, routes as matches, Invalid};
use crate::destination as api;
use linkerd_proxy_core::profile::{ProfileRoute, ProfileRoutes, RequestMatch, ResponseMatch};
use linkerd_proxy_core::retry::BudgetConfig;

/// Nesting of conditions that is understood.
const DEPTH_MAX: usize = 32;

/// Reads the routes; none gives `None`.
///
/// # Errors
/// When a condition is empty, malformed or nested too deeply.
pub fn routes(
    messages: Vec<api::Route>,
    retry_budget: Option<api::RetryBudget>,
) -> Result<Option<ProfileRoutes>, Invalid> {
    if messages.is_empty() {
        return Ok(None);
    }
    let routes = messages
        .into_iter()
        .map(route)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(ProfileRoutes {
        routes: routes.into(),
        budget: retry_budget.map(budget).transpose()?.unwrap_or_default(),
    }))
}

fn budget(message: api::RetryBudget) -> Result<BudgetConfig, Invalid> {
    let ratio = message.retry_ratio;
    if !(0.0..=1000.0).contains(&ratio) {
        return Err(bad("retry_ratio", ratio));
    }
    let default = BudgetConfig::default();
    Ok(BudgetConfig {
        ratio,
        min_per_second: message.min_retries_per_second,
        ttl: message
            .ttl
            .map(duration)
            .transpose()?
            .unwrap_or(default.ttl),
    })
}

fn route(message: api::Route) -> Result<ProfileRoute, Invalid> {
    let classes = message
        .response_classes
        .into_iter()
        .map(|class| {
            let condition = class.condition.ok_or(Invalid::Missing("condition"))?;
            Ok((response(condition, 0)?, class.is_failure))
        })
        .collect::<Result<_, Invalid>>()?;
    let timeout = message.timeout.map(duration).transpose()?;
    Ok(ProfileRoute {
        condition: request(message.condition.ok_or(Invalid::Missing("condition"))?, 0)?,
        classes,
        labels: message.metrics_labels.into_iter().collect(),
        retryable: message.is_retryable,
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
    })
}

fn request(message: api::RequestMatch, depth: usize) -> Result<RequestMatch, Invalid> {
    use api::request_match::Match;
    if depth > DEPTH_MAX {
        return Err(bad("depth of condition", depth));
    }
    let seq = |seq: api::request_match::Seq| {
        let each = |m| request(m, depth + 1);
        seq.matches.into_iter().map(each).collect::<Result<_, _>>()
    };
    Ok(match message.r#match.ok_or(Invalid::Missing("match"))? {
        Match::All(all) => RequestMatch::All(seq(all)?),
        Match::Any(any) => RequestMatch::Any(seq(any)?),
        Match::Not(not) => RequestMatch::Not(Box::new(request(*not, depth + 1)?)),
        Match::Path(path) => RequestMatch::Path(matches::regex(&path.regex)?),
        Match::Method(method) => RequestMatch::Method(matches::method(method)?),
    })
}

fn response(message: api::ResponseMatch, depth: usize) -> Result<ResponseMatch, Invalid> {
    use api::response_match::Match;
    if depth > DEPTH_MAX {
        return Err(bad("depth of condition", depth));
    }
    let seq = |seq: api::response_match::Seq| {
        let each = |m| response(m, depth + 1);
        seq.matches.into_iter().map(each).collect::<Result<_, _>>()
    };
    Ok(match message.r#match.ok_or(Invalid::Missing("match"))? {
        Match::All(all) => ResponseMatch::All(seq(all)?),
        Match::Any(any) => ResponseMatch::Any(seq(any)?),
        Match::Not(not) => ResponseMatch::Not(Box::new(response(*not, depth + 1)?)),
        Match::Status(range) => {
            let read = |value: u32| u16::try_from(value).map_err(|_| bad("status", value));
            let (min, max) = (read(range.min)?, read(range.max)?);
            match (min, max) {
                (0, 0) => return Err(bad("status range", "0-0")),
                (0, only) | (only, 0) => ResponseMatch::Status(only, only),
                (low, high) => ResponseMatch::Status(low, high),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_of_a_range_is_one_status() {
        let range = |min, max| {
            let range = api::HttpStatusRange { min, max };
            let m = api::response_match::Match::Status(range);
            response(api::ResponseMatch { r#match: Some(m) }, 0)
        };
        assert_eq!(Ok(ResponseMatch::Status(500, 599)), range(500, 599));
        assert_eq!(Ok(ResponseMatch::Status(404, 404)), range(404, 0));
        assert_eq!(Ok(ResponseMatch::Status(404, 404)), range(0, 404));
        assert!(range(0, 0).is_err() && range(70_000, 0).is_err());
    }

    #[test]
    fn a_profile_without_routes_has_none() {
        assert!(routes(vec![], None).expect("valid").is_none());
        assert!(routes(vec![api::Route::default()], None).is_err());
    }
}
