//! CPU time of processes (Linux, 100 ticks per second).

use std::path::Path;

/// User and system time in `/proc/…/stat`, whose second field can contain spaces.
fn seconds_of(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    (fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)) / 100.0
}

fn stat(process: &str) -> String {
    std::fs::read_to_string(Path::new("/proc").join(process).join("stat")).unwrap_or_default()
}

/// CPU seconds of a process.
pub fn seconds(pid: u32) -> f64 {
    seconds_of(&stat(&pid.to_string()))
}

/// CPU seconds of all running PostgreSQL processes; 0 when it runs elsewhere.
pub fn postgres_seconds() -> f64 {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0.0 };
    let stats = processes.flatten().map(|entry| stat(&entry.file_name().to_string_lossy()));
    stats.filter(|stat| stat.contains("(postgres)")).map(|stat| seconds_of(&stat)).sum()
}
