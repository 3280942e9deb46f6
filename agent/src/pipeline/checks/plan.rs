//! What a pipeline of checks does, without any target.

use std::time::Duration;

use super::{labels, selector::Selector, template::Template};
use crate::{
    bpf::Loader,
    catalogue::{CheckDef, Namespace, Source},
    config::PipelineConfig,
    container::Container,
    input::{Input, InputDef, OpenContext, OptionSetting, Options, check::NetworkMode},
    pipeline::Schedule,
    source::Roots,
};

/// Inputs, and those of their options that say what may be done: they are as the agent's own configuration has them, and
/// neither a task nor a target has a say.
const OF_THE_AGENT: [(&str, &str); 1] = [("exec", "programs")];

/// How often targets are checked unless the configuration says it.
pub const PACE: Duration = Duration::from_secs(15);

/// How checks are spread, beside the schedule of their pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// Which containers are the targets; without it, the host is.
    pub target: Option<Selector>,
    /// Checks at once.
    pub concurrency: u32,
    /// Checks that are started in a second, at most; 0 is no limit.
    pub rate: f64,
    /// Where they are executed for a target.
    pub network_mode: NetworkMode,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self { target: None, concurrency: 16, rate: 0.0, network_mode: NetworkMode::Pod }
    }
}

/// Settings of an input.
pub(super) type Settings = Vec<(String, OptionSetting)>;

/// What a pipeline of checks does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) def: &'static InputDef,
    pub(super) needs: &'static CheckDef,
    pub(super) selector: Option<Selector>,
    /// Labels that follow from the target.
    pub(super) tags: Vec<(String, Template)>,
    pub(super) schedule: Schedule,
    pub(super) concurrency: usize,
    pub(super) rate: f64,
    pub(super) network_mode: NetworkMode,
    options: Settings,
    roots: Roots,
}

impl Plan {
    /// That of a pipeline whose input is a check.
    pub(super) fn of(config: &PipelineConfig, needs: &'static CheckDef, roots: &Roots) -> Self {
        let has_targets = config.check.target.is_some();
        Self {
            def: config.def,
            needs,
            selector: config.check.target.clone(),
            tags: if has_targets { labels::tags(config) } else { Vec::new() },
            // Spread by the targets, whatever that of the pipeline is.
            schedule: Schedule::every(config.interval.unwrap_or(PACE)),
            concurrency: config.check.concurrency as usize,
            rate: config.check.rate,
            network_mode: config.check.network_mode,
            options: config.options.clone(),
            roots: roots.clone(),
        }
    }

    /// Whether all containers of a pod are the same to it: it looks at their network, which they share.
    pub(super) fn is_of_pods(&self) -> bool {
        let by_name = self.selector.as_ref().is_some_and(|selector| selector.container.is_some());
        is_of_pods(self.needs) && !by_name
    }

    /// The settings for a target, or what it lacks.
    pub(super) fn settings(&self, container: Option<&Container>) -> Result<Settings, String> {
        if self.selector.is_none() {
            return Ok(self.options.clone());
        }
        expanded(self.def, &self.options, |template| template.expand(container))
    }

    /// Whether the check can be made as it is configured, where that does not depend on a target.
    pub(super) fn opens(&self) -> Result<(), String> {
        if self.selector.is_some() { Ok(()) } else { self.open(&self.options).map(drop) }
    }

    /// Makes the check with these settings.
    pub(super) fn open(&self, options: &Settings) -> Result<Box<dyn Input>, String> {
        open(self.def, options, &self.roots)
    }
}

/// Whether it looks at what all containers of a pod share, and at nothing else.
fn is_of_pods(needs: &CheckDef) -> bool {
    let apart = |namespace: &Namespace| matches!(namespace, Namespace::Mount | Namespace::Pid);
    needs.namespaces.contains(&Namespace::Net)
        && !needs.namespaces.iter().any(apart)
        && !needs.as_target
        && !needs.executes
}

fn open(def: &'static InputDef, options: &Settings, roots: &Roots) -> Result<Box<dyn Input>, String> {
    let mut loader = Loader::off("checks have no kernel programs");
    let options = Options::new(def.options, options);
    (def.open)(&mut OpenContext { roots, options, bpf: &mut loader }).map_err(|unsupported| unsupported.0)
}

fn expanded(
    def: &InputDef,
    options: &Settings,
    expand: impl Fn(&Template) -> Result<String, String>,
) -> Result<Settings, String> {
    let text = |text: &String| expand(&Template::parse(text).map_err(|error| error.message)?);
    let one = |(key, setting): &(String, OptionSetting)| {
        let setting = match setting {
            _ if is_of_the_agent(def, key) => Ok(setting.clone()),
            OptionSetting::Text(it) => text(it).map(OptionSetting::Text),
            OptionSetting::Texts(all) => {
                all.iter().map(text).collect::<Result<_, _>>().map(OptionSetting::Texts)
            }
            other => Ok(other.clone()),
        };
        Ok((key.clone(), setting.map_err(|error| format!("`{key}`: {error}"))?))
    };
    options.iter().map(one).collect()
}

/// Whether an option says what may be done.
pub(crate) fn is_of_the_agent(def: &InputDef, key: &str) -> bool {
    OF_THE_AGENT.contains(&(def.name, key))
}

/// From outside, what does not ask for a target says nothing of it.
const FROM_OUTSIDE: &str = "`network_mode` \"agent\" checks from outside what options say of the target, and none does: \
    take something of it, as in `host = \"{ip}\"`";
const NO_TARGET: &str = "`network_mode` says where a target is checked from, and there is none: leave it out";

/// What is wrong with the options of a check as a whole, as far as that can be told without a target.
pub(crate) fn complaint(config: &PipelineConfig) -> Option<String> {
    let Source::Check(_) = config.def.source else { return None };
    let plain = |template: &Template| {
        if template.is_plain() { template.expand(None) } else { Err(String::new()) }
    };
    let options = match config.check.target {
        Some(_) => match expanded(config.def, &config.options, plain) {
            Ok(_) if config.check.network_mode == NetworkMode::Agent => return Some(FROM_OUTSIDE.to_owned()),
            Ok(options) => options,
            // It depends on the target.
            Err(_) => return None,
        },
        None if config.check.network_mode == NetworkMode::Agent => return Some(NO_TARGET.to_owned()),
        None => config.options.clone(),
    };
    open(config.def, &options, &Roots::default()).err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::check::{dialcheck, disk, exec, processes};

    #[test]
    fn only_what_containers_of_a_pod_share_makes_a_check_of_pods() {
        let of = |def: &InputDef| match def.source {
            Source::Check(needs) => is_of_pods(needs),
            _ => panic!("{} is no check", def.name),
        };
        assert!(of(&dialcheck::DEF));
        assert!(!of(&disk::DEF) && !of(&exec::DEF));
        assert!(!of(&processes::DEF));
    }
}
