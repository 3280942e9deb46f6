//! The machine with hosts that are made up: what each source costs at full pace, window after window.

use proptest::prelude::*;

use super::*;

const CPU: Limits = Limits { cpu: Some(1.0), memory: None };

fn collecting(cpu: f64) -> Share {
    Share { collecting: cpu, ..Share::default() }
}

/// A host whose sources cost as much less as they are restricted.
struct Host {
    governor: Governor,
    full: Vec<Share>,
    steps: Vec<(usize, Step)>,
    windows: usize,
}

impl Host {
    fn new(limits: Limits, sources: &[(Rank, Share)]) -> Self {
        let governor = Governor::new(limits, sources.iter().map(|(rank, _)| *rank));
        Self {
            governor,
            full: sources.iter().map(|(_, share)| *share).collect(),
            steps: Vec::new(),
            windows: 0,
        }
    }

    fn shares(&self) -> Vec<Share> {
        let share = |(at, full): (usize, &Share)| match self.governor.level(at) {
            Level::Full => *full,
            Level::Slowed(power) => Share { collecting: full.collecting / f64::from(1u32 << power), ..*full },
            Level::Shed => Share { collecting: 0.0, ..*full },
            Level::Closed => Share::default(),
        };
        self.full.iter().enumerate().map(share).collect()
    }

    fn used(&self) -> (f64, f64) {
        self.shares().iter().fold((0.0, 0.0), |(cpu, memory), share| (cpu + share.cpu(), memory + share.maps))
    }

    fn run(&mut self, windows: usize) -> &mut Self {
        for _ in 0..windows {
            let (shares, (cpu, memory)) = (self.shares(), self.used());
            if let Some(step) = self.governor.step(&Window { cpu, memory, shares: &shares }) {
                self.steps.push((self.windows, step));
            }
            self.windows += 1;
        }
        self
    }

    /// What was given to whom, in turn.
    fn taken(&self) -> Vec<(usize, Level)> {
        self.steps.iter().map(|(_, step)| (step.source, step.to)).collect()
    }
}

const SLOWING: [Level; 4] = [Level::Slowed(1), Level::Slowed(2), Level::Slowed(3), Level::Shed];

#[test]
fn within_the_budget_nothing_happens() {
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(0.6)), (Rank::Basic, collecting(0.4))]);
    assert!(host.run(1_000).steps.is_empty());
}

#[test]
fn one_window_over_the_budget_is_an_accident() {
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(2.0))]);
    for _ in 0..10 {
        host.full[0].collecting = 2.0;
        host.run(1);
        host.full[0].collecting = 0.9;
        host.run(1);
    }
    assert!(host.steps.is_empty());
}

#[test]
fn the_dearest_is_slowed_and_then_shed() {
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(0.5)), (Rank::Optional, collecting(100.0))]);
    host.run(2 * 4 + 4);
    assert_eq!(host.taken(), SLOWING.map(|level| (1, level)));
}

#[test]
fn a_step_that_is_enough_is_the_only_one() {
    let mut host = Host::new(CPU, &[(Rank::Basic, collecting(0.2)), (Rank::Optional, collecting(1.5))]);
    // 0.95 of the budget is kept, and leaves no room to give back.
    host.run(1_000);
    assert_eq!(host.taken(), [(1, Level::Slowed(1))]);
}

#[test]
fn basic_sources_are_shed_last_and_the_agents_own_never() {
    let sources = [(Rank::Own, 90.0), (Rank::Basic, 80.0), (Rank::Optional, 0.06), (Rank::Optional, 70.0)];
    let mut host = Host::new(CPU, &sources.map(|(rank, cpu)| (rank, collecting(cpu))));
    host.run(100);
    let shed = |at: usize| {
        host.steps
            .iter()
            .position(|(_, step)| *step == Step { source: at, from: Level::Slowed(3), to: Level::Shed })
    };
    assert!(shed(3).unwrap() < shed(1).unwrap());
    assert_eq!(host.governor.level(0), Level::Full);
    assert_eq!(host.governor.level(1), Level::Shed);
    // Slowed to less than it is worth to think about, it stays.
    assert_eq!(host.governor.level(2), Level::Slowed(1));
}

#[test]
fn what_costs_next_to_nothing_is_left_alone() {
    let mut host = Host::new(CPU, &[(Rank::Own, collecting(5.0)), (Rank::Optional, collecting(0.04))]);
    assert!(host.run(100).steps.is_empty());
}

#[test]
fn kernel_programs_are_closed_after_long_patience_and_for_good() {
    let storm = Share { collecting: 0.01, kernel: 3.0, maps: 1.0 };
    let mut host = Host::new(CPU, &[(Rank::Optional, storm), (Rank::Basic, collecting(0.1))]);
    host.run(5);
    assert!(host.steps.is_empty());
    host.run(1_000);
    assert_eq!(host.taken(), [(0, Level::Closed)]);
}

#[test]
fn kernel_programs_do_not_pay_for_what_others_take() {
    let programs = Share { collecting: 0.05, kernel: 0.3, maps: 1.0 };
    let mut host = Host::new(CPU, &[(Rank::Own, collecting(10.0)), (Rank::Optional, programs)]);
    assert!(host.run(1_000).steps.is_empty());
}

#[test]
fn memory_near_its_limit_does_not_keep_back_what_only_took_time() {
    let limits = Limits { memory: Some(100.0), ..CPU };
    let share = Share { collecting: 100.0, maps: 90.0, ..Share::default() };
    let mut host = Host::new(limits, &[(Rank::Optional, share)]);
    host.run(10);
    assert_eq!(host.governor.level(0), Level::Shed);
    host.full[0].collecting = 0.0;
    host.run(100);
    assert_eq!(host.governor.level(0), Level::Full);
}

#[test]
fn too_much_memory_closes_the_largest_optional_source() {
    let limits = Limits { cpu: None, memory: Some(100.0) };
    let maps = |maps| Share { maps, ..Share::default() };
    let sources = [(Rank::Basic, maps(90.0)), (Rank::Optional, maps(5.0)), (Rank::Optional, maps(30.0))];
    let mut host = Host::new(limits, &sources);
    host.run(100);
    assert_eq!(host.taken(), [(2, Level::Closed)]);
}

#[test]
fn what_was_shed_comes_back_step_by_step_when_the_load_has_gone() {
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(0.1)), (Rank::Optional, collecting(100.0))]);
    host.run(10);
    assert_eq!(host.governor.level(1), Level::Shed);
    host.full[1].collecting = 0.1;
    let start = host.steps.len();
    host.run(4 * 12 + 1);
    let back = [Level::Slowed(3), Level::Slowed(2), Level::Slowed(1), Level::Full];
    assert_eq!(host.taken()[start..], back.map(|level| (1, level)));
    let gaps = host.steps[start..].windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.into_iter().all(|gap| gap >= 12));
}

#[test]
fn tries_in_vain_become_rare() {
    // Shed there is room; at one in 8 there is none: whatever is given back must be taken again.
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(16.0))]);
    host.run(5_000);
    let tries = host.steps.iter().filter(|(_, step)| step.to < step.from).map(|(at, _)| *at);
    let tries: Vec<usize> = tries.collect();
    let gaps: Vec<usize> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // 24, 48, 96, 192, 360, 360, ..: with the two windows that each try takes.
    assert_eq!(gaps[..6], [26, 50, 98, 194, 362, 362]);
    assert!(tries.len() <= 5 + 5_000 / 360, "{tries:?}");
}

#[test]
fn after_a_long_calm_the_first_try_comes_soon_again() {
    let mut host = Host::new(CPU, &[(Rank::Optional, collecting(16.0))]);
    host.run(1_000);
    host.full[0].collecting = 0.0;
    host.run(3_000);
    assert_eq!(host.governor.level(0), Level::Full);
    assert_eq!(host.governor.hold_off, HOLD_OFF);
}

fn share() -> impl Strategy<Value = Share> {
    (0.0..3.0f64, prop_oneof![3 => Just(0.0), 1 => 0.0..3.0f64], 0.0..60.0f64)
        .prop_map(|(collecting, kernel, maps)| Share { collecting, kernel, maps })
}

fn rank() -> impl Strategy<Value = Rank> {
    prop_oneof![Just(Rank::Own), Just(Rank::Basic), Just(Rank::Optional)]
}

proptest! {
    /// Whatever the load does.
    #[test]
    fn promises_hold(
        ranks in prop::collection::vec(rank(), 1..6),
        loads in prop::collection::vec((prop::collection::vec(share(), 6), 1..40usize), 1..12),
    ) {
        let limits = Limits { cpu: Some(1.0), memory: Some(100.0) };
        let sources: Vec<_> = ranks.iter().map(|rank| (*rank, Share::default())).collect();
        let mut host = Host::new(limits, &sources);
        for (full, windows) in loads {
            host.full = full[..ranks.len()].to_vec();
            host.run(windows);
        }
        for &(_, Step { source, from, to }) in &host.steps {
            prop_assert_ne!(ranks[source], Rank::Own);
            prop_assert_ne!(from, Level::Closed);
            prop_assert!(to != Level::Closed || ranks[source] == Rank::Optional);
            // One step at a time, either way.
            let rung = |level| match level {
                Level::Full => 0,
                Level::Slowed(power) => power,
                Level::Shed => SLOWEST + 1,
                Level::Closed => SLOWEST + 2,
            };
            prop_assert!(to == Level::Closed || rung(from).abs_diff(rung(to)) == 1);
        }
        let restricted = host.steps.windows(2).filter(|pair| pair[1].1.to > pair[1].1.from);
        for pair in restricted {
            prop_assert!(pair[1].0 - pair[0].0 >= PATIENCE as usize);
        }
        let back = host.steps.windows(2).filter(|pair| pair[1].1.to < pair[1].1.from);
        for pair in back {
            prop_assert!(pair[1].0 - pair[0].0 >= HOLD_OFF as usize);
        }
    }

    /// Under a load that does not change, the machine settles: nothing over the budget that could be
    /// helped, and tries to give back that become rare.
    #[test]
    fn a_steady_load_is_brought_within_the_budget(
        costs in prop::collection::vec((0.0..20.0f64, any::<bool>()), 1..6),
    ) {
        let rank = |basic| if basic { Rank::Basic } else { Rank::Optional };
        let sources: Vec<_> = costs.iter().map(|&(cpu, basic)| (rank(basic), collecting(cpu))).collect();
        let mut host = Host::new(CPU, &sources);
        host.run(100);
        let start = host.windows;
        let mut over = 0;
        for _ in 0..4_000 {
            host.run(1);
            over += usize::from(host.used().0 > 1.0);
        }
        prop_assert!(over <= 4_000 / 20, "over the budget in {} of 4000 windows", over);
        let late = host.steps.iter().filter(|(at, step)| *at >= start + 2_000 && step.to < step.from).count();
        prop_assert!(late <= 2_000 / 12, "{} tries", late);
    }
}
