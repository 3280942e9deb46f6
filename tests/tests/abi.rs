//! The kernel objects against the definitions of the inputs that load them. Needs no root and no kernel.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::PathBuf,
};

use pitot::{
    bpf::object::OBJECTS,
    catalogue::{BpfDef, Entries, ProgramKind, Source, UnderWay},
    input::INPUTS,
    input::InputDef,
};
use pitot_common::{block, cgroup, irq, memory, net, owner, process, sched, syscall, tcp};
use xtask::{elf, layout, sources};

/// The kernel cuts longer names of programs and maps.
const NAME: usize = 15;
/// `BPF_MAP_TYPE_HASH`
const HASH: u32 = 1;
const MMAPABLE: u32 = 1 << 10;
const WORD: usize = size_of::<u64>();

/// A map as the agent takes it to be.
struct Shape {
    name: &'static str,
    key: usize,
    value: usize,
    /// Whether the agent maps its pages.
    mapped: bool,
}

const fn bank(name: &'static str, words: usize) -> Shape {
    Shape { name, key: size_of::<u32>(), value: words * WORD, mapped: true }
}

const fn table(name: &'static str, key: usize, value: usize) -> Shape {
    Shape { name, key, value, mapped: false }
}

const SHAPES: &[Shape] = &[
    bank("BLOCK", block::BANK_WORDS),
    bank("BLOCK_HEADER", block::header::WORDS),
    bank("BLOCK_DEVICE", block::device::TABLE_WORDS),
    bank("BLOCK_OWNER", block::owner::WORDS),
    // Only the programs look into the tables of what is in flight.
    table("BLOCK_START", WORD, 6 * WORD),
    bank("CGROUP", cgroup::record::WORDS),
    bank("CGROUP_HEADER", cgroup::header::WORDS),
    bank("IRQ_CPU", irq::cpu::WORDS),
    bank("IRQ_SOFT", irq::vector::WORDS),
    bank("IRQ_LINE", irq::LINE_WORDS),
    bank("IRQ_HEADER", irq::header::WORDS),
    // The agent finds a line's number in the header.
    table("IRQ_SLOT", size_of::<u32>(), WORD),
    bank("MEMORY", memory::BANK_WORDS),
    bank("MEMORY_HEADER", memory::header::WORDS),
    bank("MEMORY_OWNER", memory::OWNER_WORDS),
    bank("MEMORY_NAME", owner::note::WORDS),
    table("MEMORY_START", WORD, WORD),
    // Only the programs look into these.
    table("MEMORY_LAST", size_of::<u32>(), WORD),
    table("MEMORY_DOOMED", size_of::<u32>(), memory::doomed::WORDS * WORD),
    bank("NET", net::BANK_WORDS),
    bank("NET_DROP", net::REASON_WORDS),
    bank("NET_HEADER", net::header::WORDS),
    // The agent finds the names of slots in the header.
    table("NET_DEVICE", 2 * WORD, size_of::<u32>()),
    table("NET_RECENT", size_of::<u32>(), WORD),
    bank("OWNER_CPU", owner::cpu::WORDS),
    bank("OWNER_TABLE", owner::TABLE_WORDS),
    bank("PROCESS", process::BANK_WORDS),
    // Only the program looks into it.
    table("PROCESS_ENDED", 2 * WORD, size_of::<u32>()),
    bank("SCHED", sched::BANK_WORDS),
    bank("SCHED_OWNER", sched::owner::WORDS),
    bank("SYSCALL", syscall::BANK_WORDS),
    bank("SYSCALL_CHOICE", syscall::CHOICE_WORDS),
    bank("SYSCALL_ERRORS", syscall::ERRORS_WORDS),
    bank("SYSCALL_TIME", syscall::LATENCY_WORDS),
    table("SYSCALL_START", WORD, 2 * WORD),
    bank("TCP", tcp::BANK_WORDS),
    bank("TCP_HEADER", tcp::header::WORDS),
    table("TCP_START", WORD, WORD),
];

/// Every input with kernel programs, its definition, its object as it is and as aya reads it.
fn inputs() -> impl Iterator<Item = (&'static InputDef, &'static BpfDef, elf::Contents, aya_obj::Object)> {
    INPUTS.iter().filter_map(|def| match def.source {
        Source::Bpf(bpf) => {
            let bytes = pitot::bpf::object::bytes(bpf.object).unwrap();
            Some((*def, bpf, elf::read(bytes).unwrap(), aya_obj::Object::parse(bytes).unwrap()))
        }
        _ => None,
    })
}

#[test]
fn every_variant_is_a_program_for_its_hook_and_no_program_is_left_over() {
    for (_, def, contents, object) in inputs() {
        let wanted: BTreeSet<(String, String)> = def
            .hooks
            .iter()
            .flat_map(|hook| hook.variants.iter().map(move |variant| (hook, variant)))
            .filter(|(_, variant)| variant.kind != ProgramKind::Nothing)
            .map(|(hook, variant)| {
                (variant.program.to_owned(), format!("{}/{}", variant.kind.name(), hook.place()))
            })
            .collect();
        let found: BTreeSet<(String, String)> =
            contents.programs.iter().map(|program| (program.name.clone(), program.section.clone())).collect();
        assert_eq!(found, wanted, "{}", def.object);
        let by_aya: BTreeSet<&String> = object.programs.keys().collect();
        assert_eq!(by_aya, wanted.iter().map(|(name, _)| name).collect(), "{}", def.object);
    }
}

#[test]
fn maps_have_the_shape_that_the_agent_reads_and_none_is_left_over() {
    for (_, def, _, object) in inputs() {
        let wanted: BTreeSet<&str> = def.maps.iter().chain(def.shared).map(|map| map.name).collect();
        let found = object.maps.keys().map(String::as_str).filter(|name| !name.starts_with('.'));
        assert_eq!(found.collect::<BTreeSet<_>>(), wanted, "{}", def.object);
        for name in wanted {
            let shape = SHAPES.iter().find(|shape| shape.name == name);
            let shape = shape.unwrap_or_else(|| panic!("{name}: describe it in SHAPES"));
            let map = &object.maps[name];
            assert_eq!(map.key_size() as usize, shape.key, "key of {name}");
            assert_eq!(map.value_size() as usize, shape.value, "value of {name}");
            assert_eq!(map.map_flags() & MMAPABLE != 0, shape.mapped, "whether {name} can be mapped");
        }
    }
}

/// Otherwise they would not share it: the name of its folder tells what it is like.
#[test]
fn a_shared_map_is_the_same_in_all_objects_that_name_it() {
    let mut seen = BTreeMap::new();
    for (_, def, _, object) in inputs() {
        for map in def.shared {
            let found = &object.maps[map.name];
            let shape = [found.map_type(), found.key_size(), found.value_size(), found.map_flags()];
            let shape = (shape, format!("{:?}", map.entries));
            let first = seen.entry(map.name).or_insert_with(|| shape.clone());
            assert_eq!(*first, shape, "{} in {}", map.name, def.object);
        }
        let names = def.shared.iter().map(|map| map.name).collect::<Vec<_>>();
        let others = inputs().map(|(_, def, ..)| def.shared).filter(|shared| !shared.is_empty());
        for other in others.filter(|_| !names.is_empty()) {
            let other: Vec<_> = other.iter().map(|map| map.name).collect();
            assert_eq!(names, other, "objects share all of these maps or none: they lie in one folder");
        }
    }
}

#[test]
fn what_is_under_way_is_a_map_or_a_part_of_one() {
    for (_, def, _, object) in inputs() {
        for part in def.under_way {
            match part {
                UnderWay::Map(map) => assert!(def.maps.iter().any(|own| own.name == *map), "{map}"),
                UnderWay::Words { map, bank, words } => {
                    let found = &object.maps[*map];
                    assert_eq!(found.value_size() as usize, bank * WORD, "{map}");
                    assert!(found.map_flags() & MMAPABLE != 0, "{map} is written by the agent");
                    assert!(words.iter().all(|words| words.start < words.end && words.end <= *bank), "{map}");
                }
            }
        }
    }
}

/// A table that is keyed by an address of the kernel is about things that come and go.
#[test]
fn tables_of_addresses_are_under_way() {
    for (_, def, _, object) in inputs() {
        for map in def.maps.iter().filter(|map| object.maps[map.name].map_type() == HASH) {
            let is_address = object.maps[map.name].key_size() as usize == WORD;
            let begins_anew =
                def.under_way.iter().any(|part| matches!(part, UnderWay::Map(name) if *name == map.name));
            assert!(!is_address || begins_anew, "{}: a next set of programs would inherit it", map.name);
        }
    }
}

#[test]
fn every_setting_of_a_definition_is_in_the_object() {
    for (_, def, contents, _) in inputs() {
        let fields = def.fields.iter().map(|field| field.setting).filter(|setting| !setting.is_empty());
        let hooks = def.hooks.iter().map(|hook| hook.when).filter(|when| !when.is_empty());
        let sizes = def.maps.iter().chain(def.shared).filter_map(|map| match map.entries {
            Entries::When(setting, _) => Some(setting),
            _ => None,
        });
        for setting in fields.chain(hooks).chain(sizes) {
            assert!(contents.settings.iter().any(|known| known == setting), "{}: no {setting}", def.object);
        }
    }
}

#[test]
fn every_setting_of_an_object_is_set_by_its_input() {
    for (input, def, contents, _) in inputs() {
        let source = sources::root().join("agent/src/input").join(input.name).with_extension("rs");
        let parts = fs::read_dir(source.with_extension("")).into_iter().flatten();
        let files = [source].into_iter().chain(parts.map(|part| part.unwrap().path()));
        let source: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        for setting in contents.settings {
            assert!(source.contains(&format!("\"{setting}\"")), "{}: nobody sets {setting}", def.object);
        }
    }
}

#[test]
fn names_are_short_enough_for_the_kernel() {
    for (_, def, _, object) in inputs() {
        for name in object.programs.keys().chain(object.maps.keys()) {
            assert!(name.len() <= NAME, "{}: {name} is longer than {NAME} characters", def.object);
        }
    }
}

#[test]
fn the_kernel_accepts_the_licence() {
    for (_, def, _, object) in inputs() {
        assert_eq!(object.license.to_str(), Ok("GPL"), "{}", def.object);
    }
}

#[test]
fn every_object_belongs_to_one_input() {
    let embedded: Vec<&str> = OBJECTS.iter().map(|(name, _)| *name).collect();
    let mut used: Vec<&str> = inputs().map(|(_, def, ..)| def.object).collect();
    for object in &embedded {
        let at = used.iter().position(|name| name == object);
        let at = at.unwrap_or_else(|| panic!("no input loads {object}"));
        used.swap_remove(at);
    }
    assert_eq!(used, Vec::<&str>::new(), "loaded twice");
}

#[test]
fn objects_are_made_of_the_sources_that_are_here() {
    for (_, def, contents, _) in inputs() {
        let current = sources::hash(&sources::root(), def.object).unwrap();
        let stamp = contents.stamp.unwrap_or_else(|| panic!("{}: run `cargo xtask ebpf`", def.object));
        assert_eq!(stamp.sources, current, "{}: run `cargo xtask ebpf`", def.object);
        let current = layout::hash(&sources::root(), def.object).unwrap();
        assert_eq!(stamp.layout, current, "{}: run `cargo xtask ebpf`", def.object);
    }
}

/// Growth of a program is paid at every event: it shall be seen in a diff.
#[test]
fn programs_have_as_many_instructions_as_noted() {
    let mut compilers = BTreeSet::new();
    let mut lines = String::new();
    for (_, def, contents, _) in inputs() {
        compilers.extend(contents.stamp.map(|stamp| stamp.compiler));
        for program in contents.programs {
            writeln!(lines, "{:8} {:16} {:4}", def.object, program.name, program.instructions).unwrap();
        }
    }
    let compilers: Vec<String> = compilers.into_iter().collect();
    let now = format!("# {}\n{lines}", compilers.join(", "));

    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/insns.txt"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let noted = fs::read_to_string(&path).unwrap_or_default();
    if noted.lines().next() == now.lines().next() {
        assert_eq!(noted, now, "if that is meant: BLESS=1 cargo test -p pitot-tests");
    } else {
        // Another compiler finds other instructions; the programs are the same and about as long.
        let (noted, now) = (instructions(&noted), instructions(&now));
        assert_eq!(noted.len(), now.len(), "if that is meant: BLESS=1 cargo test -p pitot-tests");
        for (was, is) in noted.iter().zip(&now) {
            assert_eq!(was.0, is.0, "if that is meant: BLESS=1 cargo test -p pitot-tests");
            assert!(is.1 <= was.1 + was.1 / 4 + 4, "{} grew from {} to {} instructions", is.0, was.1, is.1);
        }
    }
}

fn instructions(text: &str) -> Vec<(String, u64)> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.rsplit_once(' '))
        .map(|(program, count)| (program.trim().to_owned(), count.parse().unwrap()))
        .collect()
}
