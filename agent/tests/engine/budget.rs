//! Inputs that the budget slows, sheds and closes: what of them is collected and shown.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use pitot::{
    bpf::{Loader, Sampler},
    budget::Keeper,
    config::Budget,
    engine::Edit,
    pipeline::{Pipeline, State},
};

use crate::bench::{Bench, DEAR, FIRST, LAST, ODD, fine, pipeline, present};

/// An input that counts its collections.
fn counted() -> (Box<dyn Pipeline>, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&count);
    let pipeline = pipeline(&ODD, move |_| {
        own.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    (pipeline, count)
}

#[test]
fn a_slowed_input_is_collected_now_and_then_and_shown_in_between() {
    let (odd, count) = counted();
    let bench = Bench::new(vec![fine(&FIRST), odd]);
    bench.scrape();
    bench.engine.restrict("odd", 4);
    for scrapes in 0..12 {
        assert_eq!(count.load(Ordering::Relaxed), 1 + u32::div_ceil(scrapes, 4));
        assert_eq!(present(&bench.scrape().0), ["first", "odd"]);
    }
    let report = bench.report("odd");
    assert_eq!((report.state.word(), report.slowdown), ("degraded", 4));
    assert_eq!(report.state.reason(), "slowed by the budget: collected at one in 4 occasions");
    // Its age says how old it is.
    let (first, odd) = (bench.report("first").age_seconds.unwrap(), report.age_seconds.unwrap());
    assert!(odd > first, "{odd} {first}");

    bench.engine.restrict("odd", 1);
    bench.scrape();
    bench.scrape();
    assert_eq!(count.load(Ordering::Relaxed), 4 + 2);
    assert_eq!(bench.report("odd").state, State::Running { variant: None });
}

#[test]
fn a_shed_input_is_gone_at_once_and_comes_back_with_new_values_only() {
    let (odd, count) = counted();
    let bench = Bench::new(vec![fine(&FIRST), odd]);
    bench.scrape();
    bench.engine.restrict("odd", 0);
    let report = bench.report("odd");
    assert_eq!((report.state.word(), report.slowdown, report.series), ("off", 0, 0));
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first"]);
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);

    bench.engine.restrict("odd", 8);
    // The first occasion is taken, so that nothing is shown that is from before.
    assert_eq!(present(&bench.scrape().0), ["first", "odd"]);
    assert_eq!((count.load(Ordering::Relaxed), bench.report("odd").state.word()), (2, "degraded"));
}

#[test]
fn what_a_restricted_input_fails_with_is_still_said() {
    let bench =
        Bench::new(vec![pipeline(&ODD, |_| Err(pitot::input::InputError::Other("broken".to_owned())))]);
    bench.engine.restrict("odd", 2);
    bench.scrape();
    assert_eq!(bench.report("odd").state.to_string(), "failed (broken)");
    bench.engine.restrict("odd", 0);
    assert_eq!(bench.report("odd").state.word(), "off");
    bench.engine.restrict("odd", 1);
    assert_eq!(bench.report("odd").state.to_string(), "failed (broken)");
}

/// Says when it is dropped.
struct Held(Arc<AtomicU32>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_closed_input_lets_go_of_what_it_holds() {
    let dropped = Arc::new(AtomicU32::new(0));
    let held = Held(Arc::clone(&dropped));
    let odd = pipeline(&ODD, move |_| {
        let _held = &held;
        Ok(())
    });
    let bench = Bench::new(vec![odd, fine(&LAST)]);
    bench.scrape();
    assert!(bench.engine.close("odd", "too dear"));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(bench.report("odd").state.to_string(), "off (too dear)");
    assert_eq!(present(&bench.scrape().0), ["last"]);
    bench.engine.restrict("odd", 1);
    assert_eq!(present(&bench.scrape().0), ["last"]);
}

fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The whole way: measured, decided, done. Whatever else this process does only makes it more certain that
/// the budget is missed; which input is the dearest is measured for each one alone.
#[test]
fn the_dearest_input_is_slowed_and_then_shed() {
    let dear = pipeline(&DEAR, |_| {
        burn(Duration::from_millis(20));
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), dear, fine(&LAST)]);
    bench.scrape();
    let budget = Budget { cpu_percent: 0.001, memory_mib: 0.0, ..Budget::default() };
    let guard = Loader::off("a test").into_guard();
    let sampler = Sampler::new(Path::new("/nowhere"));
    let mut keeper = Keeper::new(bench.engine.clone(), &budget, guard, sampler);
    let board = keeper.board();
    keeper.look();
    let mut seen = Vec::new();
    while seen.last() != Some(&0) && seen.len() < 100 {
        // Every window has a collection of it, whatever its pace.
        (0..8).for_each(|_| drop(bench.scrape()));
        keeper.look();
        seen.push(bench.report("odd").slowdown);
    }
    assert_eq!(seen, [1, 2, 2, 4, 4, 8, 8, 0]);
    assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    let status = board.lock().unwrap().clone();
    assert!(status.cpu_percent > 0.001, "{status:?}");
    assert_eq!(status.restricted.len(), 1);
    assert_eq!(status.restricted[0].input, "odd");

    assert!(bench.report("odd").cpu_seconds > 0.01);
    assert!(bench.report("odd").cpu_seconds > 10.0 * bench.report("first").cpu_seconds);
}

#[test]
fn an_input_that_is_removed_and_put_again_is_as_restricted_as_before() {
    let dear = || {
        pipeline(&DEAR, |_| {
            burn(Duration::from_millis(20));
            Ok(())
        })
    };
    let bench = Bench::new(vec![fine(&FIRST), dear()]);
    let budget = Budget { cpu_percent: 0.001, memory_mib: 0.0, ..Budget::default() };
    let (guard, sampler) = (Loader::off("a test").into_guard(), Sampler::new(Path::new("/nowhere")));
    let mut keeper = Keeper::new(bench.engine.clone(), &budget, guard, sampler);
    let change = |put, remove: &[&str]| {
        let remove = remove.iter().map(|key| (*key).to_owned()).collect();
        assert!(bench.engine.apply(Edit { put, remove }).is_empty());
    };
    keeper.look();
    while bench.report("odd").slowdown == 1 {
        bench.scrape();
        keeper.look();
    }
    // Another one that comes before it is not taken for it.
    change(Vec::new(), &["odd", "first"]);
    keeper.look();
    change(vec![fine(&LAST), dear()], &[]);
    assert_eq!(bench.report("odd").slowdown, 1);
    keeper.look();
    assert!(bench.report("odd").slowdown > 1);
    assert_eq!(bench.report("last").slowdown, 1);
}
