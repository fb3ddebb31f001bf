//! The environment that xtask passes to Cargo.

use std::ffi::OsStr;

/// Whether `cargo run` sets the variable to a property of the package xtask.
fn is_package_variable(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
}

/// Restarts xtask without the variables of its package.
///
/// The build script of `ring` depends on them. With them, Cargo would compile `ring` and its dependents again whenever `cargo xtask`
/// and other Cargo commands alternate.
#[cfg(unix)]
pub fn remove_package_variables() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;

    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).filter(|name| is_package_variable(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    for name in names {
        command.env_remove(name);
    }
    // Returns only if the restart fails.
    Err(command.exec().into())
}

/// Keeps the environment: only Unix can replace the program of a process.
#[cfg(not(unix))]
pub fn remove_package_variables() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_the_package_are_removed() {
        let removed = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "PATH"]
            .map(|name| is_package_variable(OsStr::new(name)));
        assert_eq!(removed, [true, true, false, false, false, false]);
    }
}
