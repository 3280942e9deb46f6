//! What a helper cannot do.

use std::fs;

use pitot::{input::check::HelperError, pod::Target};

use crate::{
    Test,
    checks::{EXEC, FILES, NET, PIDS},
    crew::{Crew, keepers, processes, spawners, status},
    target::Running,
};

pub(crate) const TESTS: &[Test] = &[
    ("privileges_are_gone", privileges_are_gone),
    ("rights_are_nobodys_or_the_targets", rights_are_nobodys_or_the_targets),
    ("nothing_of_the_host_is_there", nothing_of_the_host_is_there),
    ("hostile_calls_end_a_helper_and_others_are_refused", hostile_calls_end_a_helper_and_others_are_refused),
    ("no_file_of_the_target_is_changed", no_file_of_the_target_is_changed),
    ("memory_is_bounded", memory_is_bounded),
    ("the_spawner_keeps_little", the_spawner_keeps_little),
    ("without_privileges_there_are_checks_of_the_host", without_privileges_there_are_checks_of_the_host),
];

/// What makes this binary an agent without privileges.
pub(crate) const UNPRIVILEGED: &str = "be-anybody";

fn privileges_are_gone() {
    let target = Running::start(&["net", "pid", "mnt", "uts", "ipc"]);
    for (place, needs) in [
        (Target::Host, &NET),
        (target.target(), &NET),
        (target.target(), &FILES),
        (target.target(), &PIDS),
        (target.target(), &EXEC),
    ] {
        let crew = Crew::new();
        crew.ask(&place, needs, "echo 1").unwrap();
        let [helper] = processes()[..] else { panic!("one helper") };
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(helper, set), "0000000000000000", "{set} for {needs:?}");
        }
        assert_eq!(
            (status(helper, "NoNewPrivs"), status(helper, "Seccomp")),
            ("1".to_owned(), "2".to_owned())
        );
        assert_eq!(status(helper, "Threads"), "1");
        // What belongs to root although the process does not is not dumpable: nobody may trace it.
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{helper}/environ")).unwrap());
        assert_eq!(owner, 0);
        assert_eq!(fs::read(format!("/proc/{helper}/environ")).unwrap_or_default(), b"");
        let limits = fs::read_to_string(format!("/proc/{helper}/limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line.strip_prefix(name).unwrap().split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!((limit("Max core file size"), limit("Max open files")), ("0".to_owned(), "64".to_owned()));
        let open: Vec<String> = fs::read_dir(format!("/proc/{helper}/fd"))
            .unwrap()
            .filter_map(|entry| {
                Some(fs::read_link(entry.unwrap().path()).ok()?.to_string_lossy().into_owned())
            })
            .collect();
        assert!(open.len() <= 8, "{open:?}");
        assert_eq!(open.iter().filter(|name| name.starts_with("socket:")).count(), 1, "{open:?}");
    }
}

fn rights_are_nobodys_or_the_targets() {
    let target = Running::start(&["net", "pid", "user=4321"]);
    for (needs, user, groups) in [(&NET, 65534, ""), (&FILES, 4321, "4322"), (&PIDS, 4321, "4322")] {
        let crew = Crew::new();
        crew.ask(&target.target(), needs, "echo 1").unwrap();
        let [helper] = processes()[..] else { panic!("one helper") };
        let all = [user; 4].map(|user: u32| user.to_string()).join("\t");
        assert_eq!((status(helper, "Uid"), status(helper, "Gid")), (all.clone(), all));
        assert_eq!(status(helper, "Groups"), groups);
    }
}

fn nothing_of_the_host_is_there() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    let ask = |script: &str| crew.ask(&target.target(), &NET, script);
    for path in ["/etc/hostname", "/etc/passwd", "/proc/self/status", "/proc/1/stat", "/dev/null", "/usr"] {
        let error = ask(&format!("outside {path}")).unwrap_err();
        assert!(
            matches!(&error, HelperError::Failed(why) if why.contains("No such file")),
            "{path}: {error}"
        );
    }
    assert!(ask("list /").is_ok_and(|entries| entries == 0.0));
    assert!(ask("list ../../..").is_ok_and(|entries| entries == 0.0));
    assert!(
        ask("above").is_ok_and(|processes| processes == 0.0),
        "the host's processes are not above the target's"
    );
    assert!(ask("write /new").is_err());
    let here = fs::read("/etc/passwd").unwrap().len();
    assert_eq!(ask("inside /etc/passwd"), Ok(here as f64), "the target has the host's files here");
}

fn no_file_of_the_target_is_changed() {
    let (crew, target) = (Crew::new(), Running::start(&["mnt"]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    // It is root's, as the target is.
    let error = crew.ask(&target.target(), &FILES, &format!("change .{}", path.display())).unwrap_err();
    assert!(matches!(&error, HelperError::Failed(why) if why.contains("Permission denied")), "{error}");
    assert!(!path.exists());
}

fn hostile_calls_end_a_helper_and_others_are_refused() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    for call in
        ["ptrace", "setns", "unshare", "mount", "execve", "fork", "bpf", "keyctl", "open_by_handle_at"]
    {
        let error = crew.ask(&target.target(), &NET, &format!("call {call}")).unwrap_err();
        assert_eq!(error, HelperError::Died("SIGSYS".to_owned()), "{call}");
    }
    for call in ["getpriority", "sysinfo", "chdir", "unlink", "prctl", "kill"] {
        assert_eq!(
            crew.ask(&target.target(), &NET, &format!("call {call}")),
            Ok(f64::from(libc::EPERM)),
            "{call}"
        );
    }
    crew.settle(1);
}

fn memory_is_bounded() {
    let (crew, target) = (Crew::new(), Running::start(&["net"]));
    assert_eq!(crew.ask(&target.target(), &NET, "take 1000000"), Ok(1e6));
    let error = crew.ask(&target.target(), &NET, "take 1000000000").unwrap_err();
    assert!(matches!(error, HelperError::Died(_)), "{error}");
}

fn the_spawner_keeps_little() {
    let crew = Crew::new();
    let ([keeper], [spawner]) = (&keepers()[..], &spawners()[..]) else { panic!("one of each") };
    for pid in [*keeper, *spawner] {
        let kept = u64::from_str_radix(&status(pid, "CapPrm"), 16).unwrap();
        assert_eq!(kept.count_ones(), 7, "{kept:x}");
        assert_eq!((status(pid, "CapBnd"), status(pid, "CapInh")), ("0".repeat(16), "0".repeat(16)));
        assert_eq!((status(pid, "Threads"), status(pid, "NoNewPrivs")), ("1".to_owned(), "1".to_owned()));
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        let image = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(image.to_string_lossy().starts_with("/memfd:pitot-spawner"), "{}", image.display());
        assert!(fs::File::options().write(true).open(format!("/proc/{pid}/exe")).is_err());
    }
    drop(crew);
    assert!(keepers().is_empty());
}

fn without_privileges_there_are_checks_of_the_host() {
    // Somebody else may not even look into the folder that this binary is in.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("helper");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    for path in [folder.path(), copy.as_path()] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = std::process::Command::new(&copy);
    let output = std::os::unix::process::CommandExt::uid(command.arg(UNPRIVILEGED), 4321).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn as_anybody() {
    assert!(!nix::unistd::geteuid().is_root());
    let crew = Crew::new();
    assert_eq!(crew.ask(&Target::Host, &NET, "echo 1"), Ok(1.0));
    let [helper] = processes()[..] else { panic!("one helper") };
    assert_eq!((status(helper, "CapEff"), status(helper, "NoNewPrivs")), ("0".repeat(16), "1".to_owned()));
    assert_eq!(status(helper, "Seccomp"), "2");
    let own = crate::target::container(std::process::id());
    let error = crew.ask(&Target::Container(std::sync::Arc::new(own)), &NET, "echo 1").unwrap_err();
    assert!(matches!(&error, HelperError::Unsupported(why) if why.contains("CAP_SYS_ADMIN")), "{error}");
    assert_eq!(crew.ask(&Target::Host, &NET, "call setns"), Err(HelperError::Died("SIGSYS".to_owned())));
}
