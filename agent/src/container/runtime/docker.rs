//! Docker, and whatever else has its API, over a unix socket.

mod answer;

use self::answer::{Listed, Version, renamed};
use super::{
    http::{self, Ask, Stream},
    listen::{Listener, Told},
    place::Place,
    podman::Podman,
    trouble::Trouble,
};
use crate::container::source::{Description, Found};

/// The version of the API whose fields are known, where the daemon still has it.
const WANTED: &str = "1.41";
/// Ids in one question; about more of them, all that runs is asked for.
const BY_ID: usize = 50;

/// A docker.
#[derive(Debug)]
pub(super) struct Docker {
    place: Place,
    version: String,
    calls: u64,
    events: Option<Listener>,
}

/// Who answers the questions of docker's API.
#[derive(Debug)]
pub(super) enum Met {
    /// A docker.
    Docker(Docker),
    /// A podman.
    Podman(Podman),
}

impl Docker {
    /// Asks who listens there.
    pub(super) async fn meet(place: Place) -> Result<Met, Trouble> {
        let answer = http::get(place.connect().await?, &Ask::of("/version")).await?;
        let known: Version = read(&answer)?;
        tracing::info!(
            socket = place.name(),
            runtime = known.name(),
            version = known.engine,
            "a container runtime"
        );
        if let Some(podman) = known.podman() {
            return Ok(Met::Podman(Podman::new(place, podman)));
        }
        let version = known.api(WANTED);
        Ok(Met::Docker(Self { place, version, calls: 1, events: None }))
    }

    pub(super) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Describes those that it knows, with one call.
    pub(super) async fn describe(&mut self, found: &[Found]) -> Result<Vec<Description>, Trouble> {
        self.calls += 1;
        let target = format!("/v{}/containers/json?all=true&filters={}", self.version, filter(found));
        let answer = http::get(self.place.connect().await?, &Ask::of(&target)).await?;
        let listed: Vec<Listed> = read(&answer)?;
        Ok(known(listed.into_iter().map(Listed::describe), found))
    }

    /// Waits for one that has got another name.
    pub(super) async fn changed(&mut self) -> Vec<String> {
        let target = format!("/v{}/events?filters={}", self.version, encoded(RENAMES));
        let events = self.events.get_or_insert_with(|| follow(self.place.clone(), target));
        vec![events.next().await]
    }
}

/// The events that are of interest: what starts and stops is known without them.
const RENAMES: &str = r#"{"type":["container"],"event":["rename"]}"#;

/// Which containers are asked for: running ones, and such as are about to run.
pub(super) fn filter(found: &[Found]) -> String {
    if found.len() > BY_ID {
        return encoded(r#"{"status":["created","running","paused","restarting"]}"#);
    }
    let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
    encoded(&serde_json::json!({ "id": ids }).to_string())
}

/// Those of the descriptions that were asked for.
pub(super) fn known(all: impl Iterator<Item = Description>, found: &[Found]) -> Vec<Description> {
    all.filter(|one| found.iter().any(|found| found.id == one.id)).collect()
}

/// A value in the query of a URL.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}

/// A document.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(answer)
        .map_err(|error| Trouble::Refused(format!("not what it should be: {error}")))
}

/// Follows the renames of containers.
fn follow(place: Place, target: String) -> Listener {
    /// An event is shorter.
    const LONGEST: usize = 64 << 10;
    async fn attempt(place: Place, target: String, told: Told) -> Result<(), Trouble> {
        let mut stream = Stream::open(place.connect().await?, &Ask::of(&target)).await?;
        let mut waiting = Vec::new();
        while let Ok(bytes) = stream.next().await {
            waiting.extend_from_slice(&bytes);
            for id in renamed(&mut waiting) {
                // What does not fit keeps its old name.
                drop(told.try_send(id));
            }
            if waiting.len() > LONGEST {
                return Err(Trouble::Long);
            }
        }
        Ok(())
    }
    Listener::spawn(move |told| attempt(place.clone(), target.clone(), told))
}
