//! What the verifier of the running kernel makes of every program.

use std::path::Path;

use pitot::{
    bpf::{Loader, Pinning},
    catalogue::Source,
    input::{INPUTS, InputDef, OpenContext, Options},
    source::Roots,
};

use crate::{
    hooks::everything_on,
    host::{can_run, note},
};

/// A tenth of the instructions that the verifier walks through before it gives up, since Linux 5.2.
const FAR_BELOW: u64 = 100_000;

/// Names of the programs that an input loads with everything switched on, and what each took to verify.
fn verified(def: &InputDef, sysfs: &Path) -> Vec<(&'static str, u64)> {
    let given = everything_on(def);
    let mut loader = Loader::new(sysfs, Pinning::Ignore);
    let options = Options::new(def.options, &given);
    let opened = (def.open)(&mut OpenContext { roots: &Roots::default(), options, bpf: &mut loader });
    if let Err(why) = &opened {
        note(&format!("{}: {why}", def.name));
    }
    let programs = loader.programs().iter().filter(|program| !program.is_map);
    programs.map(|program| (program.name, program.figures().verified)).collect()
}

#[test]
fn the_verifier_is_done_with_every_program_long_before_its_limit() {
    if !can_run() {
        return;
    }
    // Without the kernel's types, the variants that do without are loaded.
    let no_types = tempfile::tempdir().unwrap();
    let inputs = || INPUTS.iter().filter(|def| matches!(def.source, Source::Bpf(_)));
    let all: Vec<_> = [Path::new("/sys"), no_types.path()]
        .into_iter()
        .flat_map(|sysfs| inputs().flat_map(move |def| verified(def, sysfs)))
        .collect();
    assert!(all.len() >= inputs().count(), "only {all:?} could be loaded");
    if all.iter().all(|(_, instructions)| *instructions == 0) {
        note("the kernel tells what it verified since Linux 5.16");
        return;
    }
    for (program, instructions) in &all {
        assert!((1..FAR_BELOW).contains(instructions), "{program}: {instructions} instructions");
    }
    let (program, most) = all.iter().max_by_key(|(_, instructions)| instructions).unwrap();
    note(&format!("{} programs, at most {most} instructions ({program})", all.len()));
}
