//! How much memory there is, how much is ours, and who is told. (Figures: reliability, section 2.)
use std::fs;
use std::path::Path;

/// The least of what is configured, what the control groups allow, and what the machine has;
/// None where the machine does not tell.
pub fn limit(configured: Option<u64>) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemTotal:"));
    let allowed = allowed(&groups, Path::new("/sys/fs/cgroup"));
    configured.into_iter().chain(machine).chain(allowed).min()
}

/// Bytes of ours that are in memory.
pub fn resident() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// How full, in percent.
pub fn percent(resident: u64, limit: u64) -> u8 {
    let full = u128::from(resident) * 100 / u128::from(limit.max(1));
    u8::try_from(full.min(100)).unwrap_or(100)
}

/// A line such as `VmRSS:   1234 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of our control group and of those around it, of either version.
fn allowed(groups: &str, root: &Path) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = base.join(path.trim_start_matches('/'));
        // In a container the path may be the host's: then only the root is there.
        for folder in group.ancestors().take_while(|folder| folder.starts_with(&base)) {
            let limit = fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let own = resident().unwrap();
        let limit = limit(None).unwrap();
        assert!(own > 1 << 20 && own < limit, "{own} of {limit}");
        assert_eq!(super::limit(Some(5)), Some(5));
        assert_eq!(kib("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!([percent(79, 100), percent(1, 0), percent(u64::MAX, 1)], [79, 100, 100]);
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/memory.max", "4096\n");
        put("a/b/memory.max", "max\n");
        put("memory/c/memory.limit_in_bytes", "2048\n");
        assert_eq!(allowed("0::/a/b\n", root.path()), Some(4096));
        assert_eq!(allowed("0::/a/b\n4:memory:/c/d\n3:cpu:/c\n", root.path()), Some(2048));
        assert_eq!(allowed("0::/elsewhere\n", root.path()), None);
    }
}
