//! What a process takes: memory, files, mappings.

use std::fmt;
use std::time::Duration;

use qemu_tests::tools::process_size_kib;

/// Mappings by which an allocator may differ from one moment to another.
const MAPPINGS_SLACK: usize = 12;
/// KiB by which memory at rest may have grown from the warm state on, and how much more for each hour.
const RESIDENT_SLACK_KIB: f64 = 4.0 * 1_024.0;
const RESIDENT_KIB_PER_HOUR: f64 = 1_024.0;

/// What a process takes at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vitals {
    resident_kib: f64,
    files: usize,
    mappings: usize,
}

impl Vitals {
    /// Of a process that runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn of(pid: u32) -> Self {
        let mappings = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
        Self {
            // Shared memory is the guests', and counted there.
            resident_kib: process_size_kib(pid, "RssAnon"),
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count(),
            mappings: mappings.lines().count(),
        }
    }

    /// What has grown that should not, after so long.
    pub fn grown_since(&self, warm: &Self, time: Duration) -> Vec<String> {
        let mut grown = Vec::new();
        let allowed = RESIDENT_SLACK_KIB + RESIDENT_KIB_PER_HOUR * time.as_secs_f64() / 3_600.0;
        if self.resident_kib > warm.resident_kib + allowed {
            grown.push(format!("memory grew from {} to {} KiB", warm.resident_kib, self.resident_kib));
        }
        if self.files > warm.files {
            grown.push(format!("open files grew from {} to {}", warm.files, self.files));
        }
        if self.mappings > warm.mappings + MAPPINGS_SLACK {
            grown.push(format!("mappings grew from {} to {}", warm.mappings, self.mappings));
        }
        grown
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} KiB, {} files, {} mappings", self.resident_kib, self.files, self.mappings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_named_and_slack_is_not() {
        let warm = Vitals { resident_kib: 10_000.0, files: 30, mappings: 100 };
        let hour = Duration::from_secs(3_600);
        assert_eq!(warm.grown_since(&warm, hour), Vec::<String>::new());
        let slack = Vitals { resident_kib: 15_000.0, files: 29, mappings: 112 };
        assert_eq!(slack.grown_since(&warm, hour), Vec::<String>::new());
        let grown = Vitals { resident_kib: 15_200.0, files: 31, mappings: 113 };
        assert_eq!(grown.grown_since(&warm, hour).len(), 3);
        assert!(Vitals::of(std::process::id()).files >= 3);
    }
}
