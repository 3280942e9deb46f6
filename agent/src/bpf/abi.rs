//! What maps and programs are told apart by: the names of the folders in which they are pinned.
//!
//! The name of a folder of maps covers everything that says what is in them: their shapes, the sources that
//! lay out their words, the number of CPUs and what the input decided. Programs are covered byte by byte, in
//! a folder of their own. So other programs that write the same words find the maps and count on, and
//! programs that write other words get other maps.

use aya_obj::{Map, Object};
use sha2::{Digest, Sha256};

use super::{Settings, entries, object::Stamped};
use crate::catalogue::{BpfDef, MapDef};

/// Counted up when the words of a shared map change their meaning and no size tells.
const SHARED: u32 = 1;

/// The folders of an object.
#[derive(Debug)]
pub(super) struct Names {
    /// That of its maps.
    pub(super) maps: String,
    /// That of its programs, inside of it.
    pub(super) programs: String,
    /// That of the maps which it shares, beside it.
    pub(super) shared: Option<String>,
}

impl Names {
    /// The names, or nothing for an object that cannot be read.
    pub(super) fn of(def: &BpfDef, bytes: &[u8], settings: &Settings, cpus: u32) -> Option<Self> {
        let object = Object::parse(bytes).ok()?;
        let stamped = Stamped::split(bytes);
        let shape = |hash: &mut Sha256, map: &MapDef| {
            let entries = entries(map.entries, settings, cpus);
            shape(hash, map.name, object.maps.get(map.name)?, entries);
            Some(())
        };

        let mut shared = Sha256::new();
        shared.update(SHARED.to_ne_bytes());
        def.shared.iter().try_for_each(|map| shape(&mut shared, map))?;
        let shared = (!def.shared.is_empty()).then(|| name("shared", shared));

        let mut maps = Sha256::new();
        maps.update(stamped.layout());
        maps.update(cpus.to_ne_bytes());
        def.maps.iter().try_for_each(|map| shape(&mut maps, map))?;
        // Where a field lies in the kernel changes nothing in the maps.
        let is_field = |name: &str| def.fields.iter().any(|field| field.setting == name);
        update_settings(&mut maps, settings.values.iter().filter(|(name, _)| !is_field(name)));
        maps.update(shared.as_deref().unwrap_or_default());

        let mut programs = Sha256::new();
        programs.update(stamped.before);
        programs.update(stamped.after);
        update_settings(&mut programs, &settings.values);
        Some(Self { maps: name(def.object, maps), programs: name("programs", programs), shared })
    }
}

fn shape(hash: &mut Sha256, name: &str, map: &Map, entries: u32) {
    hash.update(name);
    for part in [map.map_type(), map.key_size(), map.value_size(), map.map_flags(), entries] {
        hash.update(part.to_ne_bytes());
    }
}

fn update_settings<'a>(hash: &mut Sha256, settings: impl IntoIterator<Item = &'a (&'static str, u32)>) {
    for (name, value) in settings {
        hash.update(name);
        hash.update(value.to_ne_bytes());
    }
}

fn name(kind: &str, hash: Sha256) -> String {
    let digest = hash.finalize();
    let short = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{kind}-{short:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bpf::object::bytes, catalogue::Source, input::tcp::DEF};

    fn names(bytes: &[u8], settings: &[(&'static str, u32)]) -> Names {
        let Source::Bpf(def) = DEF.source else { panic!("tcp has a kernel object") };
        Names::of(def, bytes, &Settings { values: settings.to_vec() }, 2).unwrap()
    }

    /// The object with another text in the place of one of the same length.
    fn with(from: &str, to: &str) -> Vec<u8> {
        let mut bytes = bytes("tcp").unwrap().to_vec();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    }

    #[test]
    fn other_sources_with_the_same_outcome_change_nothing() {
        let before = names(bytes("tcp").unwrap(), &[]);
        for part in ["sources ", " compiler rustc "] {
            let mut other = bytes("tcp").unwrap().to_vec();
            let at = other.windows(part.len()).position(|window| window == part.as_bytes()).unwrap();
            other[at + part.len()] ^= 1;
            let after = names(&other, &[]);
            assert_eq!((&before.maps, &before.programs), (&after.maps, &after.programs), "{part}");
        }
    }

    #[test]
    fn another_layout_needs_other_maps() {
        let before = names(bytes("tcp").unwrap(), &[]);
        let after = names(&with(" layout ", " layout:"), &[]);
        assert_ne!(before.maps, after.maps);
        assert_eq!(before.programs, after.programs);
    }

    #[test]
    fn other_programs_keep_the_maps() {
        let before = names(bytes("tcp").unwrap(), &[]);
        let after = names(&with("GPL\0", "MIT\0"), &[]);
        assert_eq!(before.maps, after.maps);
        assert_ne!(before.programs, after.programs);
    }

    #[test]
    fn a_field_moves_without_a_trace_in_the_maps_and_a_decision_does_not() {
        let before = names(bytes("tcp").unwrap(), &[("TCP_SRTT", 1), ("RTT_ON", 1)]);
        let moved = names(bytes("tcp").unwrap(), &[("TCP_SRTT", 2), ("RTT_ON", 1)]);
        assert_eq!(before.maps, moved.maps);
        assert_ne!(before.programs, moved.programs);
        let decided = names(bytes("tcp").unwrap(), &[("TCP_SRTT", 1), ("RTT_ON", 0)]);
        assert_ne!(before.maps, decided.maps);
    }
}
