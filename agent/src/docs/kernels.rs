//! `docs/kernels.md`.

use std::fmt::{self, Write};

use super::{codes, generated};
use crate::{
    catalogue::{BpfDef, Entries, Field, Hook, KernelVersion, MapDef, ProgramKind, Source},
    input::InputDef,
};

pub(super) fn write(out: &mut String, inputs: &[&'static InputDef]) -> fmt::Result {
    let programs = || {
        inputs.iter().filter_map(|def| match def.source {
            Source::Bpf(bpf) => Some((*def, bpf)),
            Source::Files(_) | Source::Calls(_) | Source::Check(_) | Source::Own => None,
        })
    };
    generated(out, "kernels-md")?;
    writeln!(out, "# Kernels\n")?;
    writeln!(
        out,
        "What each kernel program attaches to and reads, and what is lost where the kernel lacks it. A program \
         that cannot be loaded takes nothing with it: its input is reported as unsupported, with the reason, \
         and everything else runs. `pitot check` tries all of it on the host at hand. Inputs that are not \
         listed here need no kernel program; their sources are named in [metrics.md](metrics.md). On which \
         kernels all of it was tried is in [tested-kernels.md](tested-kernels.md).\n"
    )?;
    writeln!(
        out,
        "The variants of a hook are tried in the order given, and the first that works is used. Offsets of \
         kernel fields are never compiled in: they are looked up in the running kernel's type information \
         (`/sys/kernel/btf/vmlinux`), under each spelling in turn.\n"
    )?;
    if let Some(oldest) = programs().map(|(_, bpf)| minimum(bpf)).min() {
        writeln!(
            out,
            "**No program runs before Linux {oldest}.** The oldest kernel of each program follows from its \
             hooks, its maps, which the agent reads as mapped memory, and its instructions and fields. A test \
             (`tests/tests/limits.rs`) takes every instruction of every object apart and finds no helper, no type \
             of map and no instruction that Linux 5.15 lacks, unless a program says here that it needs a newer one; \
             no loop, no more than 512 bytes of stack, and, but for the programs that it names, not even on all \
             ways through a program together as many instructions as the verifier walks through before it gives \
             up. Another asks the verifier of the running kernel.\n"
        )?;
    }
    programs().try_for_each(|(def, bpf)| section(out, def, bpf))
}

/// The oldest kernel on which every hook has a variant and the maps can be mapped.
fn minimum(bpf: &BpfDef) -> KernelVersion {
    let hooks = bpf.hooks.iter().filter(|hook| hook.when.is_empty());
    let hooks = hooks.filter_map(|hook| hook.variants.iter().map(|variant| variant.kind.since()).min());
    let others = [Some(KernelVersion::MAPPED_ARRAYS), bpf.oldest];
    hooks.chain(others.into_iter().flatten()).max().unwrap_or(KernelVersion::MAPPED_ARRAYS)
}

fn section(out: &mut String, def: &InputDef, bpf: &BpfDef) -> fmt::Result {
    writeln!(out, "## {}\n", bpf.object)?;
    writeln!(
        out,
        "Input `{}`: {} Linux {} or newer. Cost: {}.\n",
        def.name,
        def.about,
        minimum(bpf),
        def.cost
    )?;
    writeln!(out, "Hooks:\n")?;
    bpf.hooks.iter().try_for_each(|hook| write_hook(out, hook))?;
    writeln!(out)?;
    if !bpf.fields.is_empty() {
        writeln!(out, "Kernel fields:\n")?;
        bpf.fields.iter().try_for_each(|field| write_field(out, field))?;
        writeln!(out)?;
    }
    if !bpf.maps.is_empty() || !bpf.shared.is_empty() {
        writeln!(out, "| Map | Entries |")?;
        writeln!(out, "| --- | --- |")?;
        bpf.maps.iter().try_for_each(|map| write_map(out, map, ""))?;
        bpf.shared.iter().try_for_each(|map| write_map(out, map, ", in common with other objects"))?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_hook(out: &mut String, hook: &Hook) -> fmt::Result {
    let when = if hook.when.is_empty() { String::new() } else { format!(", only with `{}`", hook.when) };
    writeln!(out, "* `{}`{when}", hook.name)?;
    for (number, variant) in (1..).zip(hook.variants) {
        let loses = match variant.loses.trim_end_matches('.') {
            "" => "nothing lost".into(),
            loses => format!("loses: {loses}"),
        };
        if variant.kind == ProgramKind::Nothing {
            writeln!(out, "  {number}. nothing is attached: {loses}")?;
            continue;
        }
        let (kind, since) = (variant.kind.name(), variant.kind.since());
        writeln!(out, "  {number}. `{kind}` (Linux {since}) → program `{}`: {loses}", variant.program)?;
    }
    Ok(())
}

fn write_field(out: &mut String, field: &Field) -> fmt::Result {
    let loses = if field.loses.is_empty() {
        "the program cannot run".into()
    } else {
        format!("lost: {}", field.loses.trim_end_matches('.'))
    };
    writeln!(out, "* {}; without it, {loses}", codes(field.paths.iter().copied()))
}

fn write_map(out: &mut String, map: &MapDef, common: &str) -> fmt::Result {
    let entries = match map.entries {
        Entries::PerCpu => "one per possible CPU".into(),
        Entries::PerCpuTimes(number) => format!("{number} per possible CPU"),
        Entries::Fixed(number) => number.to_string(),
        Entries::When(setting, number) => format!("{number} with `{setting}`, otherwise 1"),
    };
    writeln!(out, "| `{}` | {entries}{common} |", map.name)
}
