//! Which rules a pod needs, as values.
//!
//! The rules have the effect of Linkerd's iptables chains and keep their names, in a table of their
//! own: the kernel runs every base chain of a hook, so other programs' `nat` tables stay readable.
//!
//! Source: linkerd/linkerd2-proxy-init internal/iptables/iptables.go.

use std::net::IpAddr;

use crate::settings::{Ports, Settings, Subnet};
use crate::users;

/// Name of the table, in both families.
pub const TABLE: &str = "linkerd";
/// Chain that every packet passes first when it arrives.
pub const PREROUTING: &str = "PREROUTING";
/// Chain that every locally made packet passes first.
pub const OUTPUT: &str = "OUTPUT";
/// Chain with the decisions for arriving connections.
pub const REDIRECT_CHAIN: &str = "PROXY_INIT_REDIRECT";
/// Chain with the decisions for connections that the pod opens.
pub const OUTPUT_CHAIN: &str = "PROXY_INIT_OUTPUT";

/// An address family with tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, `ip` in nft's words.
    Ipv4,
    /// IPv6, `ip6` in nft's words.
    Ipv6,
}

impl Family {
    /// nft's word.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        }
    }
}

/// Where the kernel enters a chain by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Arriving packets, before routing.
    Prerouting,
    /// Locally made packets.
    Output,
}

/// One condition of a rule; all of a rule's must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The packet is TCP.
    Tcp,
    /// TCP destination port (needs [`Match::Tcp`] before it).
    DestinationPort(Ports),
    /// Source address.
    Source(Subnet),
    /// The packet's socket belongs to this user.
    Uid(u32),
    /// The packet's socket belongs to this group.
    Gid(u32),
    /// The packet's socket has this SO_PRIORITY.
    Priority(u32),
    /// The packet leaves through `lo`.
    OutLoopback,
}

/// What happens to a packet that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave the connection alone.
    Return,
    /// Continue in a chain of the same table.
    Jump(&'static str),
    /// Send the connection to this local port; SO_ORIGINAL_DST keeps the original destination.
    Redirect(u16),
}

/// A rule; `comment` is shown by `nft list ruleset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, all of which must hold.
    pub matches: Vec<Match>,
    /// What happens then.
    pub verdict: Verdict,
    /// Linkerd's comment for the rule.
    pub comment: String,
}

/// A chain and its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where the kernel enters it; `None` for chains reached by a jump.
    pub hook: Option<Hook>,
    /// Evaluated in order.
    pub rules: Vec<Rule>,
}

/// Everything that [`TABLE`] holds in one family; chains come before those that jump to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The family.
    pub family: Family,
    /// The chains.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// Every rule, with its chain's name.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &Rule)> {
        self.chains
            .iter()
            .flat_map(|chain| chain.rules.iter().map(|rule| (chain.name, rule)))
    }
}

/// The rules for `settings`, one value per family: IPv4, then IPv6 unless it is off.
pub fn plan(settings: &Settings) -> Vec<Ruleset> {
    let mut families = vec![Family::Ipv4];
    if settings.ipv6 {
        families.push(Family::Ipv6);
    }
    families
        .into_iter()
        .map(|family| ruleset(settings, family))
        .collect()
}

fn ruleset(settings: &Settings, family: Family) -> Ruleset {
    let jump = |name, hook, target, comment: &str| Chain {
        name,
        hook: Some(hook),
        rules: vec![rule(vec![], Verdict::Jump(target), comment.to_owned())],
    };
    let chain = |name, rules| Chain {
        name,
        hook: None,
        rules,
    };
    Ruleset {
        family,
        chains: vec![
            chain(REDIRECT_CHAIN, inbound(settings, family)),
            chain(OUTPUT_CHAIN, outbound(settings)),
            jump(
                PREROUTING,
                Hook::Prerouting,
                REDIRECT_CHAIN,
                "install-proxy-init-prerouting",
            ),
            jump(
                OUTPUT,
                Hook::Output,
                OUTPUT_CHAIN,
                "install-proxy-init-output",
            ),
        ],
    }
}

fn inbound(settings: &Settings, family: Family) -> Vec<Rule> {
    let mut rules = ignored_ports(&settings.inbound_ports_to_ignore);
    for &subnet in settings
        .subnets_to_ignore
        .iter()
        .filter(|subnet| in_family(subnet, family))
    {
        let comment = format!("ignore-subnet-{}/{}", subnet.address, subnet.prefix);
        rules.push(rule(vec![Match::Source(subnet)], Verdict::Return, comment));
    }
    let redirect = Verdict::Redirect(settings.incoming_proxy_port);
    if settings.ports_to_redirect.is_empty() {
        let comment = "redirect-all-incoming-to-proxy-port".to_owned();
        rules.push(rule(vec![Match::Tcp], redirect, comment));
    }
    for &port in &settings.ports_to_redirect {
        let matches = vec![
            Match::Tcp,
            Match::DestinationPort(Ports {
                first: port,
                last: port,
            }),
        ];
        rules.push(rule(
            matches,
            redirect,
            format!("redirect-port-{port}-to-proxy-port"),
        ));
    }
    rules
}

fn outbound(settings: &Settings) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Some(uid) = settings.proxy_uid {
        let proxy = match settings.one_user {
            true => Match::Priority(users::PROXY_PRIORITY),
            false => Match::Uid(uid),
        };
        rules.push(rule(
            vec![proxy],
            Verdict::Return,
            "ignore-proxy-user-id".to_owned(),
        ));
    }
    if let Some(gid) = settings.proxy_gid {
        rules.push(rule(
            vec![Match::Gid(gid)],
            Verdict::Return,
            "ignore-proxy-group-id".to_owned(),
        ));
    }
    rules.push(rule(
        vec![Match::OutLoopback],
        Verdict::Return,
        "ignore-loopback".to_owned(),
    ));
    rules.extend(ignored_ports(&settings.outbound_ports_to_ignore));
    let redirect = Verdict::Redirect(settings.outgoing_proxy_port);
    let comment = "redirect-all-outgoing-to-proxy-port".to_owned();
    rules.push(rule(vec![Match::Tcp], redirect, comment));
    rules
}

fn ignored_ports(list: &[Ports]) -> Vec<Rule> {
    let ignore = |ports: &Ports| {
        let name = match (ports.first, ports.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}:{last}"),
        };
        let matches = vec![Match::Tcp, Match::DestinationPort(*ports)];
        rule(matches, Verdict::Return, format!("ignore-port-{name}"))
    };
    list.iter().map(ignore).collect()
}

fn rule(matches: Vec<Match>, verdict: Verdict, name: String) -> Rule {
    Rule {
        matches,
        verdict,
        comment: format!("proxy-init/{name}"),
    }
}

fn in_family(subnet: &Subnet, family: Family) -> bool {
    matches!(
        (subnet.address, family),
        (IpAddr::V4(_), Family::Ipv4) | (IpAddr::V6(_), Family::Ipv6)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{parse, Parsed};
    use crate::text::render;

    fn rulesets(line: &str) -> Vec<Ruleset> {
        let base = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140";
        match parse(
            format!("{base} {line}")
                .split_whitespace()
                .map(str::to_owned),
        ) {
            Ok(Parsed::Run(settings)) => plan(&settings),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn chain(line: &str, name: &str) -> Vec<String> {
        let text = render(&rulesets(line)[0]);
        text.lines()
            .skip_while(|l| *l != format!("\tchain {name} {{"))
            .skip(1)
            .take_while(|l| *l != "\t}")
            .map(|l| {
                l.trim()
                    .split(" comment ")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn inbound_chain_skips_ports_and_subnets_then_redirects() {
        for (line, expected) in [
            ("", vec!["meta l4proto tcp counter redirect to :4143"]),
            (
                "--inbound-ports-to-ignore 4190,9000-9010 --subnets-to-ignore 10.1.0.0/16,fd00::/8",
                vec![
                    "meta l4proto tcp th dport 4190 counter return",
                    "meta l4proto tcp th dport 9000-9010 counter return",
                    "ip saddr 10.1.0.0/16 counter return",
                    "meta l4proto tcp counter redirect to :4143",
                ],
            ),
            (
                "--ports-to-redirect 80,81",
                vec![
                    "meta l4proto tcp th dport 80 counter redirect to :4143",
                    "meta l4proto tcp th dport 81 counter redirect to :4143",
                ],
            ),
        ] {
            assert_eq!(expected, chain(line, REDIRECT_CHAIN), "{line}");
        }
    }

    #[test]
    fn outbound_chain_skips_proxy_loopback_and_ports_then_redirects() {
        for (line, expected) in [
            (
                "",
                vec![
                    "oifname \"lo\" counter return",
                    "meta l4proto tcp counter redirect to :4140",
                ],
            ),
            (
                "--proxy-uid 2102 --proxy-gid 7 --outbound-ports-to-ignore 443",
                vec![
                    "meta skuid 2102 counter return",
                    "meta skgid 7 counter return",
                    "oifname \"lo\" counter return",
                    "meta l4proto tcp th dport 443 counter return",
                    "meta l4proto tcp counter redirect to :4140",
                ],
            ),
            (
                "--proxy-gid 0",
                vec![
                    "oifname \"lo\" counter return",
                    "meta l4proto tcp counter redirect to :4140",
                ],
            ),
        ] {
            assert_eq!(expected, chain(line, OUTPUT_CHAIN), "{line}");
        }
    }

    #[test]
    fn outbound_chain_knows_the_proxy_by_its_priority_where_one_user_exists() {
        let line = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102";
        let Ok(Parsed::Run(settings)) = parse(line.split(' ').map(str::to_owned)) else {
            panic!("{line}");
        };
        let alone = Settings {
            one_user: true,
            ..settings
        };
        let text = render(&plan(&alone)[0]);
        assert!(text.contains("meta priority 0:6 counter return"), "{text}");
        assert!(!text.contains("skuid"), "{text}");
    }

    #[test]
    fn ipv6_has_the_same_chains_unless_it_is_off() {
        let both = rulesets("--subnets-to-ignore 10.0.0.0/8,fd00::/8");
        assert_eq!(
            [Family::Ipv4, Family::Ipv6],
            [both[0].family, both[1].family]
        );
        assert!(render(&both[1]).contains("ip6 saddr fd00::/8"));
        assert!(!render(&both[1]).contains("10.0.0.0"));
        assert_eq!(1, rulesets("--ipv6=false").len());
    }
}
