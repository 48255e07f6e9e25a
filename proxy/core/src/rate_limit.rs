//! Requests per second of a server: for all clients together and for each identity.
//!
//! Source: linkerd2-proxy linkerd/proxy/server-policy/src/local_rate_limit.rs (behaviour); the
//! generic cell rate algorithm.

use crate::meta::Meta;
use std::collections::HashMap;
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
/// Clients remembered at once. When more come, those that owe nothing are forgotten first.
const CLIENTS_MAX: usize = 10_000;

/// What a policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The policy object.
    pub meta: Arc<Meta>,
    /// For everybody together.
    pub total: Option<u32>,
    /// For each client without an override.
    pub identity: Option<u32>,
    /// For each of the named clients.
    pub overrides: Vec<(Vec<String>, u32)>,
}

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    Total,
    /// The client's own.
    Identity,
}

impl Scope {
    /// The value of `ratelimit_scope`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Identity => "identity",
        }
    }
}

/// The limits and how much of them is used.
///
/// Times are nanoseconds since any fixed moment. All clients without an identity share one bucket.
#[derive(Debug)]
pub struct Limiter {
    limit: RateLimit,
    total: u64,
    clients: HashMap<Box<str>, u64>,
}

impl Limiter {
    /// Starts with nothing used.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            total: 0,
            clients: HashMap::new(),
        }
    }

    /// What is limited.
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Takes one request in.
    ///
    /// # Errors
    /// The limit that it exceeds; it then uses nothing of any.
    pub fn admit(&mut self, client: Option<&str>, now_ns: u64) -> Result<(), Scope> {
        let total = match self.limit.total {
            None => self.total,
            Some(rate) => step(self.total, rate, now_ns).ok_or(Scope::Total)?,
        };
        let name = client.unwrap_or("");
        let named = |(names, _): &&(Vec<String>, u32)| names.iter().any(|known| known == name);
        let rate = self
            .limit
            .overrides
            .iter()
            .find(|over| client.is_some() && named(over))
            .map(|(_, rate)| *rate)
            .or(self.limit.identity);
        if let Some(rate) = rate {
            if !self.clients.contains_key(name) && self.clients.len() >= CLIENTS_MAX {
                self.clients.retain(|_, tat| *tat > now_ns);
                if self.clients.len() >= CLIENTS_MAX {
                    return Err(Scope::Identity);
                }
            }
            match self.clients.get_mut(name) {
                Some(tat) => *tat = step(*tat, rate, now_ns).ok_or(Scope::Identity)?,
                None => {
                    let tat = step(0, rate, now_ns).ok_or(Scope::Identity)?;
                    self.clients.insert(name.into(), tat);
                }
            }
        }
        self.total = total;
        Ok(())
    }
}

/// The next theoretical arrival time, or `None` when the second's burst is used up.
fn step(tat: u64, rate: u32, now_ns: u64) -> Option<u64> {
    let interval = SECOND_NS.checked_div(u64::from(rate))?;
    let next = tat.max(now_ns).saturating_add(interval);
    (next <= now_ns.saturating_add(SECOND_NS)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest, Strategy};

    fn limiter(total: Option<u32>, identity: Option<u32>, overrides: &[(&str, u32)]) -> Limiter {
        Limiter::new(RateLimit {
            meta: Arc::new(Meta::default()),
            total,
            identity,
            overrides: overrides
                .iter()
                .map(|(name, rate)| (vec![(*name).to_owned()], *rate))
                .collect(),
        })
    }

    fn admitted(limiter: &mut Limiter, client: Option<&str>, n: usize, now: u64) -> usize {
        (0..n)
            .filter(|_| limiter.admit(client, now).is_ok())
            .count()
    }

    #[test]
    fn a_second_holds_its_rate_and_refills() {
        let mut all = limiter(Some(10), None, &[]);
        assert_eq!(10, admitted(&mut all, None, 20, 5 * SECOND_NS));
        assert_eq!(Err(Scope::Total), all.admit(None, 5 * SECOND_NS));
        assert_eq!(
            5,
            admitted(&mut all, None, 20, 5 * SECOND_NS + SECOND_NS / 2)
        );
        assert_eq!(10, admitted(&mut all, None, 20, 9 * SECOND_NS));
    }

    #[test]
    fn clients_have_their_own_limits_and_strangers_share_one() {
        let mut each = limiter(None, Some(2), &[("big", 5), ("barred", 0)]);
        assert_eq!(2, admitted(&mut each, Some("a"), 9, 0));
        assert_eq!(2, admitted(&mut each, Some("b"), 9, 0));
        assert_eq!(5, admitted(&mut each, Some("big"), 9, 0));
        assert_eq!(0, admitted(&mut each, Some("barred"), 9, 0));
        assert_eq!(2, admitted(&mut each, None, 9, 0));
        assert_eq!(Err(Scope::Identity), each.admit(None, 0));
    }

    #[test]
    fn who_exceeds_his_own_limit_does_not_use_up_everybodys() {
        let mut both = limiter(Some(10), Some(2), &[]);
        assert_eq!(2, admitted(&mut both, Some("greedy"), 100, 0));
        assert_eq!(2, admitted(&mut both, Some("modest"), 2, 0));
    }

    #[test]
    fn only_so_many_clients_are_remembered() {
        let mut each = limiter(None, Some(1), &[]);
        for i in 0..CLIENTS_MAX {
            assert_eq!(Ok(()), each.admit(Some(&format!("c{i}")), 0));
        }
        assert_eq!(Err(Scope::Identity), each.admit(Some("one more"), 0));
        assert_eq!(Ok(()), each.admit(Some("one more"), 2 * SECOND_NS));
        assert_eq!(1, each.clients.len());
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_burst_and_rate(
            rate in 1u32..50,
            gaps in proptest::collection::vec(any::<u64>().prop_map(|n| n % 200_000_000), 1..300),
        ) {
            let mut limiter = limiter(Some(rate), None, &[]);
            let (mut now, mut times) = (SECOND_NS, Vec::new());
            for gap in gaps {
                now += gap;
                if limiter.admit(None, now).is_ok() {
                    times.push(now);
                }
            }
            for (i, start) in times.iter().enumerate() {
                let within = times[i..].iter().filter(|t| **t < start + SECOND_NS).count();
                prop_assert!(within <= 2 * rate as usize, "{within} of {rate}");
            }
        }
    }
}
