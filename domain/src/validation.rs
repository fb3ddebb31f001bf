//! Validation of single values, shared by the page's forms and the server. Each check returns a message for its field.

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

/// Checks a name: 1 to 100 characters on one line, not only white space.
///
/// # Errors
/// A message for the field.
pub fn name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("Enter a name.".into());
    }
    if name.chars().any(char::is_control) {
        return Err("Remove line breaks and control characters.".into());
    }
    text(name, 100)
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

/// Checks a password: 10 to 200 characters.
///
/// # Errors
/// A message for the field.
pub fn password(password: &str) -> Result<(), String> {
    match password.chars().count() {
        0..10 => Err("Use at least 10 characters.".into()),
        10..=200 => Ok(()),
        _ => Err("Use at most 200 characters.".into()),
    }
}

/// Checks an e-mail address: local part and domain, without white space, at most 254 characters (RFC 5321 §4.5.3.1.3).
///
/// # Errors
/// A message for the field.
pub fn email(email: &str) -> Result<(), String> {
    let is_valid = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
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
