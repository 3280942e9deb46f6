//! A helper for the time that one request uses it.

use super::{
    client::{Client, Trouble},
    errand::Errand,
    meters::Meters,
    pool::Pool,
};
use crate::input::check::HelperError;

/// A helper that somebody uses. Unless it is given back, it is killed.
pub(super) struct Lease<'p> {
    pub(super) pool: &'p Pool,
    pub(super) errand: &'p Errand<'p>,
    pub(super) id: u32,
    pub(super) client: Option<Client>,
    pub(super) end: End,
}

/// What becomes of a helper when the one that uses it is through.
pub(super) enum End {
    /// The spawner does not know of it yet.
    NotStarted,
    /// It goes on.
    GivenBack,
    /// It has left, or says so.
    Left,
    /// It is of no use any more.
    Killed(&'static str),
}

impl<'p> Lease<'p> {
    /// Whoever gives up waiting does so because time is up.
    pub(super) fn of(pool: &'p Pool, errand: &'p Errand<'p>, client: Client) -> Self {
        Self { pool, errand, id: client.id, client: Some(client), end: End::Killed("timeout") }
    }

    pub(super) fn give_back(mut self, client: Option<Client>) {
        self.end = if client.is_some() { End::GivenBack } else { End::Left };
        self.pool.lock().room(&self.errand.key).idle.extend(client);
    }

    fn kill(&self) {
        self.pool.control.kill(self.id);
        self.pool.lock().killed(self.id, self.errand);
    }

    /// What went wrong, with what the spawner knows about it.
    pub(super) async fn trouble(&mut self, trouble: Trouble) -> HelperError {
        let error = match trouble {
            Trouble::Left => HelperError::NoTarget("it has ended".to_owned()),
            Trouble::Ended => HelperError::Died(self.pool.ending(self.id).await),
            Trouble::Error(error) => error,
        };
        self.end = End::Killed(error.reason());
        error
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.end {
            End::GivenBack => {}
            End::NotStarted => {
                self.pool.lock().running.remove(&self.id);
            }
            // What says that it leaves may lie.
            End::Left => self.kill(),
            End::Killed(reason) => {
                self.kill();
                Meters::killed(reason);
            }
        }
    }
}
