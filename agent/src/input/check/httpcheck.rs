//! Whether an HTTP endpoint answers as it should, and how long each phase takes.

mod exchange;
mod limited;
mod plan;
mod redirect;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod trust;

use std::{any::Any, time::Duration};

use pitot_common::histogram::{OCTAVE_SLOTS, Scale};

pub use self::settings::Settings;
use self::{
    exchange::{Found, Phase},
    plan::Plan,
    tls::Tls,
};
use super::{
    EXECUTED, FAILURES, HelperError, Inside, NetworkMode, PodInput, Request, collect_here,
    reach::{self, Failure, Patience, Reason, with_grace},
    shelf::Shelf,
    wire,
};
use crate::{
    accumulator::{Accumulator, Histogram, Sample, Value},
    catalogue::{Buckets, CheckDef, Label, Metric, Namespace, Since, Source, Unit, Unsupported},
    input::{CollectContext, Input, InputDef, InputError},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "httpcheck",
    about: "Whether an HTTP endpoint answers as it should, and how long each phase takes.",
    prefix: "pitot_httpcheck_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one connection and one request, and as many more as redirects are followed",
    metrics: &[
        &EXECUTED, &FAILURES, &UP, &DOWN, &PHASE, &TOTAL, &STATUS, &BODY, &TRUNCATED, &REDIRECTS, &EXPIRY,
        &VERIFIED, &CHECKS, &SECONDS,
    ],
    options: settings::OPTIONS,
    open: |cx| Ok(Box::new(HttpCheck::new(Settings::of(cx.options)?)?)),
};

/// Up, and what keeps a target from it.
const RESULTS: [Option<Reason>; 14] = [
    None,
    Some(Reason::Resolve),
    Some(Reason::Unreachable),
    Some(Reason::Refused),
    Some(Reason::Denied),
    Some(Reason::Reset),
    Some(Reason::Timeout),
    Some(Reason::Tls),
    Some(Reason::Certificate),
    Some(Reason::Protocol),
    Some(Reason::Closed),
    Some(Reason::Redirect),
    Some(Reason::Status),
    Some(Reason::Body),
];

/// The word for each of them.
const WORDS: [&str; RESULTS.len()] = {
    let mut words = ["up"; RESULTS.len()];
    let mut index = 0;
    while index < RESULTS.len() {
        if let Some(reason) = RESULTS[index] {
            words[index] = reason.word();
        }
        index += 1;
    }
    words
};
const REASONS: &[&str] = WORDS.split_at(1).1;

/// From a loopback to the longest patience that makes sense.
const TIMES: Buckets = Buckets { scale: Scale::NanosecondOctaves, slots: OCTAVE_SLOTS, first: -14, last: 5 };

static UP: Metric = Metric::gauge("up", "Whether the target answered as it should.", &[]);
static DOWN: Metric = Metric::gauge(
    "down",
    "Why the target is not up: 1 for what kept it from answering as it should, and absent otherwise.",
    &[Label::fixed("reason", REASONS)],
);
static PHASE: Metric = Metric::gauge(
    "duration_seconds",
    "Time that each phase of the last check took, added up over redirects; a phase that did not end has none.",
    &[Label::fixed("phase", Phase::WORDS)],
)
.unit(Unit::Seconds);
static TOTAL: Metric = Metric::gauge(
    "total_seconds",
    "Time that the last check took until the body was read; absent when there was no whole answer.",
    &[],
)
.unit(Unit::Seconds);
static STATUS: Metric = Metric::gauge(
    "status_code",
    "Status code of the last answer, after the redirects that were followed.",
    &[],
);
static BODY: Metric =
    Metric::gauge("body_bytes", "Bytes of the last answer's body that were read.", &[]).unit(Unit::Bytes);
static TRUNCATED: Metric = Metric::gauge(
    "body_truncated",
    "Whether the body of the last answer is longer than what of it is read, or may be.",
    &[],
);
static REDIRECTS: Metric =
    Metric::gauge("redirects", "Redirects that the last check followed until there was an answer.", &[]);
static EXPIRY: Metric = Metric::gauge(
    "tls_certificate_expiry_timestamp_seconds",
    "When the first of the certificates that the target showed ends, in seconds since the Unix epoch.",
    &[],
)
.unit(Unit::Seconds);
static VERIFIED: Metric = Metric::gauge(
    "tls_verified",
    "Whether the certificate of the target is one to trust, also where that does not decide whether it is up.",
    &[],
);
static CHECKS: Metric = Metric::counter(
    "checks_total",
    "Checks that were executed, by what they found: up, or the reason why not.",
    &[Label::fixed("result", &WORDS)],
)
.since(Since::Start);
static SECONDS: Metric = Metric::histogram(
    "seconds",
    "Time that checks took until the body was read, of those that got a whole answer.",
    TIMES,
    &[],
)
.unit(Unit::Seconds)
.since(Since::Start);

/// The check.
#[derive(Debug, Default)]
pub struct HttpCheck {
    /// What the helper is asked to do.
    request: Option<Request>,
    kept: Kept,
}

/// What a check is told travels each time, so it is not everything that a helper would take.
const MOST_REQUEST: usize = 100 << 10;

static PREPARED: Shelf<Prepared> = Shelf::new();

/// A plan, ready to be executed again.
#[derive(Debug)]
struct Prepared {
    body: Vec<u8>,
    plan: Plan,
    tls: Option<Tls>,
}

impl Prepared {
    /// That of a request, which may be there from an earlier one.
    fn of(body: &[u8]) -> Result<Self, InputError> {
        if let Some(known) = PREPARED.take(|known| known.body == body) {
            return Ok(known);
        }
        let plan = Plan::new(Request::settings(body)?).map_err(InputError::Other)?;
        Ok(Self { body: body.to_vec(), plan, tls: None })
    }
}

/// What is counted over several checks.
#[derive(Debug)]
struct Kept {
    results: [u64; RESULTS.len()],
    seconds: Histogram,
}

impl Default for Kept {
    fn default() -> Self {
        Self { results: [0; RESULTS.len()], seconds: Histogram::new(TIMES) }
    }
}

impl Kept {
    fn deliver(&self, acc: &mut dyn Accumulator) {
        for (index, (word, &count)) in WORDS.iter().zip(&self.results).enumerate() {
            // What never happened is not one of a dozen series for each target.
            if index == 0 || count > 0 {
                acc.put(&CHECKS, &[word.as_bytes()], count);
            }
        }
        acc.put(&SECONDS, &[], &self.seconds);
    }
}

impl HttpCheck {
    /// One with these settings.
    pub fn new(settings: Settings) -> Result<Self, Unsupported> {
        let timeout = settings.timeout;
        let body = serde_json::to_vec(&settings).map_err(|error| Unsupported(error.to_string()))?;
        Plan::new(settings).map_err(Unsupported)?;
        if body.len() > MOST_REQUEST {
            let what = format!("all of it together has {} KiB at most", MOST_REQUEST >> 10);
            return Err(Unsupported(format!(
                "`body`, `headers` and the content of `ca_file` are too long: {what}"
            )));
        }
        let request = Request { input: DEF.name.to_owned(), body, timeout: with_grace(timeout) };
        Ok(Self { request: Some(request), ..Self::default() })
    }
}

impl Input for HttpCheck {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        collect_here(self, cx, acc)
    }

    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_mut::<Self>() {
            self.kept = std::mem::take(&mut old.kept);
        }
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for HttpCheck {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        self.request.clone().ok_or_else(|| InputError::Other("it has no settings".to_owned()))
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let mut prepared = Prepared::of(body)?;
        let Prepared { plan, tls, .. } = &mut prepared;
        let patience = Patience::new(plan.settings.timeout, inside);
        let mut found = Found::default();
        let check = exchange::check(plan, tls, inside, patience, &mut found);
        let outcome = reach::run(patience.wait(check))?;
        // What was seen in a handshake that did not end in time.
        found.seen = found.seen.or_else(|| tls.as_ref().and_then(Tls::seen));
        PREPARED.put(prepared);
        let reason = match outcome {
            Ok(()) => None,
            Err(Failure::Down(reason)) => Some(reason),
            Err(Failure::Unknown(what)) => return Err(InputError::Other(what)),
        };
        write(&found, reason, response).map_err(InputError::other)
    }

    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        wire::deliver(&DEF, response, &mut Tap { kept: &mut self.kept, to: acc })?;
        self.kept.deliver(acc);
        acc.put(&EXECUTED, &[], true);
        Ok(())
    }

    fn generate_error_metrics(&mut self, _error: &HelperError, acc: &mut dyn Accumulator) {
        self.kept.deliver(acc);
        acc.put(&EXECUTED, &[], false);
    }
}

/// Writes what was found into a response.
fn write(found: &Found, reason: Option<Reason>, to: &mut wire::Response) -> Result<(), wire::WireError> {
    let mut put = |metric, labels: &[&[u8]], value: f64| to.put(&DEF, metric, labels, value);
    put(&UP, &[], f64::from(u8::from(reason.is_none())))?;
    if let Some(reason) = reason {
        put(&DOWN, &[reason.word().as_bytes()], 1.0)?;
    }
    for phase in Phase::ALL {
        if let Some(time) = found.phases[phase as usize] {
            put(&PHASE, &[phase.word().as_bytes()], time.as_secs_f64())?;
        }
    }
    if let Some(total) = found.total {
        put(&TOTAL, &[], total.as_secs_f64())?;
    }
    if let Some(status) = found.status {
        put(&STATUS, &[], status.into())?;
        put(&REDIRECTS, &[], found.redirects.into())?;
    }
    if let Some((bytes, is_truncated)) = found.body {
        put(&BODY, &[], bytes as f64)?;
        put(&TRUNCATED, &[], f64::from(u8::from(is_truncated)))?;
    }
    if let Some(seen) = found.seen {
        put(&VERIFIED, &[], f64::from(u8::from(seen.is_trusted)))?;
        if let Some(expiry) = seen.expiry {
            put(&EXPIRY, &[], expiry as f64)?;
        }
    }
    Ok(())
}

/// Passes on what a response tells, and counts it.
struct Tap<'a> {
    kept: &'a mut Kept,
    to: &'a mut dyn Accumulator,
}

impl Accumulator for Tap<'_> {
    fn add(&mut self, sample: &Sample<'_>) {
        let is = |metric: &'static Metric| std::ptr::eq(sample.metric, metric);
        let Value::Number(value) = sample.value else { return };
        if is(&EXECUTED) || is(&FAILURES) || is(&CHECKS) {
            // Those are the agent's to say.
            return;
        }
        if is(&UP) && value > 0.0 {
            self.kept.results[0] += 1;
        } else if is(&DOWN) {
            // What is not a reason of a check's is no series either.
            let reason = sample.labels.first().copied().unwrap_or_default();
            let Some(index) = WORDS.iter().skip(1).position(|word| word.as_bytes() == reason) else { return };
            self.kept.results[index + 1] += 1;
        } else if is(&TOTAL)
            && let Ok(time) = Duration::try_from_secs_f64(value)
        {
            self.kept.seconds.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
        self.to.add(sample);
    }
}
