//! Inputs that panic, and collections that end late.

use std::{
    cell::Cell,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::Frame,
    bpf::Loader,
    config::PipelineConfig,
    input::{CollectContext, Input},
    pipeline::{InputPipeline, Losses, Outcome, Pipeline, Schedule, State},
    source::Roots,
};

use crate::bench::{
    BUDGET, Bench, DEADLINE, FIRST, LAST, ODD, OFF, PATIENCE, SECOND, Scripted, fine, pipeline, present,
};

#[test]
fn an_input_that_panics_is_left_alone_for_a_while_and_the_others_go_on() {
    let mut first = true;
    let odd = pipeline(&ODD, move |_| {
        if std::mem::take(&mut first) {
            // As `panic!` does, without the message, whose backtrace may take longer than the deadline.
            std::panic::resume_unwind(Box::new("told to"));
        }
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    let report = bench.report("odd");
    assert_eq!((report.panics, report.state.to_string().as_str()), (1, "failed (panicked: told to)"));
    let left = report.quarantine_seconds.unwrap();
    assert!(report.quarantines == 1 && left > 0.0 && left <= 1.0, "{report:?}");
    let start = Instant::now();
    while present(&bench.scrape().0).len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(50));
    }
    let report = bench.report("odd");
    assert_eq!((report.state.word(), report.panics), ("running", 1));
    assert_eq!((report.quarantines, report.quarantine_seconds), (0, None));
}

#[test]
fn an_input_that_is_late_once_is_back_as_soon_as_it_is_done() {
    let (mut late, (done, is_done)) = (true, mpsc::channel());
    let odd = pipeline(&ODD, move |cx| {
        if std::mem::take(&mut late) {
            thread::sleep(DEADLINE * 3);
            assert!(cx.is_cancelled());
            let _gone = done.send(());
        }
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    is_done.recv_timeout(Duration::from_secs(10)).unwrap();
    let start = Instant::now();
    while present(&bench.scrape().0) != ["first", "odd", "last"] {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_the_budget_did_not_reach_is_left_out_and_not_shown_as_it_was() {
    // Two that are slow, each within its deadline, from the second scrape on; the budget ends with the third.
    let slow = |def, millis| {
        let mut scrapes = 0;
        let config = PipelineConfig { deadline: BUDGET * 2, ..PipelineConfig::new(def) };
        let input = Scripted(def, move |_: &CollectContext| {
            scrapes += 1;
            if scrapes == 2 {
                thread::sleep(Duration::from_millis(millis));
            }
            Ok(())
        });
        Box::new(InputPipeline::new(&config, Box::new(input))) as Box<dyn Pipeline>
    };
    let off = PipelineConfig { enabled: false, ..PipelineConfig::new(&OFF) };
    let off = Box::new(InputPipeline::open(&off, &Roots::default(), &mut Loader::off("not asked for")));
    let bench = Bench::new(vec![fine(&FIRST), slow(&ODD, 100), slow(&SECOND, 900), fine(&LAST), off]);
    assert_eq!(present(&bench.scrape().0), ["first", "odd", "second", "last"]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "odd"]);
    assert!(took < PATIENCE, "{took:?}");
    let state = bench.report("last").state;
    assert!(state.word() == "failed" && state.reason().contains("budget"), "{state}");
    // Nothing was expected of it.
    assert_eq!((bench.report("off").state.word(), bench.report("off").timeouts), ("off", 0));
    let start = Instant::now();
    while present(&bench.scrape().0).len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.engine.reports());
        thread::sleep(Duration::from_millis(20));
    }
    let states = bench.engine.reports().into_iter().map(|report| report.state.word());
    assert_eq!(states.collect::<Vec<_>>(), ["running", "running", "running", "running", "off"]);
}

/// A pipeline that does something else once it has collected, the first time.
struct Afterwards(Box<dyn Pipeline>, Cell<Option<fn()>>);

impl Pipeline for Afterwards {
    fn key(&self) -> &str {
        self.0.key()
    }
    fn schedule(&self) -> Option<Schedule> {
        self.0.schedule()
    }
    fn deadline(&self) -> Duration {
        self.0.deadline()
    }
    fn collect(&mut self, cx: &CollectContext, source: Option<&Frame>) -> Outcome {
        self.0.collect(cx, source)
    }
    fn frame(&self) -> &Frame {
        self.0.frame()
    }
    fn withdraw(&mut self) {
        self.0.withdraw();
    }
    fn close(&mut self, reason: &str) {
        self.0.close(reason);
    }
    fn state(&self) -> &State {
        self.0.state()
    }
    fn debug_info(&self) -> serde_json::Value {
        self.0.debug_info()
    }
    fn losses(&self) -> Losses {
        if let Some(act) = self.1.take() {
            act();
        }
        self.0.losses()
    }
    fn update_from(&mut self, old: &mut dyn Pipeline) {
        self.0.update_from(old);
    }
    fn input(&mut self) -> Option<&mut dyn Input> {
        self.0.input()
    }
}

#[test]
fn a_collection_that_ends_as_its_deadline_passes_is_not_taken_for_one_that_hangs() {
    let odd = Box::new(Afterwards(fine(&ODD), Cell::new(Some(|| thread::sleep(DEADLINE + DEADLINE / 2)))));
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
    }
    assert_eq!((bench.report("odd").timeouts, bench.report("odd").state.word()), (0, "running"));
}

#[test]
fn a_panic_outside_of_inputs_costs_one_scrape_at_most() {
    let odd = Afterwards(fine(&ODD), Cell::new(Some(|| std::panic::resume_unwind(Box::new("told to")))));
    let bench = Bench::new(vec![fine(&FIRST), Box::new(odd), fine(&LAST)]);
    for _ in 0..3 {
        assert_eq!(present(&bench.scrape().0), ["first", "odd", "last"]);
    }
}
