//! A ruleset as one nf_tables netlink transaction, byte for byte.
//!
//! The transaction makes the table if it is missing, deletes it with all it holds, and makes it anew;
//! the kernel applies all of it or nothing. Numbers are those of the kernel's
//! `linux/netfilter/nf_tables.h`, `nfnetlink.h` and `netlink.h`.

use std::net::IpAddr;

use crate::plan::{Chain, Family, Hook, Match, Rule, Ruleset, Verdict, TABLE};
use crate::settings::{Ports, Subnet};

/// Sequence number of the message whose acknowledgement ends the transaction is the last one's.
pub(crate) struct Transaction {
    /// What to send, in one datagram.
    pub(crate) bytes: Vec<u8>,
    /// Sequence number that the kernel acknowledges when all went well.
    pub(crate) acknowledged: u32,
}

const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const PRIORITY_DESTINATION_NAT: i32 = -100;

const META_PRIORITY: u32 = 2;
const META_OIFNAME: u32 = 7;
const META_SKUID: u32 = 10;
const META_SKGID: u32 = 11;
const META_L4PROTO: u32 = 16;
const CMP_EQ: u32 = 0;
const CMP_LTE: u32 = 3;
const CMP_GTE: u32 = 5;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const VERDICT_RETURN: i32 = -5;
const VERDICT_JUMP: i32 = -3;
const IPPROTO_TCP: u8 = 6;
const INTERFACE_NAME_BYTES: usize = 16;

/// Encodes the question whether [`TABLE`] is there; the kernel's answer is no error, or ENOENT.
pub(crate) fn look_up(family: Family) -> Transaction {
    let mut batch = Batch::new(family);
    batch.message(GETTABLE, ACK, &string(1, TABLE));
    Transaction {
        bytes: batch.bytes,
        acknowledged: batch.sequence,
    }
}

/// Encodes the replacement of [`TABLE`] in the ruleset's family.
pub(crate) fn replace(ruleset: &Ruleset) -> Transaction {
    let mut batch = Batch::new(ruleset.family);
    batch.boundary(BATCH_BEGIN);
    batch.message(NEWTABLE, CREATE, &string(1, TABLE));
    batch.message(DELTABLE, 0, &string(1, TABLE));
    batch.message(NEWTABLE, CREATE, &string(1, TABLE));
    for chain in &ruleset.chains {
        batch.message(NEWCHAIN, CREATE, &chain_attributes(chain));
    }
    let count = ruleset.rules().count();
    for (index, (chain, rule)) in ruleset.rules().enumerate() {
        let last = if index + 1 == count { ACK } else { 0 };
        let body = rule_attributes(chain, rule, ruleset.family);
        batch.message(NEWRULE, CREATE | APPEND | last, &body);
    }
    let acknowledged = batch.sequence;
    batch.boundary(BATCH_END);
    Transaction {
        bytes: batch.bytes,
        acknowledged,
    }
}

struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    family: u8,
}

impl Batch {
    fn new(family: Family) -> Self {
        let family = match family {
            Family::Ipv4 => NFPROTO_IPV4,
            Family::Ipv6 => NFPROTO_IPV6,
        };
        Self {
            bytes: Vec::new(),
            sequence: 0,
            family,
        }
    }

    fn boundary(&mut self, kind: u16) {
        self.push(kind, REQUEST, NFPROTO_UNSPEC, SUBSYSTEM, &[]);
    }

    fn message(&mut self, kind: u16, flags: u16, body: &[u8]) {
        self.push(kind, REQUEST | flags, self.family, 0, body);
    }

    fn push(&mut self, kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) {
        self.sequence += 1;
        let length = u32::try_from(20 + body.len()).expect("list lengths are bounded in settings");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        self.bytes.extend_from_slice(body);
    }
}

fn chain_attributes(chain: &Chain) -> Vec<u8> {
    let mut body = [string(1, TABLE), string(3, chain.name)].concat();
    if let Some(hook) = chain.hook {
        let number = match hook {
            Hook::Prerouting => 0,
            Hook::Output => 3,
        };
        let priority = PRIORITY_DESTINATION_NAT.to_be_bytes();
        body.extend(nested(4, &[be32(1, number), attribute(2, &priority)]));
        body.extend(string(7, "nat"));
    }
    body
}

fn rule_attributes(chain: &str, rule: &Rule, family: Family) -> Vec<u8> {
    let mut expressions: Vec<Vec<u8>> = Vec::new();
    for item in &rule.matches {
        expressions.extend(match_expressions(item, family));
    }
    expressions.push(expression("counter", &[]));
    expressions.extend(verdict_expressions(rule.verdict));
    let comment = [rule.comment.as_bytes(), b"\0"].concat();
    // libnftnl's user data: type 0 (comment), length, text with its zero.
    let length = u8::try_from(comment.len()).expect("comments name one port range or network");
    let userdata = [&[0, length][..], &comment].concat();
    [
        string(1, TABLE),
        string(2, chain),
        nested(4, &expressions),
        attribute(7, &userdata),
    ]
    .concat()
}

fn match_expressions(item: &Match, family: Family) -> Vec<Vec<u8>> {
    match *item {
        Match::Tcp => vec![meta(META_L4PROTO), compare(CMP_EQ, &[IPPROTO_TCP])],
        Match::DestinationPort(ports) => destination_port(ports),
        Match::Source(subnet) => source(subnet, family),
        Match::Uid(uid) => vec![meta(META_SKUID), compare(CMP_EQ, &uid.to_ne_bytes())],
        Match::Gid(gid) => vec![meta(META_SKGID), compare(CMP_EQ, &gid.to_ne_bytes())],
        Match::Priority(priority) => {
            vec![
                meta(META_PRIORITY),
                compare(CMP_EQ, &priority.to_ne_bytes()),
            ]
        }
        Match::OutLoopback => {
            let mut name = [0; INTERFACE_NAME_BYTES];
            name[..2].copy_from_slice(b"lo");
            vec![meta(META_OIFNAME), compare(CMP_EQ, &name)]
        }
    }
}

fn destination_port(ports: Ports) -> Vec<Vec<u8>> {
    let mut out = vec![payload(PAYLOAD_TRANSPORT, 2, 2)];
    if ports.first == ports.last {
        out.push(compare(CMP_EQ, &ports.first.to_be_bytes()));
    } else {
        out.push(compare(CMP_GTE, &ports.first.to_be_bytes()));
        out.push(compare(CMP_LTE, &ports.last.to_be_bytes()));
    }
    out
}

fn source(subnet: Subnet, family: Family) -> Vec<Vec<u8>> {
    let (offset, address) = match (family, subnet.address) {
        (_, IpAddr::V4(address)) => (12, address.octets().to_vec()),
        (_, IpAddr::V6(address)) => (8, address.octets().to_vec()),
    };
    let mask = mask(subnet.prefix, address.len());
    let network: Vec<u8> = address.iter().zip(&mask).map(|(a, m)| a & m).collect();
    let length = u32::try_from(address.len()).expect("an address has 4 or 16 bytes");
    let bitwise = expression(
        "bitwise",
        &[
            be32(1, REGISTER),
            be32(2, REGISTER),
            be32(3, length),
            nested(4, &[attribute(1, &mask)]),
            nested(5, &[attribute(1, &vec![0; address.len()])]),
        ],
    );
    vec![
        payload(PAYLOAD_NETWORK, offset, length),
        bitwise,
        compare(CMP_EQ, &network),
    ]
}

fn mask(prefix: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| {
            let ones = usize::from(prefix).saturating_sub(8 * index).min(8);
            u8::try_from(0xff00u16 >> ones & 0xff).expect("masked to a byte")
        })
        .collect()
}

fn verdict_expressions(verdict: Verdict) -> Vec<Vec<u8>> {
    let immediate =
        |register, data: Vec<u8>| expression("immediate", &[be32(1, register), nested(2, &[data])]);
    let code = |code: i32| attribute(1, &code.to_be_bytes());
    match verdict {
        Verdict::Return => vec![immediate(
            REGISTER_VERDICT,
            nested(2, &[code(VERDICT_RETURN)]),
        )],
        Verdict::Jump(chain) => {
            let target = nested(2, &[code(VERDICT_JUMP), string(2, chain)]);
            vec![immediate(REGISTER_VERDICT, target)]
        }
        Verdict::Redirect(port) => vec![
            immediate(REGISTER, attribute(1, &port.to_be_bytes())),
            expression("redir", &[be32(1, REGISTER)]),
        ],
    }
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[be32(1, REGISTER), be32(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression(
        "payload",
        &[
            be32(1, REGISTER),
            be32(2, base),
            be32(3, offset),
            be32(4, length),
        ],
    )
}

fn compare(operator: u32, value: &[u8]) -> Vec<u8> {
    expression(
        "cmp",
        &[
            be32(1, REGISTER),
            be32(2, operator),
            nested(3, &[attribute(1, value)]),
        ],
    )
}

/// One element of a rule's expression list.
fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[string(1, name), nested(2, data)])
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

fn string(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), b"\0"].concat())
}

fn be32(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// Length, type, value, padding to four bytes (the padding is not counted).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("a rule is a few hundred bytes");
    let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// What one netlink reply says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Which message it answers.
    pub(crate) sequence: u32,
    /// Zero, or a positive errno.
    pub(crate) errno: i32,
}

/// The error and acknowledgement messages in a datagram; others are skipped, a truncated tail ends it.
pub(crate) fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    const ERROR: u16 = 2;
    let mut out = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (word(bytes, 0), half(bytes, 4), word(bytes, 8))
    {
        let length = length as usize;
        if length < 16 || length > bytes.len() {
            break;
        }
        if let (ERROR, Some(errno)) = (kind, word(&bytes[..length], 16)) {
            out.push(Reply {
                sequence,
                errno: -(errno.cast_signed()),
            });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_count_only_their_value() {
        let expected = [&7u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), b"ab\0\0"].concat();
        assert_eq!(expected, string(1, "ab"));
    }

    #[test]
    fn masks_cover_the_prefix_only() {
        for (prefix, expected) in [
            (0, [0, 0, 0, 0]),
            (8, [255, 0, 0, 0]),
            (12, [255, 240, 0, 0]),
            (32, [255, 255, 255, 255]),
        ] {
            assert_eq!(expected.to_vec(), mask(prefix, 4), "/{prefix}");
        }
    }

    #[test]
    fn replies_are_read_from_any_bytes() {
        let reply = |sequence: u32, errno: i32| {
            let mut out = 36u32.to_ne_bytes().to_vec();
            out.extend_from_slice(&2u16.to_ne_bytes());
            out.extend_from_slice(&0u16.to_ne_bytes());
            out.extend_from_slice(&sequence.to_ne_bytes());
            out.extend_from_slice(&0u32.to_ne_bytes());
            out.extend_from_slice(&(-errno).to_ne_bytes());
            out.resize(36, 0);
            out
        };
        let both = [reply(3, 1), reply(4, 0)].concat();
        let expected = vec![
            Reply {
                sequence: 3,
                errno: 1,
            },
            Reply {
                sequence: 4,
                errno: 0,
            },
        ];
        assert_eq!(expected, replies(&both));
        for cut in 0..both.len() {
            assert!(replies(&both[..cut]).len() <= 2, "{cut}");
        }
    }
}
