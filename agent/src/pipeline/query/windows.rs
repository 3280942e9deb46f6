//! When a window ends: at multiples of its span since the Unix epoch.
//!
//! A collection at exactly the end of a window belongs to it and ends it, because what it measured is of the time
//! before. A window whose beginning was not seen (the first one; those around a gap or a step of the clock) is not
//! whole and never published.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Follows windows of one span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    span: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Nothing was collected yet.
    New,
    /// The window of this number is being filled, from its beginning or not.
    Open { number: u128, whole: bool },
    /// The window of this number has ended with its last collection.
    Ended { number: u128 },
}

/// What happens to the values that were folded so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// They go on.
    Same,
    /// A window ended before this collection: its results are published.
    Publish,
    /// What is published stays; a new window begins.
    Begin,
    /// No window has just ended in whole: nothing is published, and a new one begins.
    Nothing,
}

impl Windows {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, state: State::New }
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// The window that a moment belongs to, and whether it is its end.
    fn place(&self, at: SystemTime) -> (u128, bool) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let span = self.span.as_nanos().max(1);
        (since.div_ceil(span), since.is_multiple_of(span))
    }

    /// Before a collection at this aligned time.
    pub(super) fn begin(&mut self, at: SystemTime) -> Turn {
        let (number, _) = self.place(at);
        let open = |whole| State::Open { number, whole };
        let (state, turn) = match self.state {
            State::Open { number: current, .. } if current == number => (self.state, Turn::Same),
            State::Open { number: current, whole } if current + 1 == number => {
                (open(true), if whole { Turn::Publish } else { Turn::Nothing })
            }
            State::Ended { number: last } if last + 1 == number => (open(true), Turn::Begin),
            // Another collection for the same moment.
            State::Ended { number: last } if last == number => {
                (State::Open { number: last + 1, whole: true }, Turn::Begin)
            }
            State::New | State::Open { .. } | State::Ended { .. } => (open(false), Turn::Nothing),
        };
        self.state = state;
        turn
    }

    /// After a collection at this aligned time: whether it ended its window, and whether that was whole.
    pub(super) fn end(&mut self, at: SystemTime) -> Option<bool> {
        let (number, last) = self.place(at);
        match self.state {
            State::Open { number: current, whole } if last && current == number => {
                self.state = State::Ended { number };
                Some(whole)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ticks: &[u64]) -> Vec<(Turn, Option<bool>)> {
        let mut windows = Windows::new(Duration::from_secs(10));
        let at = |tick: &u64| UNIX_EPOCH + Duration::from_secs(*tick);
        ticks.iter().map(|tick| (windows.begin(at(tick)), windows.end(at(tick)))).collect()
    }

    #[test]
    fn a_window_ends_with_the_collection_at_its_end() {
        use Turn::{Begin, Nothing, Same};
        assert_eq!(
            run(&[15, 20, 25, 30, 35, 40]),
            [
                (Nothing, None),
                (Same, Some(false)),
                (Begin, None),
                (Same, Some(true)),
                (Begin, None),
                (Same, Some(true))
            ]
        );
    }

    #[test]
    fn a_window_without_a_collection_at_its_end_is_over_at_the_next() {
        use Turn::{Nothing, Publish, Same};
        let turns: Vec<Turn> = run(&[13, 18, 23, 28, 33]).into_iter().map(|(turn, _)| turn).collect();
        assert_eq!(turns, [Nothing, Same, Nothing, Same, Publish]);
    }

    #[test]
    fn around_gaps_and_steps_of_the_clock_nothing_is_whole() {
        use Turn::{Nothing, Publish};
        let turns: Vec<Turn> =
            run(&[5, 15, 25, 55, 65, 75, 35, 45]).into_iter().map(|(turn, _)| turn).collect();
        assert_eq!(turns, [Nothing, Nothing, Publish, Nothing, Nothing, Publish, Nothing, Nothing]);
    }

    #[test]
    fn a_second_collection_for_the_end_of_a_window_counts_for_the_next() {
        use Turn::{Begin, Nothing, Same};
        assert_eq!(
            run(&[10, 20, 20, 30]),
            [(Nothing, Some(false)), (Begin, Some(true)), (Begin, None), (Same, Some(true))]
        );
    }
}
