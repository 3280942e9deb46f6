//! Maps that several kernel objects share, tried out with two definitions of one object.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
};

use pitot::{
    bpf::{Loader, Opened, Pinning},
    catalogue::{BpfDef, Entries, Hook, MapDef, ProgramKind, UnderWay, Variant},
};
use pitot_common::tcp::{BANK_WORDS, RESETS, Reset, TIMED};

use crate::{agent::Place, host::can_run};

const fn hook(name: &'static str, variants: &'static [Variant]) -> Hook {
    Hook { name, variants, when: "" }
}

const fn typed(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::TpBtf, loses: "" }
}

const fn resets(hooks: &'static [Hook]) -> BpfDef {
    BpfDef {
        object: "tcp",
        hooks,
        fields: &[],
        maps: &[
            MapDef { name: "TCP_HEADER", entries: Entries::Fixed(1) },
            MapDef { name: "TCP_START", entries: Entries::Fixed(TIMED) },
        ],
        shared: &[MapDef { name: "TCP", entries: Entries::PerCpu }],
        under_way: &[UnderWay::Map("TCP_START")],
        oldest: None,
    }
}

static SENT: BpfDef = resets(&[hook("tcp_send_reset", &[typed("tcp_send_reset")])]);
static RECEIVED: BpfDef = resets(&[hook("tcp_receive_reset", &[typed("tcp_recv_reset")])]);

/// Definitions of one object are told apart by a setting that these programs do not read.
fn open(loader: &mut Loader, def: &'static BpfDef, setting: u32) -> Opened {
    let opened = loader.open(def, |settings| settings.set("RTT_ON", setting)).unwrap();
    assert_eq!(opened.degraded, None);
    opened
}

fn sent_and_received(opened: &Opened) -> [u64; 2] {
    let view = opened.view("TCP", opened.cpus(), BANK_WORDS).unwrap();
    [Reset::Sent, Reset::Received].map(|reset| view.sum(BANK_WORDS, RESETS + reset.index()))
}

fn be_refused(times: usize) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (0..times).for_each(|_| assert!(TcpStream::connect(address).is_err()));
}

#[test]
fn objects_that_are_not_pinned_write_one_map() {
    if !can_run() {
        return;
    }
    let mut loader = Loader::new(Path::new("/sys"), Pinning::Ignore);
    assert!(!loader.runs("tcp"));
    let sent = open(&mut loader, &SENT, 0);
    assert!(loader.runs("tcp"));
    let received = open(&mut loader, &RECEIVED, 1);
    drop(loader);
    be_refused(100);
    let counted = sent_and_received(&sent);
    assert!(counted[0] >= 90 && counted[1] >= 90, "{counted:?}");
    assert_eq!(sent_and_received(&received)[1], sent_and_received(&sent)[1]);
}

#[test]
fn a_loader_of_its_own_has_maps_of_its_own() {
    if !can_run() {
        return;
    }
    let [first, second] = [(); 2].map(|()| Loader::new(Path::new("/sys"), Pinning::Ignore));
    let [first, second] = [first, second].map(|mut loader| open(&mut loader, &SENT, 0));
    let view = first.writable_view("TCP", first.cpus(), BANK_WORDS).unwrap();
    view.store(BANK_WORDS - 1, 7);
    let last = |opened: &Opened| opened.view("TCP", 1, BANK_WORDS).unwrap().sum(BANK_WORDS, BANK_WORDS - 1);
    assert_eq!([last(&first), last(&second)], [7, 0]);
}

#[test]
fn a_pinned_map_is_found_by_the_next_agent_and_goes_with_its_last_user() {
    if !can_run() {
        return;
    }
    let place = Place::new("shared");
    let loader = || Loader::new(Path::new("/sys"), Pinning::Own(place.pins.clone()));
    let write = |opened: &Opened, value| {
        opened.writable_view("TCP", 1, BANK_WORDS).unwrap().store(BANK_WORDS - 1, value);
    };
    let read = |opened: &Opened| opened.view("TCP", 1, BANK_WORDS).unwrap().sum(BANK_WORDS, BANK_WORDS - 1);
    let folders = || {
        let mut names: Vec<String> = fs::read_dir(&place.pins)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().rsplit_once('-').unwrap().0.to_owned())
            .collect();
        names.sort_unstable();
        names
    };

    let mut first = loader();
    write(&open(&mut first, &SENT, 0), 7);
    first.tidy();
    drop(first);
    assert_eq!(folders(), ["shared", "tcp"]);

    // The same object, adopted; and another one, made for the map that is there.
    for (def, setting) in [(&SENT, 0), (&RECEIVED, 1)] {
        let mut next = loader();
        let opened = open(&mut next, def, setting);
        assert_eq!(read(&opened), 7);
        next.tidy();
        assert_eq!(folders(), ["shared", "tcp"]);
    }
    let looking = open(&mut Loader::new(Path::new("/sys"), Pinning::Look(place.pins.clone())), &RECEIVED, 1);
    assert_eq!(read(&looking), 7);
    let unlike = open(&mut Loader::new(Path::new("/sys"), Pinning::Look(place.pins.clone())), &SENT, 0);
    assert_eq!(read(&unlike), 0);

    pitot::bpf::clean(&place.pins).unwrap();
    let anew = open(&mut loader(), &SENT, 0);
    assert_eq!(read(&anew), 0);
}
