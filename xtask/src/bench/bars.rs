//! The bars: what pitot may add at most, and what it adds here. They are aims; no test depends on them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Plan, bounce,
    event::system_calls,
    interrupted,
    median::{between, median},
    memory::Memory,
    process::Cpu,
    server::Agent,
    table::Table,
    toggled::Toggled,
};

/// What is left alone after programs were attached or detached: the kernel patches its code, and takes apart in the
/// background what is no longer needed.
const SETTLE: Duration = Duration::from_millis(100);

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

    /// A short run: many of them say more than a long one, because what disturbs one has gone by the next.
    fn run(self) -> Result<f64> {
        match self {
            Self::Switch => bounce::pipes(2_000),
            Self::Call => system_calls(100_000),
            Self::Request => bounce::tcp(2_000),
        }
    }
}

impl Bar {
    /// What each turn added, in the unit of the bar.
    fn added(self, without: &[f64], with: &[f64]) -> Vec<f64> {
        let turns = with.iter().zip(without);
        match self {
            Self::Percent(_) => turns.map(|(with, without)| (with / without - 1.0) * 100.0).collect(),
            Self::Microseconds(_) => turns.map(|(with, without)| with - without).collect(),
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

/// Of the bounds between which a figure lies.
fn verdict([least, most]: [f64; 2], bar: f64) -> &'static str {
    match (least <= bar, most <= bar) {
        (_, true) => "ok",
        (true, false) => "not told apart",
        (false, false) => "over",
    }
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut table = Table::new("Bars", &["", "without", "with", "added", "between", "bar", ""]);
    let mut without = Event::ALL.map(|_| Vec::new());
    let mut with = without.clone();
    let mut programs = Toggled::of(Agent::by_default(&plan.pitot)?)?;
    for turn in 0..plan.turns {
        // The machine may get faster or slower all the time: each side comes first as often as the other.
        for attached in [turn % 2 == 1, turn % 2 == 0] {
            if attached {
                programs.attach()?;
            }
            thread::sleep(SETTLE);
            let side = if attached { &mut with } else { &mut without };
            for (event, runs) in Event::ALL.into_iter().zip(side) {
                runs.push(event.run()?);
            }
            if attached {
                programs.detach()?;
            }
        }
    }
    drop(programs);
    for ((event, without), with) in Event::ALL.into_iter().zip(&without).zip(&with) {
        let bar = event.bar();
        let added = bar.added(without, with);
        let bounds = between(&added);
        let [least, most] = bounds.map(|bound| bar.print(bound));
        table.row(vec![
            event.name().into(),
            format!("{:.3}", median(without.iter().copied())),
            format!("{:.3}", median(with.iter().copied())),
            bar.print(median(added)),
            format!("{least} and {most}"),
            bar.print(bar.most()),
            verdict(bounds, bar.most()).into(),
        ]);
    }
    table.note(format!(
        "medians of {} turns, each of a short run without the agent's programs and one with all that are attached by \
         default; with 95 % certainty the median of what is added lies between those two",
        plan.turns
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
        let (without, with) = ([2.0, 4.0], [3.0, 5.0]);
        let added = |bar: Bar| bar.added(&without, &with).into_iter().map(move |added| bar.print(added));
        assert!(added(Bar::Percent(0.0)).eq(["+50.0 %", "+25.0 %"]));
        assert!(added(Bar::Microseconds(0.0)).eq(["+1.000 us", "+1.000 us"]));
    }

    #[test]
    fn a_bar_between_the_bounds_is_neither_met_nor_missed() {
        assert_eq!(verdict([0.5, 1.0], 1.0), "ok");
        assert_eq!(verdict([0.5, 2.0], 1.0), "not told apart");
        assert_eq!(verdict([1.5, 2.0], 1.0), "over");
    }
}
