//! How each hook is served on the running kernel: for whoever runs the tests, and held against the definitions.

use std::path::Path;

use pitot::{
    bpf::{Loader, Pinning},
    catalogue::{BpfDef, OptionValue, ProgramKind, Source, Variant},
    input::{INPUTS, Input, InputDef, OpenContext, OptionSetting, Options},
    source::Roots,
};

use crate::host::{can_run, note};

/// Every switch of an input.
pub(crate) fn everything_on(def: &InputDef) -> Vec<(String, OptionSetting)> {
    let switches = def.options.iter().filter(|option| matches!(option.default, OptionValue::Bool(_)));
    switches.map(|option| (option.key.to_owned(), OptionSetting::Bool(true))).collect()
}

fn open(def: &InputDef) -> Box<dyn Input> {
    let given = everything_on(def);
    let options = Options::new(def.options, &given);
    let mut loader = Loader::new(Path::new("/sys"), Pinning::Ignore);
    (def.open)(&mut OpenContext { roots: &Roots::default(), options, bpf: &mut loader }).unwrap()
}

/// Says how each hook is served, in lines that `cargo xtask vm` reads.
fn report(def: &InputDef, object: &BpfDef) {
    let input = open(def);
    // An input may find that the host's files tell more.
    let Some(opened) = input.kernel_object() else {
        note(&format!("hook {} - none: {}", def.name, input.variant().unwrap_or_default()));
        return;
    };
    let said = opened.degraded.clone().unwrap_or_default();
    for served in opened.hooks() {
        let hook = object.hooks.iter().find(|hook| hook.name == served.hook).unwrap();
        let is_this = |variant: &Variant| (variant.kind, variant.loses) == (served.kind, served.loses);
        let at = hook.variants.iter().position(is_this).unwrap();
        note(&format!("hook {} {} {} {}", def.name, hook.name, served.kind.name(), served.refused));
        // Whoever is not served best is told why, and what is lost by that.
        assert_eq!(served.refused.is_empty(), at == 0, "{served:?}");
        assert!(said.contains(served.loses), "{served:?}, but it only says: {said}");
    }
    let served = |name: &str| opened.hooks().iter().any(|served| served.hook == name);
    for hook in object.hooks {
        assert_eq!(served(hook.name), opened.is_on(hook.when), "{}", hook.name);
    }
    assert!(opened.hooks().iter().any(|served| served.kind != ProgramKind::Nothing));
}

#[test]
fn every_hook_is_served_and_what_that_loses_is_said() {
    if !can_run() {
        return;
    }
    for def in INPUTS {
        if let Source::Bpf(object) = def.source {
            report(def, object);
        }
    }
}
