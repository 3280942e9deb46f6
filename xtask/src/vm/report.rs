//! What became of the inputs and the tests on a kernel, from what the programs print.

use std::time::Instant;

/// One kernel.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) name: String,
    /// Its release, and how it was started.
    pub(super) release: String,
    pub(super) inputs: Vec<Input>,
    pub(super) hooks: Vec<Hook>,
    pub(super) tests: Vec<Test>,
    pub(super) seconds: u64,
    /// What it died of the first time.
    pub(super) died: Option<String>,
    /// What went wrong besides.
    pub(super) trouble: Option<String>,
}

/// A line of `pitot inputs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) state: String,
    /// How its programs are attached, or why it does not run.
    pub(super) detail: String,
}

/// How a hook is served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) input: String,
    pub(super) name: String,
    pub(super) kind: String,
    /// Why not better.
    pub(super) refused: String,
}

/// A kernel test.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Skipped(String),
    Failed,
}

impl Test {
    /// The family of hooks: the file in which the test is.
    pub(super) fn family(&self) -> &str {
        self.name.split("::").next().unwrap_or_default()
    }
}

impl Report {
    /// Of what its programs said.
    pub(super) fn read(text: &str, started: Instant) -> Self {
        let seconds = started.elapsed().as_secs();
        Self { inputs: inputs(text), hooks: hooks(text), tests: tests(text), seconds, ..Self::default() }
    }

    /// Whether nothing failed.
    pub(super) fn passed(&self) -> bool {
        let failed = |test: &Test| test.outcome == Outcome::Failed;
        self.trouble.is_none() && !self.tests.is_empty() && !self.tests.iter().any(failed)
    }

    /// The input of a family.
    pub(super) fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// What became of a test.
    pub(super) fn outcome(&self, test: &str) -> Option<&Outcome> {
        self.tests.iter().find(|ours| ours.name == test).map(|test| &test.outcome)
    }

    /// "3 passed, 1 skipped", of one family or, without a name, of all.
    pub(super) fn result(&self, family: &str) -> String {
        let is_meant = |test: &&Test| family.is_empty() || test.family() == family;
        let outcomes = self.tests.iter().filter(is_meant).map(|test| &test.outcome);
        let (mut passed, mut skipped, mut failed) = (0, 0, 0);
        for outcome in outcomes {
            match outcome {
                Outcome::Passed => passed += 1,
                Outcome::Skipped(_) => skipped += 1,
                Outcome::Failed => failed += 1,
            }
        }
        let numbers = [(passed, "passed"), (skipped, "skipped"), (failed, "FAILED")];
        let said = numbers.iter().filter(|(number, _)| *number > 0);
        let said: Vec<String> = said.map(|(number, word)| format!("{number} {word}")).collect();
        if said.is_empty() { "no test ran".into() } else { said.join(", ") }
    }
}

/// What an input may be doing.
const STATES: [&str; 5] = ["running", "degraded", "unsupported", "failed", "off"];

/// Reads the table of `pitot inputs`.
pub(super) fn inputs(text: &str) -> Vec<Input> {
    let rows = text.lines().skip_while(|line| !line.starts_with("INPUT ")).skip(1);
    rows.map_while(|line| {
        let mut words = line.split_whitespace();
        let (name, state) = (words.next()?.to_owned(), words.next()?.to_owned());
        // What comes after the table has no state there.
        STATES.contains(&&*state).then_some(())?;
        let words: Vec<&str> = words.collect();
        // The number of series may be missing.
        let detail = match words.as_slice() {
            [series, detail @ ..] if *series == "-" || series.parse::<u64>().is_ok() => detail,
            detail => detail,
        };
        Some(Input { name, state, detail: detail.join(" ") })
    })
    .collect()
}

/// Reads what the test of the hooks says of each.
pub(super) fn hooks(text: &str) -> Vec<Hook> {
    let said = text.lines().filter_map(|line| line.split_once(": hook "));
    let hooks = said.filter_map(|(_, hook)| {
        let mut words = hook.splitn(4, ' ').map(str::to_owned);
        let [input, name, kind] = [words.next()?, words.next()?, words.next()?];
        Some(Hook { input, name, kind, refused: words.next().unwrap_or_default() })
    });
    hooks.collect()
}

/// Reads what tests print that run one after the other: what a test says comes before its result.
pub(super) fn tests(text: &str) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let begun = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "));
        let said = match begun {
            Some((name, said)) => {
                // One that never says how it ended has failed.
                tests.push(Test { name: name.to_owned(), outcome: Outcome::Failed });
                open = true;
                said
            }
            None => line,
        };
        let Some(current) = tests.last_mut().filter(|_| open) else { continue };
        open = !(said == "ok" || said == "FAILED" || said.starts_with("ignored"));
        if said.starts_with("ignored") {
            tests.pop();
        } else if said == "ok" && current.outcome == Outcome::Failed {
            current.outcome = Outcome::Passed;
        } else if let Some((_, why)) = said.split_once("skipped: ") {
            current.outcome = Outcome::Skipped(why.to_owned());
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_inputs_is_read() {
        let text = "INPUT  STATE        SERIES  DETAIL\nsched  running           5  tp_btf\n\
                    zfs    unsupported          no such file\nthe configuration is valid\n";
        let input = |name: &str, state: &str, detail: &str| Input {
            name: name.into(),
            state: state.into(),
            detail: detail.into(),
        };
        let wanted = [input("sched", "running", "tp_btf"), input("zfs", "unsupported", "no such file")];
        assert_eq!(inputs(text), wanted);
    }

    #[test]
    fn hooks_are_what_the_test_says_of_them() {
        let text = "test hooks::all ... hooks::all: hook tcp tcp_probe tp_btf \nhooks::all: a note\n\
                    hooks::all: hook tcp inet_csk_accept nothing fentry: not today\nok\n";
        let hook = |name: &str, kind: &str, refused: &str| Hook {
            input: "tcp".into(),
            name: name.into(),
            kind: kind.into(),
            refused: refused.into(),
        };
        let wanted =
            [hook("tcp_probe", "tp_btf", ""), hook("inet_csk_accept", "nothing", "fentry: not today")];
        assert_eq!(hooks(text), wanted);
    }

    #[test]
    fn results_are_found_behind_what_tests_say() {
        let text = "running 5 tests\ntest a::x ... ok\ntest a::y ... main: skipped: needs two CPUs\nok\n\
                    test a::z ... FAILED\ntest b::i ... ignored, a child\ntest b::j ... main: a note\nok\n\
                    test b::k ... \n\nfailures:\n";
        let skipped = Outcome::Skipped("needs two CPUs".into());
        let found = tests(text);
        let found: Vec<_> = found.iter().map(|t| (t.name.as_str(), t.family(), &t.outcome)).collect();
        let wanted = [
            ("a::x", "a", &Outcome::Passed),
            ("a::y", "a", &skipped),
            ("a::z", "a", &Outcome::Failed),
            ("b::j", "b", &Outcome::Passed),
            ("b::k", "b", &Outcome::Failed),
        ];
        assert_eq!(found, wanted);
    }
}
