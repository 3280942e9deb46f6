//! What is asked, as the configuration gives it and as the helper gets it.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    input::check::resolve::is_name,
    input::{Options, Unsupported},
};

/// Hosts at most.
pub(super) const HOSTS: u32 = 16;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) hosts: Vec<String>,
    pub(super) count: u16,
    pub(super) spacing: Duration,
    pub(super) timeout: Duration,
    pub(super) size: u16,
}

impl Asked {
    /// By the settings, or what is wrong with them.
    pub(super) fn new(options: Options<'_>) -> Result<Self, Unsupported> {
        let small = |key| u16::try_from(options.integer(key)).unwrap_or(u16::MAX);
        let mut asked = Self {
            hosts: Vec::new(),
            count: small("count"),
            spacing: options.duration("spacing"),
            timeout: options.duration("timeout"),
            size: small("size"),
        };
        for host in options.texts("hosts") {
            if !asked.hosts.iter().any(|known| known == host) {
                asked.hosts.push(host.to_owned());
            }
        }
        asked.complaint().map_or(Ok(asked), |complaint| Err(Unsupported(complaint)))
    }

    fn complaint(&self) -> Option<String> {
        if self.hosts.is_empty() {
            return Some(
                "`hosts` is empty: list names or addresses, as in [\"db.example\", \"10.0.0.1\"]".to_owned(),
            );
        }
        if self.hosts.len() > HOSTS as usize {
            let many = self.hosts.len();
            return Some(format!(
                "`hosts` has {many} entries, where {HOSTS} are the most: make two checks of it"
            ));
        }
        let is_host = |host: &&String| host.parse::<IpAddr>().is_ok() || is_name(host);
        if let Some(host) = self.hosts.iter().find(|host| !is_host(host)) {
            return Some(format!(
                "`hosts`: `{host}` is neither a name nor an address, as in \"10.0.0.1\" or \"fd00::1\""
            ));
        }
        let allowed = Duration::from_millis(10)..=Duration::from_secs(10);
        (!allowed.contains(&self.spacing))
            .then(|| "`spacing` must be between 10ms and 10s: more echoes than that are a flood".to_owned())
    }

    /// How long it may take in all: names, echoes, and the answer to the last one.
    pub(super) fn longest(&self) -> Duration {
        self.spacing * u32::from(self.count.saturating_sub(1)) + self.timeout * 2
    }
}
