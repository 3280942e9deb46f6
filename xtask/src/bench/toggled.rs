//! The agent's programs, attached and detached within milliseconds: what is compared follows each other so fast
//! that both sides meet the same machine.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use aya::programs::{BtfTracePoint, tp_btf::BtfTracePointLinkId};

use super::server::Agent;

/// Programs of an agent that has gone, with their maps as it left them.
pub(super) struct Toggled {
    programs: Vec<BtfTracePoint>,
    links: Vec<BtfTracePointLinkId>,
}

impl Toggled {
    /// Takes the programs of an agent over, and ends it. They are detached then.
    pub(super) fn of(agent: Agent) -> Result<Self> {
        let mut programs = Vec::new();
        take(&agent.pins.folder, &mut programs)?;
        ensure!(!programs.is_empty(), "the agent has no program that runs at an event");
        drop(agent);
        Ok(Self { programs, links: Vec::new() })
    }

    /// Attaches all of them, until [`Self::detach`].
    pub(super) fn attach(&mut self) -> Result<()> {
        for program in &mut self.programs {
            self.links.push(program.attach()?);
        }
        Ok(())
    }

    /// Detaches all of them.
    pub(super) fn detach(&mut self) -> Result<()> {
        for (program, link) in self.programs.iter_mut().zip(self.links.drain(..)) {
            program.detach(link)?;
        }
        Ok(())
    }
}

/// The programs that are pinned somewhere below a folder and attach to events: an iterator does not.
fn take(pins: &Path, programs: &mut Vec<BtfTracePoint>) -> Result<()> {
    for entry in fs::read_dir(pins).with_context(|| pins.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            take(&entry.path(), programs)?;
        } else if entry.file_name().to_string_lossy().starts_with("prog-") {
            let mut program = BtfTracePoint::from_pin(entry.path())?;
            if let Ok(link) = program.attach() {
                program.detach(link)?;
                programs.push(program);
            }
        }
    }
    Ok(())
}
