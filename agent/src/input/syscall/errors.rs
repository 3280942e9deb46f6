//! The errors of chosen system calls.

use nix::errno::Errno;
use pitot_common::syscall::{CHOICE_WORDS, CHOSEN, ERROR_WORDS, ERRORS_WORDS};

use crate::{
    accumulator::Accumulator,
    bpf::{
        Opened,
        map::{View, WritableView},
    },
    catalogue::{Label, Metric, Since, Unsupported},
    input::Pattern,
};

pub(super) static ERRORS_TOTAL: Metric = Metric::counter(
    "syscall_errors_total",
    "Chosen system calls that failed, by name and error; other is an error without a number of its own, such as being restarted.",
    &[Label::bounded("syscall", CHOSEN), Label::bounded("errno", ERROR_WORDS)],
)
.since(Since::Attach);

pub(super) struct Errors {
    banks: View,
    /// The names of the chosen calls, in the order of their places.
    chosen: Vec<Box<[u8]>>,
    /// The names of errors, by number.
    names: Vec<String>,
    /// Tells the program which calls are chosen.
    _choice: WritableView,
}

/// The numbers of the calls that a pattern matches, none without one; or why they cannot be counted. Every
/// other call is counted all the same.
pub(super) fn choose(names: &[Box<[u8]>], pattern: &Pattern) -> Result<Vec<usize>, String> {
    let matching = names.iter().enumerate().filter(|(_, name)| pattern.matches(name));
    let chosen: Vec<usize> = matching.map(|(number, _)| number).collect();
    match chosen.len() {
        0 if pattern.is_set() => Err("input.syscall.errors matches no call".to_owned()),
        many if many > CHOSEN as usize => Err(format!(
            "input.syscall.errors matches {many} calls, of {CHOSEN} at most: name those that matter"
        )),
        _ => Ok(chosen),
    }
}

impl Errors {
    /// Has the program count those of the chosen calls, [`CHOSEN`] at most.
    pub(super) fn new(opened: &Opened, names: &[Box<[u8]>], chosen: &[usize]) -> Result<Self, Unsupported> {
        let choice = opened.writable_view("SYSCALL_CHOICE", 1, CHOICE_WORDS)?;
        for (place, number) in (1..).zip(chosen) {
            choice.store(*number, place);
        }
        Ok(Self {
            banks: opened.view("SYSCALL_ERRORS", opened.cpus(), ERRORS_WORDS)?,
            chosen: chosen.iter().map(|number| names[*number].clone()).collect(),
            names: (0..ERROR_WORDS).map(error_name).collect(),
            _choice: choice,
        })
    }

    pub(super) fn collect(&self, acc: &mut dyn Accumulator) {
        for (place, call) in self.chosen.iter().enumerate() {
            for (number, error) in self.names.iter().enumerate() {
                let count = self.banks.sum(ERRORS_WORDS, place * ERROR_WORDS as usize + number);
                // An error that never happened has no series.
                if count > 0 {
                    acc.put(&ERRORS_TOTAL, &[call, error.as_bytes()], count);
                }
            }
        }
    }
}

/// The name of an error as programmers write it.
fn error_name(number: u32) -> String {
    let error = Errno::from_raw(number.cast_signed());
    match (number, error) {
        (0, _) => "other".to_owned(),
        (_, Errno::UnknownErrno) => number.to_string(),
        (_, error) => format!("{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_usual_names() {
        assert_eq!(error_name(2), "ENOENT");
        assert_eq!(error_name(0), "other");
        assert_eq!(error_name(134), "134");
    }

    #[test]
    fn a_choice_of_no_call_or_too_many_says_so() {
        let names: Vec<Box<[u8]>> =
            (0..40).map(|n| format!("call{n}").into_bytes().into_boxed_slice()).collect();
        let choose = |pattern: &str| choose(&names, &Pattern::new(pattern));
        assert_eq!(choose(""), Ok(Vec::new()));
        assert_eq!(choose("^call(3|5)$"), Ok(vec![3, 5]));
        assert_eq!(choose("opn"), Err("input.syscall.errors matches no call".to_owned()));
        assert!(choose("call").unwrap_err().contains("matches 40 calls, of 32 at most"));
    }
}
