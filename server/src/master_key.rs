//! The master key file in the data folder, which replaces `BERTH_MASTER_KEY`.

use service::Database;
use service::secrets::MasterKey;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Length of the key in bytes.
const KEY_LENGTH: usize = 32;

/// The keys of a key file.
pub(crate) struct Keys {
    /// The key of the first line, which encrypts.
    pub(crate) current: MasterKey,
    /// The keys of further lines, which only decrypt.
    pub(crate) previous: Vec<MasterKey>,
    /// Says that the file's group can read it.
    pub(crate) warning: Option<String>,
}

/// A key file, which may not exist yet. Each line has one key: first the current one, then earlier ones.
#[derive(Debug, Clone)]
pub struct KeyFile(PathBuf);

/// Parses 64 hex digits.
pub(crate) fn parse_key(text: &str) -> Option<[u8; KEY_LENGTH]> {
    let mut key = [0; KEY_LENGTH];
    hex::decode_to_slice(text.trim(), &mut key).ok()?;
    Some(key)
}

impl KeyFile {
    /// The key file of a data folder.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("master.key"))
    }

    /// Reads the keys; `None` if the file does not exist.
    ///
    /// # Errors
    /// If the file cannot be read, contains anything but keys, or all users of the machine can read or write it.
    pub(crate) fn read(&self) -> Result<Option<Keys>, String> {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable(&error)),
        };
        let warning = self.check_permissions()?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let keys: Option<Vec<_>> = lines.map(parse_key).collect();
        let mut keys = keys.unwrap_or_default().into_iter().map(MasterKey::from);
        match keys.next() {
            Some(current) => Ok(Some(Keys { current, previous: keys.collect(), warning })),
            None => Err(format!(
                "{} must contain keys of 64 hex digits, one in each line. Restore it, or set BERTH_MASTER_KEY.",
                self.0.display()
            )),
        }
    }

    /// Adds a new current key in front of the present ones, which then only decrypt. The file is replaced at once, so that
    /// an interrupted call leaves the old one.
    ///
    /// # Errors
    /// If the file does not exist, contains no key or cannot be written.
    pub(crate) fn add_key(&self) -> Result<(), String> {
        self.read()?.ok_or_else(|| self.unusable(&ErrorKind::NotFound.into()))?;
        let replace = || {
            let old = std::fs::read_to_string(&self.0)?;
            let new = self.0.with_extension("key.new");
            let key = hex::encode(service::secrets::random::<KEY_LENGTH>());
            // An interrupted call may have left it.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = create_private(&new)?;
            file.write_all(format!("{key}\n{old}").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.0)
        };
        replace().map_err(|error: std::io::Error| self.unusable(&error))
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates the file with a new key, readable only by its owner. If another process creates it at the same time, both
    /// use the same key.
    ///
    /// # Errors
    /// If the file cannot be written, or the database contains secrets, which a new key cannot decrypt.
    pub(crate) async fn create(&self, database: &Database) -> Result<MasterKey, String> {
        if service::secrets_exist(database).await.map_err(|error| error.to_string())? {
            return Err(format!(
                "The database contains encrypted secrets, but the master key {} does not exist. Restore the file from a \
                 backup, or set BERTH_MASTER_KEY to the key. If the key is lost, set BERTH_MASTER_KEY to a new one, and \
                 set the secrets of every webhook again.",
                self.0.display()
            ));
        }
        let key = service::secrets::random::<KEY_LENGTH>();
        let written = create_private(&self.0)
            .and_then(|mut file| file.write_all(hex::encode(key).as_bytes()).and_then(|()| file.sync_all()));
        match written {
            Ok(()) => Ok(key.into()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let created = self.read()?;
                created.map(|keys| keys.current).ok_or_else(|| self.unusable(&ErrorKind::NotFound.into()))
            }
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn unusable(&self, error: &std::io::Error) -> String {
        format!("The master key {} cannot be used ({error}). Set BERTH_MASTER_KEY instead.", self.0.display())
    }

    #[cfg(unix)]
    fn check_permissions(&self) -> Result<Option<String>, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = std::fs::metadata(&self.0).map_err(|error| self.unusable(&error))?;
        let (file, mode) = (self.0.display(), metadata.permissions().mode());
        if mode & 0o006 != 0 {
            return Err(format!("All users of this machine can access {file}. Run: chmod o-rwx {file}"));
        }
        Ok((mode & 0o060 != 0).then(|| {
            format!("the group of {file} can access it; if no other account needs the key, run: chmod 600 {file}")
        }))
    }

    #[cfg(not(unix))]
    fn check_permissions(&self) -> Result<Option<String>, String> {
        Ok(None)
    }
}

/// Creates a file that only its owner may read.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_keys_are_64_hex_digits() {
        assert_eq!(
            parse_key(&format!(" {}\n", "0aF9".repeat(16))).map(|key| key[..2].to_vec()),
            Some(vec![0x0a, 0xf9])
        );
        for invalid in ["", "00", &"g0".repeat(32), &"00".repeat(33), &"é".repeat(32)] {
            assert_eq!(parse_key(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn new_key_is_added_in_front_of_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::of(folder.path());
        assert!(file.add_key().unwrap_err().contains("master.key"));
        create_private(&file.0).unwrap().write_all("07".repeat(32).as_bytes()).unwrap();
        file.add_key().unwrap();
        create_private(&folder.path().join("master.key.new")).unwrap();
        file.add_key().unwrap();
        let keys = file.read().unwrap().unwrap();
        assert_eq!((keys.previous.len(), keys.warning), (2, None));
        let text = std::fs::read_to_string(&file.0).unwrap();
        assert!(text.ends_with(&"07".repeat(32)), "{text}");
        assert_eq!(text.lines().collect::<std::collections::HashSet<_>>().len(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn key_file_may_be_readable_by_its_group_but_not_by_all() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::of(folder.path());
        assert!(file.read().unwrap().is_none());
        std::fs::write(&file.0, "07".repeat(32)).unwrap();
        let read = |mode: u32| {
            std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(mode)).unwrap();
            file.read().map(|keys| keys.unwrap().warning.is_some())
        };
        for (mode, warns) in [(0o600, false), (0o400, false), (0o660, true), (0o640, true), (0o440, true)] {
            assert_eq!(read(mode), Ok(warns), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602, 0o666] {
            assert!(read(mode).unwrap_err().contains("chmod o-rwx"), "{mode:o}");
        }
    }
}
