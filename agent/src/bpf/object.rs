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
    ("process", aya::include_bytes_aligned!("../../../ebpf/prebuilt/process.o")),
    ("net", aya::include_bytes_aligned!("../../../ebpf/prebuilt/net.o")),
    ("memory", aya::include_bytes_aligned!("../../../ebpf/prebuilt/memory.o")),
    ("cgroup", aya::include_bytes_aligned!("../../../ebpf/prebuilt/cgroup.o")),
];

/// An object without the line that says which sources and compiler it comes from: another comment or compiler
/// that changes nothing else makes no other object.
pub(super) struct Stamped<'a> {
    /// What comes before the line.
    pub(super) before: &'a [u8],
    /// The line, as `xtask` writes it: `sources <hash> layout <hash> compiler <version>`.
    pub(super) line: &'a [u8],
    /// What comes after it.
    pub(super) after: &'a [u8],
}

impl<'a> Stamped<'a> {
    /// Finds the line.
    pub(super) fn split(bytes: &'a [u8]) -> Self {
        let Some(at) = find(bytes, b"sources ") else { return Self { before: bytes, line: b"", after: b"" } };
        let (before, rest) = bytes.split_at(at);
        let (line, after) = rest.split_at(rest.iter().position(|&b| b == b'\n').unwrap_or(0));
        Self { before, line, after }
    }

    /// What stands for the layout of the words in its maps.
    pub(super) fn layout(&self) -> &'a [u8] {
        let from = find(self.line, b" layout ").map_or(self.line, |at| &self.line[at..]);
        find(from, b" compiler ").map_or(from, |to| &from[..to])
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
