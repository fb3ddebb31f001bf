//! The circuit breaker of one webhook: while its receiver does not respond, one request at a time probes it.

/// Consecutive exchanges without any response that open the breaker.
pub(super) const FAILURE_THRESHOLD: u32 = 10;

/// A circuit breaker. A response of any status closes it; only exchanges without a response (timeout, refused
/// connection, DNS or TLS error) open it.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are sent up to the webhook's concurrency limit.
    Closed { consecutive_failures: u32 },
    /// No new request is sent until all requests in flight have ended; then one probe is sent.
    Open,
    /// The probe is in flight.
    HalfOpen,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { consecutive_failures: 0 }
    }
}

impl CircuitBreaker {
    /// The number of concurrent requests that the breaker allows, of at most `max_in_flight`.
    pub(super) fn limit(&self, max_in_flight: u32) -> u32 {
        match self.state {
            State::Closed { .. } => max_in_flight,
            State::Open | State::HalfOpen => max_in_flight.min(1),
        }
    }

    /// Whether requests are sent up to the webhook's concurrency limit.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Records the start of a request. In the open state it is the probe.
    pub(super) fn on_request(&mut self) {
        if self.state == State::Open {
            self.state = State::HalfOpen;
        }
    }

    /// Records the end of a request with a response.
    pub(super) fn on_response(&mut self) {
        self.state = State::default();
    }

    /// Records the end of a request without a response.
    pub(super) fn on_no_response(&mut self) {
        self.state = match self.state {
            State::Closed { consecutive_failures } if consecutive_failures + 1 < FAILURE_THRESHOLD => {
                State::Closed { consecutive_failures: consecutive_failures + 1 }
            }
            State::Closed { .. } | State::Open | State::HalfOpen => State::Open,
        };
    }

    /// Records an abandoned request, whose result is unknown.
    pub(super) fn on_abandoned(&mut self) {
        if self.state == State::HalfOpen {
            self.state = State::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_timeouts(count: u32) -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..count {
            breaker.on_request();
            breaker.on_no_response();
        }
        breaker
    }

    #[test]
    fn opens_after_ten_consecutive_failures() {
        assert_eq!(FAILURE_THRESHOLD, 10);
        let mut breaker = after_timeouts(FAILURE_THRESHOLD - 1);
        assert_eq!(breaker.state, State::Closed { consecutive_failures: FAILURE_THRESHOLD - 1 });
        assert_eq!(breaker.limit(64), 64);
        breaker.on_no_response();
        assert_eq!(breaker.state, State::Open);
        assert_eq!(breaker.limit(64), 1);
    }

    #[test]
    fn response_resets_the_count() {
        let mut breaker = after_timeouts(FAILURE_THRESHOLD - 1);
        breaker.on_response();
        breaker.on_no_response();
        assert_eq!(breaker.state, State::Closed { consecutive_failures: 1 });
    }

    #[test]
    fn probe_without_response_reopens_and_with_response_closes() {
        let mut breaker = after_timeouts(FAILURE_THRESHOLD);
        breaker.on_request();
        assert_eq!(breaker.state, State::HalfOpen);
        assert_eq!(breaker.limit(64), 1);
        breaker.on_no_response();
        assert_eq!(breaker.state, State::Open);
        breaker.on_request();
        breaker.on_response();
        assert_eq!(breaker.state, State::default());
    }

    #[test]
    fn timeouts_of_older_requests_leave_it_open() {
        let mut breaker = after_timeouts(FAILURE_THRESHOLD);
        breaker.on_no_response();
        assert_eq!(breaker.state, State::Open);
    }

    #[test]
    fn abandoned_probe_reopens_and_abandoned_request_changes_nothing() {
        let mut breaker = after_timeouts(FAILURE_THRESHOLD);
        breaker.on_request();
        breaker.on_abandoned();
        assert_eq!(breaker.state, State::Open);
        let mut breaker = after_timeouts(3);
        breaker.on_abandoned();
        assert_eq!(breaker.state, State::Closed { consecutive_failures: 3 });
    }
}
