//! Sockets of a network namespace by state, and queues of those that listen.

mod counts;
mod diag;
mod metrics;
mod netstat;
mod sockstat;
#[cfg(test)]
mod tests;

use std::{
    io,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use self::{
    counts::{Tcp, Udp},
    diag::{Family, List, Lister},
};
use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, collect_here, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, OptionDef, OptionValue, Source},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "sockets",
    about: "Sockets of a network namespace by state, and queues of those that listen.",
    prefix: "pitot_sockets_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one walk of the kernel through its table of all connections of the host, whatever the namespace: 0.2 ms \
           for 262,144 places, twice that in cold caches, and about a microsecond for each socket of the namespace",
    metrics: &[
        &EXECUTED,
        &FAILURES,
        &metrics::TCP,
        &metrics::TCP_QUEUE_BYTES,
        &metrics::LISTEN_QUEUE,
        &metrics::LISTEN_QUEUE_MAX,
        &metrics::LISTEN_PORTS,
        &metrics::LISTEN_PORTS_OTHER,
        &metrics::LISTEN_OVERFLOWS_TOTAL,
        &metrics::LISTEN_DROPS_TOTAL,
        &metrics::UDP,
        &metrics::UDP_QUEUE_BYTES,
    ],
    options: &[OptionDef {
        key: "timeout",
        default: OptionValue::Duration(Duration::from_secs(2)),
        help: "How long the kernel may take to list all sockets: where it takes longer, nothing is told rather than a \
               part of it.",
    }],
    open: |cx| Ok(Box::new(Sockets { timeout: cx.options.duration("timeout") })),
};

/// The longest `net/netstat` that is read.
const LONGEST: u64 = 64 << 10;
/// For what lies between the end of the check and the end of the request.
const GRACE: Duration = Duration::from_millis(500);

/// The check.
#[derive(Debug, Default)]
pub struct Sockets {
    timeout: Duration,
}

/// What the helper is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    timeout: Duration,
}

impl Input for Sockets {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        collect_here(self, cx, acc)
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Sockets {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Request::new(&DEF, &Asked { timeout: self.timeout }, self.timeout + GRACE)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let asked: Asked = Request::settings(body)?;
        let deadline = inside.deadline.min(Instant::now() + asked.timeout);
        let listing = |what: &'static str| {
            move |error: io::Error| InputError::Other(format!("listing {what} sockets: {error}"))
        };
        let mut lister = Lister::new(deadline).map_err(listing("all"))?;
        let mut tcp = Tcp::default();
        lister.list(List::Tcp, |seen| tcp.see(seen)).map_err(listing("TCP"))?;
        metrics::put_tcp(response, &tcp).map_err(InputError::other)?;
        if let Some(udp) = udp(&mut lister, inside).map_err(listing("UDP"))? {
            metrics::put_udp(response, &udp).map_err(InputError::other)?;
        }
        let content = inside.process.read("net/netstat", LONGEST);
        let content = content.map_err(|error| InputError::Other(format!("net/netstat: {error}")))?;
        let listeners = netstat::parse(&content);
        let counters = [
            (&metrics::LISTEN_OVERFLOWS_TOTAL, listeners.overflows),
            (&metrics::LISTEN_DROPS_TOTAL, listeners.drops),
        ];
        for (metric, value) in counters {
            if let Some(value) = value {
                response.put(&DEF, metric, &[], value as f64).map_err(InputError::other)?;
            }
        }
        Ok(())
    }
}

/// None where there are some and the kernel was built without the list of them.
fn udp(lister: &mut Lister, inside: &Inside) -> io::Result<Option<Udp>> {
    let mut udp = Udp::default();
    for family in Family::ALL {
        // Going through the kernel's table takes long, also when there is nothing in it.
        if sockstat::has_udp(inside, family) == Some(false) {
            continue;
        }
        match lister.list(List::Udp(family), |seen| udp.see(seen)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(udp))
}
