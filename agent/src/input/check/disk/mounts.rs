//! Which mounts of a table are reported.

use std::{io, os::fd::AsFd};

use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::{
    input::{Pattern, filesystem::PROMPT},
    source::{mountinfo, parse},
};

/// Mounts that are reported; what is past them is counted.
pub(super) const MOST: u32 = 64;
/// A longer mount point, device or type is no label.
const LONGEST_NAME: usize = 256;

/// The mounts of a target.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) past_bound: u32,
    /// Mounted over by another one at the same place.
    pub(super) hidden: u32,
    /// With a name that is too long or no text.
    pub(super) unnamed: u32,
}

/// A mount that is reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) point: String,
    pub(super) device: String,
    pub(super) fstype: String,
    pub(super) read_only: bool,
    /// It may wait for a server, a daemon or a failed device, or the way to it leads through one that may.
    pub(super) may_hang: bool,
}

impl Mounts {
    /// Those of the table whose mount point and type are not excluded.
    pub(super) fn of(table: &[u8], excluded: &[Pattern; 2]) -> io::Result<Self> {
        let [points, types] = excluded;
        let mut found = Self::default();
        let mut doubtful = Vec::new();
        for line in parse::lines(table) {
            let parsed = mountinfo::parse_line(line);
            let parsed = parsed.ok_or_else(|| io::Error::other("the table of mounts has another form"))?;
            let point = mountinfo::unescape(parsed.point);
            // Those that matter are few; a target that has more gains nothing by it.
            if !PROMPT.contains(&parsed.fstype) && doubtful.len() < MOST as usize {
                doubtful.push(point.clone());
            }
            // The short text first: most of a table is no more than that.
            if types.matches(parsed.fstype) || points.matches(&point) {
                continue;
            }
            let names = (text(&point), text(&mountinfo::unescape(parsed.device)), text(parsed.fstype));
            let (Some(point), Some(device), Some(fstype)) = names else {
                found.unnamed += 1;
                continue;
            };
            let read_only = parsed.read_only;
            found.add(Mount { id: parsed.id, point, device, fstype, read_only, may_hang: false });
        }
        for mount in &mut found.list {
            mount.may_hang = !PROMPT.contains(&mount.fstype.as_bytes())
                || doubtful.iter().any(|point| mountinfo::is_below(mount.point.as_bytes(), point));
        }
        Ok(found)
    }

    fn add(&mut self, mount: Mount) {
        match self.list.iter().position(|other| other.point == mount.point) {
            Some(covered) => {
                self.list[covered] = mount;
                self.hidden += 1;
            }
            None if self.list.len() < MOST as usize => self.list.push(mount),
            None => self.past_bound += 1,
        }
    }
}

fn text(name: &[u8]) -> Option<String> {
    String::from_utf8(name.to_vec()).ok().filter(|name| name.len() <= LONGEST_NAME)
}

/// The number of the mount that was found at a place, where the kernel tells it (5.8): another one lies over it, or
/// over a directory on the way, if it is not the expected one. No server is asked for this.
pub(super) fn number_of(found: impl AsFd) -> Option<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(found, c"", flags, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::testing::soup;

    const TABLE: &[u8] = b"\
        30 29 0:22 / /proc rw - proc proc rw\n\
        29 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir=x\n\
        31 29 8:1 / /da\\040ta ro - ext4 /dev/sda1 rw\n\
        32 29 8:2 / /da\\040ta rw - xfs /dev/sda2 rw\n\
        33 29 0:60 / /mnt rw - nfs4 server:/x rw\n\
        34 33 8:3 / /mnt/below rw - ext4 /dev/sda3 rw\n";

    fn of(table: &[u8]) -> io::Result<Mounts> {
        Mounts::of(table, &[Pattern::default(), Pattern::new("^proc$")])
    }

    #[test]
    fn the_last_one_at_a_place_counts_and_what_may_hang_is_known() {
        let mounts = of(TABLE).unwrap();
        let short: Vec<_> =
            mounts.list.iter().map(|m| (m.id, m.point.as_str(), m.read_only, m.may_hang)).collect();
        let expected = [
            (29, "/", false, false),
            (32, "/da ta", false, false),
            (33, "/mnt", false, true),
            (34, "/mnt/below", false, true),
        ];
        assert_eq!(short, expected);
        assert_eq!((mounts.hidden, mounts.past_bound, mounts.unnamed), (1, 0, 0));
    }

    #[test]
    fn what_has_no_bound_is_counted() {
        let mut table = Vec::new();
        for at in 0..MOST + 5 {
            table.extend(format!("{at} 1 8:1 / /a{at} rw - ext4 /dev/sda1 rw\n").into_bytes());
        }
        table.extend(format!("1000 1 8:1 / /{} rw - ext4 /dev/sda1 rw\n", "x".repeat(300)).into_bytes());
        table.extend(b"1001 1 8:1 / /\xff rw - ext4 /dev/sda1 rw\n");
        let mounts = of(&table).unwrap();
        assert_eq!((mounts.list.len(), mounts.past_bound, mounts.unnamed), (64, 5, 2));
    }

    #[test]
    fn another_table_is_an_error() {
        assert!(of(b"29 1 0:50 / / rw,relatime\n").is_err());
        assert!(of(b"").unwrap().list.is_empty());
    }

    proptest! {
        #[test]
        fn any_table_has_a_bound(table in soup(&["29 1 8:1 / /a rw - ext4 x rw\n", " - ", "/", "nfs", "8:1"])) {
            if let Ok(mounts) = of(&table) {
                prop_assert!(mounts.list.len() <= 64);
            }
        }
    }
}
