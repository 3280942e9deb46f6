//! Whether ports and sockets accept connections, and how long that takes.
//!
//! Over UDP nobody accepts anything: what is known of a port is that it answered, or that the kernel there said that
//! nobody is at it. Silence is neither. It is counted as such, and says that a target is down only where an answer
//! is expected.

mod dial;
mod settings;
#[cfg(test)]
mod tests;
mod unix;

use std::{any::Any, sync::Arc, time::Duration};

use pitot_common::histogram::{OCTAVE_SLOTS, Scale};

use self::dial::{Plan, Try, Verdict};
pub use self::settings::{Network, Settings};
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
    name: "dialcheck",
    about: "Whether ports and sockets accept connections, and how long that takes.",
    prefix: "pitot_dialcheck_",
    source: Source::Check(&CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false }),
    cost: "one connection for each port and try",
    metrics: &[&EXECUTED, &FAILURES, &UP, &DOWN, &SUCCESS, &CONNECT, &ANSWER, &ATTEMPTS, &SECONDS],
    options: settings::OPTIONS,
    open: |cx| Ok(Box::new(DialCheck::new(Settings::of(cx.options)?)?)),
};

/// What a try may find out.
const VERDICTS: [Verdict; 12] = [
    Verdict::Up,
    Verdict::Silent,
    Verdict::Down(Reason::Resolve),
    Verdict::Down(Reason::Missing),
    Verdict::Down(Reason::Unreachable),
    Verdict::Down(Reason::Refused),
    Verdict::Down(Reason::Denied),
    Verdict::Down(Reason::Reset),
    Verdict::Down(Reason::Timeout),
    Verdict::Down(Reason::Protocol),
    Verdict::Down(Reason::Closed),
    Verdict::Down(Reason::Answer),
];
/// The word for each of them.
const WORDS: [&str; VERDICTS.len()] = {
    let mut words = [""; VERDICTS.len()];
    let mut index = 0;
    while index < VERDICTS.len() {
        words[index] = VERDICTS[index].word();
        index += 1;
    }
    words
};
const REASONS: &[&str] = WORDS.split_at(2).1;

/// From a loopback to the longest patience that makes sense.
const TIMES: Buckets = Buckets { scale: Scale::NanosecondOctaves, slots: OCTAVE_SLOTS, first: -14, last: 5 };

const PORT: Label = Label::bounded("port", settings::MOST_PORTS);

static UP: Metric = Metric::gauge(
    "up",
    "Whether a try succeeded, by port, or by path for a unix socket; absent when all that is known is silence.",
    &[PORT],
);
static DOWN: Metric = Metric::gauge(
    "down",
    "Why no try succeeded: 1 for what kept the last one from it, and absent otherwise.",
    &[PORT, Label::fixed("reason", REASONS)],
);
static SUCCESS: Metric =
    Metric::gauge("success_ratio", "Share of the last check's tries that succeeded.", &[PORT])
        .unit(Unit::Ratio);
static CONNECT: Metric = Metric::gauge(
    "connect_seconds",
    "Time until the last try of the last check was connected, over TCP and to unix sockets.",
    &[PORT],
)
.unit(Unit::Seconds);
static ANSWER: Metric = Metric::gauge(
    "answer_seconds",
    "Time until the last try of the last check had its answer, over UDP and where one is expected.",
    &[PORT],
)
.unit(Unit::Seconds);
static ATTEMPTS: Metric = Metric::counter(
    "attempts_total",
    "Tries, by what they found: up, silence over UDP, or the reason why not.",
    &[PORT, Label::fixed("result", &WORDS)],
)
.since(Since::Start);
static SECONDS: Metric = Metric::histogram(
    "seconds",
    "Time that tries took which succeeded: until there was an answer, or a connection where that is enough.",
    TIMES,
    &[PORT],
)
.unit(Unit::Seconds)
.since(Since::Start);

/// The check.
#[derive(Debug, Default)]
pub struct DialCheck {
    /// What the helper is asked to do.
    request: Option<Request>,
    /// Whether an answer is waited for, so that its time is the one that counts.
    waits: bool,
    times: u32,
    kept: Vec<Kept>,
    /// Executed by its own process, which sees what the target sees.
    is_here: bool,
}

/// Plans, by the request that they were made for.
static PREPARED: Shelf<(Vec<u8>, Arc<Plan>)> = Shelf::new();

/// What is counted of a port over several checks.
#[derive(Debug)]
struct Kept {
    port: String,
    results: [u64; VERDICTS.len()],
    seconds: Histogram,
}

impl Kept {
    fn new(port: String) -> Self {
        Self { port, results: [0; VERDICTS.len()], seconds: Histogram::new(TIMES) }
    }

    fn deliver(&self, acc: &mut dyn Accumulator) {
        let port = self.port.as_bytes();
        for (index, (word, &count)) in WORDS.iter().zip(&self.results).enumerate() {
            // What never happened is not one of a dozen series for each port.
            if index == 0 || count > 0 {
                acc.put(&ATTEMPTS, &[port, word.as_bytes()], count);
            }
        }
        acc.put(&SECONDS, &[port], &self.seconds);
    }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Down(reason) => reason.word(),
        }
    }
}

impl DialCheck {
    /// One with these settings.
    pub fn new(settings: Settings) -> Result<Self, Unsupported> {
        let body = serde_json::to_vec(&settings).map_err(|error| Unsupported(error.to_string()))?;
        let request = Request { input: DEF.name.to_owned(), body, timeout: with_grace(settings.timeout) };
        let plan = Plan::new(settings).map_err(Unsupported)?;
        Ok(Self {
            request: Some(request),
            waits: plan.expect.is_some() || plan.settings.network == Network::Udp,
            times: plan.settings.times,
            kept: plan.settings.labels().into_iter().map(Kept::new).collect(),
            ..Self::default()
        })
    }
}

/// The plan of a request, which may be there from an earlier one.
fn prepare(body: &[u8]) -> Result<Arc<Plan>, InputError> {
    if let Some((body, plan)) = PREPARED.take(|(known, _)| known == body) {
        PREPARED.put((body, Arc::clone(&plan)));
        return Ok(plan);
    }
    let plan = Arc::new(Plan::new(Request::settings(body)?).map_err(InputError::Other)?);
    PREPARED.put((body.to_vec(), Arc::clone(&plan)));
    Ok(plan)
}

impl Input for DialCheck {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.is_here = true;
        collect_here(self, cx, acc)
    }

    fn update_from(&mut self, old: &mut dyn Any) {
        let Some(old) = old.downcast_mut::<Self>() else { return };
        for kept in &mut self.kept {
            if let Some(index) = old.kept.iter().position(|old| old.port == kept.port) {
                *kept = old.kept.swap_remove(index);
            }
        }
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for DialCheck {
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
        let plan = prepare(body)?;
        let patience = Patience::new(plan.settings.timeout, inside);
        let from = if self.is_here { unix::From::Here } else { unix::From::Root(&inside.root) };
        let all = reach::run(async {
            match plan.settings.network {
                Network::Unix => dial::socket(&plan, from, patience).await.map(|tries| vec![tries]),
                Network::Tcp | Network::Udp => dial::ports(&plan, inside, patience).await,
            }
        })?;
        let all = all.map_err(|failure| {
            InputError::Other(match failure {
                Failure::Unknown(what) => what,
                Failure::Down(reason) => reason.word().to_owned(),
            })
        })?;
        for (port, tries) in plan.settings.labels().iter().zip(&all) {
            write(port, tries, response).map_err(InputError::other)?;
        }
        Ok(())
    }

    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        let mut tap = Tap::new(self, acc);
        wire::deliver(&DEF, response, &mut tap)?;
        tap.finish();
        for kept in &self.kept {
            kept.deliver(acc);
        }
        acc.put(&EXECUTED, &[], true);
        Ok(())
    }

    fn generate_error_metrics(&mut self, _error: &HelperError, acc: &mut dyn Accumulator) {
        for kept in &self.kept {
            kept.deliver(acc);
        }
        acc.put(&EXECUTED, &[], false);
    }
}

/// Writes what was found of a port into a response: times once for each try.
fn write(port: &str, tries: &[Try], to: &mut wire::Response) -> Result<(), wire::WireError> {
    let port = port.as_bytes();
    let count = |verdict: Verdict| tries.iter().filter(|done| done.verdict == verdict).count() as f64;
    let last_down = tries.iter().rev().find(|done| matches!(done.verdict, Verdict::Down(_)));
    let (up, silent) = (count(Verdict::Up), count(Verdict::Silent));
    let mut put = |metric, labels: &[&[u8]], value: f64| to.put(&DEF, metric, labels, value);
    if up > 0.0 {
        put(&UP, &[port], 1.0)?;
    } else if let Some(last) = last_down {
        put(&UP, &[port], 0.0)?;
        put(&DOWN, &[port, last.verdict.word().as_bytes()], 1.0)?;
    }
    if silent == 0.0 {
        put(&SUCCESS, &[port], up / tries.len() as f64)?;
    }
    for done in tries {
        if let Some(time) = done.connect {
            put(&CONNECT, &[port], time.as_secs_f64())?;
        }
        if let Some(time) = done.answer {
            put(&ANSWER, &[port], time.as_secs_f64())?;
        }
    }
    for verdict in VERDICTS {
        let count = count(verdict);
        if count > 0.0 {
            put(&ATTEMPTS, &[port, verdict.word().as_bytes()], count)?;
        }
    }
    Ok(())
}

/// Passes on what a response tells of the ports that were asked for, and counts it.
struct Tap<'a> {
    kept: &'a mut [Kept],
    times: u32,
    waits: bool,
    /// The last time of each port that is in the response, to connect and to answer.
    last: Vec<[Option<f64>; 2]>,
    to: &'a mut dyn Accumulator,
}

impl<'a> Tap<'a> {
    fn new(check: &'a mut DialCheck, to: &'a mut dyn Accumulator) -> Self {
        let last = vec![[None; 2]; check.kept.len()];
        Self { kept: &mut check.kept, times: check.times, waits: check.waits, last, to }
    }

    fn finish(self) {
        for (kept, [connect, answer]) in self.kept.iter().zip(&self.last) {
            for (metric, time) in [(&CONNECT, connect), (&ANSWER, answer)] {
                if let Some(time) = *time {
                    self.to.put(metric, &[kept.port.as_bytes()], time);
                }
            }
        }
    }
}

impl Accumulator for Tap<'_> {
    fn add(&mut self, sample: &Sample<'_>) {
        let is = |metric: &'static Metric| std::ptr::eq(sample.metric, metric);
        let Value::Number(value) = sample.value else { return };
        let port = sample.labels.first().copied();
        let Some(index) = self.kept.iter().position(|kept| Some(kept.port.as_bytes()) == port) else {
            return;
        };
        let kept = &mut self.kept[index];
        let word =
            sample.labels.get(1).and_then(|word| WORDS.iter().position(|known| known.as_bytes() == *word));
        if is(&CONNECT) || is(&ANSWER) {
            let Ok(time) = Duration::try_from_secs_f64(value) else { return };
            self.last[index][usize::from(is(&ANSWER))] = Some(value);
            if is(&ANSWER) == self.waits {
                kept.seconds.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            }
        } else if is(&ATTEMPTS) {
            if let Some(word) = word {
                // No more than there were, whatever a response says.
                let count = (1..=self.times).rev().find(|count| f64::from(*count) <= value);
                kept.results[word] += u64::from(count.unwrap_or(0));
            }
        } else if is(&UP) || is(&SUCCESS) || (is(&DOWN) && word.is_some_and(|word| word > 1)) {
            self.to.add(sample);
        }
    }
}
