//! Random sequences of edits of a directory, against a model that is told of each key alone.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{
    config::Config,
    tasks::{
        directory::Scanned,
        file::{Syntax, read},
        reconcile::{
            Reconciler,
            tests::{Engine, Noted},
        },
    },
};

const FILES: usize = 3;
const KEYS: usize = 4;

/// A task as a file has it: good, with this rate, or broken.
type Content = Option<u8>;

#[derive(Clone, Debug, Default)]
struct File {
    exists: bool,
    /// The whole cannot be read.
    is_broken: bool,
    tasks: BTreeMap<usize, Content>,
}

#[derive(Clone, Debug)]
enum Edit {
    Write(usize, usize, Content),
    Remove(usize, usize),
    Move(usize, usize, usize),
    Break(usize),
    Fix(usize),
    Delete(usize),
    Nothing,
}

fn edit() -> impl Strategy<Value = Edit> {
    let (file, key) = (0..FILES, 0..KEYS);
    prop_oneof![
        4 => (file.clone(), key.clone(), proptest::option::weighted(0.7, 1..4u8)).prop_map(|(f, k, c)| Edit::Write(f, k, c)),
        2 => (file.clone(), key.clone()).prop_map(|(f, k)| Edit::Remove(f, k)),
        2 => (file.clone(), file.clone(), key).prop_map(|(from, to, k)| Edit::Move(from, to, k)),
        1 => file.clone().prop_map(Edit::Break),
        1 => file.clone().prop_map(Edit::Fix),
        1 => file.prop_map(Edit::Delete),
        1 => Just(Edit::Nothing),
    ]
}

fn apply(files: &mut [File], edit: &Edit) {
    match *edit {
        Edit::Write(file, key, content) => {
            files[file].exists = true;
            files[file].tasks.insert(key, content);
        }
        Edit::Remove(file, key) => drop(files[file].tasks.remove(&key)),
        Edit::Move(from, to, key) => {
            if let Some(content) = files[from].tasks.remove(&key) {
                files[to].exists = true;
                files[to].tasks.insert(key, content);
            }
        }
        Edit::Break(file) => files[file].is_broken = true,
        Edit::Fix(file) => files[file].is_broken = false,
        Edit::Delete(file) => files[file] = File::default(),
        Edit::Nothing => {}
    }
}

fn scanned(at: usize, file: &File) -> Scanned {
    let mut text = String::from("[");
    for (key, content) in &file.tasks {
        let comma = if text.len() > 1 { "," } else { "" };
        let (field, rate) = content.map_or(("inptu", 1), |rate| ("input", rate));
        let rule = format!(r#"{{"type":"fixedRate","fixedRate":"{rate}s"}}"#);
        write!(
            text,
            "{comma}{{\"key\":\"k{key}\",\"config\":{{\"{field}\":\"cpu\",\"executeRule\":{rule}}}}}"
        )
        .unwrap();
    }
    text += if file.is_broken { "" } else { "]" };
    let entries = read(&text, Syntax::Json).map_err(|problem| problem.to_string());
    Scanned { file: format!("{at}.json"), entries }
}

/// What runs of each key: the file it is from and its rate.
type Model = BTreeMap<usize, (usize, u8)>;

/// What is to run of one key.
fn expected(files: &[File], key: usize, before: Option<(usize, u8)>) -> Option<(usize, u8)> {
    let readable = |file: &File| file.exists && !file.is_broken;
    let good =
        |file: usize| files[file].tasks.get(&key).copied().flatten().filter(|_| readable(&files[file]));
    let is_broken = |file: usize| readable(&files[file]) && files[file].tasks.get(&key) == Some(&None);
    let first = (0..FILES).find_map(|file| {
        // Its own file comes first in its place, even if it is broken now.
        let own = before.filter(|(held, _)| *held == file);
        let kept = own.filter(|_| (files[file].exists && files[file].is_broken) || is_broken(file));
        kept.or_else(|| good(file).map(|rate| (file, rate)))
    });
    first.or_else(|| before.filter(|_| (0..FILES).any(is_broken)))
}

proptest! {
    #[test]
    fn what_runs_is_what_is_wanted_and_only_what_changed_is_touched(edits in proptest::collection::vec(edit(), 1..40)) {
        let config = Config::default();
        let around = Surroundings { config: &config, hostname: "host" };
        let mut files = vec![File::default(); FILES];
        let (mut shelf, mut reconciler, mut model) = (Shelf::default(), Reconciler::default(), Model::new());
        for edit in &edits {
            apply(&mut files, edit);
            let existing = files.iter().enumerate().filter(|(_, file)| file.exists);
            let scans: Vec<_> = existing.map(|(at, file)| scanned(at, file)).collect();
            let wanted = shelf.settle(Ok(scans), around);
            let statuses = wanted.statuses.clone();
            let (mut noted, mut engine) = (Noted::default(), Engine::default());
            let diff = reconciler.reconcile(wanted.pipelines, &[], &mut noted, &mut engine);

            let next: Model = (0..KEYS)
                .filter_map(|key| Some((key, expected(&files, key, model.get(&key).copied())?)))
                .collect();
            let named = |keys: Vec<usize>| keys.into_iter().map(|key| format!("k{key}")).collect::<Vec<_>>();
            let rate = |of: &Model, key: &usize| of.get(key).map(|(_, rate)| *rate);
            let touched = named(next.keys().filter(|key| rate(&model, key) != rate(&next, key)).copied().collect());
            let gone = named(model.keys().filter(|key| !next.contains_key(*key)).copied().collect());
            let mut put = engine.put.clone();
            put.sort();
            prop_assert_eq!(&put, &touched, "{:?} -> {:?}", &model, &next);
            prop_assert_eq!(&engine.removed, &gone);
            prop_assert_eq!(engine.calls, usize::from(!(touched.is_empty() && gone.is_empty())));
            prop_assert_eq!(diff.untouched, next.len() - touched.len());
            let running: Vec<_> = reconciler.running().map(|config| (config.key.clone(), config.interval.unwrap().as_secs())).collect();
            let expected: Vec<_> = next.iter().map(|(key, (_, rate))| (format!("k{key}"), u64::from(*rate))).collect();
            prop_assert_eq!(running, expected);
            // Everything that a readable file has is accounted for, and what is wrong has a reason.
            let entries: usize = files.iter().filter(|file| file.exists && !file.is_broken).map(|file| file.tasks.len()).sum();
            prop_assert!(statuses.len() >= entries, "{:?}", statuses);
            prop_assert!(statuses.iter().all(|status| (status.state == TaskState::Loaded) == status.reason.is_empty()));
            let runs = statuses.iter().filter(|status| status.state != TaskState::Refused).count();
            prop_assert_eq!(runs, next.len(), "{:?}", statuses);
            model = next;
        }
    }
}

fn settle(shelf: &mut Shelf, files: &[(&str, &str)]) -> Vec<(String, String, TaskState, String)> {
    let config = Config::default();
    let scans = files.iter().map(|(file, text)| Scanned {
        file: (*file).to_owned(),
        entries: read(text, Syntax::Json).map_err(|problem| problem.to_string()),
    });
    let wanted = shelf.settle(Ok(scans.collect()), Surroundings { config: &config, hostname: "host" });
    wanted.statuses.into_iter().map(|s| (s.task, s.file, s.state, s.reason)).collect()
}

#[test]
fn what_is_wrong_is_said_once_and_with_its_place() {
    let mut shelf = Shelf::default();
    let good = r#"{"key":"a","config":{"input":"cpu"}}"#;
    let bad = r#"{"key":"a","config":{"input":"cpuu","options":{"infos":1}}}"#;
    let status =
        |file: &str, state, reason: &str| ("a".to_owned(), file.to_owned(), state, reason.to_owned());
    let why = "1:1: `config.input`: unknown input `cpuu`: did you mean `cpu`?";
    assert_eq!(settle(&mut shelf, &[("1.json", bad)]), [status("1.json", TaskState::Refused, why)]);
    assert_eq!(settle(&mut shelf, &[("1.json", good)]), [status("1.json", TaskState::Loaded, "")]);
    assert_eq!(settle(&mut shelf, &[("1.json", bad)]), [status("1.json", TaskState::Stale, why)]);
    // A task without a key may be any of those that its file had.
    let nameless = r#"{"kye":"a","config":{"input":"cpu"}}"#;
    let statuses = settle(&mut shelf, &[("1.json", nameless)]);
    assert_eq!(statuses.len(), 2, "{statuses:?}");
    assert_eq!(statuses[0].2, TaskState::Stale);
    assert!(statuses[1].3.starts_with("1:6: unknown field `kye`"), "{statuses:?}");
    assert_eq!(
        settle(&mut shelf, &[("2.json", good), ("3.json", good)]),
        [
            status("2.json", TaskState::Loaded, ""),
            status("3.json", TaskState::Refused, "key `a` is taken by a task of 2.json"),
        ]
    );
    assert_eq!(settle(&mut shelf, &[]), []);
}
