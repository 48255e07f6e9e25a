//! The routes of a destination's service profile with their handles.

use crate::telemetry::route::ProfileMetrics;
use crate::telemetry::Metrics;
use linkerd_proxy_core::classify::GRPC_FAILURES;
use linkerd_proxy_core::outbound::Profile;
use linkerd_proxy_core::profile::ProfileRoute;
use linkerd_proxy_core::retry::{Budget, BudgetConfig, Retry, REPLAY_BYTES};
use linkerd_proxy_core::route::Request;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The budget alone limits retries, but no request is sent more often than this.
const RETRIES_MAX: u32 = 100;

/// All routes of a profile.
pub struct Table {
    routes: Arc<[ProfileRoute]>,
    /// One for each route, and one for requests without a route.
    metrics: Vec<ProfileMetrics>,
    budget: BudgetConfig,
    shared: Arc<Mutex<Budget>>,
    born: Instant,
    /// `name:port`.
    pub dst: String,
    retry: Retry,
}

/// What a request's route demands.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    table: &'a Table,
    /// The route, if one matched.
    pub route: Option<&'a ProfileRoute>,
    /// Its handles.
    pub metrics: &'a ProfileMetrics,
}

impl Table {
    /// Resolves a profile that leads, keeping the budget of `old`.
    pub fn new(
        metrics: &Metrics,
        direction: &str,
        profile: &Profile,
        port: u16,
        old: Option<&Self>,
    ) -> Self {
        let name = profile.name.as_deref().unwrap_or("");
        let dst = format!("{name}:{port}");
        let routes = profile.routes.as_ref();
        let budget = routes.map_or(BudgetConfig::default(), |routes| routes.budget);
        let routes = routes.map_or(Arc::from([]), |routes| routes.routes.clone());
        let resolve =
            |route: Option<&ProfileRoute>| ProfileMetrics::new(metrics, direction, &dst, route);
        let metrics = routes
            .iter()
            .map(|route| resolve(Some(route)))
            .chain([resolve(None)])
            .collect();
        let old = old.filter(|old| old.budget == budget);
        Self {
            metrics,
            routes,
            budget,
            shared: old.map_or_else(
                || Arc::new(Mutex::new(Budget::new(budget))),
                |old| old.shared.clone(),
            ),
            born: old.map_or_else(Instant::now, |old| old.born),
            dst,
            retry: Retry {
                limit: RETRIES_MAX,
                body_bytes_max: REPLAY_BYTES,
                statuses: vec![(500, 599)],
                codes: GRPC_FAILURES.to_vec(),
                timeout: None,
                backoff: None,
            },
        }
    }

    /// The route of a request, which counts towards the budget.
    pub fn find(&self, request: &dyn Request) -> Found<'_> {
        let (method, path) = (request.method(), request.path());
        let at = self
            .routes
            .iter()
            .position(|route| route.condition.holds(method, path));
        let route = at.map(|i| &self.routes[i]);
        if route.is_some_and(|route| route.retryable) {
            self.with_budget(Budget::deposit);
        }
        Found {
            table: self,
            route,
            metrics: &self.metrics[at.unwrap_or(self.routes.len())],
        }
    }

    fn with_budget<T>(&self, use_budget: impl FnOnce(&mut Budget, u64) -> T) -> T {
        let now = u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut budget = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        use_budget(&mut budget, now)
    }
}

impl<'a> Found<'a> {
    /// How the request is sent again, if it is.
    pub fn retry(&self) -> Option<&'a Retry> {
        self.route
            .filter(|route| route.retryable)
            .map(|_| &self.table.retry)
    }

    /// Whether a response counts as failed.
    pub fn is_failure(&self, status: u16, grpc: Option<u16>) -> bool {
        let code = grpc.map(|code| code.to_string());
        match self.route {
            Some(route) => route.is_failure(status, code.as_deref().map(str::as_bytes)),
            None => false,
        }
    }

    /// Takes a retry out of the budget.
    pub fn withdraw(&self) -> bool {
        self.metrics.retryable.add(1);
        let granted = self.table.with_budget(Budget::withdraw);
        if !granted {
            self.metrics.no_budget.add(1);
        }
        granted
    }
}
