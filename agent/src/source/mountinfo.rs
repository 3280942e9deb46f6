//! Lines of mountinfo: which file system is mounted where.

use std::path::Path;

use crate::source::parse;

/// What a line says. The texts stand as in the file, with blanks and the like escaped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Number of the mount; one that is in use, even by a call that hangs, is not given out again.
    pub(crate) id: u64,
    pub(crate) major: &'a [u8],
    pub(crate) minor: &'a [u8],
    /// The directory of the file system that is seen at the mount point.
    pub(crate) root: &'a [u8],
    pub(crate) point: &'a [u8],
    pub(crate) fstype: &'a [u8],
    pub(crate) device: &'a [u8],
    /// The mount or the whole file system cannot be written to.
    pub(crate) read_only: bool,
    /// Options of the file system itself: of a cgroup hierarchy, its controllers.
    pub(crate) super_options: &'a [u8],
}

/// Takes a line apart. Fields are split at single blanks: the device may be empty.
pub(crate) fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.split(|&b| b == b' ');
    let id = parse::number(fields.next()?)?;
    let (_parent, device_number, root) = (fields.next()?, fields.next()?, fields.next()?);
    let (point, options) = (fields.next()?, fields.next()?);
    let (major, minor) = parse::split_once(device_number, b':')?;
    let (_, _) = (parse::number(major)?, parse::number(minor)?);
    // Any number of optional fields, ended by a dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let (fstype, device, super_options) = (fields.next()?, fields.next()?, fields.next()?);
    let read_only = has_ro(options) || has_ro(super_options);
    (!point.is_empty()).then_some(Line {
        id,
        major,
        minor,
        root,
        point,
        fstype,
        device,
        read_only,
        super_options,
    })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|&b| b == b',').any(|option| option == b"ro")
}

/// Blank, tab, newline and backslash stand in the file as three octal digits.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, after) {
            plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

/// A mount point as the host calls it, when the host's tree is mounted at `root`.
pub(crate) fn strip_root<'a>(point: &'a [u8], root: &Path) -> &'a [u8] {
    let root = root.as_os_str().as_encoded_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match point.strip_prefix(root) {
        Some(b"") => b"/",
        Some(rest @ [b'/', ..]) => rest,
        _ => point,
    }
}

/// Whether a path is below another one, or the same.
pub(crate) fn is_below(path: &[u8], above: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    path.strip_prefix(above).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_before_the_dash_are_optional() {
        let line = b"48 45 260:3 / /boot rw,relatime shared:92 master:1 - ext2 /dev/sda3 ro,errors=x";
        let line = parse_line(line).unwrap();
        assert_eq!((line.id, line.major, line.minor), (48, &b"260"[..], &b"3"[..]));
        assert_eq!((line.point, line.fstype, line.device), (&b"/boot"[..], &b"ext2"[..], &b"/dev/sda3"[..]));
        assert!(line.read_only);
        let line = parse_line(b"1 0 0:1 / /a rw - tmpfs  rw,errors=remount-ro").unwrap();
        assert_eq!((line.device, line.read_only), (&b""[..], false));
        for bad in
            ["", "1 0 0 / /a rw - tmpfs x rw", "1 0 0:1 / /a rw tmpfs x rw", "x 0 0:1 / /a rw - t x rw"]
        {
            assert_eq!(parse_line(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn escapes_are_three_octal_digits() {
        assert_eq!(unescape(br"/a\040b\011c\134d"), b"/a b\tc\\d");
        assert_eq!(unescape(br"\04\9\777"), br"\04\9\777");
    }

    #[test]
    fn the_root_is_stripped_at_a_whole_name() {
        let strip = |point: &str, root: &str| {
            String::from_utf8_lossy(strip_root(point.as_bytes(), Path::new(root))).into_owned()
        };
        assert_eq!(strip("/host/var", "/host"), "/var");
        assert_eq!(strip("/host", "/host/"), "/");
        assert_eq!(strip("/hostile", "/host"), "/hostile");
        assert_eq!((strip("/", "/"), strip("/var", "/")), ("/".into(), "/var".into()));
    }

    #[test]
    fn a_path_is_below_whole_names() {
        assert!(is_below(b"/mnt/nfs/x", b"/mnt/nfs") && is_below(b"/a", b"/") && is_below(b"/a", b"/a"));
        assert!(!is_below(b"/mnt/nfs2", b"/mnt/nfs"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(line: Vec<u8>, text in "[ 0-9:/a\\\\-]{0,60}") {
            for bytes in [&line[..], text.as_bytes()] {
                let _ = parse_line(bytes);
                prop_assert!(unescape(bytes).len() <= bytes.len());
                let _ = (strip_root(bytes, Path::new("/host")), is_below(bytes, b"/a"));
            }
        }
    }
}
