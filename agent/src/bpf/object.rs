//! The compiled kernel objects, part of the binary. `cargo xtask ebpf` rebuilds them.

/// An object by its name.
pub fn bytes(name: &str) -> Option<&'static [u8]> {
    OBJECTS.iter().find(|(object, _)| *object == name).map(|(_, bytes)| *bytes)
}

/// Every object.
pub static OBJECTS: &[(&str, &[u8])] = &[
    ("sched", aya::include_bytes_aligned!("../../../ebpf/prebuilt/sched.o")),
    ("syscall", aya::include_bytes_aligned!("../../../ebpf/prebuilt/syscall.o")),
    ("block", aya::include_bytes_aligned!("../../../ebpf/prebuilt/block.o")),
    ("tcp", aya::include_bytes_aligned!("../../../ebpf/prebuilt/tcp.o")),
    ("irq", aya::include_bytes_aligned!("../../../ebpf/prebuilt/irq.o")),
    ("cgroup", aya::include_bytes_aligned!("../../../ebpf/prebuilt/cgroup.o")),
];
