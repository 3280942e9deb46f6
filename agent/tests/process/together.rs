//! Two agents on one host, and `pitot clean`.

use crate::{
    agent::{COUNTING, Place, calls},
    host::can_run,
    pins, raw,
};

#[test]
fn clean_removes_everything_but_not_from_under_an_agent() {
    if !can_run() {
        return;
    }
    let place = Place::new("clean");
    let agent = place.start("", &[]);
    let refused = place.command("", &["clean"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("another pitot (pid {})", agent.pid())), "{said}");
    assert!(said.contains("stop it first"), "{said}");
    pins::assert_whole(&place.pins);

    drop(agent);
    let cleaned = place.command("", &["clean"]).output().unwrap();
    assert!(cleaned.status.success(), "{cleaned:?}");
    let said = String::from_utf8_lossy(&cleaned.stdout);
    assert_eq!(
        said.lines().filter(|line| line.starts_with("removed ")).count(),
        COUNTING.len() + 1,
        "{said}"
    );
    assert!(!place.pins.exists());

    let again = place.command("", &["clean"]).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing is pinned"), "{again:?}");
}

#[test]
fn a_second_agent_serves_what_the_first_one_counts() {
    if !can_run() {
        return;
    }
    let place = Place::new("second");
    let first = place.start("", &[]);
    let second = place.start("", &[]);
    for input in COUNTING {
        assert_eq!(first.state(input), ["running", "tp_btf", ""]);
        assert_eq!(second.state(input), ["running", "tp_btf, counted by another pitot", ""]);
    }
    pins::assert_whole(&place.pins);
    (0..100).for_each(|_| raw::call(libc::SYS_nfsservctl));
    let (first, second) = (first.scrape(), second.scrape());
    assert!(calls(&first, "nfsservctl") >= 100);
    assert_eq!(calls(&first, "nfsservctl"), calls(&second, "nfsservctl"));
}

/// As when a new pod starts before the old one ends.
#[test]
fn a_second_agent_goes_on_when_the_first_one_ends() {
    if !can_run() {
        return;
    }
    let place = Place::new("heir");
    let first = place.start("", &[]);
    let second = place.start("", &[]);
    let before = second.scrape();
    drop(first);
    (0..1_000).for_each(|_| raw::call(libc::SYS_remap_file_pages));
    let name = "remap_file_pages";
    assert_eq!(calls(&second.scrape(), name) - calls(&before, name), 1_000);
    // The next one owns the pins that nobody holds, and they are the same.
    let third = place.start("", &[]);
    assert_eq!(third.state("syscall"), ["running", "tp_btf", ""]);
    assert_eq!(calls(&third.scrape(), name) - calls(&before, name), 1_000);
    pins::assert_whole(&place.pins);
}

#[test]
fn a_second_agent_with_other_settings_says_who_is_in_the_way() {
    if !can_run() {
        return;
    }
    let place = Place::new("other");
    let first = place.start("", &[]);
    let second = place.start("[input.syscall]\nlatency = true\n", &[]);
    let [state, _, reason] = second.state("syscall");
    assert_eq!(state, "unsupported");
    let holder = format!("another pitot (pid {}) holds the kernel programs", first.pid());
    assert!(reason.contains(&holder), "{reason}");
    assert_eq!(second.state("sched")[1], "tp_btf, counted by another pitot");
    pins::assert_whole(&place.pins);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new("port");
    let first = place.start("", &["--no-ebpf"]);
    let address = first.address.unwrap().to_string();
    let second = place.command("", &["--no-ebpf", "--listen", &address]).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("--listen"), "{said}");
}
