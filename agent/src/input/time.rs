//! The clock: time, time zone of the host, and what the kernel counts time with.

use std::{
    fs, io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, Source, Unit},
    source::{File, Roots, numbered, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "time",
    about: "Time of the host, its time zone and its clock sources.",
    prefix: "node_",
    source: Source::Files(&[
        "root:etc/localtime",
        "sys:devices/system/clocksource/clocksource*/available_clocksource",
        "sys:devices/system/clocksource/clocksource*/current_clocksource",
    ]),
    cost: "two short files, and every five minutes that of the time zone",
    metrics: &[&SECONDS, &ZONE_OFFSET, &CLOCKSOURCE_AVAILABLE, &CLOCKSOURCE_CURRENT],
    options: &[],
    open: |cx| Ok(Box::new(Time::new(cx.roots))),
};

static SECONDS: Metric =
    Metric::gauge("time_seconds", "The time of the host, in seconds since the Unix epoch.", &[])
        .unit(Unit::Seconds);
static ZONE_OFFSET: Metric = Metric::gauge(
    "time_zone_offset_seconds",
    "How far the local time of the host is ahead of UTC.",
    &[Label::bounded("time_zone", 2)],
)
.unit(Unit::Seconds);
static CLOCKSOURCE_AVAILABLE: Metric = Metric::info(
    "time_clocksource_available_info",
    "A clock source that the kernel could use.",
    &[Label::bounded("device", 1), Label::bounded("clocksource", 8)],
);
static CLOCKSOURCE_CURRENT: Metric = Metric::info(
    "time_clocksource_current_info",
    "The clock source that the kernel uses.",
    &[Label::bounded("device", 1), Label::bounded("clocksource", 8)],
);

/// How long what is known about the time zone is believed.
const ZONE_KEPT: Duration = Duration::from_secs(300);

/// Reads the clock.
#[derive(Debug)]
pub struct Time {
    roots: Roots,
    zone: TimeZone,
    zone_read: Option<Instant>,
    devices: Vec<Device>,
}

/// A device of the kernel's that has clock sources.
#[derive(Debug)]
struct Device {
    index: String,
    available: File,
    current: File,
}

impl Time {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        let dir = roots.sysfs.join("devices/system/clocksource");
        let devices = numbered(&dir, "clocksource").into_iter().enumerate().map(|(index, name)| Device {
            index: index.to_string(),
            available: File::new(dir.join(&name).join("available_clocksource")),
            current: File::new(dir.join(&name).join("current_clocksource")),
        });
        Self { roots: roots.clone(), zone: TimeZone::UTC, zone_read: None, devices: devices.collect() }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Time {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        if self.zone_read.is_none_or(|read| cx.started.saturating_duration_since(read) >= ZONE_KEPT) {
            self.zone = local_zone(&self.roots)?;
            self.zone_read = Some(cx.started);
        }
        let now = SystemTime::now();
        let since_epoch = now.duration_since(UNIX_EPOCH).map_err(InputError::other)?;
        acc.put(&SECONDS, &[], since_epoch.as_nanos() as f64 / 1e9);

        let timestamp = Timestamp::try_from(now).map_err(InputError::other)?;
        let local = self.zone.to_offset_info(timestamp);
        acc.put(&ZONE_OFFSET, &[local.abbreviation().as_bytes()], f64::from(local.offset().seconds()));

        for device in &mut self.devices {
            let index = device.index.as_bytes();
            for name in parse::fields(device.available.read()?.bytes().trim_ascii()) {
                acc.put(&CLOCKSOURCE_AVAILABLE, &[index, name], 1.0);
            }
            let current = device.current.read()?;
            acc.put(&CLOCKSOURCE_CURRENT, &[index, current.bytes().trim_ascii()], 1.0);
        }
        Ok(())
    }
}

/// The zone of `/etc/localtime`; UTC without one, as in the C library.
fn local_zone(roots: &Roots) -> Result<TimeZone, InputError> {
    let mut path = roots.root("etc/localtime".as_ref());
    // An absolute link means a file of the host's tree, not of ours.
    if let Ok(target) = fs::read_link(&path)
        && target.is_absolute()
    {
        path = roots.root(&target);
    }
    let failed = |what: &dyn std::fmt::Display| InputError::Other(format!("{}: {what}", path.display()));
    match fs::read(&path) {
        Ok(rules) => TimeZone::tzif("local", &rules).map_err(|error| failed(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TimeZone::UTC),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::{Tree, collect, few, survives};

    /// The oldest form of the format: no changes, one kind of local time, two hours east, called `EET`.
    fn eet() -> Vec<u8> {
        let counts = [0u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        [b"TZif\0".as_slice(), &[0; 15], &counts, &7200i32.to_be_bytes(), &[0, 0], b"EET\0"].concat()
    }

    #[test]
    fn the_zone_is_that_of_the_tree() {
        let tree = Tree::new(&[]);
        tree.write("usr/share/zoneinfo/EET", &eet());
        fs::create_dir(tree.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/usr/share/zoneinfo/EET", tree.path().join("etc/localtime")).unwrap();
        let acc = collect(&mut Time::new(&tree.roots())).unwrap();
        assert_eq!(acc.number("time_zone_offset_seconds", &["EET"]), Some(7200.0));
    }

    #[test]
    fn sources_are_listed_and_the_zone_is_utc_without_a_file() {
        let dir = "sys/devices/system/clocksource/clocksource0";
        let tree = Tree::new(&[]);
        tree.write(&format!("{dir}/available_clocksource"), b"tsc hpet acpi_pm \n");
        tree.write(&format!("{dir}/current_clocksource"), b"tsc\n");
        let acc = collect(&mut Time::new(&tree.roots())).unwrap();
        assert_eq!(acc.number("time_zone_offset_seconds", &["UTC"]), Some(0.0));
        for source in ["tsc", "hpet", "acpi_pm"] {
            assert_eq!(acc.number("time_clocksource_available_info", &["0", source]), Some(1.0));
        }
        assert_eq!(acc.number("time_clocksource_current_info", &["0", "tsc"]), Some(1.0));
        assert_eq!(acc.samples().len(), 6);
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_zone_is_fine(rules: Vec<u8>, header in 0..60usize) {
            let tree = Tree::new(&[]);
            tree.write("etc/localtime", &[&eet()[..header.min(eet().len())], &rules].concat());
            survives(&mut Time::new(&tree.roots()));
        }
    }
}
