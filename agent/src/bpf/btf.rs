//! Kernel fields by the running kernel's BTF.
//!
//! rustc emits no relocations for kernel structs, so no offset is compiled in: programs get them as
//! settings, resolved here. This walker reads the raw BTF in place and keeps nothing but an index of where
//! each type starts.

use std::{fs, io, path::Path};

/// The kernel's type information.
pub(super) struct Btf {
    data: Vec<u8>,
    /// Where each type starts in `data`; type ids count from 1.
    types: Vec<u32>,
    strings: usize,
}

/// Why the type information is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum BtfError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
}

const MAGIC: u16 = 0xeb9f;
/// `btf_type`: name, info, size or type.
const TYPE: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pointer,
    Struct,
    Enum,
    Typedef,
    Modifier,
    Func,
    FuncProto,
    Other,
}

#[derive(Clone, Copy)]
struct Type {
    kind: Kind,
    /// Bit 31 of info: member offsets carry a bitfield size.
    flagged: bool,
    members: usize,
    name: u32,
    /// Size or referenced type, by kind.
    refers: u32,
    /// Where what follows the header starts.
    body: usize,
}

impl Btf {
    /// The kernel's own, from a sysfs.
    pub(super) fn of_kernel(sysfs: &Path) -> Result<Self, BtfError> {
        Self::parse(fs::read(sysfs.join("kernel/btf/vmlinux"))?)
    }

    /// Indexes raw BTF.
    pub(super) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| word(&data, at).ok_or(BtfError::Malformed("header"));
        if word(0)? & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Malformed("magic number"));
        }
        let header = word(4)? as usize;
        let start = header.saturating_add(word(8)? as usize);
        let end = start.saturating_add(word(12)? as usize);
        let strings = header.saturating_add(word(16)? as usize);
        if end > data.len() || strings > data.len() {
            return Err(BtfError::Malformed("section bounds"));
        }
        let mut types = Vec::with_capacity((end - start) / 24);
        let mut at = start;
        while at + TYPE <= end {
            types.push(u32::try_from(at).map_err(|_| BtfError::Malformed("length"))?);
            let info = word(at + 4)?;
            at += TYPE + body_length(info).ok_or(BtfError::Malformed("type kind"))?;
        }
        Ok(Self { data, types, strings })
    }

    /// The offset in bytes of a field, by a path such as `task_struct.se.cfs_rq`: each step is a member,
    /// found in anonymous members as well, and all but the last are embedded structs.
    ///
    /// A path such as `cgroup_subsys_id::memory_cgrp_id` names a value of an enum.
    ///
    /// A path such as `sched_switch(4)` asks whether a tracepoint has so many arguments, and gives 1.
    pub(super) fn resolve(&self, path: &str) -> Option<u32> {
        if let Some((tracepoint, argument)) = path.strip_suffix(')').and_then(|p| p.split_once('(')) {
            let arguments = self.tracepoint_arguments(tracepoint)?;
            return (arguments >= argument.parse().ok()?).then_some(1);
        }
        if let Some((of, value)) = path.split_once("::") {
            return self.enum_value(of, value);
        }
        let mut steps = path.split('.');
        let mut current = self.find(Kind::Struct, steps.next()?)?;
        let mut offset = 0;
        for step in steps {
            let (bits, target) = self.member(current, step, 0)?;
            offset += bits;
            current = target;
        }
        offset.is_multiple_of(8).then_some(offset / 8)
    }

    /// Values and names of an enum; nothing if the kernel has no such enum of up to 32 bits.
    pub(super) fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let Some(list) = self.find(Kind::Enum, name).and_then(|id| self.get(id)) else { return Vec::new() };
        let one = |n: usize| {
            let at = list.body + n * 8;
            Some((word(&self.data, at + 4)?, self.string(word(&self.data, at)?)?))
        };
        (0..list.members).map_while(one).collect()
    }

    /// Type id of a tracepoint's signature, which a BTF-typed program is attached to.
    pub(super) fn tracepoint(&self, name: &str) -> Option<u32> {
        self.find(Kind::Typedef, &format!("btf_trace_{name}"))
    }

    /// Type id of the function that stands for the iterator over a kind of objects.
    fn iterator(&self, name: &str) -> Option<u32> {
        self.find(Kind::Func, &format!("bpf_iter_{name}"))
    }

    /// Raw BTF that holds nothing but what some hooks are attached to, by their names: signatures of
    /// tracepoints, functions of iterators and other functions, under their own ids, with filler before them.
    /// Parsing the kernel's types as a whole takes tens of megabytes; this takes a few.
    pub(super) fn hooks_only(&self, names: &[&str], functions: &[&str]) -> Vec<u8> {
        let tracepoint = |name| Some((self.tracepoint(name)?, 8 << 24, format!("btf_trace_{name}\0")));
        let iterator = |name| Some((self.iterator(name)?, 12 << 24, format!("bpf_iter_{name}\0")));
        let function = |name| Some((self.find(Kind::Func, name)?, 12 << 24, format!("{name}\0")));
        let mut wanted: Vec<(u32, u32, String)> =
            names.iter().flat_map(|&name| [tracepoint(name), iterator(name)]).flatten().collect();
        wanted.extend(functions.iter().filter_map(|&name| function(name)));
        wanted.sort_unstable();
        let mut strings = vec![0u8];
        let mut types: Vec<[u32; 3]> = Vec::new();
        for (id, info, name) in wanted {
            types.resize((id as usize).saturating_sub(1), [0, 2 << 24, 0]);
            types.push([u32::try_from(strings.len()).unwrap_or(0), info, 0]);
            strings.extend(name.bytes());
        }
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (types_length, strings_length) = (length(types.len() * TYPE), length(strings.len()));
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, types_length, types_length, strings_length];
        let words = header.into_iter().chain(types.into_iter().flatten());
        words.flat_map(u32::to_ne_bytes).chain(strings).collect()
    }

    fn enum_value(&self, of: &str, name: &str) -> Option<u32> {
        let values = self.get(self.find(Kind::Enum, of)?)?;
        let at = (0..values.members).map(|n| values.body + n * 8);
        at.into_iter().find_map(|at| {
            let is_it = self.is_named(word(&self.data, at)?, name);
            is_it.then(|| word(&self.data, at + 4))?
        })
    }

    fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let pointer = self.get(self.tracepoint(name)?)?.refers;
        let signature = self.get(self.get(pointer).filter(|t| t.kind == Kind::Pointer)?.refers)?;
        // The first parameter is the tracepoint's private data.
        (signature.kind == Kind::FuncProto).then(|| signature.members.saturating_sub(1))
    }

    fn find(&self, kind: Kind, name: &str) -> Option<u32> {
        (1..=u32::try_from(self.types.len()).ok()?).find(|&id| {
            self.get(id).is_some_and(|t| {
                // A declaration without a body has no members; the definition is wanted.
                t.kind == kind && (kind != Kind::Struct || t.members > 0) && self.is_named(t.name, name)
            })
        })
    }

    /// Offset in bits and type of a member.
    fn member(&self, of: u32, name: &str, depth: usize) -> Option<(u32, u32)> {
        let holder = self.strip(of).filter(|t| t.kind == Kind::Struct && depth < 16)?;
        for n in 0..holder.members {
            let at = holder.body + n * 12;
            let (label, target, position) =
                (word(&self.data, at)?, word(&self.data, at + 4)?, word(&self.data, at + 8)?);
            let bits = if holder.flagged { position & 0x00ff_ffff } else { position };
            let bitfield = holder.flagged && position >> 24 != 0;
            if self.is_named(label, name) {
                return (!bitfield).then_some((bits, target));
            }
            if self.is_named(label, "")
                && let Some((inner, target)) = self.member(target, name, depth + 1)
            {
                return Some((bits + inner, target));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, id: u32) -> Option<Type> {
        let mut current = self.get(id)?;
        for _ in 0..16 {
            match current.kind {
                Kind::Typedef | Kind::Modifier => current = self.get(current.refers)?,
                _ => return Some(current),
            }
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.types.get((id as usize).checked_sub(1)?)? as usize;
        let info = word(&self.data, at + 4)?;
        let kind = match info >> 24 & 0x1f {
            2 => Kind::Pointer,
            4 | 5 => Kind::Struct,
            6 => Kind::Enum,
            8 => Kind::Typedef,
            9..=11 | 18 => Kind::Modifier,
            12 => Kind::Func,
            13 => Kind::FuncProto,
            _ => Kind::Other,
        };
        Some(Type {
            kind,
            flagged: info >> 31 == 1,
            members: (info & 0xffff) as usize,
            name: word(&self.data, at)?,
            refers: word(&self.data, at + 8)?,
            body: at + TYPE,
        })
    }

    fn string(&self, at: u32) -> Option<String> {
        let rest = self.data.get(self.strings + at as usize..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let Some(rest) = self.data.get(self.strings + at as usize..) else { return false };
        rest.strip_prefix(name.as_bytes()).is_some_and(|after| after.first() == Some(&0))
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

/// Bytes that follow a type's header, by its kind.
fn body_length(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    Some(match info >> 24 & 0x1f {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        4 | 5 | 15 | 19 => members * 12,
        6 | 13 => members * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;
    use proptest::prelude::*;

    use super::*;

    /// `struct inner { u32 pad; union { u64 deep; }; }; struct outer { u64 first; struct inner in; u32 bits:3; }`
    /// `typedef void (*btf_trace_x)(void *, u64, u64); void bpf_iter_y(void *, u64, u64);
    /// enum reason { NONE = 0, MASK = 0xffff0000 }; enum number { two = 2 };`
    fn sample() -> Vec<u8> {
        let strings =
            b"\0inner\0pad\0deep\0outer\0first\0in\0bits\0btf_trace_x\0u64\0bpf_iter_y\0reason\0NONE\0MASK\0number\0two\0";
        let at = |name: &str| {
            let needle = [b"\0", name.as_bytes(), b"\0"].concat();
            u32::try_from(strings.windows(needle.len()).position(|w| w == needle).unwrap() + 1).unwrap()
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([at("u64"), 1 << 24, 8, 64]); // 1: int
        types.extend([0, 5 << 24 | 1, 8, at("deep"), 1, 0]); // 2: anonymous union
        types.extend([at("inner"), 4 << 24 | 2, 16, at("pad"), 1, 0, 0, 2, 64]); // 3
        types.extend([at("outer"), 1 << 31 | 4 << 24 | 3, 32]); // 4, with bitfields
        types.extend([at("first"), 1, 0, at("in"), 3, 64, at("bits"), 1, 3 << 24 | 0xc0]);
        types.extend([0, 13 << 24 | 3, 0, 0, 1, 0, 1, 0, 1]); // 5: signature
        types.extend([0, 2 << 24, 5]); // 6: pointer
        types.extend([at("btf_trace_x"), 8 << 24, 6]); // 7
        types.extend([at("bpf_iter_y"), 12 << 24, 5]); // 8
        types.extend([at("reason"), 6 << 24 | 2, 4, at("NONE"), 0, at("MASK"), 0xffff_0000]); // 9
        types.extend([at("number"), 6 << 24 | 1, 4, at("two"), 2]); // 10
        let length = u32::try_from(types.len() * 4).unwrap();
        let header =
            [u32::from(MAGIC) | 1 << 16, 24, 0, length, length, u32::try_from(strings.len()).unwrap()];
        header.iter().chain(&types).flat_map(|w| w.to_ne_bytes()).chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_are_found_through_structs_and_anonymous_unions() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.resolve("outer.first"), Some(0));
        assert_eq!(btf.resolve("outer.in"), Some(8));
        assert_eq!(btf.resolve("outer.in.deep"), Some(16));
        assert_eq!(btf.resolve("outer.bits"), None, "a bitfield cannot be read by offset");
        assert_eq!(btf.resolve("outer.nothing"), None);
        assert_eq!(btf.resolve("nothing.first"), None);
    }

    #[test]
    fn tracepoint_arguments_are_counted() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.resolve("x(2)"), Some(1));
        assert_eq!(btf.resolve("x(3)"), None);
        assert_eq!(btf.tracepoint("x"), Some(7));
    }

    #[test]
    fn enumerators_are_listed() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.enumerators("reason"), [(0, "NONE".to_owned()), (0xffff_0000, "MASK".to_owned())]);
        assert_eq!(btf.enumerators("outer"), []);
    }

    #[test]
    fn an_excerpt_keeps_the_ids() {
        let excerpt = Btf::parse(sample()).unwrap().hooks_only(&["x", "unknown"], &["bpf_iter_y", "unknown"]);
        let theirs = aya::Btf::parse(&excerpt, aya::Endianness::default()).unwrap();
        assert_eq!(theirs.id_by_type_name_kind("btf_trace_x", BtfKind::Typedef).unwrap(), 7);
        assert_eq!(theirs.id_by_type_name_kind("bpf_iter_y", BtfKind::Func).unwrap(), 8);
        let iterator = Btf::parse(sample()).unwrap().hooks_only(&["y"], &[]);
        let theirs = aya::Btf::parse(&iterator, aya::Endianness::default()).unwrap();
        assert_eq!(theirs.id_by_type_name_kind("bpf_iter_y", BtfKind::Func).unwrap(), 8);
    }

    proptest! {
        #[test]
        fn damaged_data_is_refused_or_answers_nothing(at in 0usize..300, byte: u8, cut in 0usize..300) {
            let mut data = sample();
            let length = data.len();
            data[at % length] = byte;
            data.truncate(length - cut % length);
            if let Ok(btf) = Btf::parse(data) {
                let _ = (btf.resolve("outer.in.deep"), btf.resolve("x(2)"), btf.tracepoint("x"));
                let _ = btf.enumerators("reason");
            }
        }
    }
}
