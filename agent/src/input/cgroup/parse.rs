//! The files of control groups, of both versions, into figures of one unit. A line of a kind that is not
//! known is passed over: kernels add some. A known one with something else than a number is refused.

use super::figures::{Figures, Limits};
use crate::source::parse::{fields, lines, number, split_once};

const NANOSECONDS_PER_MICROSECOND: u64 = 1000;
/// What `cpuacct.stat` counts in; the same on all machines that Linux runs on today.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;
/// Version 1 says "no limit" with a number near 2^63, which depends on the size of pages.
const UNLIMITED: u64 = 1 << 62;

/// One number and the end of a line.
fn only(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// A number, or no limit.
fn limit(text: &[u8], slot: &mut Option<u64>) -> Option<()> {
    *slot = match text.trim_ascii() {
        b"max" | b"-1" => None,
        text => Some(number(text)?).filter(|&value| value < UNLIMITED),
    };
    Some(())
}

/// Calls for each line of a name and a number.
fn named(text: &[u8], mut take: impl FnMut(&[u8], u64)) -> Option<()> {
    for line in lines(text) {
        let (name, value) = split_once(line, b' ')?;
        take(name, number(value.trim_ascii())?);
    }
    Some(())
}

pub(super) fn memory_usage(text: &[u8], figures: &mut Figures) -> Option<()> {
    figures.memory_usage = Some(only(text)?);
    Some(())
}

pub(super) fn memory_peak(text: &[u8], figures: &mut Figures) -> Option<()> {
    figures.memory_peak = Some(only(text)?);
    Some(())
}

pub(super) fn memory_events(text: &[u8], figures: &mut Figures) -> Option<()> {
    named(text, |name, value| {
        let at = super::metrics::MEMORY_EVENT_NAMES.iter().position(|event| event.as_bytes() == name);
        if let Some(at) = at {
            figures.memory_events[at] = Some(value);
        }
    })
}

pub(super) fn pids(text: &[u8], figures: &mut Figures) -> Option<()> {
    figures.pids = Some(only(text)?);
    Some(())
}

/// `cpu.stat`. Version 1 has the time of throttling in nanoseconds, under another name, and no usage.
pub(super) fn cpu_stat(text: &[u8], figures: &mut Figures) -> Option<()> {
    let nanoseconds = |micro: u64| Some(micro.saturating_mul(NANOSECONDS_PER_MICROSECOND));
    named(text, |name, value| match name {
        b"usage_usec" => figures.cpu_usage = nanoseconds(value),
        b"user_usec" => figures.cpu_modes[0] = nanoseconds(value),
        b"system_usec" => figures.cpu_modes[1] = nanoseconds(value),
        b"nr_periods" => figures.cpu_periods = Some(value),
        b"nr_throttled" => figures.cpu_throttled_periods = Some(value),
        b"throttled_usec" => figures.cpu_throttled = nanoseconds(value),
        b"throttled_time" => figures.cpu_throttled = Some(value),
        _ => {}
    })
}

pub(super) fn cpuacct_usage(text: &[u8], figures: &mut Figures) -> Option<()> {
    figures.cpu_usage = Some(only(text)?);
    Some(())
}

pub(super) fn cpuacct_stat(text: &[u8], figures: &mut Figures) -> Option<()> {
    let nanoseconds = |ticks: u64| Some(ticks.saturating_mul(NANOSECONDS_PER_TICK));
    named(text, |name, value| match name {
        b"user" => figures.cpu_modes[0] = nanoseconds(value),
        b"system" => figures.cpu_modes[1] = nanoseconds(value),
        _ => {}
    })
}

pub(super) fn pressure<const RESOURCE: usize>(text: &[u8], figures: &mut Figures) -> Option<()> {
    for line in lines(text) {
        let kind = match split_once(line, b' ')?.0 {
            b"some" => 0,
            b"full" => 1,
            _ => continue,
        };
        let total = fields(line).find_map(|field| field.strip_prefix(b"total="));
        let nanoseconds = number(total?)?.saturating_mul(NANOSECONDS_PER_MICROSECOND);
        figures.pressure[RESOURCE][kind] = Some(nanoseconds);
    }
    Some(())
}

/// `major:minor`
fn device(text: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = split_once(text, b':')?;
    let small = |text| u32::try_from(number(text)?).ok();
    Some((small(major)?, small(minor)?))
}

/// A line per device: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
pub(super) fn io_stat(text: &[u8], figures: &mut Figures) -> Option<()> {
    for line in lines(text) {
        let mut fields = fields(line);
        // A device that has done nothing may be without numbers, on the line of the next one.
        let mut current = None;
        for field in &mut fields {
            let Some((name, value)) = split_once(field, b'=') else {
                current = Some(device(field)?);
                continue;
            };
            let (major, minor) = current?;
            let io = figures.device(major, minor);
            let slot = match name {
                b"rbytes" => &mut io.bytes[0],
                b"wbytes" => &mut io.bytes[1],
                b"rios" => &mut io.operations[0],
                b"wios" => &mut io.operations[1],
                _ => continue,
            };
            *slot = number(value)?;
        }
    }
    Some(())
}

/// A line per device and operation, `8:0 Read 1`, and a sum without a device.
fn throttle(text: &[u8], mut take: impl FnMut(u32, u32, usize, u64)) -> Option<()> {
    for line in lines(text) {
        let mut fields = fields(line);
        let (first, operation, value) = (fields.next()?, fields.next()?, fields.next());
        let operation = match operation {
            b"Read" => 0,
            b"Write" => 1,
            _ => continue,
        };
        let (major, minor) = device(first)?;
        take(major, minor, operation, number(value?)?);
    }
    Some(())
}

pub(super) fn throttle_bytes(text: &[u8], figures: &mut Figures) -> Option<()> {
    throttle(text, |major, minor, at, value| figures.device(major, minor).bytes[at] = value)
}

pub(super) fn throttle_operations(text: &[u8], figures: &mut Figures) -> Option<()> {
    throttle(text, |major, minor, at, value| figures.device(major, minor).operations[at] = value)
}

/// `memory.oom_control`
pub(super) fn oom_control(text: &[u8], figures: &mut Figures) -> Option<()> {
    named(text, |name, value| {
        if name == b"oom_kill" {
            figures.memory_events[4] = Some(value);
        }
    })
}

pub(super) fn memory_limit(text: &[u8], limits: &mut Limits) -> Option<()> {
    limit(text, &mut limits.memory)
}

pub(super) fn pids_limit(text: &[u8], limits: &mut Limits) -> Option<()> {
    limit(text, &mut limits.pids)
}

/// `cpu.max`: quota and period.
pub(super) fn cpu_max(text: &[u8], limits: &mut Limits) -> Option<()> {
    let (quota, period) = split_once(text, b' ')?;
    limit(quota, &mut limits.cpu_quota)?;
    limits.cpu_period = Some(only(period)?);
    Some(())
}

pub(super) fn cfs_quota(text: &[u8], limits: &mut Limits) -> Option<()> {
    limit(text, &mut limits.cpu_quota)
}

pub(super) fn cfs_period(text: &[u8], limits: &mut Limits) -> Option<()> {
    limits.cpu_period = Some(only(text)?);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::soup;

    fn figures(parse: fn(&[u8], &mut Figures) -> Option<()>, text: &str) -> Option<Figures> {
        let mut figures = Figures::default();
        parse(text.as_bytes(), &mut figures).map(|()| figures)
    }

    #[test]
    fn both_versions_give_the_same_figures() {
        let second = "usage_usec 3000\nuser_usec 1000\nsystem_usec 2000\ncore_sched.force_idle_usec 0\n\
                      nr_periods 7\nnr_throttled 2\nthrottled_usec 5\nnr_bursts 0\n";
        let second = figures(cpu_stat, second).unwrap();
        let mut first = figures(cpu_stat, "nr_periods 7\nnr_throttled 2\nthrottled_time 5000\n").unwrap();
        cpuacct_usage(b"3000000\n", &mut first).unwrap();
        for figures in [&first, &second] {
            assert_eq!(figures.cpu_usage, Some(3_000_000));
            assert_eq!((figures.cpu_periods, figures.cpu_throttled_periods), (Some(7), Some(2)));
            assert_eq!(figures.cpu_throttled, Some(5000));
        }
        assert_eq!(second.cpu_modes, [Some(1_000_000), Some(2_000_000)]);
        assert_eq!(figures(cpuacct_stat, "user 3\nsystem 4\n").unwrap().cpu_modes[1], Some(40_000_000));
    }

    #[test]
    fn devices_of_both_versions_are_the_same() {
        let second =
            figures(io_stat, "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 8:0 rbytes=9\n");
        let second = second.unwrap();
        let mut first = Figures::default();
        let bytes = "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Total 3\n8:0 Read 9\nTotal 12\n";
        throttle_bytes(bytes.as_bytes(), &mut first).unwrap();
        throttle_operations(b"254:0 Read 3\n254:0 Write 4\nTotal 7\n", &mut first).unwrap();
        for figures in [&first, &second] {
            let io: Vec<_> = figures.io.iter().map(|d| (d.major, d.minor, d.bytes, d.operations)).collect();
            assert_eq!(io, [(254, 0, [1, 2], [3, 4]), (8, 0, [9, 0], [0, 0])]);
        }
    }

    #[test]
    fn no_limit_is_no_number() {
        let of = |parse: fn(&[u8], &mut Limits) -> Option<()>, text: &str| {
            let mut limits = Limits::default();
            parse(text.as_bytes(), &mut limits).map(|()| limits)
        };
        assert_eq!(of(memory_limit, "max\n").unwrap().memory, None);
        assert_eq!(of(memory_limit, "9223372036854771712\n").unwrap().memory, None);
        assert_eq!(of(memory_limit, "4096\n").unwrap().memory, Some(4096));
        assert_eq!(of(cfs_quota, "-1\n").unwrap().cpu_quota, None);
        let limits = of(cpu_max, "50000 100000\n").unwrap();
        assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(50_000), Some(100_000)));
        assert!(of(cpu_max, "max\n").is_none() && of(pids_limit, "many").is_none());
    }

    #[test]
    fn pressure_is_in_nanoseconds_and_events_have_names() {
        let text = "some avg10=0.00 avg60=0.10 avg300=0.01 total=12\nfull avg10=0.00 total=5\n";
        assert_eq!(figures(pressure::<1>, text).unwrap().pressure[1], [Some(12_000), Some(5_000)]);
        let text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
        assert_eq!(figures(memory_events, text).unwrap().memory_events, [1, 2, 3, 4, 5].map(Some));
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(figures(oom_control, text).unwrap().memory_events[4], Some(3));
        for bad in ["some total=x\n", "full avg10=1\n", "some\n"] {
            assert!(figures(pressure::<0>, bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_content_is_fine(text in soup(&["8:0", "rbytes", "Read", "Total", "some ", "total=", "oom_kill"])) {
            let (mut figures, mut limits) = (Figures::default(), Limits::default());
            for parse in [cpu_stat, memory_events, io_stat, throttle_bytes, pressure::<2>, oom_control] {
                let _ = parse(&text, &mut figures);
            }
            let _ = (cpu_max(&text, &mut limits), memory_limit(&text, &mut limits));
        }
    }
}
