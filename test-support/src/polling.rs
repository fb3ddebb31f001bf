//! Waiting for a condition.

use std::time::Duration;

/// The longest time that a test waits for a condition. It is far above the time that a correct program needs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until `condition` returns a value.
///
/// # Panics
/// After [`DEADLINE`], with `what` in the message.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, condition).await
}

/// Polls until `condition` returns a value.
///
/// # Panics
/// After `deadline`, with `what` in the message.
pub async fn eventually_within<T>(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(deadline, polling).await {
        Ok(found) => found,
        Err(_) => panic!("waited {} s without success for: {what}", deadline.as_secs()),
    }
}
