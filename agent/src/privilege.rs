//! Privilege is borrowed: once programs are loaded and files can be opened, it is given back.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

/// What stays: opening files of /proc, /sys and mount points that only their owner may enter.
const KEEP: [Capability; 1] = [Capability::CAP_DAC_READ_SEARCH];

/// Drops every capability that collecting does not need, and the way to get any back. Capabilities belong
/// to threads: this is called before the first one is started. Returns what was dropped.
pub fn drop_capabilities() -> Result<Vec<String>, CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet = held.iter().copied().filter(|cap| KEEP.contains(cap)).collect();
    let mut dropped: Vec<String> = held.difference(&keep).map(ToString::to_string).collect();
    dropped.sort_unstable();
    caps::clear(None, CapSet::Ambient)?;
    if held.contains(&Capability::CAP_SETPCAP) {
        for cap in caps::read(None, CapSet::Bounding)?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *cap)?;
        }
    }
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(dropped)
}
