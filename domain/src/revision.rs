//! Revisions of objects, so that a change does not overwrite a concurrent one (RFC 9110 §13.1.1, `If-Match`).

/// The entity tag of a revision, in quotation marks.
pub fn entity_tag(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// The condition of a change: the revisions that the object may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Every revision.
    #[default]
    Any,
    /// One of these entity tags.
    OneOf(Vec<String>),
}

impl Condition {
    /// Parses the value of `If-Match`: `*`, or entity tags separated by commas.
    ///
    /// # Errors
    /// A message for the header.
    pub fn parse(if_match: &str) -> Result<Self, String> {
        if if_match.trim() == "*" {
            return Ok(Self::Any);
        }
        let tags: Vec<String> = if_match.split(',').map(|tag| tag.trim().to_owned()).collect();
        let is_tag = |tag: &String| {
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')
        };
        match tags.iter().all(is_tag) {
            true => Ok(Self::OneOf(tags)),
            false => Err("Send the ETag of the object with its quotation marks, e.g. \"3\".".into()),
        }
    }

    /// Whether an object with this revision may be changed. A weak tag (`W/"3"`) counts as the strong one: a proxy makes it
    /// weak when it compresses the response, and the revision is the same.
    pub fn permits(&self, revision: i64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => {
                let own = entity_tag(revision);
                tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == own)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_permits_only_its_revisions() {
        assert!(Condition::parse("*").unwrap().permits(7));
        let condition = Condition::parse("\"3\", \"7\"").unwrap();
        assert!(condition.permits(7) && condition.permits(3) && !condition.permits(37));
        assert!(Condition::parse("W/\"3\"").unwrap().permits(3));
        for invalid in ["", "3", "\"3", "\"3\",4", "\"", "W/3"] {
            Condition::parse(invalid).unwrap_err();
        }
        assert_eq!(Condition::parse(&entity_tag(3)), Ok(Condition::OneOf(vec!["\"3\"".into()])));
    }
}
