//! What a program of the target prints as metrics. Only programs that the configuration lists are started.
//!
//! In a helper, the program has what the helper has: the target's root, namespaces and user, no capability and no way
//! to get one. It has no input, an environment of nothing but a `PATH`, and a process group of its own. Nothing that it
//! starts outlives the check; run in place, by the agent itself, only what leaves the group does.

mod json;
mod metrics;
mod run;
mod samples;
mod settings;
mod strays;
mod text;

use std::time::{Duration, Instant};

use self::{
    metrics::Outcome,
    run::{End, Run},
    settings::{Format, Settings},
};
use super::{EXECUTED, FAILURES, Inside, NetworkMode, PodInput, Request, collect_here, wire};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Namespace, OptionDef, OptionValue, Source},
    input::{CollectContext, Input, InputDef, InputError},
};

/// The option that lists what may be started. It is for whoever configures the agent; a task must not set it.
pub const PROGRAMS: &str = "programs";

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "exec",
    about: "What a program of the target prints as metrics, if the configuration lists it.",
    prefix: "pitot_exec_",
    source: Source::Check(&CheckDef {
        namespaces: &[Namespace::Net, Namespace::Pid, Namespace::Mount, Namespace::Ipc, Namespace::Uts],
        as_target: true,
        executes: true,
    }),
    cost: "what the program costs",
    metrics: &metrics::ALL,
    options: &[
        OptionDef {
            key: "command",
            default: OptionValue::Texts(&[]),
            help: "Program and arguments, one text each; the program is the path that it has in the target, and no \
                   shell looks at any of it.",
        },
        OptionDef {
            key: PROGRAMS,
            default: OptionValue::Texts(&[]),
            help: "Programs that may be started, by their exact paths, with whatever arguments; only the agent's own \
                   configuration may list them, no task.",
        },
        OptionDef {
            key: "prints",
            default: OptionValue::Text("prometheus"),
            help: "What the program prints: `prometheus` is the text format, of which samples with a time of their own are left \
                   out, `json` objects with `name`, `labels` and `value`, in an array or one after another.",
        },
        OptionDef {
            key: "timeout",
            default: OptionValue::Duration(settings::TIMEOUT),
            help: "How long the program may run; then it is killed with all that it started.",
        },
        OptionDef {
            key: "output_limit",
            default: OptionValue::Integer { default: settings::OUTPUT, min: 1, max: 1 << 20 },
            help: "Bytes that it may print in all; one that prints more is killed.",
        },
    ],
    open: |cx| Ok(Box::new(Exec { settings: Settings::from_options(&cx.options)?, in_place: false })),
};

/// What the helper has left, once the program's time is over, to end it and to answer.
const GRACE: Duration = Duration::from_millis(250);

/// The check.
#[derive(Debug, Default)]
pub struct Exec {
    settings: Settings,
    /// It is not executed by a helper, which has no other children than a program's.
    in_place: bool,
}

impl Input for Exec {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        self.in_place = true;
        collect_here(self, cx, acc)
    }

    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Exec {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }

    fn serialize_request(&self) -> Result<Request, InputError> {
        Request::new(&DEF, &self.settings, self.settings.timeout + GRACE)
    }

    fn execute_request(
        &mut self,
        body: &[u8],
        inside: &Inside,
        response: &mut wire::Response,
    ) -> Result<(), InputError> {
        let settings: Settings = Request::settings(body)?;
        settings.check().map_err(InputError::Unsupported)?;
        let answered = inside.deadline.checked_sub(GRACE / 2).unwrap_or(inside.deadline);
        let deadline = answered.min(Instant::now() + settings.timeout);
        let procfs = inside.procfs.as_ref().filter(|_| !self.in_place);
        if procfs.is_some() {
            strays::adopt().map_err(InputError::other)?;
        }
        let run = run::run(&settings.command, settings.output_limit as usize, deadline);
        if let Some(procfs) = procfs {
            strays::end(procfs, inside.deadline).map_err(InputError::other)?;
        }
        let run = run.map_err(|error| {
            let program = settings.command.first().map_or("", String::as_str);
            InputError::Other(format!("cannot run {program}: {error}"))
        })?;
        report(&run, settings.format, response).map_err(InputError::other)
    }
}

fn report(run: &Run, format: Format, response: &mut wire::Response) -> Result<(), wire::WireError> {
    let (outcome, code) = match run.end {
        End::Exited(0) => (Outcome::Ok, Some(0)),
        End::Exited(code) => (Outcome::ExitCode, Some(code)),
        End::Killed => (Outcome::Signal, None),
        End::Timeout => (Outcome::Timeout, None),
        End::TooLong => (Outcome::Output, None),
    };
    let mut put = |metric, labels: &[&[u8]], value: f64| response.put(&DEF, metric, labels, value);
    put(&metrics::UP, &[], f64::from(u8::from(outcome == Outcome::Ok)))?;
    for (at, name) in Outcome::LABELS.iter().enumerate() {
        put(&metrics::OUTCOME, &[name.as_bytes()], f64::from(u8::from(at == outcome as usize)))?;
    }
    put(&metrics::DURATION, &[], run.duration.as_secs_f64())?;
    put(&metrics::OUTPUT, &[], run.printed as f64)?;
    // What a program was killed over is not whole.
    let Some(code) = code else { return Ok(()) };
    put(&metrics::EXIT_CODE, &[], f64::from(code))?;
    let samples = match format {
        Format::Prometheus => text::parse(&run.output),
        Format::Json => json::parse(&run.output),
    };
    put(&metrics::MALFORMED, &[], f64::from(samples.malformed))?;
    put(&metrics::LEFT_OUT, &[], f64::from(samples.left_out))?;
    samples.list.iter().try_for_each(|(series, value)| {
        put(&metrics::VALUE, &[series.name.as_bytes(), series.labels.as_bytes()], *value)
    })
}

#[cfg(test)]
mod tests;
