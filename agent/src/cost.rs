//! What the inputs cost on this host: `pitot inputs --cost`.
//!
//! Collections are this process's own. Programs are those that a running agent has pinned, or the same ones,
//! loaded for as long as this takes; the kernel times them meanwhile.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use crate::{
    bpf::{Guard, Sampler},
    catalogue::Source,
    config::Config,
    engine::{Engine, Report},
    output::{Format, Want},
    pipeline::State,
    server::Opened,
};

/// Collections that are averaged, after one in which series are born.
const COLLECTIONS: u32 = 20;

/// What all inputs cost.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// How long programs were timed.
    pub timed_seconds: f64,
    /// Why they were not, if they should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untimed: Option<String>,
    /// One after the other.
    pub inputs: Vec<InputCost>,
    /// All of them.
    pub total: Total,
}

/// What one input costs.
#[derive(Clone, Debug, Serialize)]
pub struct InputCost {
    /// Its name.
    pub input: String,
    /// The word for what it is doing.
    pub state: &'static str,
    /// CPU time of one collection in microseconds; none when it does not deliver.
    pub collect_us: Option<f64>,
    /// Series of a collection.
    pub series: usize,
    /// Kernel memory of its maps.
    pub map_kib: f64,
    /// Its programs.
    pub programs: Vec<ProgramCost>,
}

/// What one program costs.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramCost {
    /// Its name.
    pub program: &'static str,
    /// How often it ran.
    pub runs_per_second: f64,
    /// How long a run took, with the reading of the clock; none when it did not run.
    pub ns_per_run: Option<f64>,
    /// Share of one CPU.
    pub cpu_percent: f64,
}

/// What all inputs together cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Total {
    /// CPU time of a collection of everything, in microseconds.
    pub collect_us: f64,
    /// Series.
    pub series: usize,
    /// Kernel memory of maps.
    pub map_kib: f64,
    /// Share of one CPU that programs take.
    pub cpu_percent: f64,
}

/// Collects some times, then watches the programs for a while.
pub async fn measure(config: &Config, opened: Opened, watch: Duration) -> Result<Costs, String> {
    let Opened { pipelines, kit: _, guard, mut sampler, untimed } = opened;
    let engine =
        Engine::start(pipelines, config.scrape_budget).map_err(|error| format!("no thread: {error}"))?;
    let collect = || async {
        let want = Want { format: Format::Text, gzip: false, timeout: None, names: Vec::new() };
        engine.scrape(want).await.map(drop).map_err(|refused| refused.to_string())
    };
    collect().await?;
    let before = engine.usage();
    for _ in 0..COLLECTIONS {
        collect().await?;
    }
    let took = engine
        .usage()
        .iter()
        .zip(before)
        .map(|(after, before)| after.cpu.saturating_sub(before.cpu) / COLLECTIONS)
        .collect::<Vec<_>>();
    // Afterwards, so that the system calls of collecting are not among those that are counted.
    if !guard.programs.is_empty() {
        sampler.look(&guard.programs, &guard.figures());
        tokio::time::sleep(watch).await;
        sampler.look(&guard.programs, &guard.figures());
    }
    let reports = engine.reports();
    let untimed =
        untimed.filter(|_| sampler.window().is_zero()).or_else(|| none_runs(config, &guard, &reports));
    engine.stop(Duration::from_secs(1));
    let costs = reports.iter().zip(took).map(|(report, took)| InputCost::of(report, took, &guard, &sampler));
    Ok(Costs::of(costs.collect(), sampler.window(), untimed))
}

/// Why there is no program to time, when there should be.
fn none_runs(config: &Config, guard: &Guard, reports: &[Report]) -> Option<String> {
    if !guard.programs.is_empty() {
        return None;
    }
    let inputs = config.pipelines.iter().filter(|input| matches!(input.def.source, Source::Bpf(_)));
    let mut unsupported = inputs.filter_map(|input| {
        let report = reports.iter().find(|report| report.input == input.def.name)?;
        matches!(report.state, State::Unsupported { .. }).then(|| report.state.reason().to_owned())
    });
    unsupported.next()
}

impl Costs {
    fn of(inputs: Vec<InputCost>, timed: Duration, untimed: Option<String>) -> Self {
        let total = inputs.iter().fold(Total::default(), |sum, input| Total {
            collect_us: sum.collect_us + input.collect_us.unwrap_or_default(),
            series: sum.series + input.series,
            map_kib: sum.map_kib + input.map_kib,
            cpu_percent: sum.cpu_percent
                + input.programs.iter().map(|program| program.cpu_percent).sum::<f64>(),
        });
        Self { timed_seconds: timed.as_secs_f64(), untimed, inputs, total }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: [&str; 9]| {
            let [input, state, collect, series, maps, program, runs, nanos, share] = cells;
            let line = format!(
                "{input:<12} {state:<12} {collect:>10} {series:>7} {maps:>9}  {program:<15} {runs:>10} {nanos:>7} {share:>8}"
            );
            // Writing to a string cannot fail.
            let _ok = writeln!(text, "{}", line.trim_end());
        };
        line([
            "INPUT",
            "STATE",
            "US/COLLECT",
            "SERIES",
            "MAPS KIB",
            "PROGRAM",
            "RUNS/S",
            "NS/RUN",
            "% OF CPU",
        ]);
        for input in &self.inputs {
            let collect = input.collect_us.map_or(String::new(), |us| format!("{us:.1}"));
            let maps = if input.map_kib > 0.0 { format!("{:.0}", input.map_kib) } else { String::new() };
            let series = input.series.to_string();
            let mut first = [input.input.as_str(), input.state, &collect, &series, &maps];
            if input.programs.is_empty() {
                let [name, state, collect, series, maps] = first;
                line([name, state, collect, series, maps, "", "", "", ""]);
            }
            for program in &input.programs {
                let nanos = program.ns_per_run.map_or("-".to_owned(), |nanos| format!("{nanos:.0}"));
                let runs = format!("{:.0}", program.runs_per_second);
                let share = format!("{:.4}", program.cpu_percent);
                let [name, state, collect, series, maps] = std::mem::take(&mut first);
                line([name, state, collect, series, maps, program.program, &runs, &nanos, &share]);
            }
        }
        let Total { collect_us, series, map_kib, cpu_percent } = self.total;
        let share = if self.timed_seconds > 0.0 { format!("{cpu_percent:.4}") } else { String::new() };
        line([
            "total",
            "",
            &format!("{collect_us:.1}"),
            &series.to_string(),
            &format!("{map_kib:.0}"),
            "",
            "",
            "",
            &share,
        ]);
        text
    }
}

impl InputCost {
    fn of(report: &Report, took: Duration, guard: &Guard, sampler: &Sampler) -> Self {
        let maps = guard.programs.iter().filter(|program| program.is_map && program.object == report.input);
        let window = sampler.window().as_secs_f64();
        let programs =
            sampler.sampled().iter().filter(|program| program.object == report.input && window > 0.0);
        Self {
            input: report.input.clone(),
            state: report.state.word(),
            collect_us: report.state.is_up().then_some(took.as_secs_f64() * 1e6),
            series: report.series,
            map_kib: maps.map(|map| map.figures().memlock as f64 / 1024.0).sum(),
            programs: programs
                .map(|program| ProgramCost {
                    program: program.name,
                    runs_per_second: program.runs as f64 / window,
                    ns_per_run: (program.runs > 0).then(|| program.nanos as f64 / program.runs as f64),
                    cpu_percent: program.nanos as f64 / 1e7 / window,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_program_and_a_sum() {
        let program = |program, runs_per_second, ns_per_run, cpu_percent| ProgramCost {
            program,
            runs_per_second,
            ns_per_run,
            cpu_percent,
        };
        let input = |input: &str, state, collect_us, series, map_kib, programs| InputCost {
            input: input.to_owned(),
            state,
            collect_us,
            series,
            map_kib,
            programs,
        };
        let busy = vec![
            program("sched_switch", 12_345.0, Some(93.0), 0.1148),
            program("sched_migrate", 0.0, None, 0.0),
        ];
        let inputs = vec![
            input("loadavg", "running", Some(8.25), 3, 0.0, Vec::new()),
            input("sched", "running", Some(20.0), 70, 16.0, busy),
            input("pressure", "unsupported", None, 0, 0.0, Vec::new()),
        ];
        let costs = Costs::of(inputs, Duration::from_secs(2), None);
        let table = "\
INPUT        STATE        US/COLLECT  SERIES  MAPS KIB  PROGRAM             RUNS/S  NS/RUN % OF CPU
loadavg      running             8.2       3
sched        running            20.0      70        16  sched_switch         12345      93   0.1148
                                                        sched_migrate            0       -   0.0000
pressure     unsupported                   0
total                           28.2      73        16                                       0.1148
";
        assert_eq!(costs.table(), table);
    }
}
