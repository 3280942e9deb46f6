//! Network devices: bytes, packets and what went wrong with them.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use super::{CollectContext, Input, InputDef, InputError, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Label, Metric, OptionDef, OptionValue, Source, Unit},
    source::{Content, File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "netdev",
    about: "Traffic, errors and drops of every network device.",
    prefix: "node_",
    source: Source::Files(&["proc:net/dev", "sys:class/net/*/statistics/rx_nohandler"]),
    cost: "one file, and a short one per device: the kernel sums a device's counters over all CPUs for each",
    metrics: &[
        &RECEIVE_BYTES,
        &RECEIVE_PACKETS,
        &RECEIVE_ERRS,
        &RECEIVE_DROP,
        &RECEIVE_FIFO,
        &RECEIVE_FRAME,
        &RECEIVE_COMPRESSED,
        &RECEIVE_MULTICAST,
        &RECEIVE_NOHANDLER,
        &TRANSMIT_BYTES,
        &TRANSMIT_PACKETS,
        &TRANSMIT_ERRS,
        &TRANSMIT_DROP,
        &TRANSMIT_FIFO,
        &TRANSMIT_COLLS,
        &TRANSMIT_CARRIER,
        &TRANSMIT_COMPRESSED,
    ],
    options: &[
        OptionDef {
            key: "device_exclude",
            default: OptionValue::Regex(""),
            help: "Devices to leave out; empty for none.",
        },
        OptionDef {
            key: "device_include",
            default: OptionValue::Regex(""),
            help: "The only devices to report; empty for all.",
        },
    ],
    open: |cx| {
        let (exclude, include) = (cx.options.pattern("device_exclude"), cx.options.pattern("device_include"));
        Ok(Box::new(Netdev::new(cx.roots).with_devices(exclude, include)))
    },
};

/// Container hosts have a device per pod.
const DEVICE: &[Label] = &[Label::bounded("device", 1000)];

static RECEIVE_BYTES: Metric =
    Metric::counter("network_receive_bytes_total", "Bytes that the device received.", DEVICE)
        .unit(Unit::Bytes);
static RECEIVE_PACKETS: Metric =
    Metric::counter("network_receive_packets_total", "Packets that the device received.", DEVICE);
static RECEIVE_ERRS: Metric =
    Metric::counter("network_receive_errs_total", "Packets that arrived damaged, of any kind.", DEVICE);
static RECEIVE_DROP: Metric = Metric::counter(
    "network_receive_drop_total",
    "Packets that arrived and were dropped by the driver, the device or the network stack.",
    DEVICE,
);
static RECEIVE_FIFO: Metric =
    Metric::counter("network_receive_fifo_total", "Overruns of the device's receive queue.", DEVICE);
static RECEIVE_FRAME: Metric = Metric::counter(
    "network_receive_frame_total",
    "Packets received with a wrong length, checksum or framing.",
    DEVICE,
);
static RECEIVE_COMPRESSED: Metric =
    Metric::counter("network_receive_compressed_total", "Compressed packets received.", DEVICE);
static RECEIVE_MULTICAST: Metric =
    Metric::counter("network_receive_multicast_total", "Multicast packets received.", DEVICE);
static RECEIVE_NOHANDLER: Metric = Metric::counter(
    "network_receive_nohandler_total",
    "Packets received on an inactive device that nobody took.",
    DEVICE,
);
static TRANSMIT_BYTES: Metric =
    Metric::counter("network_transmit_bytes_total", "Bytes that the device sent.", DEVICE).unit(Unit::Bytes);
static TRANSMIT_PACKETS: Metric =
    Metric::counter("network_transmit_packets_total", "Packets that the device sent.", DEVICE);
static TRANSMIT_ERRS: Metric =
    Metric::counter("network_transmit_errs_total", "Packets that could not be sent, of any kind.", DEVICE);
static TRANSMIT_DROP: Metric =
    Metric::counter("network_transmit_drop_total", "Packets dropped on their way out.", DEVICE);
static TRANSMIT_FIFO: Metric =
    Metric::counter("network_transmit_fifo_total", "Failures of the device's transmit queue.", DEVICE);
static TRANSMIT_COLLS: Metric =
    Metric::counter("network_transmit_colls_total", "Collisions on the wire while sending.", DEVICE);
static TRANSMIT_CARRIER: Metric = Metric::counter(
    "network_transmit_carrier_total",
    "Packets not sent for lack of a carrier, an abort, a missed heartbeat or a late collision.",
    DEVICE,
);
static TRANSMIT_COMPRESSED: Metric =
    Metric::counter("network_transmit_compressed_total", "Compressed packets sent.", DEVICE);

/// The columns of the file as its heading names them, and what they count.
static COLUMNS: [(&[u8], &Metric); 16] = [
    (b"bytes", &RECEIVE_BYTES),
    (b"packets", &RECEIVE_PACKETS),
    (b"errs", &RECEIVE_ERRS),
    (b"drop", &RECEIVE_DROP),
    (b"fifo", &RECEIVE_FIFO),
    (b"frame", &RECEIVE_FRAME),
    (b"compressed", &RECEIVE_COMPRESSED),
    (b"multicast", &RECEIVE_MULTICAST),
    (b"bytes", &TRANSMIT_BYTES),
    (b"packets", &TRANSMIT_PACKETS),
    (b"errs", &TRANSMIT_ERRS),
    (b"drop", &TRANSMIT_DROP),
    (b"fifo", &TRANSMIT_FIFO),
    (b"colls", &TRANSMIT_COLLS),
    (b"carrier", &TRANSMIT_CARRIER),
    (b"compressed", &TRANSMIT_COMPRESSED),
];

/// Reads `/proc/net/dev`.
#[derive(Debug)]
pub struct Netdev {
    file: File,
    /// `class/net`, when it shows the same network namespace as the file.
    class: Option<PathBuf>,
    exclude: Pattern,
    include: Pattern,
    /// In the order of the file, so that a known device is the one at the same place.
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    name: Box<[u8]>,
    wanted: bool,
    /// The one counter that the file does not have.
    nohandler: Option<File>,
}

impl Netdev {
    /// Of the host whose trees these are, with all devices.
    pub fn new(roots: &Roots) -> Self {
        let defaults = Roots::default();
        // With another tree for procfs alone, `/sys` still shows the agent's own network namespace.
        let same_host = roots.procfs == defaults.procfs || roots.sysfs != defaults.sysfs;
        Self {
            file: roots.net("dev"),
            class: same_host.then(|| roots.sysfs.join("class/net")),
            exclude: Pattern::default(),
            include: Pattern::default(),
            devices: Vec::new(),
        }
    }

    /// Without the devices that one pattern excludes, or only with those that the other includes.
    pub fn with_devices(self, exclude: Pattern, include: Pattern) -> Self {
        Self { exclude, include, ..self }
    }
}

impl Default for Netdev {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Netdev {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let Self { file, class, exclude, include, devices } = self;
        let content = file.read().map_err(InputError::missing_is_unsupported)?;
        let mut lines = content.lines();
        // The second line of the heading names the columns; the first groups them.
        let heading = lines.nth(1).unwrap_or_default();
        if !is_heading(heading) {
            return Err(content.malformed("the known columns of a network device", heading).into());
        }
        let mut count = 0;
        for line in lines {
            let (name, values) =
                parse_line(line).ok_or_else(|| content.malformed("a device and sixteen numbers", line))?;
            let device = place(devices, count, name, |name| {
                let wanted = !exclude.matches(name) && (!include.is_set() || include.matches(name));
                let class = class.as_ref().filter(|_| wanted && !name.contains(&b'/'));
                let nohandler = class
                    .map(|dir| File::new(dir.join(OsStr::from_bytes(name)).join("statistics/rx_nohandler")));
                Device { name: name.into(), wanted, nohandler }
            });
            count += 1;
            if !device.wanted {
                continue;
            }
            for ((_, metric), value) in COLUMNS.iter().zip(values) {
                acc.put(metric, &[name], value);
            }
            // The device may be gone between the two reads: then it lacks this one number for once.
            match device.nohandler.as_mut().map(|file| file.read().and_then(Content::number)) {
                Some(Ok(value)) => acc.put(&RECEIVE_NOHANDLER, &[name], value),
                Some(Err(error)) if error.is_missing() => device.nohandler = None,
                Some(Err(_)) | None => {}
            }
        }
        devices.truncate(count);
        Ok(())
    }
}

fn is_heading(line: &[u8]) -> bool {
    let mut groups = line.splitn(3, |&b| b == b'|').skip(1);
    let (receive, transmit) = (groups.next().unwrap_or_default(), groups.next().unwrap_or_default());
    parse::fields(receive).chain(parse::fields(transmit)).eq(COLUMNS.iter().map(|(name, _)| *name))
}

/// A device's name may contain colons itself; the last one ends it.
fn parse_line(line: &[u8]) -> Option<(&[u8], [u64; COLUMNS.len()])> {
    let colon = line.iter().rposition(|&b| b == b':')?;
    let name = line[..colon].trim_ascii();
    let mut values = [0; COLUMNS.len()];
    let mut fields = parse::fields(&line[colon + 1..]);
    for value in &mut values {
        *value = parse::number(fields.next()?)?;
    }
    (!name.is_empty() && fields.next().is_none()).then_some((name, values))
}

/// The device of that name, moved or added to that place.
fn place<'a>(
    devices: &'a mut Vec<Device>,
    at: usize,
    name: &[u8],
    new: impl FnOnce(&[u8]) -> Device,
) -> &'a mut Device {
    if devices.get(at).is_none_or(|device| *device.name != *name) {
        match devices.iter().skip(at).position(|device| *device.name == *name) {
            Some(later) => devices.swap(at, at + later),
            None => devices.insert(at, new(name)),
        }
    }
    &mut devices[at]
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, fs, path::Path, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::accumulator::MemoryAccumulator;

    const HEADING: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
        colls carrier compressed\n";

    fn tree(dir: &Path, devices: &[&str]) -> Roots {
        let mut content = HEADING.to_owned();
        for (i, device) in devices.iter().enumerate() {
            let values: Vec<String> = (0..16).map(|n| (100 * i + n).to_string()).collect();
            writeln!(content, "{device:>6}: {}", values.join("    ")).unwrap();
        }
        fs::create_dir_all(dir.join("proc/net")).unwrap();
        fs::write(dir.join("proc/net/dev"), content).unwrap();
        Roots { procfs: dir.join("proc"), sysfs: dir.join("sys"), rootfs: dir.to_owned() }
    }

    fn collect(input: &mut Netdev) -> Result<MemoryAccumulator, InputError> {
        let mut acc = MemoryAccumulator::new();
        input.collect(&CollectContext::new(Duration::from_secs(1)), &mut acc)?;
        Ok(acc)
    }

    #[test]
    fn devices_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut input = Netdev::new(&tree(dir.path(), &["lo", "eth0", "ibr10:30"]));
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("network_receive_bytes_total", &["lo"]), Some(0.0));
        assert_eq!(acc.number("network_transmit_compressed_total", &["eth0"]), Some(115.0));
        assert_eq!(acc.number("network_receive_multicast_total", &["ibr10:30"]), Some(207.0));
        assert_eq!(acc.samples().len(), 48);
        tree(dir.path(), &["eth0", "veth1"]);
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("network_receive_bytes_total", &["eth0"]), Some(0.0));
        assert_eq!(acc.number("network_receive_bytes_total", &["veth1"]), Some(100.0));
        assert_eq!((acc.samples().len(), input.devices.len()), (32, 2));
    }

    #[test]
    fn patterns_choose_devices() {
        let dir = tempfile::tempdir().unwrap();
        let roots = tree(dir.path(), &["lo", "eth0", "veth1"]);
        let count = |exclude: &str, include: &str| {
            let (exclude, include) = (Pattern::new(exclude), Pattern::new(include));
            let mut input = Netdev::new(&roots).with_devices(exclude, include);
            collect(&mut input).unwrap().samples().len() / 16
        };
        assert_eq!((count("", ""), count("^veth", ""), count("", "^lo$")), (3, 2, 1));
    }

    #[test]
    fn packets_without_a_handler_come_from_sysfs() {
        let dir = tempfile::tempdir().unwrap();
        let roots = tree(dir.path(), &["lo", "eth0"]);
        let statistics = dir.path().join("sys/class/net/eth0/statistics");
        fs::create_dir_all(&statistics).unwrap();
        fs::write(statistics.join("rx_nohandler"), "62\n").unwrap();
        let acc = collect(&mut Netdev::new(&roots)).unwrap();
        assert_eq!(acc.number("network_receive_nohandler_total", &["eth0"]), Some(62.0));
        assert_eq!(acc.number("network_receive_nohandler_total", &["lo"]), None);
    }

    #[test]
    fn another_form_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let roots = tree(dir.path(), &[]);
        for bad in ["", "x\ny\n", "lo: 1 2 3\n"] {
            let content = if bad.starts_with("lo") { format!("{HEADING}{bad}") } else { bad.to_owned() };
            fs::write(roots.procfs.join("net/dev"), content).unwrap();
            assert!(matches!(collect(&mut Netdev::new(&roots)), Err(InputError::Source(_))), "{bad:?}");
        }
    }

    #[test]
    fn this_host_has_a_loopback_device() {
        let acc = collect(&mut Netdev::default()).unwrap();
        assert!(acc.number("network_receive_bytes_total", &["lo"]).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(line: Vec<u8>) {
            let _ = (is_heading(&line), parse_line(&line));
        }
    }
}
