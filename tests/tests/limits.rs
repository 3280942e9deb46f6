//! No kernel object asks for more than its oldest kernel has: program and map types, helpers, instructions,
//! stack. Needs no root and no kernel; what the verifier of the running kernel makes of them is a kernel test.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "limits/instruction.rs"]
mod instruction;

use aya_obj::Function;
use pitot::{
    catalogue::{BpfDef, KernelVersion, Source},
    input::INPUTS,
};

use self::instruction::{Instruction, deepest, walked};

/// What a release has.
struct Kernel {
    version: KernelVersion,
    /// The last helper: `bpf_task_pt_regs`, `bpf_user_ringbuf_drain`.
    last_helper: i32,
    /// The last type of map: task storage, user ring buffer.
    last_map: u32,
}

/// Releases with long support; numbers by `enum bpf_func_id` and `enum bpf_map_type` of each.
const KERNELS: [Kernel; 2] = [
    Kernel { version: KernelVersion(5, 15), last_helper: 175, last_map: 29 },
    Kernel { version: KernelVersion(6, 1), last_helper: 209, last_map: 31 },
];

/// `MAX_BPF_STACK`, in every release.
const STACK: i32 = 512;
/// What the verifier walks through before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`), since Linux 5.2. It has
/// always recognised states that it has seen before (pruning), better from release to release; what stays
/// below the limit on all ways together needs none of that.
const WALKED: u64 = 1_000_000;
/// Programs with so many branches one behind the other, for several histograms or for everything that a cgroup
/// may lack, that it must. The kernel test `limits` says how little is left then.
const RELY_ON_PRUNING: [&str; 4] = ["block_complete", "block_issue", "cgroup", "sched_switch"];

/// Every definition with its object, and the kernel that must do.
fn objects() -> impl Iterator<Item = (&'static BpfDef, aya_obj::Object, &'static Kernel)> {
    INPUTS.iter().filter_map(|input| match input.source {
        Source::Bpf(def) => {
            let object = aya_obj::Object::parse(pitot::bpf::object::bytes(def.object).unwrap()).unwrap();
            let oldest = def.oldest.unwrap_or(KERNELS[0].version).max(KERNELS[0].version);
            let kernel = KERNELS.iter().find(|kernel| kernel.version >= oldest);
            Some((
                def,
                object,
                kernel.unwrap_or_else(|| panic!("{}: {oldest} is not in KERNELS", def.object)),
            ))
        }
        _ => None,
    })
}

/// Every program with its name, its instructions and the kernel that must do.
fn programs() -> impl Iterator<Item = (String, Vec<Instruction>, &'static Kernel)> {
    objects().flat_map(|(_, object, kernel)| {
        let decode =
            |function: &Function| function.instructions.iter().copied().map(Instruction::of).collect();
        let programs: Vec<_> = object
            .programs
            .iter()
            .map(|(name, program)| (name.clone(), decode(&object.functions[&program.function_key()]), kernel))
            .collect();
        programs
    })
}

#[test]
fn every_hook_can_be_attached() {
    for (def, _, kernel) in objects() {
        for hook in def.hooks.iter().filter(|hook| hook.when.is_empty()) {
            let oldest = hook.variants.iter().map(|variant| variant.kind.since()).min().unwrap();
            assert!(oldest <= kernel.version, "{}: {} needs Linux {oldest}", def.object, hook.name);
        }
    }
}

#[test]
fn every_map_can_be_made() {
    for (def, object, kernel) in objects() {
        for (name, map) in &object.maps {
            let kind = map.map_type();
            assert!((1..=kernel.last_map).contains(&kind), "{}: {name} is of type {kind}", def.object);
        }
    }
}

#[test]
fn every_instruction_is_known() {
    for (program, instructions, kernel) in programs() {
        let mut at = 0;
        while let Some(instruction) = instructions.get(at) {
            if let Err(what) = instruction.check(kernel.last_helper) {
                panic!("{program}, instruction {at}: {what} is not in Linux {}", kernel.version);
            }
            // A 64-bit number takes two places.
            at += if instruction.is_wide() { 2 } else { 1 };
        }
    }
}

#[test]
fn every_way_through_a_program_can_be_walked() {
    for (program, instructions, _) in programs() {
        let walked = walked(&instructions).unwrap_or_else(|| panic!("{program} has a loop"));
        let relies = RELY_ON_PRUNING.contains(&program.as_str());
        assert_eq!(walked > WALKED, relies, "{program}: {walked} instructions on all ways: RELY_ON_PRUNING?");
    }
}

#[test]
fn every_stack_is_small_enough() {
    for (program, instructions, _) in programs() {
        let deepest = deepest(&instructions).unwrap_or_else(|at| {
            panic!("{program}: where the address of instruction {at} points to is not to be seen")
        });
        assert!((-STACK..=0).contains(&deepest), "{program} uses {} bytes of stack", -deepest);
    }
}
