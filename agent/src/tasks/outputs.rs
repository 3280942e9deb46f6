//! The outputs that run, by name.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    config::{OutputConfig, OutputKind},
    output::{Console, Output, RotatingFile, Sink, SinkStatus, Target},
};

/// An output, and what it was started from.
type Running = (OutputConfig, Arc<Sink>);

/// The outputs that run. Clones are the same outputs.
#[derive(Clone, Default)]
pub struct Outputs {
    running: Arc<Mutex<Vec<Running>>>,
}

impl Outputs {
    fn with<R>(&self, act: impl FnOnce(&mut Vec<Running>) -> R) -> R {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes what runs fit a configuration. Those that are new or different are named: pipelines that use them are
    /// to be connected anew. The ones that they replace end when no pipeline uses them any more.
    pub fn update(&self, wanted: &[OutputConfig]) -> io::Result<Vec<String>> {
        self.with(|running| {
            let mut next = Vec::new();
            let mut other = Vec::new();
            for config in wanted {
                let same =
                    running.iter().find(|(known, _)| known.name == config.name && known.is_same(config));
                if let Some(same) = same {
                    next.push(same.clone());
                } else {
                    next.push((config.clone(), start(config)?));
                    other.push(config.name.clone());
                }
            }
            *running = next;
            Ok(other)
        })
    }

    /// What a pipeline has of these outputs.
    pub fn connect(&self, names: &[String], pipeline: &str) -> Vec<Arc<dyn Output>> {
        self.with(|running| {
            let sinks = running.iter().filter(|(config, _)| names.contains(&config.name));
            sinks.map(|(_, sink)| sink.connect(pipeline)).collect()
        })
    }

    /// What became of the pages of each.
    pub fn statuses(&self) -> Vec<SinkStatus> {
        self.with(|running| running.iter().map(|(_, sink)| sink.status()).collect())
    }

    /// Waits until everything is written, though not for longer than this in all.
    pub fn drain(&self, within: Duration) {
        let until = std::time::Instant::now() + within;
        let sinks: Vec<_> = self.with(|running| running.iter().map(|(_, sink)| Arc::clone(sink)).collect());
        for sink in sinks {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if !sink.drained(left) {
                tracing::warn!(output = sink.name(), "what waits is not written any more");
            }
        }
    }
}

fn start(config: &OutputConfig) -> io::Result<Arc<Sink>> {
    let target: Box<dyn Target> = match (config.kind, &config.path) {
        (OutputKind::File, Some(path)) => {
            Box::new(RotatingFile::new(path.clone(), config.max_bytes, config.keep))
        }
        // A file without a path is refused where it is read.
        _ => Box::new(Console),
    };
    let room = usize::try_from(config.queue).unwrap_or(usize::MAX);
    Sink::start(&config.name, config.format, room, target)
}
