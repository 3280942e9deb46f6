//! What is asked, as the configuration gives it and as the helper gets it.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use simple_dns::TYPE;

use crate::{
    input::check::resolve::{Question, Settings, is_name},
    input::{Options, Unsupported},
};

/// Names at most.
pub(super) const NAMES: u32 = 16;
/// Questions at most.
const QUESTIONS: usize = 32;
const PORT: u16 = 53;

/// The kinds of records that can be asked for.
pub(super) const TYPES: &[&str] = &["A", "AAAA", "SRV", "TXT", "MX", "CNAME", "NS", "PTR"];
const CODES: [TYPE; TYPES.len()] =
    [TYPE::A, TYPE::AAAA, TYPE::SRV, TYPE::TXT, TYPE::MX, TYPE::CNAME, TYPE::NS, TYPE::PTR];

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    names: Vec<String>,
    types: Vec<String>,
    pub(super) server: Option<SocketAddr>,
    pub(super) timeout: Duration,
}

impl Asked {
    /// By the settings, or what is wrong with them.
    pub(super) fn new(options: Options<'_>) -> Result<Self, Unsupported> {
        let mut asked = Self { timeout: options.duration("timeout"), ..Self::default() };
        for name in options.texts("names") {
            add(&mut asked.names, name.to_owned());
        }
        for kind in options.texts("types") {
            add(&mut asked.types, kind.to_ascii_uppercase());
        }
        asked.server = server(options.text("server"))?;
        asked.complaint().map_or(Ok(asked), |complaint| Err(Unsupported(complaint)))
    }

    fn complaint(&self) -> Option<String> {
        if self.names.is_empty() {
            return Some("`names` is empty: list what to resolve, as in [\"kubernetes.default\"]".to_owned());
        }
        if self.types.is_empty() {
            return Some("`types` is empty: list kinds of records, as in [\"A\", \"AAAA\"]".to_owned());
        }
        if let Some(kind) = self.types.iter().find(|kind| code(kind).is_none()) {
            return Some(format!("`types`: `{kind}` is not one of {}", TYPES.join(", ")));
        }
        if let Some(name) = self.names.iter().find(|name| !is_name(name) && name.parse::<IpAddr>().is_err()) {
            return Some(format!(
                "`names`: `{name}` is not a name: parts of up to 63 letters, digits and signs between dots, 253 in all"
            ));
        }
        let is_address = |name: &&String| name.parse::<IpAddr>().is_ok();
        if let Some(address) = self.names.iter().find(is_address).filter(|_| self.types != ["PTR"]) {
            let what = "addresses have names, by types = [\"PTR\"] alone, and no other records";
            return Some(format!("`names`: `{address}` is an address: {what}"));
        }
        let questions = self.names.len() * self.types.len();
        (self.names.len() > NAMES as usize || questions > QUESTIONS).then(|| {
            format!(
                "`names`: {} names of {} types are {questions} questions, where {NAMES} names and {QUESTIONS} \
                 questions are the most: make two checks of it",
                self.names.len(),
                self.types.len()
            )
        })
    }

    /// Name and type of every question.
    pub(super) fn labels(&self) -> impl Iterator<Item = [&str; 2]> {
        self.names.iter().flat_map(|name| self.types.iter().map(|kind| [name.as_str(), kind.as_str()]))
    }

    /// The questions, in the order of the labels.
    pub(super) fn questions(&self, settings: &Settings) -> Vec<Question> {
        let question = |[name, kind]: [&str; 2]| {
            let names = match name.parse() {
                Ok(address) => vec![reverse(address)],
                Err(_) => settings.candidates(name),
            };
            Some(Question { names, kind: code(kind)? })
        };
        self.labels().filter_map(question).take(QUESTIONS).collect()
    }
}

fn add(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

fn code(kind: &str) -> Option<TYPE> {
    TYPES.iter().zip(CODES).find(|(word, _)| **word == kind).map(|(_, code)| code)
}

fn server(text: &str) -> Result<Option<SocketAddr>, Unsupported> {
    if text.is_empty() {
        return Ok(None);
    }
    let with_port = || Some(SocketAddr::new(text.parse().ok()?, PORT));
    text.parse().ok().or_else(with_port).map(Some).ok_or_else(|| {
        let what = "give an address, as in \"10.96.0.10\", \"127.0.0.1:5353\" or \"[fd00::a]:53\"";
        Unsupported(format!("`server`: `{text}` is not an address: {what}"))
    })
}

/// The name under which the name of an address is found.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let mut name = String::with_capacity(72);
            for byte in address.octets().iter().rev() {
                // Writing to a string never fails.
                let _ = write!(name, "{:x}.{:x}.", byte & 0x0f, byte >> 4);
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::DEF, *};
    use crate::input::OptionSetting;

    fn asked(names: &[&str], types: &[&str], server: &str) -> Result<Asked, String> {
        let texts =
            |texts: &[&str]| OptionSetting::Texts(texts.iter().map(|&text| text.to_owned()).collect());
        let given = [
            ("names".to_owned(), texts(names)),
            ("types".to_owned(), texts(types)),
            ("server".to_owned(), OptionSetting::Text(server.to_owned())),
        ];
        Asked::new(Options::new(DEF.options, &given)).map_err(|unsupported| unsupported.0)
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        let wrong = |names: &[&str], types: &[&str], server: &str| asked(names, types, server).unwrap_err();
        assert!(wrong(&[], &["A"], "").contains("list what to resolve"));
        assert!(wrong(&["db"], &[], "").contains("list kinds"));
        assert!(wrong(&["db"], &["ANY"], "").contains("`ANY` is not one of A, AAAA"));
        assert!(wrong(&["a..b"], &["A"], "").contains("`a..b` is not a name"));
        assert!(wrong(&["10.0.0.1"], &["A"], "").contains("types = [\"PTR\"]"));
        assert!(wrong(&["db"], &["A"], "dns.example").contains("give an address"));
        let many: Vec<_> = (0..17).map(|n| format!("n{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(wrong(&many, &["A"], "").contains("17 questions"));
        assert!(wrong(&many[..11], &["A", "TXT", "MX"], "").contains("33 questions"));
    }

    #[test]
    fn names_types_and_servers() {
        let good = asked(&["db", "db", "_http._tcp.web."], &["a", "srv"], "10.96.0.10").unwrap();
        assert_eq!(good.server, Some("10.96.0.10:53".parse().unwrap()));
        assert_eq!(good.labels().count(), 4);
        let codes: Vec<_> = good.questions(&Settings::parse(b"")).iter().map(|asked| asked.kind).collect();
        assert_eq!(codes, [TYPE::A, TYPE::SRV, TYPE::A, TYPE::SRV]);
        assert_eq!(asked(&["db"], &["A"], "[::1]:5353").unwrap().server, Some("[::1]:5353".parse().unwrap()));
        assert_eq!(asked(&["db"], &["A"], "::1").unwrap().server, Some("[::1]:53".parse().unwrap()));
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        assert_eq!(reverse("192.0.2.7".parse().unwrap()), "7.2.0.192.in-addr.arpa");
        let six = reverse("2001:db8::1".parse().unwrap());
        assert!(six.starts_with("1.0.0.0.") && six.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{six}");
        assert!(is_name(&six) && asked(&["::1"], &["PTR"], "").is_ok());
    }
}
