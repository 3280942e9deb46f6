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
/// Containers that are remembered until then.
const REMEMBERED: usize = 4096;

/// A socket, and who listens there once that is known.
#[derive(Debug)]
pub(super) struct Asked {
    place: Place,
    /// It may well be absent.
    is_guess: bool,
    partner: Option<Partner>,
    /// Calls of partners that are gone, and of those that were nobody.
    calls: u64,
    /// What it would have been asked if it had been there.
    missed: BTreeSet<String>,
    look: Instant,
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
        let look = Instant::now();
        Self { place, is_guess: false, partner: None, calls: 0, missed: BTreeSet::new(), look }
    }

    /// A socket where many hosts have one.
    pub(super) fn guessed(place: Place) -> Self {
        Self { is_guess: true, ..Self::given(place) }
    }

    async fn ask(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        let partner = match &mut self.partner {
            Some(partner) => partner,
            None => {
                let met = meet(&self.place, &mut self.calls).await?;
                // From now on, its absence is a failure.
                self.is_guess = false;
                self.partner.insert(met)
            }
        };
        match partner {
            Partner::Cri(cri) => cri.describe(found).await,
            Partner::Docker(docker) => docker.describe(found).await,
            Partner::Podman(podman) => podman.describe(found).await,
        }
    }

    async fn describe_all(&mut self, found: &[Found]) -> Result<Vec<Description>, String> {
        let answer = timeout(QUESTION, self.ask(found)).await.unwrap_or(Err(Trouble::Slow));
        if answer.as_ref().is_err_and(Trouble::ends_talk) {
            self.calls += self.partner.take().map_or(0, |partner| partner.calls());
        }
        match answer {
            Ok(descriptions) => {
                self.missed.clear();
                Ok(descriptions)
            }
            Err(Trouble::Missing(_)) if self.is_guess => {
                let room = REMEMBERED.saturating_sub(self.missed.len());
                self.missed.extend(found.iter().take(room).map(|found| found.id.clone()));
                Ok(Vec::new())
            }
            Err(trouble) => Err(trouble.to_string()),
        }
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
        match &self.partner {
            None => true,
            Some(Partner::Cri(cri)) => cri.may_know(found),
            Some(Partner::Docker(_)) => matches!(found.runtime, Runtime::Docker | Runtime::Unknown),
            Some(Partner::Podman(_)) => matches!(found.runtime, Runtime::Podman | Runtime::Unknown),
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
                Some(Partner::Podman(podman)) => podman.changed().await,
            }
        })
    }

    fn calls(&self) -> u64 {
        self.calls + self.partner.as_ref().map_or(0, Partner::calls)
    }
}

impl Partner {
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
