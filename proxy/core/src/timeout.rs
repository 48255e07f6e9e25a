//! How long an exchange may take.
//!
//! Source: linkerd2-proxy linkerd/http/stream-timeouts (behaviour).

use std::time::Duration;

/// Limits of one exchange; `None` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole exchange with all its attempts.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// From the end of the request to the response's head: one attempt of several.
    pub headers: Option<Duration>,
    /// The longest silence while a body is under way.
    pub idle: Option<Duration>,
}

/// What has happened so far, as times since any fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The first attempt began.
    pub started: Duration,
    /// The request's body went out completely.
    pub flushed: Option<Duration>,
    /// The response's head came.
    pub head: Option<Duration>,
    /// The last frame moved, either way.
    pub frame: Duration,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// [`Timeouts::request`].
    Request,
    /// [`Timeouts::response`].
    Response,
    /// [`Timeouts::headers`].
    Headers,
    /// [`Timeouts::idle`].
    Idle,
}

impl Timeouts {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// The first limit that will be reached if nothing more happens, and when.
    pub fn deadline(&self, progress: &Progress) -> Option<(Duration, Expired)> {
        let Progress {
            started,
            flushed,
            head,
            frame,
        } = *progress;
        let answered_from = match (flushed, head) {
            (Some(flushed), Some(head)) => Some(flushed.min(head)),
            (flushed, head) => flushed.or(head),
        };
        // A server that thinks about a complete request is not idle.
        let moving = flushed.is_none() || head.is_some();
        let at = |from: Option<Duration>, limit: Option<Duration>, what| {
            Some((from?.saturating_add(limit?), what))
        };
        [
            at(Some(started), self.request, Expired::Request),
            at(answered_from, self.response, Expired::Response),
            at(
                flushed.filter(|_| head.is_none()),
                self.headers,
                Expired::Headers,
            ),
            at(moving.then_some(frame), self.idle, Expired::Idle),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_limit_counts_from_its_own_moment() {
        let all = Timeouts {
            request: Some(s(100)),
            response: Some(s(30)),
            headers: Some(s(10)),
            idle: Some(s(20)),
        };
        let sending = Progress {
            started: s(1),
            flushed: None,
            head: None,
            frame: s(5),
        };
        let waiting = Progress {
            flushed: Some(s(5)),
            ..sending
        };
        let reading = Progress {
            head: Some(s(6)),
            frame: s(12),
            ..waiting
        };
        let early = Progress {
            head: Some(s(6)),
            frame: s(50),
            ..sending
        };
        let cases = [
            (all, sending, Some((s(25), Expired::Idle))),
            (all, waiting, Some((s(15), Expired::Headers))),
            (all, reading, Some((s(32), Expired::Idle))),
            (all, early, Some((s(36), Expired::Response))),
            (
                Timeouts {
                    headers: None,
                    ..all
                },
                waiting,
                Some((s(35), Expired::Response)),
            ),
            (
                Timeouts {
                    request: Some(s(3)),
                    ..all
                },
                reading,
                Some((s(4), Expired::Request)),
            ),
            (
                Timeouts {
                    idle: Some(s(20)),
                    ..Timeouts::default()
                },
                waiting,
                None,
            ),
            (Timeouts::default(), reading, None),
        ];
        for (timeouts, progress, expected) in cases {
            assert_eq!(
                expected,
                timeouts.deadline(&progress),
                "{timeouts:?} {progress:?}"
            );
        }
    }

    #[test]
    fn absurd_limits_do_not_overflow() {
        let timeouts = Timeouts {
            request: Some(Duration::MAX),
            ..Timeouts::default()
        };
        let progress = Progress {
            started: s(1),
            flushed: None,
            head: None,
            frame: s(1),
        };
        assert_eq!(
            Some((Duration::MAX, Expired::Request)),
            timeouts.deadline(&progress)
        );
    }
}
