//! From one set of programs to the next: what a new version of an object does with the maps of an old one.
//! Two definitions that differ in what their programs are told of the kernel stand for two versions.

use std::{
    env,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use pitot::{
    bpf::{Loader, Opened, Pinning},
    catalogue::{BpfDef, Entries, Field, Hook, MapDef, ProgramKind, UnderWay, Variant},
};
use pitot_common::syscall::BANK_WORDS;

use crate::{agent::Place, host::can_run, pins, raw};

/// The calls that these tests make, each one of its own: whatever is made on the host is counted.
const UNDER_LOAD: i64 = libc::SYS_io_cancel;
const OTHER_LAYOUT: i64 = libc::SYS_timer_getoverrun;
const LACKING: i64 = libc::SYS_mq_getsetattr;
const KILLED: i64 = libc::SYS_mq_notify;

const fn calls(fields: &'static [Field]) -> BpfDef {
    BpfDef {
        object: "syscall",
        hooks: &[Hook {
            name: "sys_enter",
            variants: &[Variant { program: "sys_enter", kind: ProgramKind::TpBtf, loses: "" }],
            when: "",
        }],
        fields,
        maps: &[
            MapDef { name: "SYSCALL", entries: Entries::PerCpu },
            MapDef { name: "SYSCALL_TIME", entries: Entries::Fixed(1) },
            MapDef { name: "SYSCALL_START", entries: Entries::Fixed(1) },
        ],
        shared: &[],
        under_way: &[UnderWay::Map("SYSCALL_START")],
        oldest: None,
    }
}

static OLD: BpfDef = calls(&[]);
static NEW: BpfDef = calls(&[Field { setting: "COMPAT_FLAGS", paths: &["task_struct.flags"], loses: "" }]);

/// Opens one of them as an agent does that owns its pins.
fn open(place: &Path, def: &'static BpfDef, decided: u32) -> Opened {
    let mut loader = Loader::new(Path::new("/sys"), Pinning::Own(place.to_owned()));
    let opened = loader.open(def, |settings| settings.set("EXIT", decided)).unwrap();
    loader.tidy();
    opened
}

fn counted(opened: &Opened, call: i64) -> u64 {
    opened.view("SYSCALL", opened.cpus(), BANK_WORDS).unwrap().sum(BANK_WORDS, call.try_into().unwrap())
}

/// The programs that the kernel has for the pinned map, and those of its folder: one, the same.
fn assert_one_writer(root: &Path) {
    let folder = pins::objects(root).remove("syscall").unwrap();
    let map = MapInfo::from_pin(folder.join("map-SYSCALL")).unwrap().id();
    let pinned = pins::programs(&folder);
    assert_eq!(pinned.len(), 1, "{}", folder.display());
    let start = Instant::now();
    loop {
        let programs = loaded_programs().filter_map(Result::ok);
        let uses = |program: &ProgramInfo| {
            program.map_ids().is_ok_and(|maps| maps.is_some_and(|maps| maps.contains(&map)))
        };
        let writers: Vec<u32> = programs.filter(uses).map(|program| program.id()).collect();
        if writers == pinned {
            return;
        }
        // The kernel forgets a program some time after it was detached.
        assert!(start.elapsed() < Duration::from_secs(5), "{writers:?} where {pinned:?} is pinned");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn other_programs_of_the_same_layout_count_on_and_never_twice() {
    const SWITCHES: u32 = 8;
    if !can_run() {
        return;
    }
    let place = Place::new("succession");
    let first = open(&place.pins, &OLD, 0);
    let since = first.counting_since();
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut last = 0;
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Not for ever, should the switches fail.
            while !over.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(30) {
                raw::call(UNDER_LOAD);
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        for switch in 1..=SWITCHES {
            let def = if switch % 2 == 0 { &OLD } else { &NEW };
            let opened = open(&place.pins, def, 0);
            assert_eq!(opened.counting_since(), since);
            assert_one_writer(&place.pins);
            thread::sleep(Duration::from_millis(50));
            let now = counted(&opened, UNDER_LOAD);
            assert!(now > last, "{last} and then {now}");
            last = now;
        }
        over.store(true, Ordering::Relaxed);
    });
    let (took, made) = (start.elapsed(), made.into_inner());
    let counted = counted(&open(&place.pins, &OLD, 0), UNDER_LOAD);
    assert!(counted <= made, "{counted} of {made}");
    let missed = took.mul_f64((made - counted) as f64 / made as f64) / SWITCHES;
    crate::host::note(&format!("{counted} of {made} calls were counted: {missed:?} are missed per switch"));
    assert!(missed < Duration::from_millis(500), "{missed:?} are missed per switch");
}

#[test]
fn another_layout_begins_anew_and_says_so() {
    if !can_run() {
        return;
    }
    let place = Place::new("layout");
    let before = SystemTime::now();
    let old = open(&place.pins, &OLD, 0);
    let old_folder = pins::objects(&place.pins).remove("syscall").unwrap();
    (0..100).for_each(|_| raw::call(OTHER_LAYOUT));
    assert!(counted(&old, OTHER_LAYOUT) >= 90, "{}", counted(&old, OTHER_LAYOUT));
    thread::sleep(Duration::from_millis(20));
    let new = open(&place.pins, &OLD, 1);
    assert_eq!(counted(&new, OTHER_LAYOUT), 0);
    // The kernel's clock for files is a little behind.
    assert!(old.counting_since() + Duration::from_millis(20) > before);
    assert!(new.counting_since() > old.counting_since());
    assert_ne!(pins::objects(&place.pins)["syscall"], old_folder);
    assert_one_writer(&place.pins);
}

#[test]
fn a_folder_that_lacks_a_map_is_replaced_as_a_whole() {
    if !can_run() {
        return;
    }
    let place = Place::new("lacking");
    let old = open(&place.pins, &OLD, 0);
    let folder = pins::objects(&place.pins).remove("syscall").unwrap();
    std::fs::remove_file(folder.join("map-SYSCALL_TIME")).unwrap();
    (0..100).for_each(|_| raw::call(LACKING));
    assert!(counted(&old, LACKING) >= 90);
    assert_eq!(counted(&open(&place.pins, &OLD, 0), LACKING), 0);
    assert_one_writer(&place.pins);
}

#[test]
fn a_kill_at_any_moment_of_a_switch_leaves_nothing_behind() {
    const KILLS: u32 = 32;
    if !can_run() {
        return;
    }
    let place = Place::new("switch");
    let first = open(&place.pins, &OLD, 0);
    let (since, mut last) = (first.counting_since(), 0);
    drop(first);
    let start = Instant::now();
    drop(open(&place.pins, &NEW, 0));
    let whole = start.elapsed().min(Duration::from_secs(1)) + Duration::from_millis(20);
    let mut made = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "succession::be_killed", "--ignored", "--nocapture"])
            .env("PITOT_TEST_PINS", &place.pins)
            .env("PITOT_TEST_NEW", (kill % 2).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(whole * (kill * 7 % KILLS) / KILLS);
        child.kill().unwrap();
        child.wait().unwrap();
        if kill % 3 != 2 {
            continue;
        }
        let opened = open(&place.pins, if kill % 4 < 2 { &OLD } else { &NEW }, 0);
        assert_eq!(opened.counting_since(), since);
        assert_one_writer(&place.pins);
        (0..100).for_each(|_| raw::call(KILLED));
        made += 100;
        let now = counted(&opened, KILLED);
        assert!(now >= last + 90 && now <= made, "{now} of {made}, {last} before");
        last = now;
    }
}

/// What the test above starts and kills.
#[test]
#[ignore = "the process that the test of kills starts"]
fn be_killed() {
    let [pins, new] = ["PITOT_TEST_PINS", "PITOT_TEST_NEW"].map(|name| env::var(name).unwrap());
    let _opened = open(Path::new(&pins), if new == "1" { &NEW } else { &OLD }, 0);
    let _killed = std::io::stdin().read(&mut [0]);
}
