//! Whether this host can run kernel programs, decided in one place.

use std::{env, fs, io::Write, path::Path, thread};

/// Capabilities that a container's root may lack; a host's root has them.
const NEEDED: [(u32, &str); 3] = [(21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// Whether a kernel test can run here. If not, it says so, and fails where `PITOT_REQUIRE_KERNEL=1` is set.
pub(crate) fn can_run() -> bool {
    match obstacle() {
        None => true,
        Some(why) => skip(&why),
    }
}

/// Says that a test cannot run here, and why; always false.
pub(crate) fn skip(why: &str) -> bool {
    let required = env::var("PITOT_REQUIRE_KERNEL").is_ok_and(|value| value == "1");
    assert!(!required, "PITOT_REQUIRE_KERNEL=1, but this test {why}");
    note(&format!("skipped: {why}"));
    false
}

/// Says something that is to be seen when the test passes as well: the harness holds back what macros print.
pub(crate) fn note(what: &str) {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let _closed = writeln!(std::io::stderr(), "{name}: {what}");
}

fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some(format!("needs root (this is user {})", nix::unistd::geteuid()));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if let Some((_, name)) = NEEDED.iter().find(|(bit, _)| effective >> bit & 1 == 0) {
        return Some(format!("needs root (with {name}, which this one lacks)"));
    }
    let types = Path::new("/sys/kernel/btf/vmlinux");
    (!types.exists()).then(|| format!("needs root (on a kernel with BTF: {} is missing)", types.display()))
}
