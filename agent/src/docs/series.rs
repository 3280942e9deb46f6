//! How many series an input may deliver, from its definitions.

use crate::{
    catalogue::{Kind, Label, Metric, Values},
    config::PipelineConfig,
    input::InputDef,
    pipeline::QueryConfig,
};

/// Names that a `*` is taken to stand for: more than `/proc/meminfo` or one section of `/proc/net/netstat` has.
pub const NAMES_PER_PATTERN: u64 = 128;

/// The most series that an input can deliver by default on a host with so many CPUs, counted as the lines of
/// the text format.
pub fn worst_case_series(def: &'static InputDef, cpus: u64) -> u64 {
    def.metrics.iter().map(|metric| worst_case_of(def, metric, cpus)).sum()
}

/// The same for a pipeline: of its input, or of the groups that its queries make. What a pipeline of frames groups by
/// may have any number of values.
pub fn worst_case_of_pipeline(config: &PipelineConfig, cpus: u64) -> u64 {
    if config.queries.is_empty() {
        return worst_case_series(config.delivered(), cpus);
    }
    let most = u64::from(config.transform.max_series);
    let values = |name: &String| {
        let labels =
            config.sampled().into_iter().flat_map(|def| def.metrics).flat_map(|metric| metric.labels);
        let named = labels.filter(|label| label.name == name);
        named.map(|label| values_of(label, cpus, u64::from)).max().unwrap_or(u64::MAX)
    };
    let of_query = |query: &QueryConfig| {
        let groups = query.group_by.iter().map(values).fold(1, u64::saturating_mul);
        // What is past the limit is one group more.
        let groups = groups.min(most.saturating_add(1));
        let results = query.results(config.sampled());
        results.iter().map(|metric| groups.saturating_mul(lines(metric.kind))).fold(0, u64::saturating_add)
    };
    config.queries.iter().map(of_query).fold(0, u64::saturating_add)
}

/// The same for one metric of an input: what is past its limit of series folds into some called `other`.
pub fn worst_case_of(def: &'static InputDef, metric: &Metric, cpus: u64) -> u64 {
    let most = u64::from(PipelineConfig::new(def).transform.max_series);
    let all = children(metric, cpus, u64::from);
    let bounded = metric.labels.iter().any(|label| matches!(label.values, Values::Bounded(_)));
    let folds = if all > most && bounded && metric.kind != Kind::Info {
        children(metric, cpus, |_| 1).min(most)
    } else {
        0
    };
    all.min(most).saturating_add(folds).saturating_mul(lines(metric.kind))
}

/// Combinations of name and label values, given how many values a bounded label has.
fn children(metric: &Metric, cpus: u64, bounded: impl Fn(u32) -> u64) -> u64 {
    let names = if metric.name.contains('*') { NAMES_PER_PATTERN } else { 1 };
    metric
        .labels
        .iter()
        .fold(names, |product, label| product.saturating_mul(values_of(label, cpus, &bounded)))
}

fn values_of(label: &Label, cpus: u64, bounded: impl Fn(u32) -> u64) -> u64 {
    match label.values {
        Values::Fixed(values) => values.len() as u64,
        Values::Cpu => cpus,
        Values::Bounded(most) => bounded(most),
    }
}

/// Lines of one combination: a histogram has its classic buckets, `+Inf`, sum and count.
fn lines(kind: Kind) -> u64 {
    match kind {
        Kind::Counter | Kind::Gauge | Kind::Info | Kind::Untyped => 1,
        Kind::Histogram(buckets) => u64::from(buckets.first.abs_diff(buckets.last)) + 4,
    }
}

#[cfg(test)]
mod tests {
    use pitot_common::histogram::Scale;

    use super::*;
    use crate::{
        catalogue::{Buckets, Source},
        input::Unsupported,
    };

    static MODES: Metric = Metric::counter("m_total", "M.", &[Label::cpu(), Label::fixed("x", &["a", "b"])]);
    static NAMED: Metric = Metric::untyped("n_*", "N.", &[]);
    static DEVICES: Metric = Metric::gauge("d", "D.", &[Label::bounded("device", 30_000)]);
    static WAIT: Metric = Metric::histogram(
        "w_seconds",
        "W.",
        Buckets { scale: Scale::Nanoseconds, slots: 513, first: -3, last: 2 },
        &[],
    );
    static DEF: InputDef = InputDef {
        name: "test",
        about: "For tests.",
        prefix: "",
        source: Source::Own,
        cost: "nothing",
        metrics: &[&MODES, &NAMED, &DEVICES, &WAIT],
        options: &[],
        open: |_| Err(Unsupported("only for tests".into())),
    };

    #[test]
    fn labels_multiply_and_metrics_add_up() {
        // The devices stop at `max_series` and one more; the histogram has six buckets, +Inf, sum and count.
        assert_eq!(worst_case_series(&DEF, 8), 8 * 2 + 128 + 10_001 + 9);
    }

    #[test]
    fn groups_multiply_and_results_add_up() {
        let query = |sql| QueryConfig::from_sql(sql).unwrap();
        let mut config = PipelineConfig::new(&DEF);
        config.queries = vec![
            query("SELECT sum(m_total) AS a, count(m_total) AS b FROM test GROUP BY cpu, x"),
            query("SELECT max(d) AS c FROM test"),
        ];
        assert_eq!(worst_case_of_pipeline(&config, 8), 8 * 2 * 2 + 1);
        config.queries = vec![query("SELECT max(d) AS c FROM test GROUP BY device")];
        assert_eq!(worst_case_of_pipeline(&config, 8), 10_001);
        (config.input, config.from) = (None, Some("other".to_owned()));
        config.transform.max_series = 7;
        assert_eq!(worst_case_of_pipeline(&config, 8), 8);
    }
}
