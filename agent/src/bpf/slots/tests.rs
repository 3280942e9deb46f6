//! The rules of slots, on tables in plain memory.

use std::{cell::RefCell, collections::BTreeMap};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;

/// Slots of the table, with two banks more for the others and one for the past.
const SLOTS: u32 = 8;
const GONE: u32 = SLOTS + 1;
const PAST: u32 = SLOTS + 2;
const BANKS: usize = SLOTS as usize + 3;
/// A count, and what is in flight.
const PLACE: Place = Place { run: 1 + BANKS * 2, first: 1, words: 2 };
const RUNS: usize = 2;

/// Who there is, by identity, and which slot is charged.
#[derive(Default)]
struct Town {
    names: RefCell<BTreeMap<u64, &'static str>>,
    charged: RefCell<Option<usize>>,
}

impl Kind for Town {
    type Proof = ();
    const SLOTS: u32 = SLOTS;
    const SHOWN: usize = SLOTS as usize;
    const GONE: u32 = GONE;
    const PAST: Option<u32> = Some(PAST);

    fn find(&self, _: usize, identity: u64) -> Found<()> {
        let name = self.names.borrow().get(&identity).map(|name| name.as_bytes().into());
        Found { proof: name.is_some().then_some(()), name }
    }

    fn is_gone(&self, identity: u64, (): &()) -> bool {
        !self.names.borrow().contains_key(&identity)
    }

    fn is_charged(&self, slot: usize) -> bool {
        *self.charged.borrow() == Some(slot)
    }
}

/// A table and a map of banks, as programs see them, and the slots of an agent.
struct Host {
    table: WritableView,
    banks: WritableView,
    memory: [std::os::fd::OwnedFd; 2],
    start: Instant,
    slots: Slots<Town>,
}

fn memory(words: usize) -> std::os::fd::OwnedFd {
    let fd = memfd_create("words", MFdFlags::empty()).unwrap();
    nix::unistd::ftruncate(&fd, (words * 8).try_into().unwrap()).unwrap();
    fd
}

impl Host {
    fn new() -> Self {
        let words = [2 * SLOTS as usize, RUNS * PLACE.run];
        let memory = words.map(memory);
        let view = |at: usize| WritableView::new(&memory[at], words[at]).unwrap();
        let (table, banks) = (view(0), view(1));
        let slots = Slots::new(Town::default(), view(0), true);
        let mut host = Self { table, banks, memory, start: Instant::now(), slots };
        host.restart(true);
        host
    }

    /// Another agent comes to the same table.
    fn restart(&mut self, keeper: bool) {
        let view =
            |at: usize, like: &WritableView| WritableView::new(&self.memory[at], like.words().len()).unwrap();
        let town = std::mem::take(&mut self.slots.kind);
        self.slots = Slots::new(town, view(0, &self.table), keeper);
        let banks = Banks { view: view(1, &self.banks), place: PLACE, lasts: |word| word == 0 };
        self.slots.clean_up(banks);
    }

    fn born(&self, identity: u64, name: &'static str) {
        self.slots.kind.names.borrow_mut().insert(identity, name);
    }

    fn dies(&self, identity: u64) {
        self.slots.kind.names.borrow_mut().remove(&identity);
    }

    /// What a program does that counts for who has a slot.
    fn count(&self, slot: usize, identity: u64, count: u64) {
        self.table.store(slot, identity);
        for run in 0..RUNS {
            for word in 0..2 {
                self.banks.store(at(run, slot, word), count);
            }
        }
    }

    fn look(&mut self, seconds: u64) {
        self.slots.look(self.start + Duration::from_secs(seconds), Duration::ZERO);
    }

    /// Who is shown by name, and what was counted for it.
    fn shown(&self) -> Vec<(String, u64)> {
        let known = self.slots.known().filter(|(_, known)| !known.past);
        let named = known.filter_map(|(slot, known)| Some((slot, known.name.as_deref()?)));
        named.map(|(slot, name)| (String::from_utf8_lossy(name).into(), self.counted(slot))).collect()
    }

    fn counted(&self, slot: u32) -> u64 {
        self.words(slot, 0)
    }

    fn words(&self, slot: u32, word: usize) -> u64 {
        PLACE.of(&self.banks, slot).map(|bank| bank[word].load(Ordering::Relaxed)).sum()
    }

    fn identity(&self, slot: usize) -> u64 {
        self.table.words()[slot].load(Ordering::Relaxed)
    }
}

fn at(run: usize, slot: usize, word: usize) -> usize {
    run * PLACE.run + PLACE.first + slot * PLACE.words + word
}

fn one(name: &str, count: u64) -> Vec<(String, u64)> {
    vec![(name.into(), count)]
}

#[test]
fn one_that_is_gone_is_shown_for_a_while_and_then_its_slot_is_free() {
    let mut host = Host::new();
    host.born(7, "a");
    host.count(3, 7, 50);
    host.look(0);
    assert_eq!(host.shown(), one("a", 100));
    host.dies(7);
    host.look(10);
    host.look(69);
    assert_eq!((host.shown(), host.identity(3)), (one("a", 100), 7));
    host.look(70);
    assert_eq!((host.shown(), host.identity(3)), (vec![], FREE));
    // What counts goes to the past, and what was in flight nowhere.
    assert_eq!([host.counted(3), host.counted(PAST), host.counted(GONE)], [0, 100, 0]);
    assert_eq!([3, PAST, GONE].map(|slot| host.words(slot, 1)), [0, 0, 0]);
    host.born(8, "b");
    host.count(3, 8, 1);
    host.look(71);
    assert_eq!(host.shown(), one("b", 2));
}

#[test]
fn one_that_nobody_could_name_is_left_to_the_others() {
    let mut host = Host::new();
    host.count(0, 7, 5);
    host.look(0);
    assert_eq!((host.shown(), host.slots.known().count()), (vec![], 1));
    host.look(60);
    assert_eq!([host.counted(0), host.counted(PAST), host.counted(GONE)], [0, 0, 10]);
}

#[test]
fn another_of_the_same_name_begins_anew_at_once() {
    let mut host = Host::new();
    host.born(7, "a");
    host.count(1, 7, 5);
    host.look(0);
    host.dies(7);
    host.born(8, "a");
    host.count(2, 8, 1);
    host.look(1);
    assert_eq!((host.shown(), host.identity(1), host.counted(PAST)), (one("a", 2), FREE, 10));
}

#[test]
fn one_with_two_slots_is_shown_once() {
    let mut host = Host::new();
    host.born(7, "a");
    host.count(1, 7, 5);
    host.count(4, 7, 1);
    host.look(0);
    assert_eq!((host.shown(), host.slots.known().count()), (one("a", 10), 2));
    host.dies(7);
    host.look(10);
    host.look(70);
    assert_eq!([host.counted(PAST), host.counted(GONE)], [10, 2]);
}

#[test]
fn nothing_is_taken_from_under_a_program_that_still_counts() {
    let mut host = Host::new();
    host.born(7, "a");
    host.count(1, 7, 5);
    host.look(0);
    host.dies(7);
    *host.slots.kind.charged.borrow_mut() = Some(1);
    host.look(10);
    host.look(200);
    assert_eq!((host.shown(), host.identity(1)), (one("a", 10), 7));
    *host.slots.kind.charged.borrow_mut() = None;
    host.look(201);
    assert_eq!((host.shown(), host.identity(1)), (vec![], FREE));
}

#[test]
fn farewells_are_short_while_slots_are_scarce() {
    let mut host = Host::new();
    for slot in 0..6u32 {
        let identity = u64::from(slot) + 1;
        host.born(identity, ["a", "b", "c", "d", "e", "f"][slot as usize]);
        host.count(slot as usize, identity, 1);
    }
    host.look(0);
    host.dies(1);
    // All are looked at, however little time has passed.
    host.look(1);
    host.look(5);
    assert_eq!(host.shown().len(), 6);
    host.look(6);
    assert_eq!((host.shown().len(), host.identity(0)), (5, FREE));
}

#[test]
fn all_are_looked_at_in_ten_seconds_and_not_more_often_than_asked() {
    let mut host = Host::new();
    for slot in 0..4u32 {
        host.born(u64::from(slot) + 1, ["a", "b", "c", "d"][slot as usize]);
        host.count(slot as usize, u64::from(slot) + 1, 1);
    }
    host.look(0);
    (1..=4).for_each(|identity| host.dies(identity));
    let gone = |host: &Host| host.slots.known().filter(|(_, known)| known.gone.is_some()).count();
    host.look(1);
    assert!(gone(&host) < 4, "a share of them");
    (2..=10).for_each(|second| host.look(second));
    assert_eq!(gone(&host), 4);
    host.count(6, 9, 1);
    host.slots.look(host.start + Duration::from_secs(11), Duration::from_secs(2));
    assert_eq!(host.slots.known().count(), 4, "not yet");
    host.slots.look(host.start + Duration::from_secs(12), Duration::from_secs(2));
    assert_eq!(host.slots.known().count(), 5);
}

#[test]
fn an_agent_that_comes_later_shows_nobody_twice() {
    let mut host = Host::new();
    host.born(7, "a");
    host.count(1, 7, 5);
    host.look(0);
    host.dies(7);
    // Another one went before anybody looked.
    host.count(2, 8, 1);
    host.restart(true);
    host.look(20);
    assert_eq!((host.shown(), host.identity(1), host.identity(2)), (vec![], FREE, 8));
    host.look(80);
    assert_eq!([host.counted(PAST), host.counted(GONE)], [10, 2]);
}

#[test]
fn what_an_agent_left_half_emptied_is_emptied_by_the_next() {
    for (shown, heir) in [(7, PAST), (FREE, GONE)] {
        let mut host = Host::new();
        host.count(1, LEAVING, 5);
        host.table.store(SLOTS as usize + 1, shown);
        host.look(0);
        assert_eq!((host.identity(1), host.counted(1), host.counted(heir)), (FREE, 0, 10));
    }
}

#[test]
fn an_agent_that_only_looks_changes_nothing() {
    let mut host = Host::new();
    host.restart(false);
    host.born(7, "a");
    host.count(1, 7, 5);
    host.count(2, LEAVING, 3);
    host.look(0);
    assert_eq!(host.shown(), one("a", 10));
    host.dies(7);
    host.look(10);
    host.look(500);
    assert_eq!((host.identity(1), host.identity(2)), (7, LEAVING));
    assert_eq!((host.counted(1), host.counted(2), host.identity(SLOTS as usize + 1)), (10, 6, FREE));
}
