#![expect(clippy::disallowed_methods, reason = "ip brings the loopback device up")]

use std::{fs, path::Path, process::Command, thread};

use nix::sched::{CloneFlags, unshare};

use super::{
    super::{Dir, execute_here},
    *,
};
use crate::{
    accumulator::{MemoryAccumulator, OwnedValue},
    catalogue::Metric,
    input::{OptionSetting, Options},
};

fn asked(hosts: &[&str], timeout: Duration, spacing: Duration) -> Result<Asked, String> {
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    let given = [
        ("hosts".to_owned(), OptionSetting::Texts(hosts)),
        ("timeout".to_owned(), OptionSetting::Duration(timeout)),
        ("spacing".to_owned(), OptionSetting::Duration(spacing)),
    ];
    Asked::new(Options::new(DEF.options, &given)).map_err(|unsupported| unsupported.0)
}

fn check(hosts: &[&str], timeout: Duration) -> Ping {
    Ping::new(asked(hosts, timeout, Duration::from_millis(10)).unwrap())
}

fn run(check: &mut Ping, root: &Path) -> Result<MemoryAccumulator, InputError> {
    let inside = Inside {
        deadline: Instant::now() + Duration::from_secs(60),
        root: Dir::open(root).unwrap(),
        process: Dir::open(Path::new("/proc/thread-self")).unwrap(),
        procfs: None,
    };
    let mut acc = MemoryAccumulator::new();
    execute_here(check, &inside, &mut acc).map(|()| acc)
}

/// Runs in a network namespace of its own, with a loopback device. Not without root.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root: a network namespace of its own");
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        test();
    };
    thread::spawn(run).join().unwrap();
}

fn set(sysctl: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net/ipv4").join(sysctl), value).unwrap();
}

#[test]
fn hosts_answer_or_not() {
    in_namespace(|| {
        set("ping_group_range", "0 2147483647");
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hosts"), "127.0.0.9 db\n").unwrap();
        let hosts = ["127.0.0.1", "::1", "db", "nope.example", "192.0.2.1"];
        let mut check = check(&hosts, Duration::from_secs(10));
        let acc = run(&mut check, root.path()).unwrap();
        for host in ["127.0.0.1", "::1", "db"] {
            let number = |name| acc.number(name, &[host]);
            assert_eq!((number("up"), number("sent"), number("received")), (Some(1.0), Some(3.0), Some(3.0)));
            assert_eq!((number("loss_ratio"), number("lost_total")), (Some(0.0), Some(0.0)));
            let [min, avg, max] =
                ["min", "avg", "max"].map(|stat| acc.number("rtt_seconds", &[host, stat]).unwrap());
            assert!(0.0 < min && min <= avg && avg <= max && max <= 10.0, "{host}: {min} {avg} {max}");
        }
        for (host, result) in [("nope.example", "unresolved"), ("192.0.2.1", "unreachable")] {
            assert_eq!(acc.number("up", &[host]), Some(0.0));
            assert_eq!(acc.number("loss_ratio", &[host]), None, "nothing was sent");
            assert_eq!(acc.number("results_total", &[host, result]), Some(1.0), "{host}");
        }
        assert_eq!(acc.number("executed", &[]), Some(1.0));
    });
}

#[test]
fn what_is_not_answered_is_lost_and_counts_add_up() {
    in_namespace(|| {
        set("ping_group_range", "0 2147483647");
        let hosts = ["127.0.0.1"];
        let mut first = check(&hosts, Duration::from_secs(10));
        run(&mut first, Path::new("/")).unwrap();
        set("icmp_echo_ignore_all", "1");
        let mut second = check(&hosts, Duration::from_millis(50));
        second.update_from(&mut first);
        let acc = run(&mut second, Path::new("/")).unwrap();
        let number = |name| acc.number(name, &hosts);
        assert_eq!((number("up"), number("sent"), number("loss_ratio")), (Some(0.0), Some(3.0), Some(1.0)));
        assert_eq!((number("sent_total"), number("lost_total")), (Some(6.0), Some(3.0)));
        for result in ["answered", "timeout"] {
            assert_eq!(acc.number("results_total", &["127.0.0.1", result]), Some(1.0));
        }
        assert_eq!(acc.number("rtt_seconds", &["127.0.0.1", "min"]), None);
        let histogram = acc.samples().iter().find_map(|sample| match &sample.value {
            OwnedValue::Histogram(histogram) => Some(histogram.count()),
            OwnedValue::Number(_) => None,
        });
        assert_eq!(histogram, Some(3));
    });
}

#[test]
fn where_it_is_not_allowed_nothing_is_said_about_hosts() {
    in_namespace(|| {
        set("ping_group_range", "1 0");
        let error = run(&mut check(&["127.0.0.1"], Duration::from_secs(1)), Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("net.ipv4.ping_group_range must include"), "{error}");
    });
}

#[test]
fn it_works_alone_in_the_agent_or_says_why_not() {
    let mut check = check(&["127.0.0.1"], Duration::from_secs(10));
    let mut acc = MemoryAccumulator::new();
    match check.collect(&CollectContext::new(Duration::from_secs(60)), &mut acc) {
        Ok(()) => assert_eq!(acc.number("up", &["127.0.0.1"]), Some(1.0)),
        Err(error) => assert!(error.to_string().contains("ping_group_range"), "{error}"),
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_write() {
    let second = Duration::from_secs(1);
    assert!(asked(&[], second, second).unwrap_err().contains("list names or addresses"));
    assert!(asked(&["a b"], second, second).unwrap_err().contains("`a b` is neither"));
    assert!(asked(&["db"], second, second / 1000).unwrap_err().contains("between 10ms and 10s"));
    let many: Vec<_> = (0..17).map(|n| format!("n{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(asked(&many, second, second).unwrap_err().contains("17 entries"));
    let good = asked(&["db", "db", "fd00::1"], second, second).unwrap();
    assert_eq!((good.hosts.len(), good.longest()), (2, Duration::from_secs(4)));
}

#[test]
fn a_helper_cannot_say_what_cannot_be() {
    let mut check = check(&["db"], Duration::from_secs(1));
    let mut deliver = |samples: &[(&'static Metric, &[&[u8]], f64)]| {
        let mut response = wire::Response::new();
        for (metric, labels, value) in samples {
            response.put(&DEF, metric, labels, *value).unwrap();
        }
        let mut acc = MemoryAccumulator::new();
        let result = check.process_response(&response.into_bytes().unwrap(), &mut acc);
        assert!(result.is_ok() || acc.samples().is_empty());
        result
    };
    let (sent, each, result) = (&metrics::SENT, &metrics::RTT_SECONDS, &metrics::RESULTS_TOTAL);
    let host: &[u8] = b"db";
    let answered: (_, &[&[u8]], _) = (result, &[host, b"answered"], 1.0);
    assert!(deliver(&[(sent, &[host], 1.0), (each, &[host, b"each"], 0.1), answered]).is_ok());
    assert!(deliver(&[(sent, &[host], 0.0), (each, &[host, b"each"], 0.1), answered]).is_err());
    assert!(deliver(&[(each, &[host, b"each"], 0.1), answered]).is_err());
    assert!(deliver(&[(sent, &[b"evil"], 1.0)]).is_err());
    assert!(deliver(&[(sent, &[host], 1.0), (result, &[host, b"evil"], 1.0)]).is_err());
    assert!(deliver(&[(&metrics::SENT_TOTAL, &[host], 1.0)]).is_err());
    for lie in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
        assert!(deliver(&[(sent, &[host], lie)]).is_err());
        assert!(deliver(&[(sent, &[host], 1.0), (each, &[host, b"each"], lie)]).is_err());
    }
    assert!(deliver(&[(sent, &[host], 0.5)]).is_err());
}
