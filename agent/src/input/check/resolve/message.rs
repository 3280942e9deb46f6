//! DNS messages: questions, and what of a message answers one.

use std::net::IpAddr;

use simple_dns::{CLASS, Label, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, rdata::RData};

use super::MOST_ADDRESSES;

/// Aliases of aliases that are followed.
const ALIASES: usize = 16;
/// Records of an answer; one that says it has more is not read.
const RECORDS: u16 = 512;
const HEADER: usize = 12;

/// Whether a text is a name that can be asked for, with or without a dot at its end.
pub(crate) fn is_name(text: &str) -> bool {
    labels(text).is_some()
}

/// Stricter than the protocol, which allows any byte, and more lenient than host names are.
fn labels(text: &str) -> Option<Vec<Label<'_>>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
    (text.len() <= 253 && text.split('.').all(is_label))
        .then(|| text.split('.').map(|label| Label::new_unchecked(label.as_bytes())).collect())
}

/// The message that asks for records of a name.
pub(super) fn query(id: u16, name: &str, kind: TYPE) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new_with_labels(&labels(name)?);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

/// The number of a message, by which whoever asked knows it.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    message.first_chunk().copied().map(u16::from_be_bytes)
}

/// What a name server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// The response code.
    pub(super) code: u8,
    /// It did not fit and must be asked for over TCP.
    pub(super) truncated: bool,
    /// Records of the kind that was asked for.
    pub(super) records: u32,
    /// The addresses among them.
    pub(super) addresses: Vec<IpAddr>,
}

/// The answer to a question; none if the message is something else.
pub(super) fn reply(message: &mut [u8], asked: u16, name: &str, kind: TYPE) -> Option<Reply> {
    let header = message.first_chunk_mut::<HEADER>()?;
    let code = header[3] & 0x0f;
    if u16::from_be_bytes([header[6], header[7]]) > RECORDS {
        return None;
    }
    // Nothing is wanted of the sections behind the answers, and what is not read cannot be wrong.
    header[8..].fill(0);
    let packet = Packet::parse(message).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    let wanted = labels(name)?;
    if packet.id() != asked
        || !packet.has_flags(PacketFlag::RESPONSE)
        || question.qtype != QTYPE::TYPE(kind)
        || question.qclass != QCLASS::CLASS(CLASS::IN)
        || !is_same(question.qname.get_labels(), &wanted)
    {
        return None;
    }
    let mut reply = Reply { code, truncated: packet.has_flags(PacketFlag::TRUNCATION), ..Reply::default() };
    let mut at = wanted;
    for _ in 0..=ALIASES {
        let here = || packet.answers.iter().filter(|record| is_same(record.name.get_labels(), &at));
        for record in here().filter(|record| record.rdata.type_code() == kind) {
            match &record.rdata {
                RData::Empty(_) => continue,
                RData::A(address) => reply.addresses.push(IpAddr::V4(address.address.into())),
                RData::AAAA(address) => reply.addresses.push(IpAddr::V6(address.address.into())),
                _ => {}
            }
            reply.records += 1;
        }
        let alias = here().find_map(|record| match &record.rdata {
            RData::CNAME(target) if reply.records == 0 => Some(target.0.get_labels().to_vec()),
            _ => None,
        });
        let Some(target) = alias else { break };
        at = target;
    }
    reply.addresses.truncate(MOST_ADDRESSES);
    Some(reply)
}

fn is_same(a: &[Label<'_>], b: &[Label<'_>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.as_ref().eq_ignore_ascii_case(b.as_ref()))
}
