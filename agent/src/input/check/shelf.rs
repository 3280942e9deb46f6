//! What a helper keeps from one request to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things that a process makes once and keeps, for whoever needs one next. Helpers make checks anew for each request.
pub(super) struct Shelf<T>(Mutex<Vec<T>>);

impl<T> Shelf<T> {
    /// As many as there are different checks of a kind in one pod.
    const MOST: usize = 16;

    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Takes one of that kind, if there is one.
    pub(super) fn take(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut things = self.lock();
        let index = things.iter().rposition(is_wanted)?;
        Some(things.remove(index))
    }

    /// Puts one back, and drops that which was not needed for longest if there are too many.
    pub(super) fn put(&self, thing: T) {
        let mut things = self.lock();
        let dropped = (things.len() == Self::MOST).then(|| things.remove(0));
        things.push(thing);
        drop(things);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // Nothing is left half done inside.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
