//! A socket on which a runtime may be listening. Which one, it is asked.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio::time::{sleep_until, timeout};

use super::{
    QUESTION,
    cri::Cri,
    docker::{Docker, Met},
    place::Place,
    podman::Podman,
    trouble::Trouble,
};
use crate::container::{
    Runtime,
    source::{Description, Found, Later, Source},
};

/// How often it is looked whether a socket is there by now, while there are containers that it may know.
const LOOK: Duration = Duration::from_secs(5);
/// How long one that cannot tell anything of use is left alone.
const DEAF: Duration = Duration::from_secs(300);
/// Containers that are remembered until then.
const REMEMBERED: usize = 4096;

/// A socket, and who listens there once that is known.
#[derive(Debug)]
pub(super) struct Asked {
    place: Place,
    /// Whose containers it may know when nobody has said that it is there, and it may well not be.
    guess: Option<&'static [Runtime]>,
    partner: Option<Partner>,
    /// Calls of partners that are gone, and of those that were nobody.
    calls: u64,
    /// What it would have been asked if it had been there.
    missed: BTreeSet<String>,
    look: Instant,
    /// When it may be asked again who listens there.
    deaf_until: Instant,
}

#[derive(Debug)]
enum Partner {
    Cri(Box<Cri>),
    Docker(Docker),
    Podman(Podman),
}

impl Asked {
    /// A socket that the configuration names.
    pub(super) fn given(place: Place) -> Self {
        let now = Instant::now();
        let (look, deaf_until) = (now, now);
        Self { place, guess: None, partner: None, calls: 0, missed: BTreeSet::new(), look, deaf_until }
    }

    /// A socket where many hosts have a runtime that starts such containers. It is not asked about others: some
    /// runtimes are asleep until somebody talks to them.
    pub(super) fn guessed(place: Place, runtimes: &'static [Runtime]) -> Self {
        Self { guess: Some(runtimes), ..Self::given(place) }
    }

    async fn ask(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        if self.partner.is_none() {
            if Instant::now() < self.deaf_until {
                return Ok(Vec::new());
            }
            match meet(&self.place, &mut self.calls).await {
                // As many dockers bring a containerd that is for themselves only.
                Err(Trouble::Refused(why)) if self.guess.is_some() => {
                    tracing::info!(socket = self.place.name(), why, "no use for the names of containers");
                    self.deaf_until = Instant::now() + DEAF;
                }
                met => {
                    self.partner = Some(met?);
                    // From now on, its absence is a failure.
                    self.guess = None;
                }
            }
        }
        let Some(partner) = &mut self.partner else { return Ok(Vec::new()) };
        // Before it was known who listens there, everything was for it.
        let own: Vec<Found> = found.iter().filter(|found| partner.may_know(found)).cloned().collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        match partner {
            Partner::Cri(cri) => cri.describe(&own).await,
            Partner::Docker(docker) => docker.describe(&own).await,
            Partner::Podman(podman) => podman.describe(&own).await,
        }
    }

    async fn describe_all(&mut self, found: &[Found]) -> Result<Vec<Description>, String> {
        let answer = timeout(QUESTION, self.ask(found)).await.unwrap_or(Err(Trouble::Slow));
        self.part(&answer);
        match answer {
            Ok(descriptions) => {
                self.missed.clear();
                Ok(descriptions)
            }
            Err(Trouble::Missing(_)) if self.guess.is_some() => {
                let room = REMEMBERED.saturating_sub(self.missed.len());
                self.missed.extend(found.iter().take(room).map(|found| found.id.clone()));
                Ok(Vec::new())
            }
            Err(trouble) => Err(trouble.to_string()),
        }
    }

    /// Leaves a partner that is gone.
    fn part<T>(&mut self, answer: &Result<T, Trouble>) {
        if answer.as_ref().is_err_and(Trouble::ends_talk) {
            self.calls += self.partner.take().map_or(0, |partner| partner.calls());
        }
    }

    async fn try_out(&mut self) -> Option<Result<(), String>> {
        let answer = match &mut self.partner {
            Some(Partner::Cri(cri)) => cri.ping().await,
            // These may be asleep until somebody talks to them, and that would wake them.
            Some(Partner::Docker(_) | Partner::Podman(_)) => return None,
            None if self.guess.is_some() => return None,
            None => meet(&self.place, &mut self.calls).await.map(|partner| self.partner = Some(partner)),
        };
        self.part(&answer);
        Some(answer.map_err(|trouble| trouble.to_string()))
    }

    /// Waits until the socket is there, if anybody would have been asked for anything.
    async fn appeared(&mut self) -> Vec<String> {
        if self.missed.is_empty() {
            return std::future::pending().await;
        }
        loop {
            sleep_until(self.look.into()).await;
            self.look = Instant::now() + LOOK;
            if self.place.exists() {
                return std::mem::take(&mut self.missed).into_iter().collect();
            }
        }
    }
}

impl Source for Asked {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn may_know(&self, found: &Found) -> bool {
        match (&self.partner, self.guess) {
            (Some(partner), _) => partner.may_know(found),
            (None, Some(guess)) => found.runtime == Runtime::Unknown || guess.contains(&found.runtime),
            (None, None) => true,
        }
    }

    fn describe<'a>(&'a mut self, found: &'a [Found]) -> Later<'a, Result<Vec<Description>, String>> {
        Box::pin(self.describe_all(found))
    }

    fn changed(&mut self) -> Later<'_, Vec<String>> {
        Box::pin(async {
            match &mut self.partner {
                None => self.appeared().await,
                Some(Partner::Cri(cri)) => cri.changed().await,
                Some(Partner::Docker(docker)) => docker.changed().await,
                Some(Partner::Podman(_)) => std::future::pending().await,
            }
        })
    }

    fn ping(&mut self) -> Later<'_, Option<Result<(), String>>> {
        Box::pin(self.try_out())
    }

    fn calls(&self) -> u64 {
        self.calls + self.partner.as_ref().map_or(0, Partner::calls)
    }
}

impl Partner {
    fn may_know(&self, found: &Found) -> bool {
        match self {
            Self::Cri(cri) => cri.may_know(found),
            Self::Docker(_) => matches!(found.runtime, Runtime::Docker | Runtime::Unknown),
            Self::Podman(_) => matches!(found.runtime, Runtime::Podman | Runtime::Unknown),
        }
    }

    const fn calls(&self) -> u64 {
        match self {
            Self::Cri(cri) => cri.calls(),
            Self::Docker(docker) => docker.calls(),
            Self::Podman(podman) => podman.calls(),
        }
    }
}

/// Asks who listens there: first as one asks docker and podman, which those that speak gRPC refuse at once.
async fn meet(place: &Place, calls: &mut u64) -> Result<Partner, Trouble> {
    match Docker::meet(place.clone()).await {
        Ok(Met::Docker(docker)) => return Ok(Partner::Docker(docker)),
        Ok(Met::Podman(podman)) => return Ok(Partner::Podman(podman)),
        Err(trouble @ (Trouble::Missing(_) | Trouble::Slow)) => return Err(trouble),
        Err(_) => *calls += 1,
    }
    match Cri::meet(place.clone()).await {
        Ok(cri) => Ok(Partner::Cri(Box::new(cri))),
        Err(trouble) => {
            *calls += 1;
            Err(trouble)
        }
    }
}

#[cfg(test)]
mod tests;
