//! A mount that hangs in the kernel costs its own series and one thread, and comes back.

mod hung;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::MemoryAccumulator,
    input::{CollectContext, Input, filesystem::Filesystem},
};

use self::hung::Hung;

/// Threads of this process that ask mounts.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "pitot-statfs").count()
}

fn collect(input: &mut Filesystem) -> (MemoryAccumulator, Duration) {
    let (mut acc, start) = (MemoryAccumulator::new(), Instant::now());
    let collected = input.collect(&CollectContext::new(Duration::from_millis(500)), &mut acc);
    assert!(collected.is_ok(), "{collected:?}");
    (acc, start.elapsed())
}

/// The mount's `device_error`, by the label that says why.
fn error(acc: &MemoryAccumulator, point: &Path, why: &str) -> Option<f64> {
    acc.number("filesystem_device_error", &["hung", &point.to_string_lossy(), "fuse", why])
}

#[test]
fn hung_mounts_cost_their_own_series_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let point = dir.path().join("hung");
    let hung = match Hung::mount(&point) {
        Ok(hung) => hung,
        Err(error) => return eprintln!("SKIPPED: no FUSE mount can be made here: {error}"),
    };
    let second = Hung::mount(&dir.path().join("second")).unwrap();
    let mut input = Filesystem::default();
    for cycle in 0..20 {
        let (acc, took) = collect(&mut input);
        assert!(took < Duration::from_millis(500), "cycle {cycle} took {took:?}");
        assert!(cycle == 0 || took < Duration::from_millis(100), "cycle {cycle} took {took:?}");
        assert_eq!(error(&acc, &point, "mountpoint timeout"), Some(1.0));
        assert_eq!(error(&acc, &second.point, "mountpoint timeout"), Some(1.0));
        // Everything else is there.
        assert!(acc.samples().iter().any(|s| s.name == "filesystem_size_bytes"));
        assert!(threads() <= 3, "cycle {cycle}: {} threads", threads());
    }
    assert!(input.degraded().unwrap().contains("/hung"), "{:?}", input.degraded());
    assert_eq!(input.debug_info()["stuck"].as_array().map(Vec::len), Some(2));

    // A second input of the same process, as after a change of configuration, does not join the queue.
    collect(&mut Filesystem::default());
    assert_eq!(input.debug_info()["blocked_threads"], 2);

    // The server ends: the call returns with an error of its own, and the thread with it.
    let start = Instant::now();
    let mut hung = hung;
    hung.end_server();
    let gone = "transport endpoint is not connected";
    loop {
        let (acc, _) = collect(&mut input);
        if error(&acc, &point, gone) == Some(1.0) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", input.debug_info());
    }
    drop((hung, second));
    loop {
        let (acc, _) = collect(&mut input);
        let left = acc.samples().iter().any(|s| s.labels.iter().any(|label| label.1 == "hung"));
        if !left && input.degraded().is_none() && threads() <= 1 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", input.debug_info());
    }
}
