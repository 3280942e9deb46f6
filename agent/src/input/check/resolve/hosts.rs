//! `/etc/hosts` of a target.

use std::{io, net::IpAddr};

use super::{super::Dir, MOST_ADDRESSES};

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;

/// The addresses that the file has for a name; none if there is no file.
pub(super) fn find(root: &Dir, name: &str) -> io::Result<Vec<IpAddr>> {
    match root.read("etc/hosts", LONGEST) {
        Ok(content) => Ok(parse(&content, name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(content: &[u8], name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in content.split(|byte| *byte == b'\n') {
        // A line that is not text names nothing.
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
        if found.len() == MOST_ADDRESSES {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_aliases_comments_and_cases() {
        let file = b"# all\n127.0.0.1 localhost\n10.0.0.7\tDb db.example # 10.0.0.8 web\n10.0.0.7 db\n\
            fd00::7 db\nbroken db\n10.0.0.9 \xff db\n10.0.0.9\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        assert_eq!(parse(file, "db"), expected);
        assert_eq!(parse(file, "DB."), expected);
        assert_eq!(parse(file, "db.example").len(), 1);
        assert!(parse(file, "web").is_empty() && parse(file, "broken").is_empty());
    }

    #[test]
    fn a_name_with_very_many_addresses_has_the_first_ones() {
        let mut file = String::new();
        for number in 0..1000 {
            writeln!(file, "10.0.{}.{} many", number / 250, number % 250).unwrap();
        }
        assert_eq!(parse(file.as_bytes(), "many").len(), MOST_ADDRESSES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(parse(&bytes, "db").len() <= MOST_ADDRESSES);
        }
    }
}
