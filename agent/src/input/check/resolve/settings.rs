//! `/etc/resolv.conf` of a target, as glibc understands it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use resolv_conf::{Config, ScopedIp};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::{super::Dir, message::is_name};

/// The longest file that is read.
const LONGEST: u64 = 64 << 10;
/// Name servers that are asked, as many as glibc asks.
const SERVERS: usize = 3;
/// Search domains that are tried: as many as Kubernetes lets a pod have.
const DOMAINS: usize = 32;
const PORT: u16 = 53;

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// Dots that a name must have to be tried as it is before it is tried in the search domains.
    pub(super) dots: usize,
    /// How long one server gets for one answer.
    pub(super) patience: Duration,
    /// How often all servers are asked.
    pub(super) rounds: u32,
    /// Whether the first question is asked over TCP already.
    pub(super) tcp: bool,
    pub(super) no_aaaa: bool,
}

impl Settings {
    /// Those of a target. A file that is not there means a name server of the target's own.
    pub(crate) fn of(root: &Dir) -> io::Result<Self> {
        match root.read("etc/resolv.conf", LONGEST) {
            Ok(content) => Ok(Self::parse(&content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::parse(b"")),
            Err(error) => Err(error),
        }
    }

    /// The same, but another server is asked.
    pub(crate) fn with_server(self, server: SocketAddr) -> Self {
        Self { servers: vec![server], ..self }
    }

    /// What cannot be understood is passed over, as the C library does.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let (config, _) = Config::parse_with_errors(content);
        let mut servers: Vec<_> = config.nameservers.iter().take(SERVERS).map(address).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        let domains = config.get_last_search_or_domain().take(DOMAINS);
        Self {
            servers,
            search: domains.cloned().collect(),
            // The limits of glibc.
            dots: config.ndots.min(15) as usize,
            patience: Duration::from_secs(config.timeout.clamp(1, 30).into()),
            rounds: config.attempts.clamp(1, 5),
            tcp: config.use_vc,
            no_aaaa: config.no_aaaa,
        }
    }

    /// The full names that a name may stand for, in the order in which they are tried.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let is_first = name.matches('.').count() >= self.dots;
        let mut names = Vec::with_capacity(self.search.len() + 1);
        if is_first {
            names.push(name.to_owned());
        }
        for domain in &self.search {
            let domain = domain.trim_matches('.');
            let full = if domain.is_empty() { name.to_owned() } else { format!("{name}.{domain}") };
            // A domain that makes no name cannot be asked for.
            if is_name(&full) && !names.contains(&full) {
                names.push(full);
            }
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        names
    }
}

fn address(server: &ScopedIp) -> SocketAddr {
    match server {
        ScopedIp::V6(ip, Some(scope)) => SocketAddrV6::new(*ip, PORT, 0, interface(scope)).into(),
        other => (IpAddr::from(other), PORT).into(),
    }
}

/// The number of an interface; 0, which reaches nobody, if there is none of that name.
fn interface(scope: &str) -> u32 {
    let by_name = || {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        netdevice::name_to_index(socket, scope)
    };
    scope.parse().ok().or_else(|| by_name().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OF_A_POD: &[u8] = b"search web.svc.cluster.local svc.cluster.local cluster.local\n\
        nameserver 10.96.0.10\noptions ndots:5\n";

    #[test]
    fn a_pod_tries_its_search_domains_first() {
        let settings = Settings::parse(OF_A_POD);
        assert_eq!(settings.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!((settings.patience, settings.rounds), (Duration::from_secs(5), 2));
        let expected = ["db.web.svc.cluster.local", "db.svc.cluster.local", "db.cluster.local", "db"];
        assert_eq!(settings.candidates("db"), expected);
        assert_eq!(settings.candidates("www.example.org")[3], "www.example.org");
        assert_eq!(settings.candidates("www.example.org."), ["www.example.org"]);
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        let settings =
            Settings::parse(b"nameserver 192.0.2.1\ndomain ignored\nsearch a.example . b.example.\n");
        assert_eq!(settings.candidates("x"), ["x.a.example", "x", "x.b.example"]);
        assert_eq!(settings.candidates("x.y"), ["x.y", "x.y.a.example", "x.y.b.example"]);
        let domain = Settings::parse(b"search a.example\ndomain c.example\n");
        assert_eq!(domain.candidates("x"), ["x.c.example", "x"]);
    }

    #[test]
    fn without_servers_it_is_the_local_one_and_limits_are_those_of_glibc() {
        assert_eq!(Settings::parse(b"").servers, ["127.0.0.1:53".parse().unwrap()]);
        let many = Settings::parse(
            b"nameserver 10.0.0.1\nnameserver nonsense\nnameserver fd00::1\nnameserver fe80::1%7\n\
              nameserver 10.0.0.4\noptions ndots:99 timeout:0 attempts:1000 use-vc unheard-of\n",
        );
        let expected = ["10.0.0.1:53", "[fd00::1]:53", "[fe80::1%7]:53"];
        assert_eq!(many.servers, expected.map(|server| server.parse().unwrap()));
        assert_eq!((many.dots, many.patience, many.rounds), (15, Duration::from_secs(1), 5));
        assert!(many.tcp);
    }

    proptest! {
        #[test]
        fn any_bytes_are_settings(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            search in "(search|domain)[ -~\u{e9}]{0,200}",
        ) {
            for content in [&bytes[..], search.as_bytes()] {
                let settings = Settings::parse(content);
                let names = settings.candidates("db");
                assert!(!settings.servers.is_empty() && settings.servers.len() <= SERVERS);
                assert!(names.len() <= DOMAINS + 1 && names.iter().all(|name| is_name(name)));
            }
        }
    }
}
