//! Queries on what another pipeline published.

use super::*;
use crate::{
    accumulator::{Family, Limits, SeriesStore},
    config::PipelineConfig,
    input::CollectContext,
    pipeline::{Outcome, Pipeline, Rules, TransformConfig},
};

fn source() -> SeriesStore {
    let transform = TransformConfig { tags: vec![("rack".into(), "7".into())], ..TransformConfig::default() };
    SeriesStore::new(Box::new(Rules::of(&transform, "node_")), Limits::default())
}

fn publish(store: &mut SeriesStore, at: Instant, values: &[(&str, f64)]) {
    store.begin(at);
    for (mode, value) in values {
        (store as &mut dyn Accumulator).put(&SECONDS, &[b"0", mode.as_bytes()], *value);
    }
    store.publish();
}

fn config(agg: Aggregate, of: Of, window: Option<u64>) -> PipelineConfig {
    let config = QueryConfig {
        from: "cpu".into(),
        window: window.map(Duration::from_secs),
        ..by(query(vec![select(agg, of, "node_cpu_seconds_total", "result")]), &["rack", "mode"])
    };
    assert_eq!(config.check(None), []);
    let own = PipelineConfig::new(crate::input::find("cpu").unwrap());
    PipelineConfig { from: Some("cpu".into()), input: None, queries: vec![config], ..own }
}

fn pipeline(agg: Aggregate, of: Of, window: Option<u64>) -> QueryPipeline {
    QueryPipeline::new(&config(agg, of, window))
}

fn collect(pipeline: &mut QueryPipeline, seconds: u64, source: &SeriesStore) -> (Outcome, Vec<String>) {
    let mut cx = CollectContext::new(Duration::from_secs(1));
    cx.aligned_timestamp = UNIX_EPOCH + Duration::from_secs(seconds);
    let outcome = pipeline.collect(&cx, Some(source.frame()));
    let frame = pipeline.frame();
    let series = frame.families().iter().flat_map(Family::series);
    let shown = series.filter_map(|&index| {
        let labels: Vec<&str> = frame.series(index).labels().map(|(_, value)| value).collect();
        match frame.value(index)? {
            crate::accumulator::Value::Number(value) => Some(format!("{}={value}", labels.join(","))),
            crate::accumulator::Value::Histogram(_) => None,
        }
    });
    (outcome, shown.collect())
}

#[test]
fn exported_names_and_tags_are_taken_and_rates_are_by_the_sources_time() {
    let (mut store, start) = (source(), Instant::now());
    let mut pipeline = pipeline(Aggregate::Sum, Of::Rate, None);
    publish(&mut store, start, &[("user", 1.0)]);
    assert_eq!(collect(&mut pipeline, 1, &store), (Outcome::Published, vec![]));
    publish(&mut store, start + Duration::from_secs(4), &[("user", 3.0)]);
    assert_eq!(collect(&mut pipeline, 2, &store), (Outcome::Published, vec!["7,user=0.5".to_owned()]));
}

#[test]
fn what_is_not_new_is_not_counted_again() {
    let (mut store, start) = (source(), Instant::now());
    let mut pipeline = pipeline(Aggregate::Count, Of::Value, None);
    publish(&mut store, start, &[("user", 1.0), ("idle", 1.0)]);
    let shown = vec!["7,user=1".to_owned(), "7,idle=1".to_owned()];
    assert_eq!(collect(&mut pipeline, 1, &store), (Outcome::Published, shown.clone()));
    assert_eq!(collect(&mut pipeline, 2, &store), (Outcome::Skipped, shown));
    store.withdraw();
    assert_eq!(collect(&mut pipeline, 3, &store), (Outcome::Skipped, vec![]));
    publish(&mut store, start, &[("idle", 1.0)]);
    assert_eq!(collect(&mut pipeline, 4, &store), (Outcome::Published, vec!["7,idle=1".to_owned()]));
}

#[test]
fn what_an_earlier_pipeline_has_taken_is_not_counted_again() {
    let (mut store, start) = (source(), Instant::now());
    let mut old = pipeline(Aggregate::Count, Of::Value, Some(10));
    for second in [10, 15] {
        publish(&mut store, start, &[("user", 1.0)]);
        collect(&mut old, second, &store);
    }
    let mut new = pipeline(Aggregate::Count, Of::Value, Some(10));
    new.update_from(&mut old);
    collect(&mut new, 18, &store);
    assert_eq!(collect(&mut new, 20, &store).1, ["7,user=1"]);
}

#[test]
fn windows_end_even_when_nothing_new_comes() {
    let (mut store, start) = (source(), Instant::now());
    let mut pipeline = pipeline(Aggregate::Count, Of::Value, Some(10));
    for second in [10, 15, 18] {
        publish(&mut store, start, &[("user", 1.0)]);
        assert_eq!(collect(&mut pipeline, second, &store).1, [""; 0]);
    }
    assert_eq!(collect(&mut pipeline, 20, &store), (Outcome::Published, vec!["7,user=2".to_owned()]));
    assert_eq!(collect(&mut pipeline, 30, &store).1, [""; 0]);
}

#[test]
fn several_queries_have_windows_of_their_own() {
    let (mut store, start) = (source(), Instant::now());
    let own = config(Aggregate::Count, Of::Value, Some(10));
    let each = QueryConfig {
        select: vec![select(Aggregate::Sum, Of::Value, "node_cpu_seconds_total", "each")],
        window: None,
        ..own.queries[0].clone()
    };
    let mut pipeline =
        QueryPipeline::new(&PipelineConfig { queries: vec![own.queries[0].clone(), each], ..own });
    for second in [10, 15] {
        publish(&mut store, start, &[("user", 5.0)]);
        assert_eq!(collect(&mut pipeline, second, &store).1, ["7,user=5"]);
    }
    // Nothing new, but a window ends; the other result stays.
    assert_eq!(
        collect(&mut pipeline, 20, &store),
        (Outcome::Published, vec!["7,user=5".into(), "7,user=1".into()])
    );
    publish(&mut store, start, &[("user", 6.0)]);
    assert_eq!(collect(&mut pipeline, 30, &store).1, ["7,user=6", "7,user=1"]);
}

#[test]
fn without_its_source_it_has_failed() {
    let mut pipeline = pipeline(Aggregate::Count, Of::Value, None);
    let outcome = pipeline.collect(&CollectContext::new(Duration::from_secs(1)), None);
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(pipeline.state().to_string(), "failed (there is no pipeline `cpu`)");
    let store = source();
    assert_eq!(collect(&mut pipeline, 1, &store).0, Outcome::Skipped);
}
