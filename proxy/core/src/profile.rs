//! Routes of a ServiceProfile: the older way to name, time and retry requests.
//!
//! Source: linkerd2-proxy linkerd/service-profiles/src/http.rs (behaviour).

use crate::classify::parse_code;
use crate::retry::BudgetConfig;
use regex::Regex;
use std::sync::Arc;
use std::time::Duration;

/// A condition on a request.
#[derive(Clone, Debug)]
pub enum RequestMatch {
    /// All of these.
    All(Vec<RequestMatch>),
    /// Any of these.
    Any(Vec<RequestMatch>),
    /// Not this.
    Not(Box<RequestMatch>),
    /// The whole path without query matches.
    Path(Regex),
    /// Method in upper case.
    Method(String),
}

/// A condition on a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseMatch {
    /// All of these.
    All(Vec<ResponseMatch>),
    /// Any of these.
    Any(Vec<ResponseMatch>),
    /// Not this.
    Not(Box<ResponseMatch>),
    /// The status is between these, both included.
    Status(u16, u16),
}

/// One route.
#[derive(Clone, Debug)]
pub struct ProfileRoute {
    /// Which requests it is for.
    pub condition: RequestMatch,
    /// Which responses are failures; the first that matches decides.
    pub classes: Vec<(ResponseMatch, bool)>,
    /// Labels of its metrics, without the `rt_` prefix, sorted.
    pub labels: Vec<(String, String)>,
    /// Whether failed requests are sent again while the budget lasts.
    pub retryable: bool,
    /// How long an exchange may take with all its attempts.
    pub timeout: Option<Duration>,
}

/// All routes of a profile.
#[derive(Clone, Debug)]
pub struct ProfileRoutes {
    /// In order of precedence.
    pub routes: Arc<[ProfileRoute]>,
    /// For all routes together.
    pub budget: BudgetConfig,
}

impl RequestMatch {
    /// Whether a request fulfils the condition.
    pub fn holds(&self, method: &str, path: &str) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(method, path)),
            Self::Any(any) => any.iter().any(|one| one.holds(method, path)),
            Self::Not(not) => !not.holds(method, path),
            Self::Path(regex) => regex.is_match(path),
            Self::Method(expected) => expected == method,
        }
    }
}

impl ResponseMatch {
    /// Whether a status fulfils the condition.
    pub fn holds(&self, status: u16) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(status)),
            Self::Any(any) => any.iter().any(|one| one.holds(status)),
            Self::Not(not) => !not.holds(status),
            Self::Status(low, high) => (*low..=*high).contains(&status),
        }
    }
}

impl ProfileRoute {
    /// Whether a response counts as failed: by the route's classes, else by gRPC code, else by
    /// status.
    pub fn is_failure(&self, status: u16, grpc: Option<&[u8]>) -> bool {
        if let Some((_, failed)) = self.classes.iter().find(|(m, _)| m.holds(status)) {
            return *failed;
        }
        match grpc.and_then(parse_code) {
            Some(code) => crate::classify::GRPC_FAILURES.contains(&code),
            None => (500..600).contains(&status),
        }
    }
}

impl ProfileRoutes {
    /// The index of the first route for a request.
    pub fn find(&self, method: &str, path: &str) -> Option<usize> {
        self.routes
            .iter()
            .position(|route| route.condition.holds(method, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::full_regex;

    fn path(text: &str) -> RequestMatch {
        RequestMatch::Path(full_regex(text).expect("a regex"))
    }

    fn route(condition: RequestMatch, classes: Vec<(ResponseMatch, bool)>) -> ProfileRoute {
        ProfileRoute {
            condition,
            classes,
            labels: vec![],
            retryable: false,
            timeout: None,
        }
    }

    #[test]
    fn the_first_route_that_matches_is_taken() {
        let get = RequestMatch::Method("GET".into());
        let routes = ProfileRoutes {
            routes: [
                route(
                    RequestMatch::All(vec![get.clone(), path("/a/[^/]*")]),
                    vec![],
                ),
                route(RequestMatch::Any(vec![path("/b"), path("/a/1")]), vec![]),
                route(RequestMatch::Not(Box::new(get)), vec![]),
            ]
            .into(),
            budget: BudgetConfig::default(),
        };
        for (method, path, expected) in [
            ("GET", "/a/1", Some(0)),
            ("POST", "/a/1", Some(1)),
            ("GET", "/b", Some(1)),
            ("PUT", "/c", Some(2)),
            ("GET", "/a/1/2", None),
        ] {
            assert_eq!(expected, routes.find(method, path), "{method} {path}");
        }
    }

    #[test]
    fn classes_come_before_codes_and_statuses() {
        let classes = vec![
            (ResponseMatch::Status(404, 404), true),
            (ResponseMatch::Status(500, 501), false),
        ];
        let route = route(path(".*"), classes);
        for (status, grpc, failed) in [
            (404, None, true),
            (500, None, false),
            (503, None, true),
            (200, Some(&b"14"[..]), true),
            (200, Some(&b"5"[..]), false),
            (200, None, false),
        ] {
            assert_eq!(failed, route.is_failure(status, grpc), "{status} {grpc:?}");
        }
    }
}
