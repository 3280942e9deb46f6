//! How many sockets there are, as the kernel counts them itself: `net/sockstat` and `net/sockstat6`.

use std::io;

use super::{super::Inside, diag::Family};

/// Longer than both files are.
const LONGEST: u64 = 4 << 10;

/// Whether there are UDP sockets of a family that have a port. None if the kernel does not say.
pub(super) fn has_udp(inside: &Inside, family: Family) -> Option<bool> {
    let (file, line) = match family {
        Family::V4 => ("net/sockstat", "UDP:"),
        Family::V6 => ("net/sockstat6", "UDP6:"),
    };
    match inside.process.read(file, LONGEST) {
        Ok(content) => in_use(&content, line).map(|count| count > 0),
        // A kernel without IPv6 has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && family == Family::V6 => Some(false),
        Err(_) => None,
    }
}

/// The number after `inuse` in a line that begins so.
fn in_use(content: &[u8], line: &str) -> Option<u64> {
    let content = std::str::from_utf8(content).ok()?;
    let mut words = content.lines().find_map(|text| text.strip_prefix(line))?.split_ascii_whitespace();
    words.by_ref().find(|word| *word == "inuse")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_udp_is_found_and_not_that_of_udp_lite() {
        let content =
            b"sockets: used 97\nTCP: inuse 7 orphan 0 tw 2\nUDPLITE: inuse 9\nUDP: inuse 3 mem 256\n";
        assert_eq!(in_use(content, "UDP:"), Some(3));
        assert_eq!(in_use(content, "TCP:"), Some(7));
        assert_eq!(in_use(content, "UDP6:"), None);
        assert_eq!(in_use(b"UDP: mem 1\n", "UDP:"), None);
        assert_eq!(in_use(b"UDP: inuse many\n", "UDP:"), None);
    }
}
