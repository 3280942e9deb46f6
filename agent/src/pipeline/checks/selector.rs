//! Which containers a pipeline of checks has for its targets.

use crate::{
    config::glob,
    container::{Container, Role, Runtime},
};

/// What a container must be like. All parts that are given must fit; each is a glob on a whole text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Namespace of its pod.
    pub namespace: Option<String>,
    /// Name of its pod.
    pub pod: Option<String>,
    /// Its own name.
    pub container: Option<String>,
    /// Its image, as it was asked for.
    pub image: Option<String>,
    /// Who started it: the word of a [`Runtime`].
    pub runtime: Option<String>,
    /// Labels that its pod must have, or it itself, and their values.
    pub labels: Vec<(String, String)>,
    /// The same for annotations.
    pub annotations: Vec<(String, String)>,
}

/// A part that is one text.
pub(crate) struct TextPart {
    /// Its name in the file.
    pub(crate) name: &'static str,
    /// The field.
    pub(crate) field: fn(&mut Selector) -> &mut Option<String>,
}

/// A part that is a table of texts.
pub(crate) struct TablePart {
    /// Its name in the file.
    pub(crate) name: &'static str,
    /// The field.
    pub(crate) field: fn(&mut Selector) -> &mut Vec<(String, String)>,
}

/// The parts that are one text.
pub(crate) static TEXT_PARTS: &[TextPart] = &[
    TextPart { name: "namespace", field: |selector| &mut selector.namespace },
    TextPart { name: "pod", field: |selector| &mut selector.pod },
    TextPart { name: "container", field: |selector| &mut selector.container },
    TextPart { name: "image", field: |selector| &mut selector.image },
    TextPart { name: "runtime", field: |selector| &mut selector.runtime },
];

/// The parts that are tables of texts.
pub(crate) static TABLE_PARTS: &[TablePart] = &[
    TablePart { name: "labels", field: |selector| &mut selector.labels },
    TablePart { name: "annotations", field: |selector| &mut selector.annotations },
];

impl Selector {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a container is a target. What only holds the namespaces of a pod is none.
    pub fn matches(&self, container: &Container) -> bool {
        let pod = container.pod.as_deref();
        let fits = |pattern: &Option<String>, text: Option<&str>| {
            pattern.as_deref().is_none_or(|pattern| text.is_some_and(|text| glob::matches(pattern, text)))
        };
        container.role == Role::Workload
            && fits(&self.namespace, pod.map(|pod| pod.namespace.as_str()))
            && fits(&self.pod, pod.map(|pod| pod.name.as_str()))
            && fits(&self.container, Some(&container.name))
            && fits(&self.image, Some(&container.image))
            && fits(&self.runtime, Some(container.runtime.word()))
            && self.labels.iter().all(|(name, pattern)| has(label(container, name), pattern))
            && self.annotations.iter().all(|(name, pattern)| has(annotation(container, name), pattern))
    }
}

/// The words of all runtimes.
pub(crate) fn runtimes() -> impl Iterator<Item = &'static str> {
    let all = [Runtime::Containerd, Runtime::Crio, Runtime::Docker, Runtime::Podman, Runtime::Unknown];
    all.into_iter().map(Runtime::word)
}

fn has(value: Option<&str>, pattern: &str) -> bool {
    value.is_some_and(|value| glob::matches(pattern, value))
}

/// A label of a container's pod, or else its own.
pub(super) fn label<'c>(container: &'c Container, name: &str) -> Option<&'c str> {
    let of_pod = container.pod.as_deref().and_then(|pod| pod.labels.get(name));
    of_pod.or_else(|| container.labels.get(name)).map(String::as_str)
}

/// An annotation of a container's pod, or else its own.
pub(super) fn annotation<'c>(container: &'c Container, name: &str) -> Option<&'c str> {
    let of_pod = container.pod.as_deref().and_then(|pod| pod.annotations.get(name));
    of_pod.or_else(|| container.annotations.get(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::container, *};

    fn with(set: impl FnOnce(&mut Selector)) -> Selector {
        let mut selector = Selector::default();
        set(&mut selector);
        selector
    }

    #[test]
    fn every_part_that_is_given_must_fit() {
        let web = container("c1", "shop", "web-0", "app");
        assert!(with(|s| s.pod = Some("web-*".into())).matches(&web));
        assert!(!with(|s| s.pod = Some("web".into())).matches(&web));
        assert!(with(|s| s.namespace = Some("shop".into())).matches(&web));
        assert!(with(|s| s.image = Some("*nginx*".into())).matches(&web));
        assert!(with(|s| s.runtime = Some("containerd".into())).matches(&web));
        let both =
            |namespace: &str| with(|s| (s.pod, s.namespace) = (Some("web-*".into()), Some(namespace.into())));
        assert!(both("shop").matches(&web) && !both("other").matches(&web));
        let labelled = |value: &str| with(|s| s.labels = vec![("app".into(), value.into())]);
        assert!(labelled("web-0*").matches(&web) && !labelled("db").matches(&web));
        assert!(!with(|s| s.annotations = vec![("none".into(), "*".into())]).matches(&web));
    }

    #[test]
    fn what_holds_namespaces_is_no_target_and_what_has_no_pod_has_no_name_of_one() {
        let any = with(|s| s.pod = Some("*".into()));
        let mut sandbox = container("c1", "shop", "web-0", "");
        sandbox.role = Role::Sandbox;
        assert!(!any.matches(&sandbox));
        let mut alone = container("c2", "", "", "redis");
        alone.pod = None;
        assert!(!any.matches(&alone));
        assert!(with(|s| s.container = Some("redis".into())).matches(&alone));
    }
}
