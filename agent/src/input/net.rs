//! Network: dropped buffers by the kernel's reason and, when asked for, buffers and bytes by device.
//!
//! Traffic is off by default: what any program costs at the two hooks of every buffer is more than what it
//! tells beyond `netdev`, which reads what drivers count anyway. It adds what no file has: how well packets
//! are handled in bulk, and what the devices of other network namespaces do.
//!
//! What a node with many pods has too many of shares a series: the devices of other network namespaces, whose
//! names are the same in every pod, and the host's ends of the pairs that lead to them.
//!
//! A buffer is received on the device from which the stack takes it: what comes for a VLAN, a bond or a
//! macvlan is its lower device's, and only what they send is theirs. A device that is renamed after its first
//! buffer keeps its first name. A broadcast that the stack copies to itself is received as well.

use std::{fs, os::unix::fs::MetadataExt, sync::atomic::Ordering};

use pitot_common::net::{
    BANK_WORDS, Direction, Name, OTHER_REASON, REASON_WORDS, REASONS, RECENT, SUBSYSTEM_REASON, header, slot,
    word,
};

use super::{CollectContext, Input, InputDef, InputError};
use crate::{
    accumulator::Accumulator,
    bpf::{Opened, map::View},
    catalogue::{
        BpfDef, Entries, Field, Hook, KernelVersion, Label, MapDef, Metric, OptionDef, OptionValue,
        ProgramKind, Since, Source, UnderWay, Unit, Variant,
    },
    source::Roots,
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "net",
    about: "Dropped packets by the kernel's reason, counted in the kernel; traffic by device when asked for.",
    prefix: "pitot_",
    source: Source::Bpf(&BPF),
    cost: "one short program per dropped packet, and 4 KiB of kernel memory per CPU; with traffic one per \
           buffer sent and received as well, and 48 KiB",
    metrics: &[&BUFFERS_TOTAL, &BYTES_TOTAL, &FOLDED_TOTAL, &DROPS_TOTAL],
    options: &[OptionDef {
        key: "traffic",
        default: OptionValue::Bool(false),
        help: "Count buffers and bytes by device as well, in network namespaces other than the host's, too; every buffer sent and received then pays for a program, about 2 % of a short exchange over loopback.",
    }],
    open: |cx| {
        let wanted = cx.options.bool("traffic");
        let namespace = host_namespace(cx.roots);
        let mut opened = cx.bpf.open(&BPF, |settings| {
            let fields = BPF.fields.iter().all(|f| f.loses != TRAFFIC || settings.has(&[f.setting]));
            settings.set("TRAFFIC_ON", u32::from(wanted && fields && namespace.is_ok()));
            // A setting that nobody reads would still give the object another name.
            let number = namespace.as_ref().map_or(0, |&number| number);
            settings.set("HOST_NET", if wanted { number } else { 0 });
        })?;
        if wanted && let Err(reason) = namespace {
            opened.lose(&format!("no {TRAFFIC} ({reason})"));
        }
        let traffic = if opened.is_on("TRAFFIC_ON") {
            Some(Traffic {
                banks: opened.view("NET", opened.cpus(), BANK_WORDS)?,
                header: opened.view("NET_HEADER", 1, header::WORDS)?,
                names: [[0; 2]; slot::COUNT as usize],
                devices: shared_slots(),
            })
        } else {
            None
        };
        let reasons = opened.is_on("REASON_ARG").then(|| cx.bpf.enumerators("skb_drop_reason"));
        Ok(Box::new(Net {
            traffic,
            drops: opened.view("NET_DROP", opened.cpus(), REASON_WORDS)?,
            reasons: reason_labels(reasons),
            opened,
        }))
    },
};

/// What is lost without a field.
const TRAFFIC: &str = "traffic of devices";

static BPF: BpfDef = BpfDef {
    object: "net",
    hooks: &[
        Hook {
            name: "netif_receive_skb",
            variants: &[Variant { program: "net_receive", kind: ProgramKind::TpBtf, loses: "" }],
            when: "TRAFFIC_ON",
        },
        Hook {
            name: "net_dev_xmit",
            variants: &[Variant { program: "net_transmit", kind: ProgramKind::TpBtf, loses: "" }],
            when: "TRAFFIC_ON",
        },
        Hook {
            name: "kfree_skb",
            variants: &[
                Variant { program: "net_drop", kind: ProgramKind::TpBtf, loses: "" },
                Variant { program: "net_drop_r", kind: ProgramKind::RawTp, loses: "" },
            ],
            when: "",
        },
    ],
    fields: &[
        Field { setting: "SKB_DEV", paths: &["sk_buff.dev"], loses: TRAFFIC },
        Field { setting: "SKB_LEN", paths: &["sk_buff.len"], loses: TRAFFIC },
        Field { setting: "DEV_NET", paths: &["net_device.nd_net.net"], loses: TRAFFIC },
        Field { setting: "NET_INUM", paths: &["net.ns.inum"], loses: TRAFFIC },
        Field { setting: "DEV_INDEX", paths: &["net_device.ifindex"], loses: TRAFFIC },
        Field { setting: "DEV_NAME", paths: &["net_device.name"], loses: TRAFFIC },
        Field { setting: "DEV_OPS", paths: &["net_device.netdev_ops"], loses: TRAFFIC },
        Field { setting: "OPS_PEER", paths: &["net_device_ops.ndo_get_peer_dev"], loses: TRAFFIC },
        Field { setting: "REASON_ARG", paths: &["kfree_skb(3)"], loses: "reasons of drops" },
    ],
    maps: &[
        MapDef { name: "NET", entries: Entries::PerCpu },
        MapDef { name: "NET_DROP", entries: Entries::PerCpu },
        MapDef { name: "NET_HEADER", entries: Entries::Fixed(1) },
        MapDef { name: "NET_DEVICE", entries: Entries::When("TRAFFIC_ON", slot::COUNT) },
        MapDef { name: "NET_RECENT", entries: Entries::When("TRAFFIC_ON", RECENT) },
    ],
    shared: &[],
    under_way: &[UnderWay::Map("NET_RECENT")],
    // An atomic add that returns what was there.
    oldest: Some(KernelVersion(5, 12)),
};

const LABELS: &[Label] =
    &[Label::bounded("device", slot::COUNT), Label::fixed("direction", Direction::LABELS)];

static BUFFERS_TOTAL: Metric = Metric::counter(
    "net_buffers_total",
    "Buffers that the network stack took from a device or handed to its driver, one for many packets where these are handled together; veth and other_namespaces are all such devices.",
    LABELS,
)
.since(Since::Attach);

static BYTES_TOTAL: Metric = Metric::counter(
    "net_bytes_total",
    "Bytes in those buffers: with the link layer's header when sent, without it when received.",
    LABELS,
)
.unit(Unit::Bytes)
.since(Since::Attach);

static FOLDED_TOTAL: Metric = Metric::counter(
    "net_folded_buffers_total",
    "Buffers counted under the device other because all device slots were taken.",
    &[],
)
.since(Since::Attach);

static DROPS_TOTAL: Metric = Metric::counter(
    "net_drops_total",
    "Buffers that the kernel dropped, by its own reason; not_specified where it gives none, subsystem where a subsystem has reasons of its own; queue_purge is no loss, but what a queue still held when it was emptied, as when a socket closes.",
    &[Label::bounded("reason", REASONS)],
)
.since(Since::Attach);

const OTHER: &str = "other";
const NOT_SPECIFIED: &str = "not_specified";

struct Net {
    opened: Opened,
    traffic: Option<Traffic>,
    drops: View,
    /// Reasons by their word; empty for a number without a name.
    reasons: Vec<String>,
}

struct Traffic {
    banks: View,
    header: View,
    /// The names of the slots when they were last looked at.
    names: [Name; slot::COUNT as usize],
    /// Label and slot, by label: those of one label are one series.
    devices: Vec<(Box<str>, u32)>,
}

/// The slots that several devices share.
fn shared_slots() -> Vec<(Box<str>, u32)> {
    let slots = [(OTHER, slot::OTHER), ("other_namespaces", slot::OTHER_NAMESPACES), ("veth", slot::VETH)];
    slots.map(|(label, slot)| (label.into(), slot)).into()
}

/// The number of the network namespace of the host's first process, or of this one where that is not to be
/// seen: an agent on the host, or in a container with the host's network, is in the same.
fn host_namespace(roots: &Roots) -> Result<u32, String> {
    let number = |process: &str| fs::metadata(roots.procfs.join(process).join("ns/net")).map(|m| m.ino());
    let number = number("1")
        .or_else(|_| number("self"))
        .map_err(|error| format!("cannot tell the host's network namespace from others: {error}"))?;
    u32::try_from(number).map_err(|_| format!("{number} is no number of a network namespace"))
}

/// The label of each word of drops. Without reasons, everything is in the first word.
fn reason_labels(reasons: Option<Vec<(u32, String)>>) -> Vec<String> {
    let mut labels = vec![String::new(); REASON_WORDS];
    let Some(reasons) = reasons else {
        NOT_SPECIFIED.clone_into(&mut labels[0]);
        return labels;
    };
    for (number, name) in reasons {
        let Some(reason) = name.strip_prefix("SKB_DROP_REASON_") else { continue };
        // The end of the list is no reason.
        if (number as usize) < SUBSYSTEM_REASON && reason != "MAX" {
            labels[number as usize] = reason.to_ascii_lowercase();
        }
    }
    "subsystem".clone_into(&mut labels[SUBSYSTEM_REASON]);
    OTHER.clone_into(&mut labels[OTHER_REASON]);
    labels
}

/// Sums banks word by word.
fn sum<const WORDS: usize>(view: &View) -> [u64; WORDS] {
    let mut sums = [0; WORDS];
    for bank in view.words().chunks_exact(WORDS) {
        for (sum, word) in sums.iter_mut().zip(bank) {
            *sum += word.load(Ordering::Relaxed);
        }
    }
    sums
}

impl Traffic {
    /// Names the devices that got a slot since the last look.
    fn learn_names(&mut self) {
        let words = &self.header.words()[header::NAMES..];
        for (slot, (name, halves)) in (0..).zip(self.names.iter_mut().zip(words.as_chunks::<2>().0)) {
            let seen = halves.each_ref().map(|half| half.load(Ordering::Relaxed));
            // The halves are written one after the other: a name may be seen to grow.
            if seen != *name {
                *name = seen;
                self.devices.retain(|(_, known)| *known != slot);
                self.devices.push((text(seen), slot));
                self.devices.sort_unstable();
            }
        }
    }

    fn put(&mut self, acc: &mut dyn Accumulator) {
        self.learn_names();
        let words = sum::<BANK_WORDS>(&self.banks);
        for same_label in self.devices.chunk_by(|a, b| a.0 == b.0) {
            let label = same_label[0].0.as_bytes();
            // In the order of the words: buffers and bytes received, buffers and bytes sent.
            let total = |at: usize| {
                same_label.iter().map(|(_, slot)| words[word(*slot, Direction::Receive) + at]).sum()
            };
            let totals: [u64; 4] = std::array::from_fn(total);
            if totals == [0; 4] {
                continue;
            }
            for (direction, [buffers, bytes]) in Direction::LABELS.iter().zip(totals.as_chunks().0) {
                let labels = &[label, direction.as_bytes()];
                acc.put(&BUFFERS_TOTAL, labels, *buffers);
                acc.put(&BYTES_TOTAL, labels, *bytes);
            }
        }
        let folded = |direction| words[word(slot::OTHER, direction)];
        acc.put(&FOLDED_TOTAL, &[], folded(Direction::Receive) + folded(Direction::Transmit));
    }
}

/// A name as the kernel keeps it.
fn text(name: Name) -> Box<str> {
    let bytes = name.map(u64::to_ne_bytes);
    let bytes = bytes.as_flattened().split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into()
}

impl Input for Net {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn kernel_object(&self) -> Option<&Opened> {
        Some(&self.opened)
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        if let Some(traffic) = &mut self.traffic {
            traffic.put(acc);
        }
        let mut drops = sum::<REASON_WORDS>(&self.drops);
        for (word, label) in self.reasons.iter().enumerate() {
            if label.is_empty() {
                drops[OTHER_REASON] += drops[word];
            } else if drops[word] > 0 || label == NOT_SPECIFIED {
                acc.put(&DROPS_TOTAL, &[label.as_bytes()], drops[word]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_kernels_names() {
        let list = [
            (0, "SKB_NOT_DROPPED_YET"),
            (2, "SKB_DROP_REASON_NOT_SPECIFIED"),
            (3, "SKB_DROP_REASON_NO_SOCKET"),
            (4, "SKB_DROP_REASON_MAX"),
            (0xffff_0000, "SKB_DROP_REASON_SUBSYS_MASK"),
        ];
        let labels = reason_labels(Some(list.map(|(number, name)| (number, name.to_owned())).into()));
        let named: Vec<_> = labels.iter().enumerate().filter(|(_, label)| !label.is_empty()).collect();
        let named: Vec<_> = named.into_iter().map(|(word, label)| (word, label.as_str())).collect();
        let shared = [(SUBSYSTEM_REASON, "subsystem"), (OTHER_REASON, "other")];
        assert_eq!(named, [&[(2, "not_specified"), (3, "no_socket")][..], &shared].concat());
    }

    #[test]
    fn without_reasons_none_is_specified() {
        let labels = reason_labels(None);
        assert_eq!(labels.iter().filter(|label| !label.is_empty()).collect::<Vec<_>>(), [NOT_SPECIFIED]);
        assert_eq!(labels[0], NOT_SPECIFIED);
    }

    #[test]
    fn a_name_has_up_to_fifteen_bytes() {
        let name = |bytes: &[u8; 16]| {
            let (halves, _) = bytes.as_chunks();
            text([u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1])])
        };
        assert_eq!(&*name(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "lo");
        assert_eq!(&*name(b"a-long-devices0\0"), "a-long-devices0");
    }

    #[test]
    fn the_namespace_of_the_first_process_is_the_hosts() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        let first = fs::metadata("/proc/1/ns/net").map_or(own, |m| m.ino());
        assert_eq!(host_namespace(&Roots::default()).map(u64::from), Ok(first));
        let empty = tempfile::tempdir().unwrap();
        let roots = Roots { procfs: empty.path().to_owned(), ..Roots::default() };
        assert!(host_namespace(&roots).unwrap_err().contains("namespace"));
    }
}
