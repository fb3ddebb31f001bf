//! Modes of Berth's files: the database, backups and the master key contain data that no other user of the machine may read.

use std::path::{Path, PathBuf};

/// Secret settings of the TOML file.
const SECRETS: [&str; 8] = [
    "master_key",
    "previous_master_keys",
    "admin_password",
    "database_url",
    "metrics_token",
    "smtp_url",
    "client_secret ",
    "client_secret=",
];

/// Makes new files and folders of this process accessible to its user only. Call it before other threads start.
pub fn restrict_new_files() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Creates a folder, and its parents, that only its owner can access. The mode of an existing one stays.
///
/// # Errors
/// If the folder cannot be created.
pub fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The file of a SQLite database, and the files beside it.
pub fn database_files(database: &Path) -> Vec<PathBuf> {
    let with = |suffix: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    ["", "-wal", "-shm"].map(with).to_vec()
}

/// Whether a settings file contains a secret.
pub fn contains_secret(settings: &Path) -> bool {
    let text = std::fs::read_to_string(settings).unwrap_or_default();
    text.lines().any(|line| SECRETS.iter().any(|name| line.trim_start().starts_with(name)))
}

/// A warning if other users of the machine can access a file or folder. `None` if it does not exist.
#[cfg(unix)]
pub fn warn_if_accessible(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    let (mode, private) = (metadata.permissions().mode() & 0o777, if metadata.is_dir() { 700 } else { 600 });
    let who = match mode {
        _ if mode & 0o007 != 0 => "all users of this machine",
        _ if mode & 0o070 != 0 => "its group",
        _ => return None,
    };
    let path = path.display();
    Some(format!("{path} has the mode {mode:04o} and is accessible to {who}. Run: chmod {private} {path}"))
}

/// A warning if other users of the machine can access a file or folder. Modes exist only on Unix.
#[cfg(not(unix))]
pub fn warn_if_accessible(_: &Path) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn modes_wider_than_the_owner_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("berth.db");
        assert_eq!(warn_if_accessible(&file), None, "it does not exist");
        std::fs::write(&file, "").unwrap();
        for (mode, expected) in [(0o600, None), (0o400, None), (0o640, Some("its group")), (0o644, Some("all users"))] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let warning = warn_if_accessible(&file);
            assert_eq!(warning.is_some(), expected.is_some(), "{mode:o}");
            let is_complete = |warning: &String| warning.contains(expected.unwrap()) && warning.contains("chmod 600");
            assert!(warning.iter().all(is_complete), "{warning:?}");
        }
    }

    #[test]
    fn created_folders_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let created = folder.path().join("a/b");
        create_private_folder(&created).unwrap();
        create_private_folder(&created).unwrap();
        for path in [created.clone(), folder.path().join("a")] {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        std::fs::set_permissions(&created, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(warn_if_accessible(&created).unwrap().contains("chmod 700"));
    }

    #[test]
    fn settings_with_secrets_are_recognized() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, expected) in [("listen = \"127.0.0.1:1\"", false), ("# a\n  master_key = \"00\"", true), ("", false)]
        {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(contains_secret(file.path()), expected, "{text}");
        }
    }
}
