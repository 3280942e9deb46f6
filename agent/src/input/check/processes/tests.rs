#![expect(clippy::disallowed_methods, reason = "processes are what is counted")]

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::*;
use crate::{
    accumulator::MemoryAccumulator,
    input::{
        check::{Dir, execute_here},
        testing::Tree,
    },
};

/// Is not left behind by a test that fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn check(procfs: &Path) -> Result<MemoryAccumulator, InputError> {
    let mut inside = Inside::host(Duration::from_secs(5)).unwrap();
    inside.procfs = Some(Dir::open(procfs).unwrap());
    let mut acc = MemoryAccumulator::new();
    execute_here(&mut Processes::default(), &inside, &mut acc).map(|()| acc)
}

fn number(acc: &MemoryAccumulator, name: &str) -> f64 {
    acc.number(name, &[]).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn the_host_is_a_namespace_too() {
    let mut acc = MemoryAccumulator::new();
    // As many files as no other process of a test has, in a process whose limit is known.
    let _files: Vec<File> = (0..300).map(|_| File::open("/").unwrap()).collect();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let _child = Started(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap());
    Processes::default().collect(&CollectContext::new(Duration::from_secs(10)), &mut acc).unwrap();
    assert_eq!(acc.number("executed", &[]), Some(1.0));
    let present = number(&acc, "present");
    assert!(present >= 2.0 && number(&acc, "threads") >= present);
    assert!(number(&acc, "resident_bytes") > 1e6);
    let states: f64 = sum::STATES.iter().map(|state| acc.number("states", &[state]).unwrap()).sum();
    assert_eq!(Some(states), acc.number("present", &[]));
    let (oldest, youngest) =
        (number(&acc, "oldest_start_time_seconds"), number(&acc, "youngest_start_time_seconds"));
    assert!(oldest <= youngest && youngest >= before - 1.0, "{oldest} {youngest} {before}");
    if let Some(most) = acc.number("open_files_most", &[]) {
        assert!(most >= 300.0 && number(&acc, "open_files") >= most);
        assert!(number(&acc, "open_files_used_ratio") > 0.0);
    } else {
        eprintln!("this kernel does not tell how many files are open");
    }
}

#[test]
fn a_namespace_of_its_own_has_its_own_processes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: no namespace is made");
        return;
    }
    // The first process of the namespace and one that it started; its /proc is seen through the first one's root.
    let script = "sleep 60 & echo ready; wait";
    let unshare = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c", script];
    let mut child =
        Command::new("unshare").args(unshare).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let child = Started(child);
    let children = format!("/proc/{0}/task/{0}/children", child.0.id());
    let first = std::fs::read_to_string(children).unwrap();
    let acc = check(&Path::new("/proc").join(first.trim()).join("root/proc")).unwrap();
    assert_eq!((number(&acc, "present"), number(&acc, "threads"), number(&acc, "unread")), (2.0, 2.0, 0.0));
    assert_eq!(acc.number("states", &["Z"]), Some(0.0));
}

const LINE: &str = "1 (x) Z 1 1 1 0 -1 4194560 0 0 0 0 3 4 0 0 20 0 1 0 700 0 25 0\n";

#[test]
fn what_the_kernel_does_not_tell_is_left_out() {
    // The size of a directory without entries is what older kernels show for every process.
    let procfs = Tree::new(&[("1/stat", LINE), ("2/stat", LINE), ("version", "x"), ("self/stat", LINE)]);
    let acc = check(procfs.path()).unwrap();
    assert_eq!((number(&acc, "present"), acc.number("states", &["Z"])), (2.0, Some(2.0)));
    for name in ["open_files", "open_files_most", "open_files_used_ratio"] {
        assert_eq!(acc.number(name, &[]), None, "{name}");
    }
}

#[test]
fn processes_past_the_bound_are_counted() {
    let procfs = Tree::new(&[("1/stat", LINE), ("2/stat", LINE), ("3/stat", LINE)]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let sum = Sum::of(&Dir::open(procfs.path()).unwrap(), 2, deadline).unwrap();
    assert_eq!((sum.read, sum.unread, sum.threads), (2, 1, 2));
}

#[test]
fn helpers_in_the_namespace_are_guests() {
    let line = |name: &str, parent: u32| LINE.replace("(x) Z 1", &format!("({name}) S {parent}"));
    let own = format!("{}/stat", std::process::id());
    let (first, other, shell, child) = (line("init", 0), line("me", 0), line("sh", 0), line("me", 1));
    let mut files = vec![("1/stat", &*first), ("2/stat", &*other), ("3/stat", &*shell), ("4/stat", &*child)];
    let (guest, native) = (line("me", 0), line("me", 1));
    files.push((&own, &*guest));
    // Somebody's shell in the container belongs to it, and so does who only has the name.
    assert_eq!(check(Tree::new(&files).path()).unwrap().number("present", &[]), Some(3.0));
    files[4].1 = &native;
    assert_eq!(check(Tree::new(&files).path()).unwrap().number("present", &[]), Some(5.0));
}

#[test]
fn nothing_found_out_is_an_error() {
    assert!(check(Tree::new(&[("version", "x")]).path()).is_err());
    assert!(check(Tree::new(&[("1/stat", "1 (x) S")]).path()).is_err());
    let procfs = Tree::new(&[("1/stat", LINE)]);
    assert!(Sum::of(&Dir::open(procfs.path()).unwrap(), 9, Instant::now()).is_err());
}
