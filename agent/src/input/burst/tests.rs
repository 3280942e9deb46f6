use proptest::prelude::*;

use super::*;
use crate::{
    accumulator::MemoryAccumulator,
    input::testing::{Tree, collect, few, now, soup, survives},
};

fn input(tree: &Tree, options: &[(String, super::super::OptionSetting)]) -> Burst {
    let none = Err(Unsupported("the input `sched` does not run".to_owned()));
    Burst::new(&tree.roots(), Options::new(DEF.options, options), none)
}

fn host() -> Tree {
    Tree::new(&[
        ("sys/class/net/eth0/statistics/rx_bytes", "7\n"),
        ("sys/class/net/eth0/statistics/tx_bytes", "8\n"),
        ("sys/class/net/eth0/device/vendor", ""),
        ("sys/class/net/veth1/statistics/rx_bytes", "1\n"),
        ("sys/class/net/veth1/statistics/tx_bytes", "1\n"),
        ("sys/block/sda/stat", "  1 2 3 4 5 6 7 8 9 1500 11 12 13 14 15 16 17\n"),
        ("sys/block/sda/device/type", ""),
        ("sys/block/loop0/stat", "1 2 3 4 5 6 7 8 9 10 11\n"),
        ("proc/pressure/memory", "some avg10=0.00 total=2500000\nfull avg10=0.00 total=1500000\n"),
    ])
}

#[test]
fn what_has_hardware_is_read_in_base_units() {
    let tree = host();
    let mut input = input(&tree, &[]);
    let acc = collect(&mut input).unwrap();
    assert_eq!(acc.number("network_bytes_total", &["eth0", "receive"]), Some(7.0));
    assert_eq!(acc.number("network_bytes_total", &["eth0", "transmit"]), Some(8.0));
    assert_eq!(acc.number("disk_busy_seconds_total", &["sda"]), Some(1.5));
    assert_eq!(acc.number("disk_bytes_total", &["sda", "read"]), Some(3.0 * 512.0));
    assert_eq!(acc.number("disk_bytes_total", &["sda", "write"]), Some(7.0 * 512.0));
    assert_eq!(acc.number("memory_stall_seconds_total", &["some"]), Some(2.5));
    assert_eq!(acc.number("memory_stall_seconds_total", &["full"]), Some(1.5));
    assert_eq!(acc.samples().len(), 7);
    assert!(input.degraded().unwrap().contains("sched"));
}

#[test]
fn devices_can_be_chosen() {
    let regex = |key: &str, text: &str| (key.to_owned(), super::super::OptionSetting::Regex(text.into()));
    let chosen = [regex("network_devices", "^veth"), regex("disks", "^loop")];
    let acc = collect(&mut input(&host(), &chosen)).unwrap();
    assert!(acc.number("network_bytes_total", &["veth1", "receive"]).is_some());
    assert!(acc.number("disk_busy_seconds_total", &["loop0"]).is_some());
    assert!(acc.number("disk_busy_seconds_total", &["sda"]).is_none());
}

#[test]
fn devices_come_and_go() {
    let tree = host();
    let mut input = input(&tree, &[]);
    collect(&mut input).unwrap();
    std::fs::remove_dir_all(tree.path().join("sys/class/net/eth0")).unwrap();
    tree.write("sys/class/net/eth1/statistics/rx_bytes", b"1");
    tree.write("sys/class/net/eth1/statistics/tx_bytes", b"1");
    tree.write("sys/class/net/eth1/device/vendor", b"");
    let mut later = now();
    later.started += SURVEY;
    let mut acc = MemoryAccumulator::new();
    input.collect(&later, &mut acc).unwrap();
    assert_eq!(acc.number("network_bytes_total", &["eth0", "receive"]), None);
    assert_eq!(acc.number("network_bytes_total", &["eth1", "receive"]), Some(1.0));
}

#[test]
fn a_file_that_makes_no_sense_fails_the_collection() {
    let tree = host();
    tree.write("sys/block/sda/stat", b"1 2 x");
    assert!(matches!(collect(&mut input(&tree, &[])), Err(InputError::Source(_))));
}

proptest! {
    #![proptest_config(few())]
    #[test]
    fn any_content_is_fine(content in soup(&["some", "full", "total=1", "1 2 3 4 5 6 7 8 9 10 11"])) {
        let tree = host();
        tree.write("sys/block/sda/stat", &content);
        tree.write("proc/pressure/memory", &content);
        tree.write("sys/class/net/eth0/statistics/rx_bytes", &content);
        survives(&mut input(&tree, &[]));
    }
}
