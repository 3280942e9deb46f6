//! The kubelet's list of the pods of its node: labels and annotations as they are now, and not as they were when a pod
//! was started.

mod answer;
mod trust;
mod url;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    time::{sleep_until, timeout},
};

pub(super) use self::url::Endpoint;
use self::{
    answer::{Known, pods},
    trust::{Trust, secret},
};
use super::{
    CALL, PodsConfig, QUESTION,
    http::{self, Ask},
    trouble::Trouble,
};
use crate::container::source::{Description, Found, Later, Source};

/// The list is long, and the kubelet has other things to do: it is not asked more often.
const DISTANCE: Duration = Duration::from_secs(10);
/// Containers that wait until it may be asked again.
const WAITING: usize = 4096;

/// A kubelet.
#[derive(Debug)]
pub(super) struct Kubelet {
    endpoint: Result<Endpoint, String>,
    token_file: Option<PathBuf>,
    trust: Trust,
    /// What it said last, by the UIDs of pods.
    pods: HashMap<String, Known>,
    /// Why it said nothing since.
    failure: Option<String>,
    /// When it may be asked again.
    next: Instant,
    waiting: BTreeSet<String>,
    calls: u64,
}

impl Kubelet {
    /// One that has not been asked anything yet.
    pub(super) fn new(url: &str, config: &PodsConfig) -> Self {
        let trust = match &config.kubelet_ca_file {
            _ if config.kubelet_insecure => Trust::Anybody,
            Some(file) => Trust::File(file.clone()),
            None => Trust::Nobody,
        };
        Self {
            endpoint: Endpoint::parse(url),
            token_file: config.kubelet_token_file.clone(),
            trust,
            pods: HashMap::new(),
            failure: None,
            next: Instant::now(),
            waiting: BTreeSet::new(),
            calls: 0,
        }
    }

    async fn read(&mut self) -> Result<(), Trouble> {
        self.calls += 1;
        let endpoint = self.endpoint.clone().map_err(Trouble::Refused)?;
        // Tokens are renewed in place.
        let token = self.token_file.as_deref().map(secret).transpose()?;
        let ask = Ask { target: &endpoint.target, host: &endpoint.authority, token: token.as_deref() };
        let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        let stream = timeout(CALL, connecting).await.map_err(|_| Trouble::Slow)?;
        let stream = stream.map_err(|error| Trouble::Gone(format!("{}: {error}", endpoint.authority)))?;
        let answer = if endpoint.is_tls {
            let connector = self.trust.connector()?;
            let greeting = connector.connect(endpoint.server_name()?, stream);
            let stream = timeout(CALL, greeting).await.map_err(|_| Trouble::Slow)?;
            http::get(stream.map_err(|error| Trouble::gone(&error))?, &ask).await?
        } else {
            http::get(stream, &ask).await?
        };
        self.pods = pods(&answer)?;
        Ok(())
    }

    async fn describe_all(&mut self, found: &[Found]) -> Result<Vec<Description>, String> {
        let is_new = |found: &Found| found.pod.as_ref().is_some_and(|uid| !self.pods.contains_key(uid));
        let is_wanted = found.iter().any(is_new);
        if is_wanted && Instant::now() >= self.next {
            let read = timeout(QUESTION, self.read()).await.unwrap_or(Err(Trouble::Slow));
            self.failure = read.err().map(|trouble| trouble.to_string());
            self.next = Instant::now() + DISTANCE;
            self.waiting.clear();
        } else if is_wanted {
            let new = found.iter().filter(|found| is_new(found)).map(|found| found.id.clone());
            let room = WAITING.saturating_sub(self.waiting.len());
            self.waiting.extend(new.take(room).collect::<Vec<_>>());
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let described = found.iter().filter_map(|found| {
            let known = self.pods.get(found.pod.as_ref()?)?;
            Some(known.describe(&found.id))
        });
        Ok(described.collect())
    }
}

impl Source for Kubelet {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    /// Its pods only, and these are found by their control groups.
    fn may_know(&self, found: &Found) -> bool {
        found.pod.is_some()
    }

    fn describe<'a>(&'a mut self, found: &'a [Found]) -> Later<'a, Result<Vec<Description>, String>> {
        Box::pin(self.describe_all(found))
    }

    /// Those that came when it could not be asked, as soon as it can.
    fn changed(&mut self) -> Later<'_, Vec<String>> {
        Box::pin(async {
            if self.waiting.is_empty() {
                return std::future::pending().await;
            }
            sleep_until(self.next.into()).await;
            std::mem::take(&mut self.waiting).into_iter().collect()
        })
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

#[cfg(test)]
mod tests;
