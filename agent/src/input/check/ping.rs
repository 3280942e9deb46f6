//! Whether hosts answer ICMP echoes, and how long that takes.

mod asked;
mod echo;
mod metrics;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use self::{asked::Asked, echo::Echoes, tally::Tally};
use super::{
    EXECUTED, FAILURES, HelperError, Inside, NetworkMode, PodInput, Request, collect_here, resolve, wire,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, OptionDef, OptionValue, Source},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "ping",
    about: "Whether hosts answer ICMP echoes, and how long that takes.",
    prefix: "pitot_ping_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one packet for each echo",
    metrics: &[
        &EXECUTED,
        &FAILURES,
        &metrics::UP,
        &metrics::SENT,
        &metrics::RECEIVED,
        &metrics::LOSS_RATIO,
        &metrics::RTT_SECONDS,
        &metrics::SENT_TOTAL,
        &metrics::LOST_TOTAL,
        &metrics::RESULTS_TOTAL,
        &metrics::ROUND_TRIP_SECONDS,
    ],
    options: &[
        OptionDef {
            key: "hosts",
            default: OptionValue::Texts(&[]),
            help: "Names or addresses to send echoes to, 16 at most, where the sysctl net.ipv4.ping_group_range of the \
                   target's network namespace allows it to the group 65534; of a name it is the first address.",
        },
        OptionDef {
            key: "count",
            default: OptionValue::Integer { default: 3, min: 1, max: 10 },
            help: "Echoes to each host in one check.",
        },
        OptionDef {
            key: "spacing",
            default: OptionValue::Duration(Duration::from_millis(200)),
            help: "Pause between echoes to a host, from 10ms to 10s.",
        },
        OptionDef {
            key: "timeout",
            default: OptionValue::Duration(Duration::from_secs(1)),
            help: "How long the answer to an echo is waited for until it counts as lost, and before that how long it may \
                   take to resolve all names.",
        },
        OptionDef {
            key: "size",
            default: OptionValue::Integer { default: 56, min: 8, max: 1452 },
            help: "Bytes of data in an echo, of which the program ping sends 56.",
        },
    ],
    open: |cx| Ok(Box::new(Ping::new(Asked::new(cx.options)?))),
};

/// For what lies between the end of the check and the end of the request.
const GRACE: Duration = Duration::from_millis(500);

/// The check.
#[derive(Debug, Default)]
pub struct Ping {
    asked: Asked,
    tally: Tally,
}

impl Ping {
    fn new(asked: Asked) -> Self {
        let tally = Tally::new(&asked);
        Self { asked, tally }
    }
}

/// The first address of each host; none where its name has none.
fn resolve(asked: &Asked, inside: &Inside) -> io::Result<Vec<Option<IpAddr>>> {
    let until = inside.deadline.min(Instant::now() + asked.timeout);
    let hosts = asked.hosts.iter().zip((1..=asked.hosts.len()).rev());
    hosts
        .map(|(host, left)| {
            // Each gets its share of what those before it have left.
            let share = until.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(1);
            match resolve::addresses_until(inside, host, Instant::now() + share) {
                Ok(addresses) => Ok(addresses.first().copied()),
                Err(error) if resolve::unresolved(&error).is_some() => Ok(None),
                Err(error) => Err(error),
            }
        })
        .collect()
}

impl Input for Ping {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        collect_here(self, cx, acc)
    }

    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_mut::<Self>() {
            self.tally.take_over(&mut old.tally);
        }
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Ping {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Request::new(&DEF, &self.asked, self.asked.longest() + GRACE)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let asked: Asked = Request::settings(body)?;
        echo::is_allowed().map_err(InputError::other)?;
        let addresses = resolve(&asked, inside).map_err(InputError::other)?;
        let echoes = Echoes::new(&asked, &addresses).and_then(|echoes| echoes.run(inside.deadline));
        let fates = echoes.map_err(InputError::other)?;
        for (host, fate) in asked.hosts.iter().zip(&fates) {
            metrics::put(response, host, fate).map_err(InputError::other)?;
        }
        Ok(())
    }

    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        self.tally.deliver(response, acc)?;
        self.tally.show(acc);
        acc.put(&EXECUTED, &[], true);
        Ok(())
    }

    fn generate_error_metrics(&mut self, _error: &HelperError, acc: &mut dyn Accumulator) {
        // Counts stay when nothing is added to them.
        self.tally.show(acc);
        acc.put(&EXECUTED, &[], false);
    }
}
