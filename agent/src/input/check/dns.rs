//! Whether names resolve, by the resolver settings of the target.

mod asked;
mod metrics;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    time::{Duration, Instant},
};

use self::{asked::Asked, tally::Tally};
use super::{
    EXECUTED, FAILURES, HelperError, Inside, NetworkMode, PodInput, Request, collect_here,
    resolve::{self, Settings},
    wire,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, OptionDef, OptionValue, Source},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "dns",
    about: "Whether names resolve, by the resolver settings of the target, and how long that takes.",
    prefix: "pitot_dns_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one question for each name, type and search domain that is tried",
    metrics: &[
        &EXECUTED,
        &FAILURES,
        &metrics::UP,
        &metrics::SECONDS,
        &metrics::RCODE,
        &metrics::ANSWERS,
        &metrics::SEARCH_STEPS,
        &metrics::TRUNCATED,
        &metrics::RESULTS_TOTAL,
        &metrics::LOOKUP_SECONDS,
    ],
    options: &[
        OptionDef {
            key: "names",
            default: OptionValue::Texts(&[]),
            help: "What to resolve, 16 names at most: each in the search domains of the target, as its programs would try it, \
                   or as it is if it ends in a dot; for PTR it may be an address.",
        },
        OptionDef {
            key: "types",
            default: OptionValue::Texts(&["A"]),
            help: "Kinds of records to ask for, each of every name: A, AAAA, SRV, TXT, MX, CNAME, NS and PTR, in 32 \
                   questions at most.",
        },
        OptionDef {
            key: "server",
            default: OptionValue::Text(""),
            help: "The name server to ask instead of those of the target's /etc/resolv.conf: an address with or without a \
                   port, such as 10.96.0.10, 127.0.0.1:5353 or [fd00::a]:53.",
        },
        OptionDef {
            key: "timeout",
            default: OptionValue::Duration(Duration::from_secs(5)),
            help: "How long all answers may take together, which are asked for at once; a silent name server takes what \
                   resolv.conf says, 5s unless it says otherwise, before the next one is asked.",
        },
    ],
    open: |cx| Ok(Box::new(Dns::new(Asked::new(cx.options)?))),
};

/// For what lies between the end of the check and the end of the request.
const GRACE: Duration = Duration::from_millis(500);

/// The check.
#[derive(Debug, Default)]
pub struct Dns {
    asked: Asked,
    tally: Tally,
}

impl Dns {
    fn new(asked: Asked) -> Self {
        let tally = Tally::new(&asked);
        Self { asked, tally }
    }

    /// Asks, and leaves what came of it.
    fn execute(asked: &Asked, inside: &Inside, response: &mut wire::Response) -> Result<(), InputError> {
        let unreadable = |error| InputError::Other(format!("/etc/resolv.conf of the target: {error}"));
        let mut settings = Settings::of(&inside.root).map_err(unreadable)?;
        if let Some(server) = asked.server {
            settings = settings.with_server(server);
        }
        let questions = asked.questions(&settings);
        let deadline = inside.deadline.min(Instant::now() + asked.timeout);
        let outcomes = resolve::ask(&settings, &questions, deadline, false);
        for (labels, outcome) in asked.labels().zip(&outcomes) {
            metrics::put(response, labels, outcome).map_err(InputError::other)?;
        }
        Ok(())
    }
}

impl Input for Dns {
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

impl PodInput for Dns {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Request::new(&DEF, &self.asked, self.asked.timeout + GRACE)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let asked: Asked = Request::settings(body)?;
        Self::execute(&asked, inside, response)
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
