//! `[pods]` of the configuration.

use std::path::PathBuf;

/// How it is found out what runs on this host and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        }
    }
}
