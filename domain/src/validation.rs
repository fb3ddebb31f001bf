//! Validation of single values, shared by the page's forms and the server. Each check returns a message for its field.

/// Characters without a glyph: `Default_Ignorable_Code_Point` of Unicode 17, the blank Braille pattern, and the
/// interlinear annotation marks and the null notehead. A table instead of a crate keeps the page small.
const INVISIBLE: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_invisible(c: char) -> bool {
    c.is_whitespace() || c.is_control() || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Whether a text has a character that can be seen. White space, control characters, joiners and fillers cannot.
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|c| !is_invisible(c))
}

fn no_control(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t' && c != '\r') {
        return Err("Remove the control characters (such as NUL).".into());
    }
    Ok(())
}

/// Checks a text: at most `max` characters, no control characters except line breaks and tabs.
///
/// # Errors
/// A message for the field.
pub fn text(text: &str, max: usize) -> Result<(), String> {
    no_control(text)?;
    if text.chars().count() > max {
        return Err(format!("At most {max} characters."));
    }
    Ok(())
}

/// Checks a name: 1 to 100 characters on one line, at least one of them visible.
///
/// # Errors
/// A message for the field.
pub fn name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("Enter a name.".into());
    }
    if !is_visible(name) {
        return Err("This name has only invisible characters. Enter one that people can see.".into());
    }
    if name.chars().any(char::is_control) {
        return Err("Remove line breaks and control characters.".into());
    }
    text(name, 100)
}

/// Checks a label that may be empty, such as a title: at most `max` characters. One with characters has a visible one.
///
/// # Errors
/// A message for the field.
pub fn label(label: &str, max: usize) -> Result<(), String> {
    if !label.is_empty() && !is_visible(label) {
        return Err("This text has only invisible characters. Enter visible ones, or leave the field empty.".into());
    }
    text(label, max)
}

/// Checks a type's slug: `[a-z0-9]([a-z0-9-]{0,62})`.
///
/// # Errors
/// A message for the field.
pub fn slug(slug: &str) -> Result<(), String> {
    let is_valid = (1..=63).contains(&slug.len())
        && !slug.starts_with('-')
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_valid { Ok(()) } else { Err("Use 1 to 63 lower-case letters, digits and hyphens, e.g. gpu-cluster.".into()) }
}

/// Checks a colour: `#rrggbb`.
///
/// # Errors
/// A message for the field.
pub fn color(color: &str) -> Result<(), String> {
    let is_valid = color.len() == 7 && color.starts_with('#') && color.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
    if is_valid { Ok(()) } else { Err("Write a colour as #rrggbb, e.g. #4f46e5.".into()) }
}

/// Checks a login name: `[a-z][a-z0-9._-]{0,31}` (docs/contract.md §1: receivers create accounts with it).
///
/// # Errors
/// A message for the field.
pub fn username(name: &str) -> Result<(), String> {
    let is_valid = (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if is_valid {
        Ok(())
    } else {
        Err("Use 1 to 32 lower-case letters, digits, dots, hyphens or underscores, beginning with a letter.".into())
    }
}

/// Checks the length of a new password: 12 to 200 characters.
///
/// # Errors
/// A message for the field.
pub fn password(password: &str) -> Result<(), String> {
    match password.chars().count() {
        0..12 => Err("Use at least 12 characters.".into()),
        12..=200 => Ok(()),
        _ => Err("Use at most 200 characters.".into()),
    }
}

/// Checks an e-mail address: local part and domain, without white space and invisible characters, at most 254 characters
/// (RFC 5321 §4.5.3.1.3).
///
/// # Errors
/// A message for the field.
pub fn email(email: &str) -> Result<(), String> {
    let is_valid = email.len() <= 254
        && !email.chars().any(is_invisible)
        && email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && !host.starts_with('.')
                && !host.ends_with('.')
        });
    if is_valid { Ok(()) } else { Err("Enter an e-mail address, e.g. alice@example.com.".into()) }
}

/// Checks an OpenSSH public key (`ssh-ed25519 AAAA… comment`), at most 8,192 bytes.
///
/// # Errors
/// A message for the field; a private key gets a separate warning.
pub fn ssh_key(key: &str) -> Result<(), String> {
    if key.contains("PRIVATE KEY") {
        return Err("This is a private key. Keep it secret, and paste the public key from the .pub file.".into());
    }
    if key.len() > 8_192 {
        return Err("An SSH public key has at most 8192 bytes.".into());
    }
    if key.trim().lines().count() > 1 {
        return Err("Paste one key, on one line.".into());
    }
    // OpenSSH accepts any comment, but PostgreSQL rejects NUL.
    no_control(key)?;
    ssh_key::PublicKey::from_openssh(key.trim()).map(|_| ()).map_err(|_| {
        "This is not an OpenSSH public key. Paste the whole line of the .pub file, for example ssh-ed25519 AAAA… you@host."
            .into()
    })
}

/// Checks a header's name: a token of RFC 9110 §5.6.2, at most 100 characters.
///
/// # Errors
/// A message for the field.
pub fn header_name(name: &str) -> Result<(), String> {
    let is_valid = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_valid { Ok(()) } else { Err("Use letters, digits and hyphens, e.g. X-Team.".into()) }
}

/// Checks a header's value: visible ASCII, spaces and tabs inside, at most 4,096 bytes.
///
/// # Errors
/// A message for the field.
pub fn header_value(value: &str) -> Result<(), String> {
    if value.len() > 4_096 {
        return Err("At most 4096 characters.".into());
    }
    if value.trim() != value || !value.bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t') {
        return Err("Use plain ASCII characters without line breaks or spaces at the ends.".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_a_visible_character() {
        for invisible in
            ["", " ", "\u{a0}", "\u{200b}", " \u{200b}\u{200d} ", "\u{ad}", "\u{feff}", "\u{3164}", "\u{2800}"]
        {
            assert!(name(invisible).is_err(), "{invisible:?}");
        }
        for invisible in ["\u{2060}\u{202e}", "\u{e0041}", "\u{fe0f}", "\u{115f}", "\0", "\u{2028}"] {
            assert!(name(invisible).is_err(), "{invisible:?}");
        }
        // Joiners belong to the spelling of many languages, and to emoji.
        for visible in ["a", "می\u{200c}خواهم", "👩\u{200d}🔬", "❤\u{fe0f}", "größe"] {
            assert_eq!(name(visible), Ok(()), "{visible:?}");
        }
    }

    #[test]
    fn labels_are_empty_or_visible() {
        assert_eq!(label("", 200), Ok(()));
        assert_eq!(label("Training", 200), Ok(()));
        assert!(label("\u{200b}", 200).is_err());
        assert!(label("xxx", 2).is_err());
    }

    #[test]
    fn email_addresses_have_no_invisible_characters() {
        assert_eq!(email("alice@example.com"), Ok(()));
        for wrong in ["\u{200b}@example.com", "alice@\u{200b}", "alice@exa\u{ad}mple.com", "a b@example.com"] {
            assert!(email(wrong).is_err(), "{wrong:?}");
        }
    }
}
