//! What the kernel counts of listeners, in `net/netstat` of a process: the numbers of its network namespace.

/// Connections that a listener did not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listeners {
    pub(super) overflows: Option<u64>,
    pub(super) drops: Option<u64>,
}

/// The two numbers, as far as they are there: a table has a line of names and then a line of values.
pub(super) fn parse(content: &[u8]) -> Listeners {
    let text = String::from_utf8_lossy(content);
    let mut tables = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (tables.next(), tables.next()) else { return Listeners::default() };
    let find = |wanted: &str| {
        let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        pairs.find(|(name, _)| *name == wanted)?.1.parse().ok()
    };
    Listeners { overflows: find("ListenOverflows"), drops: find("ListenDrops") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let file =
            b"IpExt: ListenDrops\nIpExt: 9\nTcpExt: A ListenOverflows B ListenDrops\nTcpExt: 1 2 3 4\n";
        assert_eq!(parse(file), Listeners { overflows: Some(2), drops: Some(4) });
        assert_eq!(parse(b"TcpExt: ListenDrops\n"), Listeners::default());
        assert_eq!(parse(b"TcpExt: A ListenDrops\nTcpExt: 1 x\n"), Listeners::default());
    }
}
