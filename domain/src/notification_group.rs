//! Notifications grouped by their cause.

use crate::change::{Notification, Severity};

/// Notifications with one cause: the same subject, the same severity, and the same text up to its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationGroup {
    /// The newest notification.
    pub newest: Notification,
    /// Creation time of the oldest notification.
    pub first_at: chrono::DateTime<chrono::Utc>,
    /// The number of notifications.
    pub count: usize,
    /// The identifiers of the unread notifications.
    pub unread: Vec<i64>,
}

/// What identifies a cause.
type Cause = (Severity, Option<String>, String);

/// The details of a message follow a colon, and its numbers change: "Deliveries to Billing fail: connection refused".
fn cause(notification: &Notification) -> Cause {
    let text = notification.message.split_once(": ").map_or(notification.message.as_str(), |(subject, _)| subject);
    let text = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    (notification.severity, notification.link.clone(), text)
}

/// Groups notifications, which are newest first. The group with the newest notification comes first.
pub fn group_by_cause(notifications: &[Notification]) -> Vec<NotificationGroup> {
    let mut groups: Vec<(Cause, NotificationGroup)> = Vec::new();
    for notification in notifications {
        let cause = cause(notification);
        let unread = (!notification.read).then_some(notification.id);
        match groups.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, group)) => {
                group.count += 1;
                group.first_at = group.first_at.min(notification.at);
                group.unread.extend(unread);
            }
            None => {
                let (newest, first_at) = (notification.clone(), notification.at);
                let unread = unread.into_iter().collect();
                groups.push((cause, NotificationGroup { newest, first_at, count: 1, unread }));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone as _, Utc};

    fn notification(id: i64, severity: Severity, message: &str, link: &str, read: bool) -> Notification {
        let at = Utc.timestamp_opt(id * 60, 0).unwrap();
        Notification {
            id,
            username: None,
            severity,
            message: message.to_owned(),
            link: Some(link.to_owned()),
            at,
            read,
        }
    }

    #[test]
    fn notifications_of_one_cause_are_one_group() {
        let all = [
            notification(6, Severity::Error, "Deliveries to Billing fail: timeout", "/settings/webhooks/3", false),
            notification(5, Severity::Info, "Deliveries to Billing succeed again.", "/settings/webhooks/3", false),
            notification(4, Severity::Error, "Deliveries to Labels fail: timeout", "/settings/webhooks/4", true),
            notification(
                3,
                Severity::Error,
                "Deliveries to Billing fail: connection refused",
                "/settings/webhooks/3",
                false,
            ),
            notification(2, Severity::Error, "Deliveries to Billing fail: 500", "/settings/webhooks/3", true),
            notification(1, Severity::Error, "12 % of the deliveries fail", "/settings/webhooks/3", true),
        ];
        let groups = group_by_cause(&all);
        let summary: Vec<_> = groups.iter().map(|group| (group.newest.id, group.count, group.unread.clone())).collect();
        assert_eq!(summary, [(6, 3, vec![6, 3]), (5, 1, vec![5]), (4, 1, vec![]), (1, 1, vec![])]);
        assert_eq!(groups[0].first_at, all[4].at);
    }

    #[test]
    fn numbers_in_a_message_do_not_divide_a_cause() {
        let all = [
            notification(2, Severity::Warning, "12 % of the deliveries fail", "/settings/webhooks/3", false),
            notification(1, Severity::Warning, "9 % of the deliveries fail", "/settings/webhooks/3", false),
        ];
        assert_eq!(group_by_cause(&all).len(), 1);
    }
}
