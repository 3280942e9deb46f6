//! What a helper gives up before it reads anything that a target controls.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::{
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, chroot, fchdir, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{
    enter::{Place, failed},
    frames::Refusal,
    orders::Needs,
    spawner::Host,
};
use crate::sys;

/// Memory that a check may take on top of what the program has when it begins.
const MEMORY: u64 = 128 << 20;
/// Memory of a program of a target, which is not asked how it reserves its addresses.
const MEMORY_OF_PROGRAMS: u64 = 512 << 20;
/// What such a program may write to a file.
const FILE_OF_PROGRAMS: u64 = 16 << 20;
/// Descriptors.
const DESCRIPTORS: u64 = 64;

/// An empty directory that nothing is above, and that is mounted nowhere.
pub(super) fn empty_directory() -> rustix::io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Empties the bounding set: no program that is executed from here on gets a capability by any way.
pub(super) fn unbind_capabilities() -> rustix::io::Result<()> {
    for bit in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            // Behind the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    Ok(())
}

/// Gives everything up. What is left is `connection`, and the directories of the place.
pub(super) fn lock(host: &Host, needs: Needs, place: &Place, connection: &OwnedFd) -> Result<(), Refusal> {
    let is_privileged = host.missing.is_empty();
    if !place.is_inside
        && let Some(empty) = &host.empty
    {
        fchdir(empty).and_then(|()| chroot(".")).map_err(failed("chroot"))?;
    }
    close(place, connection).map_err(failed("close_range"))?;
    limit(needs, host.memory).map_err(failed("setrlimit"))?;
    if is_privileged {
        let who = &place.identity;
        set_thread_groups(&who.groups).map_err(failed("setgroups"))?;
        set_thread_res_gid(who.group, who.group, who.group).map_err(failed("setresgid"))?;
        set_thread_res_uid(who.user, who.user, who.user).map_err(failed("setresuid"))?;
    }
    clear_ambient_capability_set().map_err(failed("ambient set"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(failed("capset"))?;
    set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    // Both are undone by a change of user: after it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("dumpable"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("parent death signal"))?;
    // Believed when it is seen.
    let is_locked = capabilities(None).map_err(failed("capget"))? == none
        && no_new_privs().map_err(failed("no_new_privs"))?;
    if !is_locked {
        return Err(Refusal::Enter("privileges are still there after they were given up".to_owned()));
    }
    if !needs.executes() {
        sys::forbid_changes().map_err(failed("landlock"))?;
    }
    host.filters.apply(needs.executes()).map_err(failed("seccomp"))
}

fn limit(needs: Needs, memory: u64) -> rustix::io::Result<()> {
    let set = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    set(Resource::Core, 0)?;
    set(Resource::Nofile, DESCRIPTORS)?;
    if needs.executes() {
        set(Resource::Data, MEMORY_OF_PROGRAMS)?;
        set(Resource::Fsize, FILE_OF_PROGRAMS)
    } else {
        set(Resource::As, memory.saturating_add(MEMORY))?;
        set(Resource::Nproc, 0)?;
        set(Resource::Fsize, 0)
    }
}

fn close(place: &Place, connection: &OwnedFd) -> std::io::Result<()> {
    let kept = [
        Some(connection),
        Some(&place.root),
        Some(&place.process),
        place.procfs.as_ref(),
        place.life.as_ref(),
    ];
    let mut numbers: Vec<RawFd> = kept.into_iter().flatten().map(AsRawFd::as_raw_fd).collect();
    numbers.extend([0, 1, 2]);
    numbers.sort_unstable();
    sys::close_all_but(&numbers)
}
