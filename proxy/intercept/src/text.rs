//! A ruleset in nft's language, as `nft list ruleset` would show it.

use std::fmt::Write as _;

use crate::plan::{Chain, Family, Hook, Match, Rule, Ruleset, Verdict, TABLE};

/// The ruleset as text that `nft -f` would take.
pub(crate) fn render(ruleset: &Ruleset) -> String {
    let mut out = format!("table {} {TABLE} {{\n", ruleset.family.name());
    for chain in &ruleset.chains {
        render_chain(&mut out, chain, ruleset.family);
    }
    out.push_str("}\n");
    out
}

fn render_chain(out: &mut String, chain: &Chain, family: Family) {
    let _ = writeln!(out, "\tchain {} {{", chain.name);
    if let Some(hook) = chain.hook {
        let hook = match hook {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
        };
        let _ = writeln!(
            out,
            "\t\ttype nat hook {hook} priority -100; policy accept;"
        );
    }
    for rule in &chain.rules {
        let _ = writeln!(out, "\t\t{}", render_rule(rule, family));
    }
    out.push_str("\t}\n");
}

fn render_rule(rule: &Rule, family: Family) -> String {
    let mut words: Vec<String> = rule
        .matches
        .iter()
        .map(|item| render_match(item, family))
        .collect();
    words.push("counter".to_owned());
    words.push(match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
    });
    words.push(format!("comment \"{}\"", rule.comment));
    words.join(" ")
}

fn render_match(item: &Match, family: Family) -> String {
    match item {
        Match::Tcp => "meta l4proto tcp".to_owned(),
        Match::DestinationPort(p) if p.first == p.last => format!("th dport {}", p.first),
        Match::DestinationPort(p) => format!("th dport {}-{}", p.first, p.last),
        Match::Source(net) => format!("{} saddr {}/{}", family.name(), net.address, net.prefix),
        Match::Uid(uid) => format!("meta skuid {uid}"),
        Match::Priority(priority) => format!("meta priority 0:{priority}"),
        Match::Gid(gid) => format!("meta skgid {gid}"),
        Match::OutLoopback => "oifname \"lo\"".to_owned(),
    }
}
