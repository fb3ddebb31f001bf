//! The policy for new passwords. Existing passwords keep working.

use super::passwords::normalize;
use domain::problem::Validator;
use domain::validation;
use zxcvbn::Score;

/// Minimum strength: more than 10^8 guesses for an attacker with lists of breached passwords, names and words.
const MIN_SCORE: Score = Score::Three;
/// Maximum number of characters that are estimated, because the estimate's time grows with the length.
const ESTIMATED: usize = 64;
/// Shorter parts of the username and the e-mail address may occur in a password.
const MIN_PART: usize = 4;

/// Checks a new password of an account.
pub(super) fn check(validator: &mut Validator, password: &str, username: &str, email: &str) {
    validator.check("password", policy(&normalize(password), username, email));
}

fn policy(password: &str, username: &str, email: &str) -> Result<(), String> {
    validation::password(password)?;
    let local_part = email.split('@').next().unwrap_or_default();
    let lower = password.to_lowercase();
    let names = [username, email, local_part].map(str::to_lowercase);
    let contained = names.iter().any(|name| name.chars().count() >= MIN_PART && lower.contains(name.as_str()));
    if contained || names.contains(&lower) {
        return Err("Do not use the username or the e-mail address in the password.".into());
    }
    let start: String = password.chars().take(ESTIMATED).collect();
    let names = names.each_ref().map(String::as_str);
    if zxcvbn::zxcvbn(&start, &[names.as_slice(), &["berth"]].concat()).score() < MIN_SCORE {
        return Err("This password is easy to guess: it is common, or consists of common words, names, sequences or \
                    repetitions. Use a longer one, e.g. four random words."
            .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(password: &str) -> bool {
        policy(password, "alice", "a.smith@example.com").is_err()
    }

    #[test]
    fn common_passwords_and_patterns_are_rejected() {
        for weak in [
            "password1234",
            "passwordpassword",
            "aaaaaaaaaaaaaaaa",
            "123456789012",
            "qwertyuiop12",
            "abcdefghijklmnop",
            "iloveyou1234",
            "administrator",
            "P@ssw0rd1234",
        ] {
            assert!(rejected(weak), "{weak}");
        }
    }

    #[test]
    fn username_and_email_are_rejected_in_passwords() {
        for weak in ["alice-alice-alice", "xK9!Alice!7qLmZ", "a.smith@example.com", "7A.Smith#kq9Zw"] {
            assert!(policy(weak, "alice", "a.smith@example.com").unwrap_err().contains("username"), "{weak}");
        }
        // A short username occurs in many words.
        policy("correct horse battery", "al", "al@example.com").unwrap();
    }

    #[test]
    fn long_random_passwords_are_accepted() {
        for strong in [
            "correct horse battery",
            "battery horse correct",
            "staple battery horse",
            "horse staple correct",
            "harbour crane and tide",
            "pontoon rope and gull",
            "twelve grey characters",
            "first horse battery",
            "second horse battery",
            "long enough for harbour",
            "lantern under the bridge",
            "kT7#wq-Lm2!z",
            "Gr\u{f6}\u{df}e, Wald und Teller",
        ] {
            assert!(!rejected(strong), "{strong}");
        }
        assert!(rejected("kT7#wq-Lm2!"), "11 characters");
        assert!(rejected(&"kT7#wq-Lm2!z".repeat(20)), "240 characters");
    }
}
