//! What a task is run against: this host, containers, a control group; and what is taken of them for labels.

use super::{
    super::model::{CollectTarget, CollectTask, TargetKind},
    Complaints, Surroundings,
};
use crate::{
    config::PipelineConfig,
    pipeline::{
        Selector,
        checks::{MOST_TAGS, Template, escaped},
        query::{Condition, LabelTest},
    },
};

/// The label that has the path of a control group.
const CGROUP: &str = "cgroup";

/// What a reference to the metadata of a container is called, and what that is as a template. Labels and annotations have
/// their own names behind a dot.
const OF_CONTAINERS: [(&str, &str); 8] = [
    ("namespace", "{namespace}"),
    ("pod", "{pod}"),
    ("container", "{container}"),
    ("containerName", "{container}"),
    ("ip", "{ip}"),
    ("hostname", "{hostname}"),
    ("app", "{app}"),
    ("image", "{image}"),
];

/// What it is run against.
pub(super) fn read(task: &CollectTask, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    let CollectTarget { kind, path, .. } = &task.target;
    match (kind, path) {
        (TargetKind::Cgroup, None) => wrong.push("`target.path` is missing: which control group?".to_owned()),
        (TargetKind::Cgroup, Some(path)) => cgroup(path, pipeline, wrong),
        (_, Some(_)) => wrong.push("`target.path` is for targets of type \"cgroup\"".to_owned()),
        (TargetKind::Localhost | TargetKind::None, None) => {}
        (TargetKind::Pod | TargetKind::Container, None) => containers(&task.target, pipeline, wrong),
    }
}

fn cgroup(path: &str, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    if pipeline.queries.is_empty() {
        let what =
            "say in `config.sql` what is computed of it, `from` the pipeline of an input by control group";
        wrong.push(format!("`target.type`: a control group narrows what a query takes: {what}"));
        return;
    }
    if path.is_empty() || path.ends_with('/') || path.contains(['*', '?']) {
        let what = "is the path of one control group, as in \"system.slice/ssh.service\"";
        wrong.push(format!("`target.path` {what}"));
    }
    narrow(pipeline, &[(CGROUP, path)]);
}

/// Lets queries take only what has these labels.
fn narrow(pipeline: &mut PipelineConfig, labels: &[(&str, &str)]) {
    for query in &mut pipeline.queries {
        let equals = |(label, to): &(&str, &str)| {
            Condition::Equals(LabelTest { label: (*label).to_owned(), to: (*to).to_owned() })
        };
        let mut all: Vec<Condition> = labels.iter().map(equals).collect();
        all.extend(query.condition.take());
        query.condition = match all.len() {
            1 => all.pop(),
            _ => Some(Condition::And(all)),
        };
    }
}

/// The containers of a pod, or one of them: whom a check is executed for, or what a query takes of all.
fn containers(target: &CollectTarget, pipeline: &mut PipelineConfig, wrong: &mut Complaints) {
    let meta = |name: &str| target.meta.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let (namespace, pod, container) =
        (meta("namespace"), meta("pod"), meta("containerName").or_else(|| meta("container")));
    match (target.kind, pod, container) {
        (TargetKind::Pod, None, _) => {
            return wrong.push("`target.meta.pod` is missing: the name of the pod".to_owned());
        }
        (TargetKind::Container, _, None) => {
            return wrong
                .push("`target.meta.containerName` is missing: the name of the container".to_owned());
        }
        _ => {}
    }
    let container = container.filter(|_| target.kind == TargetKind::Container);
    if pipeline.checks().is_some() {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        pipeline.check.target = Some(Selector {
            namespace: owned(namespace),
            pod: owned(pod),
            container: owned(container),
            ..Selector::default()
        });
    } else if pipeline.from.is_some() {
        let labels = [("namespace", namespace), ("pod", pod), ("container", container)];
        let given: Vec<_> = labels.into_iter().filter_map(|(label, value)| Some((label, value?))).collect();
        narrow(pipeline, &given);
    } else {
        let name = pipeline.def.name;
        let what = "take `from` a pipeline whose series have labels of containers, or collect a check";
        wrong.push(format!("`target.type`: input `{name}` measures the host: {what}"));
    }
}

/// Labels from the target's metadata. What the metadata do not have, a target that is this host has as `host` and
/// `hostname`; its addresses are not guessed: it may have many, and they change. Containers have what is known of them
/// when a series is born.
pub(super) fn references(
    task: &CollectTask,
    around: Surroundings<'_>,
    pipeline: &mut PipelineConfig,
    wrong: &mut Complaints,
) {
    let has_containers = pipeline.check.target.is_some();
    let mut templates = 0;
    for (label, reference) in &task.config.ref_metas {
        let name = reference.0.as_str();
        let of_host = (task.target.kind == TargetKind::Localhost && matches!(name, "host" | "hostname"))
            .then(|| around.hostname.to_owned());
        // Those of whom it is asked are known better by now than whoever wrote the task knew them.
        let of_containers = has_containers.then(|| of_containers(name)).flatten();
        let given = task.target.meta.get(name);
        let value = match (of_containers, given) {
            (Some(template), _) => {
                templates += 1;
                Some(template)
            }
            (None, Some(given)) if has_containers => Some(escaped(given)),
            (None, given) => given.cloned().or(of_host),
        };
        match value {
            Some(value) => pipeline.transform.target_tags.push((label.clone(), value)),
            None if has_containers => {
                let known: Vec<_> = OF_CONTAINERS.iter().map(|(name, _)| format!("`{name}`")).collect();
                let what = format!("{}, `labels.NAME` and `annotations.NAME`", known.join(", "));
                wrong.push(format!("`config.refMetas.{label}`: a container has no `{name}`: it has {what}"));
            }
            None => {
                let what = format!("the target has no `{name}`: give it in `target.meta`");
                wrong.push(format!("`config.refMetas.{label}`: {what}"));
            }
        }
    }
    if !has_containers {
        return;
    }
    for (name, text) in &pipeline.transform.tags {
        match Template::parse(text) {
            Ok(template) => templates += usize::from(!template.is_plain()),
            Err(error) => wrong.push(format!("`config.transform.tags.{name}`: {}", error.message)),
        }
    }
    if templates > MOST_TAGS {
        wrong.push(format!("`config.refMetas`: {templates} labels follow from the target: {MOST_TAGS} may"));
    }
}

/// What a reference to the metadata of a container is as a template.
fn of_containers(name: &str) -> Option<String> {
    let template = |word: &str, name: &str| {
        // A name is written as it is: one with a bar or a brace would be something else.
        (!name.is_empty() && !name.contains(['{', '}', '|'])).then(|| format!("{{{word}:{name}}}"))
    };
    if let Some(name) = name.strip_prefix("labels.") {
        return template("label", name);
    }
    if let Some(name) = name.strip_prefix("annotations.") {
        return template("annotation", name);
    }
    let known = OF_CONTAINERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, template)| (*template).to_owned())
}
