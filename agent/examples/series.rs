//! What a series costs from its sample to its line, in nanoseconds: the best of many cycles of 100,000 series.
//! `cargo xtask bench --only series` runs it.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use pitot::{
    accumulator::{Accumulator, Limits, SeriesStore},
    catalogue::{Label, Metric},
    output::{Encoder, Format},
    pipeline::{Manipulation, Rules, TransformConfig, ValueRule},
};

const SERIES: u32 = 100_000;
const LABELS: &[Label] = &[Label::bounded("device", SERIES), Label::fixed("side", &["receive", "transmit"])];
static BYTES: Metric = Metric::counter("traffic_bytes_total", "Bytes.", LABELS);
static SECONDS: Metric = Metric::counter("traffic_seconds_total", "Seconds.", LABELS);

fn main() -> Result<(), Box<dyn Error>> {
    let cycles = env::args().nth(1).map_or(Ok(50), |text| text.parse())?;
    let devices: Vec<String> = (0..SERIES / 4).map(|n| format!("device{n}")).collect();
    let tags = vec![("rack".to_owned(), "r7".to_owned()), ("site".to_owned(), "north".to_owned())];
    let rate = |pattern: &str| ValueRule {
        pattern: pattern.to_owned(),
        manipulation: Manipulation::Rate,
        keep_negative: false,
    };
    let listed = TransformConfig {
        allow: vec!["traffic_*".into()],
        deny: vec!["/_packets_/".into()],
        deny_labels: vec![("device".into(), vec!["veth*".into()])],
        tags,
        prefix: Some("host_".into()),
        max_series: SERIES,
        ..TransformConfig::default()
    };
    let rates = TransformConfig { values: vec![rate("*")], ..listed.clone() };
    let derived = TransformConfig {
        derive: vec!["mean_bytes = traffic_bytes_per_second / traffic_seconds_per_second".into()],
        ..rates.clone()
    };
    let folded = TransformConfig { max_series: SERIES / 20, ..listed.clone() };
    let plain = TransformConfig { max_series: SERIES, ..TransformConfig::default() };
    println!("{:<40}{:>10}{:>10}{:>10}{:>10}", "ns per series", "cycle", "text", "open", "protobuf");
    for (name, config) in [
        ("as it comes", &plain),
        ("allow, deny, tags, prefix", &listed),
        ("the same and rates", &rates),
        ("the same and a formula", &derived),
        ("allow, deny, tags, prefix, folded", &folded),
    ] {
        let figures = measure(config, &devices, cycles);
        let [cycle, text, open, protobuf] = figures.map(|figure| format!("{figure:.1}"));
        println!("{name:<40}{cycle:>10}{text:>10}{open:>10}{protobuf:>10}");
    }
    Ok(())
}

/// One cycle, and a page in each format; the latter by the series that it shows.
fn measure(config: &TransformConfig, devices: &[String], cycles: u32) -> [f64; 4] {
    let limits = Limits { series_per_metric: config.max_series, ..Limits::default() };
    let mut store = SeriesStore::new(Box::new(Rules::of(config, "node_")), limits);
    let formats = [Format::Text, Format::OpenMetrics, Format::Protobuf];
    let mut encoders = formats.map(|_| Encoder::new());
    let mut best = [f64::INFINITY; 4];
    let (mut now, mut value) = (Instant::now(), 0.0);
    for _ in 0..cycles {
        let begun = Instant::now();
        now += Duration::from_millis(1001);
        store.begin(now);
        let acc: &mut dyn Accumulator = &mut store;
        for (metric, step) in [(&BYTES, 1.0), (&SECONDS, 0.125)] {
            for device in devices {
                for side in [&b"receive"[..], b"transmit"] {
                    value += step;
                    acc.put(metric, &[device.as_bytes(), side], value);
                }
            }
        }
        store.publish();
        best[0] = best[0].min(nanos(begun) / f64::from(SERIES));
        let live = store.frame().live().max(1) as f64;
        for ((encoder, format), best) in encoders.iter_mut().zip(formats).zip(&mut best[1..]) {
            let begun = Instant::now();
            let page = encoder.encode(format, &[store.frame()]);
            *best = best.min(nanos(begun) / live);
            drop(page);
        }
    }
    best
}

fn nanos(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9
}
