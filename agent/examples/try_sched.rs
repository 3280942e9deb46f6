#![allow(unsafe_code, missing_docs)]
use pitot::{accumulator::*, bpf::Loader, input::*, source::Roots};
use std::{
    path::Path,
    time::{Duration, Instant},
};
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("Rss") || l.starts_with("VmHWM"))
        .collect::<Vec<_>>()
        .join(" ")
}
fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    unsafe {
        libc::malloc_trim(0);
    }
    println!("{}", rss());
    let mut loader = Loader::new(Path::new("/sys"), Path::new("/sys/fs/bpf/pitot-try"));
    let roots = Roots::default();
    let mut inputs = vec![];
    for def in INPUTS {
        let t = Instant::now();
        let r = (def.open)(&mut OpenContext {
            roots: &roots,
            options: Options::new(def.options, &[]),
            bpf: &mut loader,
        });
        println!("{} {:?} {:?}", def.name, t.elapsed(), rss());
        match r {
            Ok(i) => {
                println!("{:?} {:?}", i.variant(), i.degraded());
                inputs.push(i)
            }
            Err(e) => println!("{e}"),
        }
    }
    loader.tidy();
    println!("{}", rss());
    unsafe {
        libc::malloc_trim(0);
    }
    println!("trim {}", rss());
    let ctxt = || -> (u64, u64, u64) {
        let s = std::fs::read_to_string("/proc/stat").unwrap();
        let c = s.lines().find(|l| l.starts_with("ctxt")).unwrap()[5..].parse().unwrap();
        let s = std::fs::read_to_string("/proc/schedstat").unwrap_or_default();
        let mut d = 0;
        let mut n = 0;
        for l in s.lines().filter(|l| l.starts_with("cpu")) {
            let f: Vec<u64> = l.split_whitespace().skip(1).map(|x| x.parse().unwrap()).collect();
            d += f[7];
            n += f[8];
        }
        (c, d, n)
    };
    let mut last: Option<((u64, u64, u64), f64, f64, u64)> = None;
    for _ in 0..4 {
        let c = ctxt();
        let mut acc = MemoryAccumulator::new();
        for i in &mut inputs {
            if let Err(e) = i.collect(&CollectContext::new(Duration::from_secs(1)), &mut acc) {
                println!("{e}")
            }
        }
        let mut sw = 0.0;
        let mut sum = 0.0;
        let mut n = 0;
        for s in acc.samples() {
            match &s.value {
                OwnedValue::Number(v) => {
                    if s.name.starts_with("sched_switches") {
                        sw += v
                    }
                    println!("{} {:?} {v}", s.name, s.labels)
                }
                OwnedValue::Histogram(h) => {
                    sum = h.sum();
                    n = h.count();
                    println!("{} {:?} n={} sum={}", s.name, s.labels, h.count(), h.sum())
                }
            }
        }
        if let Some((lc, lsw, lsum, ln)) = last {
            println!(
                "ctxt +{} ours +{} ; run_delay +{}ns ours +{}ns ; pcount +{} ours +{}",
                c.0 - lc.0,
                sw - lsw,
                c.1 - lc.1,
                (sum - lsum) * 1e9,
                c.2 - lc.2,
                n - ln
            );
        }
        last = Some((c, sw, sum, n));
        std::thread::sleep(Duration::from_secs(1));
    }
    for p in loader.programs() {
        println!("{} map={} {:?}", p.name, p.is_map, p.figures());
    }
    println!("{}", rss());
}
