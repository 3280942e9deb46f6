use std::{fmt::Write as _, time::Instant};

use super::*;
use crate::{
    bpf::Loader,
    config::Config,
    input::{INPUTS, InputDef, OptionSetting, find},
    pipeline::InputPipeline,
    source::Roots,
    tasks::{
        directory::{Scanned, scan},
        file::{Syntax, read},
        resolve::Surroundings,
        shelf::Shelf,
    },
};

/// Notes what it is asked to do.
#[derive(Default)]
pub(in crate::tasks) struct Noted {
    pub(in crate::tasks) built: Vec<(String, bool)>,
}

impl Build for Noted {
    fn build(&mut self, config: &PipelineConfig, is_heir: bool) -> Box<dyn Pipeline> {
        self.built.push((config.key.clone(), is_heir));
        let off = PipelineConfig { enabled: false, ..config.clone() };
        Box::new(InputPipeline::open(&off, &Roots::default(), &mut Loader::off("test")))
    }
}

#[derive(Default)]
pub(in crate::tasks) struct Engine {
    pub(in crate::tasks) put: Vec<String>,
    pub(in crate::tasks) removed: Vec<String>,
    pub(in crate::tasks) calls: usize,
}

impl Runtime for Engine {
    fn apply(&mut self, put: Vec<Box<dyn Pipeline>>, remove: Vec<String>) -> Vec<String> {
        self.put = put.iter().map(|pipeline| pipeline.key().to_owned()).collect();
        self.removed = remove;
        self.calls += 1;
        Vec::new()
    }
}

fn of(input: &str) -> PipelineConfig {
    PipelineConfig::new(find(input).unwrap())
}

/// What was built, whether it inherits, and what differs.
fn change(old: PipelineConfig, new: &PipelineConfig, outputs: &[&str]) -> (Vec<(String, bool)>, Diff) {
    let mut reconciler = Reconciler::new([old, of("loadavg")]);
    let (mut noted, mut engine) = (Noted::default(), Engine::default());
    let outputs: Vec<String> = outputs.iter().map(|&name| name.to_owned()).collect();
    let wanted = vec![new.clone(), of("loadavg")];
    let diff = reconciler.reconcile(wanted.clone(), &outputs, &mut noted, &mut engine);
    assert_eq!(engine.put, noted.built.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
    // Once it is done, there is nothing to do.
    let again = reconciler.reconcile(wanted, &[], &mut noted, &mut engine);
    assert!(again.is_empty(), "{again:?}");
    (noted.built, diff)
}

#[test]
fn the_input_is_carried_over_unless_it_is_another() {
    let mut slower = of("cpu");
    slower.interval = Some(std::time::Duration::from_secs(9));
    let (built, diff) = change(of("cpu"), &slower, &[]);
    assert_eq!(built, [("cpu".to_owned(), true)]);
    assert_eq!(diff.changed, [Changed { pipeline: "cpu".to_owned(), keys: vec!["interval".to_owned()] }]);
    assert_eq!(diff.untouched, 1);

    let mut other = of("cpu");
    other.options.push(("info".to_owned(), OptionSetting::Bool(true)));
    assert_eq!(change(of("cpu"), &other, &[]).0, [("cpu".to_owned(), false)]);
    let off = PipelineConfig { enabled: false, ..of("cpu") };
    assert_eq!(change(of("cpu"), &off, &[]).0, [("cpu".to_owned(), false)]);
    assert_eq!(change(off.clone(), &of("cpu"), &[]).0, [("cpu".to_owned(), false)]);
}

#[test]
fn what_uses_another_output_is_connected_anew() {
    let mut logged = of("cpu");
    logged.outputs.push("log".to_owned());
    let (built, diff) = change(logged.clone(), &logged, &["log"]);
    assert_eq!(built, [("cpu".to_owned(), true)]);
    assert_eq!(diff.changed[0].keys, ["outputs"]);
    assert!(change(logged.clone(), &logged, &["other"]).0.is_empty());
}

#[test]
fn kernel_programs_keep_what_they_were_loaded_with() {
    let of_kernel = |def: &&&InputDef| matches!(def.source, Source::Bpf(_)) && !def.options.is_empty();
    let def = INPUTS.iter().find(of_kernel).unwrap();
    let option = &def.options[0];
    let setting = match option.default {
        crate::catalogue::OptionValue::Bool(on) => OptionSetting::Bool(!on),
        crate::catalogue::OptionValue::Regex(_) => OptionSetting::Regex("x".to_owned()),
        crate::catalogue::OptionValue::Integer { max, .. } => OptionSetting::Integer(max),
        other => panic!("no setting of a kernel program is {other:?}"),
    };
    let mut other = of(def.name);
    other.options.push((option.key.to_owned(), setting));
    let mut reconciler = Reconciler::new([of(def.name)]);
    let (mut noted, mut engine) = (Noted::default(), Engine::default());
    for _ in 0..2 {
        let diff = reconciler.reconcile(vec![other.clone()], &[], &mut noted, &mut engine);
        assert_eq!(diff.needs_restart, [format!("{}.{}", def.name, option.key)]);
        assert!(diff.is_empty() && diff.untouched == 1);
    }
    other.transform.max_series = 7;
    let diff = reconciler.reconcile(vec![other.clone()], &[], &mut noted, &mut engine);
    assert_eq!(diff.changed[0].keys, ["max_series"]);
    assert_eq!(noted.built, [(def.name.to_owned(), true)]);
    assert!(reconciler.running().all(|running| running.options.is_empty()));

    let off = PipelineConfig { enabled: false, ..of("sched") };
    let mut reconciler = Reconciler::new([off]);
    let diff = reconciler.reconcile(vec![of("sched")], &[], &mut noted, &mut engine);
    assert_eq!(diff.needs_restart, ["sched.enabled"]);
}

#[test]
fn of_a_thousand_tasks_one_that_changed_is_rebuilt() {
    let file = |changed: usize| {
        let mut text = String::from("[");
        for task in 0..1000 {
            let comma = if task == 0 { "" } else { "," };
            let rate = if task == changed { 7000 } else { 5000 };
            let rule = format!(r#"{{"type":"fixedRate","fixedRate":{rate}}}"#);
            write!(
                text,
                "{comma}{{\"key\":\"task-{task}\",\"config\":{{\"input\":\"cpu\",\"executeRule\":{rule}}}}}"
            )
            .unwrap();
        }
        text + "]"
    };
    let config = Config::default();
    let around = Surroundings { config: &config, hostname: "host" };
    let (mut shelf, mut reconciler) = (Shelf::default(), Reconciler::default());
    let (mut noted, mut engine) = (Noted::default(), Engine::default());
    let mut round = |text: &str| {
        let scanned = Scanned { file: "a.json".to_owned(), entries: Ok(read(text, Syntax::Json).unwrap()) };
        let wanted = shelf.settle(Ok(vec![scanned]), around);
        reconciler.reconcile(wanted.pipelines, &[], &mut noted, &mut engine)
    };
    assert_eq!(round(&file(1000)).added.len(), 1000);
    let text = file(500);
    let began = Instant::now();
    let diff = round(&text);
    // What it takes is told, and not asserted: `cargo test -- --nocapture of_a_thousand`.
    println!("parsed, resolved and reconciled 1000 tasks in {:?}", began.elapsed());
    assert_eq!((diff.changed.len(), diff.untouched, diff.added.len(), diff.removed.len()), (1, 999, 0, 0));
    assert_eq!(engine.put, ["task-500"]);
    assert_eq!(noted.built.len(), 1001);
}

/// The same from the disk: a thousand files, with queries and transforms, as JSON and as TOML.
#[test]
fn of_a_thousand_files_one_that_changed_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let write = |task: usize, rate: u32| {
        let sql = "SELECT sum(rate(cpu_seconds_total)) AS busy FROM cpu WHERE mode != 'idle' GROUP BY cpu WINDOW 10s";
        let (name, text) = if task.is_multiple_of(2) {
            let rule = format!(r#"{{"type":"fixedRate","fixedRate":{rate}}}"#);
            let transform = r#"{"prefix":"shop_","tags":{"app":"shop"},"derive":["twice = busy * 2"]}"#;
            let config =
                format!(r#"{{"input":"cpu","executeRule":{rule},"sql":"{sql}","transform":{transform}}}"#);
            (format!("{task}.json"), format!(r#"{{"key":"task-{task}","config":{config}}}"#))
        } else {
            let rule = format!("executeRule = {{ type = \"fixedRate\", fixedRate = {rate} }}");
            let transform = "[config.transform]\nprefix = \"shop_\"\nallow = [\"busy\"]\n";
            let config = format!("[config]\ninput = \"cpu\"\n{rule}\nsql = \"{sql}\"\n{transform}");
            (format!("{task}.toml"), format!("key = \"task-{task}\"\n{config}"))
        };
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    (0..1000).for_each(|task| write(task, 5000));
    let config = Config::default();
    let around = Surroundings { config: &config, hostname: "host" };
    let (mut shelf, mut reconciler) = (Shelf::default(), Reconciler::default());
    let (mut noted, mut engine) = (Noted::default(), Engine::default());
    let mut round = || {
        let began = Instant::now();
        let found = scan(folder.path());
        let scanned = began.elapsed();
        let wanted = shelf.settle(found, around);
        let settled = began.elapsed();
        let diff = reconciler.reconcile(wanted.pipelines, &[], &mut noted, &mut engine);
        println!("read after {scanned:?}, settled after {settled:?}, reconciled after {:?}", began.elapsed());
        diff
    };
    assert_eq!(round().added.len(), 1000);
    write(501, 7000);
    let diff = round();
    assert_eq!((diff.changed.len(), diff.untouched, diff.added.len(), diff.removed.len()), (1, 999, 0, 0));
    assert_eq!(engine.put, ["task-501"]);
}
