//! The state machine of a rule: ok → pending → firing → ok. Pure: the caller passes the value and the time.

use super::{AlertRule, AlertStatus};
use chrono::{DateTime, Duration, Utc};

/// The state of a rule for one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The status.
    pub status: AlertStatus,
    /// Start of the status.
    pub since: DateTime<Utc>,
}

/// What an evaluation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing, or a change between ok and pending.
    None,
    /// The alert began to fire.
    Fired,
    /// The alert ended.
    Resolved,
}

/// The result of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The new state.
    pub condition: Condition,
    /// What changed.
    pub transition: Transition,
}

impl AlertRule {
    /// Whether a value reaches the threshold.
    pub fn is_met_by(&self, value: f64) -> bool {
        if self.kind.fires_below() { value <= self.threshold } else { value >= self.threshold }
    }

    /// Whether a value ends an active alert.
    fn is_cleared_by(&self, value: f64) -> bool {
        let beyond =
            if self.kind.fires_below() { value >= self.clear_threshold } else { value <= self.clear_threshold };
        // The thresholds can be equal.
        beyond && !self.is_met_by(value)
    }
}

impl Condition {
    /// The state of a rule that was not evaluated yet.
    pub fn initial(now: DateTime<Utc>) -> Self {
        Self { status: AlertStatus::Ok, since: now }
    }

    /// The state after a measurement. Without a value (`None`), e.g. of a webhook without attempts, the condition is not met,
    /// and an alert ends. A disabled rule has no value.
    pub fn step(self, rule: &AlertRule, value: Option<f64>, now: DateTime<Utc>) -> Step {
        let value = value.filter(|value| rule.enabled && value.is_finite());
        let is_met = value.is_some_and(|value| rule.is_met_by(value));
        let is_cleared = value.is_none_or(|value| rule.is_cleared_by(value));
        let lasts = Duration::seconds(rule.for_seconds.into());
        let enter = |status, transition| Step { condition: Self { status, since: now }, transition };
        match self.status {
            AlertStatus::Ok if is_met && rule.for_seconds == 0 => enter(AlertStatus::Firing, Transition::Fired),
            AlertStatus::Ok if is_met => enter(AlertStatus::Pending, Transition::None),
            AlertStatus::Pending if is_met && now - self.since >= lasts => {
                enter(AlertStatus::Firing, Transition::Fired)
            }
            AlertStatus::Pending if !is_met => enter(AlertStatus::Ok, Transition::None),
            AlertStatus::Firing if is_cleared => enter(AlertStatus::Ok, Transition::Resolved),
            _ => Step { condition: self, transition: Transition::None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AlertKind;
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    fn rule(kind: AlertKind, threshold: f64, clear_threshold: f64, for_seconds: u32) -> AlertRule {
        AlertRule { kind, enabled: true, threshold, clear_threshold, for_seconds }
    }

    /// The statuses after each measurement of a series with one value every 10 seconds.
    fn run(rule: &AlertRule, values: &[f64]) -> Vec<AlertStatus> {
        let mut condition = Condition::initial(at(0));
        let mut statuses = Vec::new();
        for (value, seconds) in values.iter().zip((0..).step_by(10)) {
            condition = condition.step(rule, Some(*value), at(seconds)).condition;
            statuses.push(condition.status);
        }
        statuses
    }

    use AlertStatus::{Firing, Ok, Pending};

    #[test]
    fn alert_fires_after_minimum_duration_and_ends_below_clear_threshold() {
        let rule = rule(AlertKind::ErrorRate, 0.5, 0.2, 20);
        let values = [0.1, 0.6, 0.6, 0.7, 0.3, 0.5, 0.2, 0.6];
        assert_eq!(run(&rule, &values), [Ok, Pending, Pending, Firing, Firing, Firing, Ok, Pending]);
    }

    #[test]
    fn short_peak_does_not_fire() {
        let rule = rule(AlertKind::ErrorRate, 0.5, 0.2, 20);
        assert_eq!(run(&rule, &[0.6, 0.6, 0.4, 0.6, 0.6]), [Pending, Pending, Ok, Pending, Pending]);
    }

    #[test]
    fn certificate_fires_below_and_ends_above() {
        let rule = rule(AlertKind::CertificateExpiry, 21.0, 30.0, 0);
        assert_eq!(run(&rule, &[40.0, 21.0, 25.0, 30.0, 22.0, -1.0]), [Ok, Firing, Firing, Ok, Ok, Firing]);
    }

    #[test]
    fn equal_thresholds_do_not_flap_at_their_value() {
        let rule = rule(AlertKind::ConsecutiveFailures, 3.0, 3.0, 0);
        assert_eq!(run(&rule, &[3.0, 3.0, 2.0, 3.0]), [Firing, Firing, Ok, Firing]);
    }

    #[test]
    fn missing_value_and_disabled_rule_end_an_alert() {
        let rule = rule(AlertKind::ErrorRate, 0.5, 0.2, 0);
        let firing = Condition { status: Firing, since: at(0) };
        assert_eq!(firing.step(&rule, None, at(1)).transition, Transition::Resolved);
        assert_eq!(firing.step(&rule, Some(f64::NAN), at(1)).transition, Transition::Resolved);
        let off = AlertRule { enabled: false, ..rule };
        assert_eq!(firing.step(&off, Some(0.9), at(1)).transition, Transition::Resolved);
        assert_eq!(Condition::initial(at(0)).step(&off, Some(0.9), at(1)).condition.status, Ok);
    }

    #[test]
    fn clock_rollback_does_not_fire_early() {
        let rule = rule(AlertKind::ErrorRate, 0.5, 0.2, 60);
        let pending = Condition { status: Pending, since: at(100) };
        assert_eq!(pending.step(&rule, Some(0.9), at(10)).condition, pending);
    }

    proptest! {
        /// Alerts fire and end in turn; a firing one lasts at least until a value clears it.
        #[test]
        fn alert_fires_and_ends_in_turn(
            values in prop::collection::vec(prop::option::of(0.0..1.0_f64), 1..60),
            threshold in 0.1..1.0_f64,
            share in 0.0..=1.0_f64,
            for_seconds in 0..60_u32,
        ) {
            let rule = rule(AlertKind::ErrorRate, threshold, threshold * share, for_seconds);
            let mut condition = Condition::initial(at(0));
            let mut firing = false;
            let mut met_since = None;
            for (value, seconds) in values.iter().zip((0..).step_by(10)) {
                let is_met = value.is_some_and(|value| value >= threshold);
                met_since = if is_met { met_since.or(Some(seconds)) } else { None };
                let step = condition.step(&rule, *value, at(seconds));
                match step.transition {
                    Transition::Fired => {
                        prop_assert!(!firing);
                        let lasted = seconds - met_since.unwrap_or(i64::MAX);
                        prop_assert!(lasted >= i64::from(for_seconds), "fired after {lasted} s");
                        firing = true;
                    }
                    Transition::Resolved => {
                        prop_assert!(firing);
                        prop_assert!(value.is_none_or(|value| value <= threshold * share));
                        firing = false;
                    }
                    Transition::None => {}
                }
                prop_assert_eq!(firing, step.condition.status == Firing);
                // A condition that lasts long enough always fires.
                if let Some(since) = met_since {
                    prop_assert!(firing || seconds - since < i64::from(for_seconds));
                }
                condition = step.condition;
            }
        }
    }
}
