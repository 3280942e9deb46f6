//! The settings of a check: what the configuration says, in words that teach when it cannot be.

use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{OptionDef, OptionValue, Unsupported},
    input::{Options, check::resolve},
};

/// The most ports of one check.
pub(super) const MOST_PORTS: u32 = 64;
/// What is left of a socket's name in the address of a socket, after `./` and before its closing zero.
const MOST_NAME: usize = 105;
/// A datagram that is larger than this has no place in a check.
const MOST_SENT: usize = 1024;

/// What the configuration may say.
pub(super) static OPTIONS: &[OptionDef] = &[
    OptionDef {
        key: "network",
        default: OptionValue::Text("tcp"),
        help: "What is dialled: `tcp` or `udp`, with `ports`, or `unix`, with `path`.",
    },
    OptionDef {
        key: "host",
        default: OptionValue::Text("127.0.0.1"),
        help: "The host whose ports are dialled: a name or an address, of IPv6 without brackets.",
    },
    OptionDef {
        key: "ports",
        default: OptionValue::Texts(&[]),
        help: "The ports that are dialled, 64 at most: single ones as `80`, ranges as `8000-8010`.",
    },
    OptionDef {
        key: "path",
        default: OptionValue::Text(""),
        help: "The path of the unix socket that is dialled, as the target sees it; in a pod it must let anybody connect.",
    },
    OptionDef {
        key: "times",
        default: OptionValue::Integer { default: 1, min: 1, max: 10 },
        help: "How often each is tried, one after the other; one try that succeeds makes it up.",
    },
    OptionDef {
        key: "timeout",
        default: OptionValue::Duration(Duration::from_secs(3)),
        help: "How long all tries may take; each gets its share.",
    },
    OptionDef {
        key: "send",
        default: OptionValue::Text(""),
        help: "What is sent: with `udp` the datagram, otherwise the first bytes of the connection.",
    },
    OptionDef {
        key: "expect",
        default: OptionValue::Regex(""),
        help: "What must be found at the beginning of the answer; without it a connection is enough, or any answer over UDP.",
    },
];

/// What is dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Ports of TCP.
    #[default]
    Tcp,
    /// Ports of UDP.
    Udp,
    /// A unix socket that accepts connections.
    Unix,
}

/// What is dialled, how often, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is dialled.
    pub network: Network,
    /// Whose ports are dialled.
    pub host: String,
    /// The ports.
    pub ports: Vec<u16>,
    /// The path of the unix socket.
    pub path: String,
    /// How often each is tried.
    pub times: u32,
    /// How long all tries may take.
    pub timeout: Duration,
    /// What is sent.
    pub send: String,
    /// What must be found in the answer; empty when none is waited for.
    pub expect: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            network: Network::Tcp,
            host: "127.0.0.1".to_owned(),
            ports: Vec::new(),
            path: String::new(),
            times: 1,
            timeout: Duration::from_secs(3),
            send: String::new(),
            expect: String::new(),
        }
    }
}

impl Settings {
    /// What the configuration says.
    pub(super) fn of(options: Options<'_>) -> Result<Self, Unsupported> {
        let network = match options.text("network") {
            "tcp" => Network::Tcp,
            "udp" => Network::Udp,
            "unix" => Network::Unix,
            other => {
                return Err(Unsupported(format!("`network` is `tcp`, `udp` or `unix`, not {other:?}")));
            }
        };
        Ok(Self {
            network,
            host: options.text("host").to_owned(),
            ports: ports(&options.texts("ports"))?,
            path: options.text("path").to_owned(),
            times: options.integer("times"),
            timeout: options.duration("timeout"),
            send: options.text("send").to_owned(),
            expect: options.pattern("expect").as_str().to_owned(),
        })
    }

    /// The values of the label: ports, or the path.
    pub(super) fn labels(&self) -> Vec<String> {
        match self.network {
            Network::Unix => vec![self.path.clone()],
            Network::Tcp | Network::Udp => self.ports.iter().map(u16::to_string).collect(),
        }
    }

    /// The pattern of the answer, or what is wrong with these settings.
    pub(super) fn check(&self) -> Result<Option<Regex>, String> {
        match (self.network, self.path.as_str()) {
            (Network::Unix, "") => {
                return Err("`network = \"unix\"` needs a socket: give `path = \"/run/app.sock\"`".to_owned());
            }
            (Network::Unix, path) => {
                if !self.ports.is_empty() {
                    return Err("a unix socket has no ports: leave out `ports`".to_owned());
                }
                socket(path)?;
            }
            (Network::Tcp | Network::Udp, "") => {
                if self.ports.is_empty() {
                    return Err("no port to dial: give `ports = [\"80\", \"8000-8010\"]`".to_owned());
                }
            }
            (Network::Tcp | Network::Udp, _) => {
                return Err(
                    "`path` is for `network = \"unix\"`: leave it out, or change the network".to_owned()
                );
            }
        }
        if !resolve::is_name(&self.host) || self.host.contains(['[', ']', '/']) {
            let what = "is the name of a host or an address, as in 10.0.0.1 and ::1";
            return Err(format!("`host` {what}, not {:?}", self.host));
        }
        if self.ports.len() > MOST_PORTS as usize || self.ports.contains(&0) {
            return Err(format!("`ports` are {MOST_PORTS} at most, from 1 to 65535"));
        }
        if self.send.len() > MOST_SENT {
            return Err(format!("`send` has {MOST_SENT} bytes at most"));
        }
        if self.expect.is_empty() {
            return Ok(None);
        }
        Regex::new(&self.expect).map(Some).map_err(|error| format!("`expect`: {error}"))
    }
}

/// Whether a path can be one of a socket.
fn socket(path: &str) -> Result<(), String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if !path.starts_with('/') || name.is_empty() || path.contains('\0') {
        return Err(format!("`path` leads from the root to a socket, as in /run/app.sock, not {path:?}"));
    }
    if name.len() > MOST_NAME {
        return Err(format!("`path`: the name of a socket has {MOST_NAME} bytes at most"));
    }
    Ok(())
}

/// Ports and ranges of ports, each once and in their order.
fn ports(texts: &[&str]) -> Result<Vec<u16>, Unsupported> {
    let mut ports = Vec::new();
    for text in texts {
        let one = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let (Some(low), Some(high)) = (one(low), one(high)) else {
            let what = "neither a port from 1 to 65535 nor a range as in \"8000-8010\"";
            return Err(Unsupported(format!("`ports`: {text:?} is {what}")));
        };
        if low > high {
            return Err(Unsupported(format!("`ports`: write the range as \"{high}-{low}\"")));
        }
        ports.extend((low..=high).filter(|port| !ports.contains(port)).collect::<Vec<_>>());
        if ports.len() > MOST_PORTS as usize {
            let what = format!("{MOST_PORTS} at most: divide them among several checks");
            return Err(Unsupported(format!("`ports` are {what}")));
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::OptionSetting;

    #[test]
    fn defaults_are_those_of_the_options() {
        let given = [("ports".to_owned(), OptionSetting::Texts(vec!["80".to_owned()]))];
        let settings = Settings::of(Options::new(OPTIONS, &given)).unwrap();
        assert_eq!(settings, Settings { ports: vec![80], ..Settings::default() });
    }

    #[test]
    fn ports_are_single_ones_and_ranges() {
        assert_eq!(ports(&["443", "80-82", "81"]).unwrap(), [443, 80, 81, 82]);
        assert_eq!(ports(&["65535"]).unwrap(), [65535]);
        for wrong in ["0", "65536", "http", "", "1-", "80,81"] {
            assert!(ports(&[wrong]).unwrap_err().0.contains("8000-8010"), "{wrong}");
        }
        assert!(ports(&["90-80"]).unwrap_err().0.contains("\"80-90\""));
        assert_eq!(ports(&["1-64"]).unwrap().len(), 64);
        assert!(ports(&["1-60000"]).unwrap_err().0.contains("64 at most"));
    }

    #[test]
    fn what_cannot_be_is_said_with_what_to_write() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings { ports: vec![80], ..Settings::default() };
            change(&mut settings);
            settings.check().map(|regex| regex.is_some())
        };
        let unix = |path: &str| {
            let path = path.to_owned();
            Settings { network: Network::Unix, path, ..Settings::default() }.check().map(drop)
        };
        assert_eq!(with(|s| s.host = "::1".to_owned()), Ok(false));
        assert_eq!(with(|s| s.expect = "^220 ".to_owned()), Ok(true));
        assert!(with(|s| s.ports.clear()).unwrap_err().contains("give `ports ="));
        assert!(with(|s| s.host = "[::1]".to_owned()).unwrap_err().contains("::1"));
        assert!(with(|s| s.path = "/x".to_owned()).unwrap_err().contains("unix"));
        assert!(with(|s| s.network = Network::Unix).unwrap_err().contains("give `path ="));
        assert!(with(|s| s.expect = "(".to_owned()).unwrap_err().contains("`expect`"));
        assert_eq!(unix("/run/app.sock"), Ok(()));
        for wrong in ["run/app.sock", "/run/", "/", "@abstract"] {
            assert!(unix(wrong).unwrap_err().contains("as in /run/app.sock"), "{wrong}");
        }
        assert!(unix(&format!("/{}", "x".repeat(106))).unwrap_err().contains("105 bytes"));
    }
}
