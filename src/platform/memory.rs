//! How much memory the system could give to its file cache.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that are free or could be freed, of the machine or of the group of processes that this one is limited with. `None`
/// where the system is not Linux.
pub fn available_memory_bytes() -> Option<u64> {
    let available = super::usage::field("/proc/meminfo", "MemAvailable")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    Some(limits.fold(available, u64::min))
}

/// The files that limit the groups of `/proc/self/cgroup` and the groups around them, of both versions:
/// <https://docs.kernel.org/admin-guide/cgroup-v2.html>.
fn limit_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    let group = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let path = Path::new(path.trim_start_matches('/'));
        let around: Vec<PathBuf> = path.ancestors().map(|group| Path::new(root).join(group).join(file)).collect();
        Some(around)
    };
    groups.lines().filter_map(group).flatten().collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_every_group_around() {
        let files: Vec<_> = limit_files("9:cpu,cpuacct:/a\n4:memory:/b/c\n0::/d\nnonsense\n::").collect();
        let shown: Vec<_> = files.iter().filter_map(|file| file.to_str()).collect();
        assert_eq!(
            shown,
            [
                "/sys/fs/cgroup/memory/b/c/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/d/memory.max",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }
}
