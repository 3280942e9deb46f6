//! `[pods]` of the configuration.

use std::path::{Path, PathBuf};

use super::kubelet::Endpoint;
use crate::{config::is_label_name, container::Attribute};

/// Labels of pods that may be asked for, at most.
const MOST_LABELS: usize = 8;
/// Labels that metrics of control groups have already.
const TAKEN: [&str; 7] = ["cgroup", "namespace", "pod", "container", "id", "image", "name"];

/// How it is found out what runs on this host and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "keys of a file that are switches")]
pub struct PodsConfig {
    /// Whether anybody looks.
    pub enabled: bool,
    /// Sockets of runtimes; the well-known ones when there are none.
    pub sockets: Vec<String>,
    /// URL of the kubelet.
    pub kubelet: Option<String>,
    /// File with the token to show it.
    pub kubelet_token_file: Option<PathBuf>,
    /// File with the certificates that may have signed its own.
    pub kubelet_ca_file: Option<PathBuf>,
    /// Whether its certificate is not looked at.
    pub kubelet_insecure: bool,
    /// Whether metrics of control groups say whose they are.
    pub owner_labels: bool,
    /// Labels of these metrics, and what of a pod they say.
    pub labels: Vec<(String, String)>,
    /// Whether figures of control groups are also published under cAdvisor's names.
    pub cadvisor: bool,
}

impl Default for PodsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sockets: Vec::new(),
            kubelet: None,
            kubelet_token_file: None,
            kubelet_ca_file: None,
            kubelet_insecure: false,
            owner_labels: true,
            labels: Vec::new(),
            cadvisor: false,
        }
    }
}

impl PodsConfig {
    /// The labels that are asked for; those that are wrong have been refused.
    pub fn attributes(&self) -> Vec<(String, Attribute)> {
        let known = self.labels.iter().filter_map(|(label, text)| Some((label.clone(), text.parse().ok()?)));
        known.collect()
    }

    /// What is wrong with it: the key, and what to write instead.
    pub(crate) fn complaints(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for socket in &self.sockets {
            let path = socket.strip_prefix("unix://").unwrap_or(socket);
            if !Path::new(path).is_absolute() {
                wrong.push(("sockets", format!("`sockets` has `{socket}`, which is not a path from `/` on")));
            }
        }
        if self.labels.len() > MOST_LABELS {
            wrong.push(("labels", format!("`labels` has more than {MOST_LABELS}")));
        }
        for (label, text) in &self.labels {
            if !is_label_name(label) || TAKEN.contains(&label.as_str()) {
                wrong.push((
                    "labels",
                    format!("`labels` has `{label}`, which cannot be the name of another label"),
                ));
            }
            if let Err(message) = text.parse::<Attribute>() {
                wrong.push(("labels", format!("`labels.{label}`: {message}")));
            }
        }
        match self.kubelet.as_deref().map(Endpoint::parse) {
            None => {}
            Some(Err(message)) => wrong.push(("kubelet", format!("`kubelet`: {message}"))),
            Some(Ok(endpoint)) => {
                if endpoint.is_tls && !self.kubelet_insecure && self.kubelet_ca_file.is_none() {
                    let what = "`kubelet` has https: say in `kubelet_ca_file` who signs its certificate, or with \
                                `kubelet_insecure = true` that it does not matter";
                    wrong.push(("kubelet", what.to_owned()));
                }
                if !endpoint.is_tls && self.kubelet_token_file.is_some() {
                    let what = "`kubelet_token_file` would be sent in the clear: `kubelet` needs https";
                    wrong.push(("kubelet_token_file", what.to_owned()));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(config: &PodsConfig) -> Vec<&'static str> {
        config.complaints().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn defaults_and_whole_settings_are_fine() {
        assert!(complaints(&PodsConfig::default()).is_empty());
        let whole = PodsConfig {
            sockets: vec!["/run/x.sock".to_owned(), "unix:///run/y.sock".to_owned()],
            kubelet: Some("https://127.0.0.1:10250".to_owned()),
            kubelet_token_file: Some("/token".into()),
            kubelet_ca_file: Some("/ca".into()),
            ..PodsConfig::default()
        };
        assert!(complaints(&whole).is_empty());
        let insecure = PodsConfig { kubelet_ca_file: None, kubelet_insecure: true, ..whole };
        assert!(complaints(&insecure).is_empty());
    }

    #[test]
    fn what_cannot_work_is_named() {
        let kubelet = |url: &str| PodsConfig { kubelet: Some(url.to_owned()), ..PodsConfig::default() };
        assert_eq!(complaints(&kubelet("127.0.0.1")), ["kubelet"]);
        assert_eq!(complaints(&kubelet("https://127.0.0.1")), ["kubelet"]);
        let clear = PodsConfig { kubelet_token_file: Some("/token".into()), ..kubelet("http://127.0.0.1") };
        assert_eq!(complaints(&clear), ["kubelet_token_file"]);
        let labels = |label: &str, text: &str| PodsConfig {
            labels: vec![(label.to_owned(), text.to_owned())],
            ..PodsConfig::default()
        };
        assert!(complaints(&labels("team", "label:team")).is_empty());
        assert_eq!(complaints(&labels("pod", "label:team")), ["labels"]);
        assert_eq!(complaints(&labels("team", "team")), ["labels"]);
        let relative = PodsConfig { sockets: vec!["run/x.sock".to_owned()], ..PodsConfig::default() };
        assert_eq!(complaints(&relative), ["sockets"]);
    }
}
