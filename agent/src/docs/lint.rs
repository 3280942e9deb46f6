//! What every definition must keep to.

use std::collections::{BTreeMap, BTreeSet};

use super::series::{worst_case_of, worst_case_series};
use crate::{
    catalogue::{BpfDef, Hook, Kind, Metric, OptionValue, Source, Unit},
    config::{
        is_label_name,
        schema::{CHECK_KEYS, INPUT_KEYS},
    },
    input::{INPUTS, InputDef},
};

/// The most lines that one input may add to a page of a large host: that of `cgroup`, with a thousand groups on
/// so many disks that `max_series` bounds their series, and the rest is folded.
const MOST_SERIES: u64 = 43_005;
const LARGE_HOST_CPUS: u64 = 64;
/// `BPF_OBJ_NAME_LEN` with its closing zero; the kernel cuts longer names.
const MOST_BPF_NAME: usize = 15;

fn metrics() -> impl Iterator<Item = (&'static InputDef, &'static Metric)> {
    INPUTS.iter().flat_map(|def| def.metrics.iter().map(|metric| (*def, *metric)))
}

fn programs() -> impl Iterator<Item = (&'static InputDef, &'static BpfDef)> {
    INPUTS.iter().filter_map(|def| match def.source {
        Source::Bpf(bpf) => Some((*def, bpf)),
        Source::Files(_) | Source::Calls(_) | Source::Check(_) | Source::Own => None,
    })
}

/// Fails with everything that is wrong, not with the first.
#[track_caller]
fn none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<_> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn repeated<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeMap::new();
    for item in items {
        *seen.entry(item).or_insert(0) += 1;
    }
    seen.into_iter().filter(|&(_, times)| times > 1).map(|(item, _)| item).collect()
}

#[test]
fn inputs_have_names_of_their_own() {
    none(repeated(INPUTS.iter().map(|def| def.name)).into_iter().map(Into::into));
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    none(INPUTS.iter().filter(|def| def.name.is_empty() || !plain(def.name)).map(|def| def.name.into()));
}

#[test]
fn metrics_have_names_of_their_own() {
    let exported = metrics().map(|(def, metric)| format!("{}{}", def.prefix, metric.name));
    none(repeated(exported));
}

#[test]
fn metric_names_are_valid() {
    let valid = |name: &str| {
        let name = name.replacen('*', "x", 1);
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let exported = metrics().map(|(def, metric)| format!("{}{}", def.prefix, metric.name));
    none(exported.filter(|name| !valid(name)));
}

#[test]
fn counters_and_only_counters_end_in_total() {
    let wrong = |metric: &Metric| {
        let exempt = metric.kind == Kind::Untyped || metric.name.contains('*');
        !exempt && (metric.kind == Kind::Counter) != metric.name.ends_with("_total")
    };
    none(metrics().filter(|(_, metric)| wrong(metric)).map(|(_, metric)| metric.name.into()));
}

#[test]
fn own_metrics_end_in_their_unit() {
    let wrong = |metric: &Metric| {
        let stem = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        metric.unit != Unit::None && !stem.ends_with(metric.unit.suffix())
    };
    let own = metrics().filter(|(def, _)| def.prefix.starts_with("pitot_"));
    none(own.filter(|(_, metric)| wrong(metric)).map(|(_, metric)| metric.name.into()));
}

#[test]
fn help_is_one_sentence() {
    let sentence = |text: &str| {
        text.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
            && text.ends_with('.')
            && !text.contains(['"', '\n'])
            && !text.contains(". ")
    };
    let helps = metrics().map(|(_, metric)| (metric.name, metric.help));
    let abouts = INPUTS.iter().map(|def| (def.name, def.about));
    let options = INPUTS.iter().flat_map(|def| def.options).map(|option| (option.key, option.help));
    let keys = INPUT_KEYS.iter().chain(CHECK_KEYS).map(|key| (key.name, key.help));
    let all = helps.chain(abouts).chain(options).chain(keys);
    none(all.filter(|(_, text)| !sentence(text)).map(|(name, text)| format!("{name}: {text}")));
}

#[test]
fn label_names_are_valid() {
    let reserved = ["le", "quantile", "job", "instance"];
    none(metrics().flat_map(|(_, metric)| {
        let names = metric.labels.iter().map(|label| label.name);
        let wrong = names.clone().filter(|name| !is_label_name(name) || reserved.contains(name));
        let problems: Vec<_> =
            wrong.chain(repeated(names)).map(|name| format!("{}: {name}", metric.name)).collect();
        problems
    }));
}

#[test]
fn two_inputs_never_share_a_hook() {
    let hooks =
        programs().flat_map(|(_, bpf)| bpf.hooks.iter().map(|hook| hook.name).collect::<BTreeSet<_>>());
    none(repeated(hooks).into_iter().map(Into::into));
}

#[test]
fn hooks_can_be_served() {
    let wrong = |hook: &&Hook| hook.variants.is_empty();
    none(programs().flat_map(|(_, bpf)| bpf.hooks.iter().filter(wrong)).map(|hook| hook.name.into()));
    let fields = programs().flat_map(|(_, bpf)| bpf.fields.iter().filter(|field| field.paths.is_empty()));
    none(fields.map(|field| field.setting.into()));
}

#[test]
fn kernel_names_are_not_cut() {
    let names = programs().flat_map(|(_, bpf)| {
        let programs = bpf.hooks.iter().flat_map(|hook| hook.variants).map(|variant| variant.program);
        programs.chain(bpf.maps.iter().chain(bpf.shared).map(|map| map.name))
    });
    none(names.filter(|name| name.len() > MOST_BPF_NAME).map(Into::into));
}

#[test]
fn options_have_keys_of_their_own() {
    none(INPUTS.iter().flat_map(|def| {
        let own = def.options.iter().map(|option| option.key);
        let keys = repeated(own.chain(INPUT_KEYS.iter().chain(CHECK_KEYS).map(|key| key.name)));
        keys.into_iter().map(|key| format!("{}.{key}", def.name))
    }));
}

#[test]
fn default_patterns_compile() {
    let wrong = |value: OptionValue| match value {
        OptionValue::Regex(text) => regex_lite::Regex::new(text).is_err(),
        OptionValue::Bool(_) | OptionValue::Text(_) | OptionValue::Texts(_) => false,
        OptionValue::Duration(length) => length.is_zero(),
        OptionValue::Integer { default, min, max } => !(min..=max).contains(&default),
    };
    let options = INPUTS.iter().flat_map(|def| def.options);
    none(options.filter(|option| wrong(option.default)).map(|option| option.key.into()));
}

#[test]
fn the_number_of_series_has_a_bound() {
    none(INPUTS.iter().filter_map(|def| {
        let series = worst_case_series(def, LARGE_HOST_CPUS);
        let largest = def.metrics.iter().max_by_key(|metric| worst_case_of(def, metric, LARGE_HOST_CPUS))?;
        (series > MOST_SERIES).then(|| format!("{}: {series} series, most of `{}`", def.name, largest.name))
    }));
}
