//! Inputs that block for ever.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use pitot::output::Want;

use crate::bench::{
    Bench, DEADLINE, FIRST, LAST, ODD, PATIENCE, SECOND, blocking, every, fine, pipeline, present, threads,
    wait,
};

#[test]
fn an_input_that_blocks_costs_its_own_series_and_one_thread_and_comes_back() {
    let (odd, word) = blocking();
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "last"]);
    assert!(took < PATIENCE, "{took:?}");
    let report = bench.report("odd");
    assert_eq!((report.timeouts, report.state.word(), report.series), (1, "failed", 0));

    // From now on nobody waits for it.
    let (before, start) = (threads(), Instant::now());
    for _ in 0..20 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    assert!(start.elapsed() < DEADLINE * 20, "{:?}", start.elapsed());
    // Other tests may have started one or two of their own meanwhile; one per scrape would be twenty.
    assert!(threads() < before + 10, "{before} threads became {}", threads());
    assert_eq!(bench.report("odd").timeouts, 21);
    bench.engine.healthy().unwrap();

    // What it brought while nobody waited is thrown away; the next time it delivers.
    (0..3).for_each(|_| word.send(()).unwrap());
    let start = Instant::now();
    while present(&bench.scrape().0) != ["first", "odd", "last"] {
        word.send(()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", bench.report("odd"));
        thread::sleep(Duration::from_millis(5));
    }
    let report = bench.report("odd");
    assert_eq!((report.state.word(), report.series), ("running", 1));
}

#[test]
fn inputs_that_block_one_after_the_other_do_not_add_up() {
    let (odd, _word) = blocking();
    let (_other, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    let second = pipeline(&SECOND, move |_| wait(&words));
    let bench = Bench::new(vec![fine(&FIRST), odd, second, fine(&LAST)]);
    let (page, took) = bench.scrape();
    assert_eq!(present(&page), ["first", "last"]);
    assert!(took < PATIENCE, "{took:?}");
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(present(&bench.scrape().0), ["first", "last"]);
    }
    assert!(start.elapsed() < DEADLINE * 10, "{:?}", start.elapsed());
}

#[test]
fn a_scheduled_input_that_blocks_holds_up_neither_scrapes_nor_other_schedules() {
    let (_word, words): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (tick, ticks) = mpsc::channel();
    let interval = Duration::from_millis(200);
    let blocks = every(&ODD, interval, move |_| wait(&words));
    let counts = every(&SECOND, interval, move |cx| {
        let _gone = tick.send(cx.aligned_timestamp);
        Ok(())
    });
    let bench = Bench::new(vec![fine(&FIRST), blocks, counts]);
    bench.engine.keep_schedules();
    let (mut seen, start) = (Vec::new(), Instant::now());
    while seen.len() < 5 {
        let (page, took) = bench.scrape();
        assert!(took < PATIENCE, "{took:?}");
        assert!(present(&page).contains(&"first") && !present(&page).contains(&"odd"), "{page}");
        seen.extend(ticks.try_iter());
        assert!(start.elapsed() < Duration::from_secs(20), "{seen:?}");
        thread::sleep(Duration::from_millis(20));
    }
    for at in seen {
        let since = at.duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis() % 200, 0, "{since:?} is no multiple of the interval");
    }
}

#[test]
fn reports_are_given_while_an_input_blocks() {
    let (odd, _word) = blocking();
    let bench = Bench::new(vec![fine(&FIRST), odd, fine(&LAST)]);
    let engine = bench.engine.clone();
    let scraper = bench.runtime.spawn(async move { engine.scrape(Want::default()).await });
    // The one thread that serves pages, reports and signals is also the one that notices who hangs.
    let (page, longest) = bench.runtime.block_on(async {
        let mut longest = Duration::ZERO;
        while !scraper.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let start = Instant::now();
            assert_eq!(bench.engine.reports().len(), 3);
            longest = longest.max(start.elapsed());
        }
        (scraper.await.unwrap().unwrap(), longest)
    });
    assert_eq!(present(std::str::from_utf8(&page.body).unwrap()), ["first", "last"]);
    assert!(longest < DEADLINE, "{longest:?}");
}
