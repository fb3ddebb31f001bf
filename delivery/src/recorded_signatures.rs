//! The form of signatures in the record of an attempt.

/// Number of characters of a recorded signature: enough to compare it with a computed one.
const SHOWN_SIGNATURE: usize = 12;

/// Shortens the signatures of a header, so that a request cannot be replayed from its record. Idempotent.
pub(crate) fn shorten_signatures(value: &str) -> String {
    let shorten = |one: &str| {
        let (scheme, signature) = split_scheme(one);
        match signature.char_indices().nth(SHOWN_SIGNATURE) {
            Some((end, _)) => format!("{scheme}{}…", &signature[..end]),
            None => one.to_owned(),
        }
    };
    value.split(' ').map(shorten).collect::<Vec<_>>().join(" ")
}

/// Whether a header contains signatures of a request.
pub(crate) fn is_signature(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-webhook-signature") || name.eq_ignore_ascii_case("webhook-signature")
}

/// The signatures in a header, without their schemes: receivers may echo them.
pub(crate) fn signatures(value: &str) -> impl Iterator<Item = String> + '_ {
    value.split(' ').map(|one| split_scheme(one).1.to_owned()).filter(|signature| !signature.is_empty())
}

/// The scheme of a signature with its separator, and the signature. One of the classic payload format has no scheme, and ends
/// with the padding of Base64.
fn split_scheme(one: &str) -> (&str, &str) {
    let start = one.find(['=', ',']).map_or(0, |at| at + 1);
    match one.split_at(start) {
        (whole, "" | "=") => ("", if whole.is_empty() { "" } else { one }),
        parts => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_signatures_are_too_short_for_a_replay() {
        let hex = format!("sha256={}", "0123456789abcdef".repeat(4));
        assert_eq!(shorten_signatures(&hex), "sha256=0123456789ab…");
        let standard = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1a,AAAAAAAAAAAAAAAAAAAA==";
        let short = shorten_signatures(standard);
        assert_eq!(short, "v1,K5oZfzN95Z9U… v1a,AAAAAAAAAAAA…");
        assert_eq!(shorten_signatures(&short), short, "idempotent");
        assert_eq!(shorten_signatures(""), "");
        let classic = "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=";
        assert_eq!(shorten_signatures(classic), "K5oZfzN95Z9U…");
        assert_eq!(signatures(classic).collect::<Vec<_>>(), [classic]);
        assert_eq!(signatures(standard).count(), 2);
    }
}
