//! What programs cost, sampled: the kernel counts their runs only while its BPF statistics are on.
//!
//! Statistics cost two readings of a clock for every run of every program on the host, so they are on for a
//! slice only, unless someone wants them all the time. Turning them on takes `CAP_SYS_ADMIN`, which the agent
//! gives back when it has started; a descriptor that keeps them on can be held and closed without.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::sys::{Stats, enable_stats};

use super::{Figures, Program};

/// Adds up runs over the spans in which statistics are known to have been on. What is counted outside of
/// them, because someone else turned statistics on for a moment, has no length and is left out.
pub struct Sampler {
    hold: Option<OwnedFd>,
    switch: PathBuf,
    /// When it last looked, if statistics were on then.
    since: Option<Instant>,
    sampled: Vec<Sampled>,
    window: Duration,
}

/// What one program cost while statistics were on.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The program.
    pub name: &'static str,
    /// Its object, which has the name of its input.
    pub object: &'static str,
    /// Its runs.
    pub runs: u64,
    /// What they took, in nanoseconds.
    pub nanos: u64,
    /// The last look: runs and nanoseconds since the program was loaded.
    seen: (u64, u64),
    /// The same as `runs` and `nanos`, between the last two looks.
    last: (u64, u64),
}

impl Sampled {
    /// Nanoseconds between the last two looks.
    pub fn last_nanos(&self) -> u64 {
        self.last.1
    }
}

impl Sampler {
    /// One for the kernel whose procfs this is; it has not looked yet.
    pub fn new(procfs: &Path) -> Self {
        let switch = procfs.join("sys/kernel/bpf_stats_enabled");
        Self { hold: None, switch, since: None, sampled: Vec::new(), window: Duration::ZERO }
    }

    /// Turns statistics on, until [`Self::release`].
    pub fn hold(&mut self) -> io::Result<()> {
        self.hold = Some(enable_stats(Stats::RunTime).map_err(|error| error.io_error)?);
        Ok(())
    }

    /// Turns them off again, unless someone else keeps them on. Look first.
    pub fn release(&mut self) {
        self.hold = None;
    }

    /// Whether statistics are on, as far as this process can know.
    fn is_on(&self) -> bool {
        self.hold.is_some() || fs::read(&self.switch).is_ok_and(|text| text.starts_with(b"1"))
    }

    /// Looks at the programs. Returns the time since the last look if statistics were on then and still are.
    /// The figures are those of the programs, read just now.
    pub fn look(&mut self, programs: &[Program], figures: &[Figures]) -> Option<Duration> {
        let on = self.is_on();
        if !on && self.since.is_none() {
            return None;
        }
        let now = Instant::now();
        let span = self.since.filter(|_| on).map(|since| now - since);
        self.since = on.then_some(now);
        // A program that is no longer looked at, because its input was closed, used nothing since.
        for known in &mut self.sampled {
            known.last = (0, 0);
        }
        for (program, figures) in programs.iter().zip(figures).filter(|(program, _)| !program.is_map) {
            self.note(program, (figures.run_count, figures.run_time_ns), span.is_some());
        }
        self.window += span.unwrap_or_default();
        span
    }

    fn note(&mut self, program: &Program, seen: (u64, u64), counts: bool) {
        let at = self.sampled.iter().position(|known| known.name == program.name);
        let Some(known) = at.map(|at| &mut self.sampled[at]) else {
            let (name, object) = (program.name, program.object);
            self.sampled.push(Sampled { name, object, runs: 0, nanos: 0, seen, last: (0, 0) });
            return;
        };
        let (runs, nanos) = (seen.0.saturating_sub(known.seen.0), seen.1.saturating_sub(known.seen.1));
        known.seen = seen;
        known.last = if counts { (runs, nanos) } else { (0, 0) };
        known.runs += known.last.0;
        known.nanos += known.last.1;
    }

    /// What has been added up.
    pub fn sampled(&self) -> &[Sampled] {
        &self.sampled
    }

    /// How long statistics have been on while it looked.
    pub fn window(&self) -> Duration {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::OwnedFd};

    use super::*;

    fn program() -> Program {
        let fd = OwnedFd::from(File::open("/dev/null").unwrap());
        Program { name: "p", object: "o", is_map: false, fd }
    }

    #[test]
    fn only_spans_with_statistics_count() {
        let folder = tempfile::tempdir().unwrap();
        let switch = folder.path().join("sys/kernel/bpf_stats_enabled");
        fs::create_dir_all(switch.parent().unwrap()).unwrap();
        let mut sampler = Sampler::new(folder.path());
        let programs = [program()];
        // On is a span from one look to the next, and only when it is on at both.
        for (content, spans) in [("0", 0), ("1\n", 0), ("1\n", 1), ("0\n", 0), ("1\n", 0), ("1\n", 1)] {
            fs::write(&switch, content).unwrap();
            assert_eq!(sampler.look(&programs, &[Figures::default()]).iter().count(), spans, "{content}");
        }
        assert!(sampler.window() > Duration::ZERO);
    }

    #[test]
    fn a_detached_program_keeps_its_total_and_costs_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let switch = folder.path().join("sys/kernel/bpf_stats_enabled");
        fs::create_dir_all(switch.parent().unwrap()).unwrap();
        fs::write(&switch, "1").unwrap();
        let mut sampler = Sampler::new(folder.path());
        let programs = [program()];
        let ran = |run_count, run_time_ns| Figures { run_count, run_time_ns, ..Figures::default() };
        sampler.look(&programs, &[ran(0, 0)]);
        sampler.look(&programs, &[ran(3, 70)]);
        assert_eq!(sampler.sampled()[0].last_nanos(), 70);
        sampler.look(&[], &[]);
        let known = &sampler.sampled()[0];
        assert_eq!((known.runs, known.nanos, known.last_nanos()), (3, 70, 0));
    }

    #[test]
    fn runs_outside_of_spans_are_left_out() {
        let mut sampler = Sampler::new(Path::new("/nowhere"));
        let program = program();
        for (seen, counts) in [((10, 100), false), ((30, 400), true), ((90, 900), false), ((91, 905), true)] {
            sampler.note(&program, seen, counts);
        }
        let known = &sampler.sampled()[0];
        assert_eq!((known.runs, known.nanos, known.last_nanos()), (21, 305, 5));
    }
}
