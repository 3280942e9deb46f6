//! The bars: what pitot may add at most, and what it adds here. They are aims; no test depends on them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Plan, bounce,
    event::{least, system_calls},
    interrupted,
    median::{above, median, times},
    memory::Memory,
    process::Cpu,
    server::Agent,
    table::Table,
};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Something that is timed without an agent and with one.
#[derive(Clone, Copy)]
enum Event {
    Switch,
    Call,
    Request,
}

/// How much may be added.
#[derive(Clone, Copy)]
enum Bar {
    Percent(f64),
    Microseconds(f64),
}

impl Event {
    const ALL: [Self; 3] = [Self::Switch, Self::Call, Self::Request];

    const fn name(self) -> &'static str {
        match self {
            Self::Switch => "round trip through pipes between two CPUs, us",
            Self::Call => "system call, us",
            Self::Request => "TCP request and response between two CPUs, us",
        }
    }

    const fn bar(self) -> Bar {
        match self {
            Self::Switch => Bar::Percent(12.0),
            Self::Call => Bar::Microseconds(0.12),
            Self::Request => Bar::Percent(3.0),
        }
    }

    fn run(self, plan: &Plan) -> Result<f64> {
        least(|| match self {
            Self::Switch => bounce::pipes(plan.loops),
            Self::Call => system_calls(plan.calls),
            Self::Request => bounce::tcp(plan.requests),
        })
    }
}

impl Bar {
    /// What was added, in the unit of the bar: the median of the rounds, and what the best ones say.
    fn added(self, without: &[f64], with: &[f64]) -> [f64; 2] {
        let best = |runs: &[f64]| runs.iter().copied().fold(f64::INFINITY, f64::min);
        match self {
            Self::Percent(_) => {
                [times(with, without), best(with) / best(without)].map(|times| (times - 1.0) * 100.0)
            }
            Self::Microseconds(_) => [above(with, without), best(with) - best(without)],
        }
    }

    const fn most(self) -> f64 {
        match self {
            Self::Percent(most) | Self::Microseconds(most) => most,
        }
    }

    fn print(self, added: f64) -> String {
        match self {
            Self::Percent(_) => format!("{added:+.1} %"),
            Self::Microseconds(_) => format!("{added:+.3} us"),
        }
    }
}

/// Of two figures for the same. The best runs repeat, the median holds what others did meanwhile.
fn verdict([median, best]: [f64; 2], bar: f64) -> &'static str {
    match (median <= bar, best <= bar) {
        (true, true) => "ok",
        (false, true) => "ok at best",
        (true, false) => "over at best",
        (false, false) => "over",
    }
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut table = Table::new("Bars", &["", "without", "with", "added", "best", "bar", ""]);
    let mut without = Event::ALL.map(|_| Vec::new());
    let mut with = without.clone();
    for _ in 0..plan.rounds {
        for (event, runs) in Event::ALL.into_iter().zip(&mut without) {
            runs.push(event.run(plan)?);
        }
        let _attached = Agent::by_default(&plan.pitot)?;
        for (event, runs) in Event::ALL.into_iter().zip(&mut with) {
            runs.push(event.run(plan)?);
        }
    }
    for ((event, without), with) in Event::ALL.into_iter().zip(&without).zip(&with) {
        let bar = event.bar();
        let added = bar.added(without, with);
        let [middle, best] = added.map(|added| bar.print(added));
        table.row(vec![
            event.name().into(),
            format!("{:.3}", median(without.iter().copied())),
            format!("{:.3}", median(with.iter().copied())),
            middle,
            best,
            bar.print(bar.most()),
            verdict(added, bar.most()).into(),
        ]);
    }
    table.note(format!(
        "in {} turns, without an agent and with one that runs as it does by default; columns 1 to 3 are medians of \
         turns that are the best of some runs each, `best` compares the best of all turns",
        plan.rounds
    ));
    standing(plan, &mut table)?;
    Ok(table)
}

/// What an agent costs that only stands there and is scraped.
fn standing(plan: &Plan, table: &mut Table) -> Result<()> {
    let agent = Agent::by_default(&plan.pitot)?;
    let mut alone = |name: &str, figure: f64, bar: f64, unit: &str| {
        let empty = String::new;
        let shown = vec![name.into(), empty(), format!("{figure:.2} {unit}"), empty(), empty()];
        let judged = [format!("{bar} {unit}"), verdict([figure, figure], bar).into()];
        table.row(shown.into_iter().chain(judged).collect());
    };
    let memory = Memory::of(&agent.pins.folder)?;
    alone("kernel memory of all maps", memory.bytes() as f64 / MEBIBYTE, 16.0, "MiB");
    alone("agent's CPU at a scrape per second", share(&agent, plan)? * 100.0, 0.3, "%");
    table.note(format!(
        "of the maps, {:.1} KiB more for each further CPU, for {} CPUs here; all else has its full size from the \
         beginning",
        memory.per_cpu()? as f64 / 1024.0,
        aya::util::nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?
    ));
    table.note(format!("the agent's CPU is a share of one, over {} seconds", plan.seconds));
    table.note(agent.attached()?);
    Ok(())
}

/// The share of a CPU that the agent takes while it is scraped once a second.
fn share(agent: &Agent, plan: &Plan) -> Result<f64> {
    let mut scraper = agent.server.scraper("")?;
    // Series are born and buffers grow.
    for _ in 0..20 {
        scraper.scrape()?;
    }
    let (begun, before) = (Instant::now(), Cpu::of(agent.server.pid())?);
    for second in 1..=plan.seconds {
        interrupted()?;
        thread::sleep((begun + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        scraper.scrape()?;
    }
    let used = (Cpu::of(agent.server.pid())? - before).total;
    Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_in_the_unit_of_the_bar() {
        let (without, with) = ([2.0, 4.0, 2.0], [3.0, 5.0, 2.5]);
        let added = |bar: Bar| bar.added(&without, &with).map(|added| bar.print(added));
        assert_eq!(added(Bar::Percent(0.0)), ["+25.0 %", "+25.0 %"]);
        assert_eq!(added(Bar::Microseconds(0.0)), ["+1.000 us", "+0.500 us"]);
    }

    #[test]
    fn a_bar_may_be_met_by_one_figure_only() {
        assert_eq!(verdict([1.0, 1.0], 1.0), "ok");
        assert_eq!(verdict([2.0, 1.0], 1.0), "ok at best");
        assert_eq!(verdict([1.0, 2.0], 1.0), "over at best");
        assert_eq!(verdict([2.0, 2.0], 1.0), "over");
    }
}
