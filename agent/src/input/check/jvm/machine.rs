//! What the counters of one Java virtual machine say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    metrics::{self, Amount},
    perfdata::{Counters, Flaw, Value},
};
use crate::source::parse;

/// Of one machine; what is past that is counted. Every collector of today has two generations at the most.
const GENERATIONS: usize = 4;
const SPACES: usize = 6;
const COLLECTORS: usize = 8;

/// One machine. Texts are slices of its file.
#[derive(Debug, Default)]
pub(super) struct Machine<'a> {
    /// Ticks in a second.
    frequency: Option<f64>,
    /// When it began, in milliseconds since 1970.
    began: Option<u64>,
    command: &'a [u8],
    pub(super) version: &'a [u8],
    /// Name of the policy of garbage collection.
    pub(super) policy: &'a [u8],
    /// In the order of [`metrics::PLAIN`].
    pub(super) plain: [Option<i64>; metrics::PLAIN.len()],
    pub(super) generations: [Generation<'a>; GENERATIONS],
    /// Outside the heap, in the order of [`metrics::NOT_HEAP`].
    pub(super) not_heap: [Space<'a>; metrics::NOT_HEAP.len()],
    pub(super) collectors: [Collector<'a>; COLLECTORS],
    /// Numbers of generations, spaces and collectors past those.
    pub(super) past_bound: u32,
}

/// A part of the heap that is collected as one.
#[derive(Debug, Default)]
pub(super) struct Generation<'a> {
    pub(super) name: &'a [u8],
    pub(super) spaces: [Space<'a>; SPACES],
}

/// Memory with one purpose.
#[derive(Debug, Default)]
pub(super) struct Space<'a> {
    pub(super) name: &'a [u8],
    pub(super) used: Option<i64>,
    pub(super) committed: Option<i64>,
    pub(super) most: Option<i64>,
}

/// What collects garbage.
#[derive(Debug, Default)]
pub(super) struct Collector<'a> {
    pub(super) name: &'a [u8],
    pub(super) collections: Option<i64>,
    pub(super) ticks: Option<i64>,
}

impl<'a> Machine<'a> {
    /// Reads a file. One with a flaw says nothing at all.
    pub(super) fn of(file: &'a [u8]) -> Result<Self, Flaw> {
        let mut machine = Self::default();
        for counter in Counters::of(file)? {
            match counter? {
                (name, Value::Number(value)) => machine.number(name, value),
                (name, Value::Text(text)) => machine.text(name, text),
                (_, Value::Other) => {}
            }
        }
        Ok(machine)
    }

    fn number(&mut self, name: &[u8], value: i64) {
        if let Some(at) = metrics::PLAIN.iter().position(|plain| plain.counter.as_bytes() == name) {
            self.plain[at] = Some(value);
        } else if let Some(rest) = name.strip_prefix(b"sun.gc.") {
            self.of_memory(rest, value);
        } else if name == b"sun.rt.createVmBeginTime" {
            self.began = u64::try_from(value).ok();
        } else if name == b"sun.os.hrt.frequency" {
            self.frequency = Some(value as f64).filter(|&ticks| ticks > 0.0);
        }
    }

    fn of_memory(&mut self, name: &[u8], value: i64) {
        let (kind, rest) = parse::split_once(name, b'.').unwrap_or((name, b""));
        if let Some(at) = metrics::NOT_HEAP.iter().position(|known| known.as_bytes() == kind) {
            self.not_heap[at].number(rest, value);
            return;
        }
        match (kind, numbered(rest)) {
            (b"collector", Some((at, what))) => {
                let Some(collector) = self.collectors.get_mut(at) else {
                    self.past_bound += u32::from(what == b"invocations");
                    return;
                };
                match what {
                    b"invocations" => collector.collections = Some(value),
                    b"time" => collector.ticks = Some(value),
                    _ => {}
                }
            }
            (b"generation", Some((at, what))) => {
                let space = what.strip_prefix(b"space.").and_then(numbered);
                let Some((of, what)) = space else { return };
                let spaces = self.generations.get_mut(at).map(|generation| &mut generation.spaces);
                match spaces.and_then(|spaces| spaces.get_mut(of)) {
                    Some(space) => space.number(what, value),
                    None => self.past_bound += u32::from(what == b"used"),
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, name: &[u8], text: &'a [u8]) {
        match name {
            b"sun.rt.javaCommand" => self.command = text,
            b"java.property.java.version" => self.version = text,
            b"sun.gc.policy.name" => self.policy = text,
            _ => self.name_of_memory(name, text),
        }
    }

    fn name_of_memory(&mut self, name: &[u8], text: &'a [u8]) {
        let collector = name.strip_prefix(b"sun.gc.collector.").and_then(numbered);
        if let Some((at, b"name")) = collector {
            if let Some(collector) = self.collectors.get_mut(at) {
                collector.name = text;
            }
            return;
        }
        let generation = name.strip_prefix(b"sun.gc.generation.").and_then(numbered);
        let Some((generation, what)) =
            generation.and_then(|(at, what)| Some((self.generations.get_mut(at)?, what)))
        else {
            return;
        };
        match what.strip_prefix(b"space.").and_then(numbered) {
            Some((at, b"name")) => {
                if let Some(space) = generation.spaces.get_mut(at) {
                    space.name = text;
                }
            }
            None if what == b"name" => generation.name = text,
            _ => {}
        }
    }

    /// The class, module or archive that was started, without the folder it is in.
    pub(super) fn main(&self) -> &'a [u8] {
        let word = self.command.split(|&b| b == b' ').next().unwrap_or_default();
        word.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// A number of ticks in seconds.
    pub(super) fn seconds(&self, ticks: i64) -> Option<f64> {
        Some(ticks as f64 / self.frequency?)
    }

    /// For how long it has been running, as it says.
    pub(super) fn uptime(&self) -> Option<Duration> {
        let at =
            metrics::PLAIN.iter().position(|plain| std::ptr::eq(plain.metric, &raw const metrics::UPTIME))?;
        Duration::try_from_secs_f64(self.seconds(self.plain[at]?)?).ok()
    }

    /// The same by the clock of the wall, which may have been set since: for machines from version 25 on, which do not
    /// say it.
    pub(super) fn since_it_began(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        now.checked_sub(Duration::from_millis(self.began?))
    }

    /// The value of a counter in the unit of its metric; none is below zero.
    pub(super) fn amount(&self, value: i64, amount: Amount) -> Option<f64> {
        let value = match amount {
            Amount::Number => value as f64,
            Amount::Ticks => self.seconds(value)?,
        };
        (value >= 0.0).then_some(value)
    }
}

impl Space<'_> {
    fn number(&mut self, what: &[u8], value: i64) {
        match what {
            b"used" => self.used = Some(value),
            b"capacity" => self.committed = Some(value),
            b"maxCapacity" => self.most = Some(value),
            _ => {}
        }
    }
}

/// `7.rest` as 7 and `rest`.
fn numbered(name: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = parse::split_once(name, b'.')?;
    Some((usize::try_from(parse::number(number)?).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::check::jvm::perfdata::tests::file;

    #[test]
    fn the_main_class_is_a_word_without_its_folder() {
        let main = |command: &'static [u8]| Machine { command, ..Machine::default() }.main();
        assert_eq!(main(b"org.example.Main --port 80"), b"org.example.Main");
        assert_eq!(main(b"/opt/app/lib/server.jar -x /a/b"), b"server.jar");
        assert_eq!(
            main(b"jdk.compiler/com.sun.tools.javac.launcher.Main Sleepy.java"),
            b"com.sun.tools.javac.launcher.Main"
        );
        assert_eq!(main(b""), b"");
    }

    #[test]
    fn names_and_numbers_meet_in_any_order() {
        let file = file(
            true,
            &[
                ("sun.gc.generation.1.space.0.used", Value::Number(5)),
                ("sun.gc.generation.1.space.0.name", Value::Text(b"old space")),
                ("sun.gc.generation.1.name", Value::Text(b"old")),
                ("sun.gc.generation.1.space.0.maxCapacity", Value::Number(9)),
                ("sun.gc.generation.9.space.0.used", Value::Number(1)),
                ("sun.gc.generation.18446744073709551615.space.0.used", Value::Number(1)),
                ("sun.gc.generation.1.space.77.used", Value::Number(1)),
                ("sun.gc.collector.2.time", Value::Number(3_000_000_000)),
                ("sun.gc.collector.2.name", Value::Text(b"pauses")),
                ("sun.gc.collector.99.invocations", Value::Number(3)),
                ("sun.gc.metaspace.capacity", Value::Number(11)),
                ("sun.os.hrt.frequency", Value::Number(1_000_000_000)),
                ("sun.os.hrt.ticks", Value::Number(2_500_000_000)),
            ],
        );
        let machine = Machine::of(&file).unwrap();
        let generation = &machine.generations[1];
        assert_eq!((generation.name, generation.spaces[0].name), (&b"old"[..], &b"old space"[..]));
        assert_eq!((generation.spaces[0].used, generation.spaces[0].most), (Some(5), Some(9)));
        assert_eq!(machine.collectors[2].name, b"pauses");
        assert_eq!(machine.seconds(machine.collectors[2].ticks.unwrap()), Some(3.0));
        assert_eq!((machine.not_heap[0].committed, machine.past_bound), (Some(11), 4));
        assert_eq!(machine.uptime(), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn ticks_without_a_frequency_are_no_seconds() {
        for frequency in [0, -1] {
            let file = file(
                true,
                &[("sun.os.hrt.frequency", Value::Number(frequency)), ("sun.os.hrt.ticks", Value::Number(1))],
            );
            assert_eq!(Machine::of(&file).unwrap().uptime(), None);
        }
        let machine = Machine { frequency: Some(1.0), ..Machine::default() };
        assert_eq!((machine.amount(-1, Amount::Number), machine.amount(-1, Amount::Ticks)), (None, None));
    }
}
