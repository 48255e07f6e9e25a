//! The plugin's network configuration, as the chart writes it.

use serde_json::{json, Value};

use crate::settings::{self, LogLevel, Ports, Subnet, LIST_ITEMS_MAX};
use crate::Error;

/// What one call gets: the chart's settings and what the plugins before returned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetConf {
    version: String,
    previous: Option<Value>,
    /// Path of the file that names the API server and the token.
    pub(crate) kubeconfig: String,
    pub(crate) log_level: LogLevel,
    pub(crate) incoming_proxy_port: u16,
    pub(crate) outgoing_proxy_port: u16,
    pub(crate) proxy_uid: u32,
    pub(crate) proxy_gid: Option<u32>,
    pub(crate) ports_to_redirect: Vec<u16>,
    pub(crate) inbound_ports_to_ignore: Vec<Ports>,
    pub(crate) outbound_ports_to_ignore: Vec<Ports>,
    pub(crate) subnets_to_ignore: Vec<Subnet>,
    pub(crate) simulate: bool,
    pub(crate) ipv6: bool,
}

impl NetConf {
    /// Reads the configuration; what is left out has the chart's default.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error(format!("network configuration is no JSON: {error}")))?;
        let own = &value["linkerd"];
        let number = |key: &str, default: i64| {
            let given = own.get(key);
            given.map_or(Ok(default), |given| {
                given.as_i64().ok_or_else(|| wrong(key, given, "a number"))
            })
        };
        let port = |key: &str, default| {
            let given = number(key, default)?;
            u16::try_from(given)
                .ok()
                .filter(|&port| port > 0)
                .ok_or_else(|| wrong(key, &own[key], "ports between 1 and 65535"))
        };
        let id = |key: &str, default| number(key, default).map(|id| u32::try_from(id).ok());
        let flag = |key: &str| {
            own.get(key).map_or(Ok(false), |given| {
                let flag = given.as_bool();
                flag.ok_or_else(|| wrong(key, given, "true or false"))
            })
        };
        let level = value["log_level"].as_str().unwrap_or("info");
        Ok(Self {
            version: value["cniVersion"].as_str().unwrap_or("1.0.0").to_owned(),
            previous: value.get("prevResult").cloned(),
            kubeconfig: value["kubernetes"]["kubeconfig"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            log_level: settings::log_level(level)
                .map_err(|expected| wrong("log_level", &value["log_level"], expected))?,
            incoming_proxy_port: port("incoming-proxy-port", 4143)?,
            outgoing_proxy_port: port("outgoing-proxy-port", 4140)?,
            proxy_uid: id("proxy-uid", 2102)?.unwrap_or(2102),
            proxy_gid: id("proxy-gid", -1)?.filter(|&gid| gid > 0),
            ports_to_redirect: list(own, "ports-to-redirect", settings::port)?,
            inbound_ports_to_ignore: list(own, "inbound-ports-to-ignore", settings::ports)?,
            outbound_ports_to_ignore: list(own, "outbound-ports-to-ignore", settings::ports)?,
            subnets_to_ignore: list(own, "subnets-to-ignore", settings::subnet)?,
            simulate: flag("simulate")?,
            ipv6: flag("ipv6")?,
        })
    }

    /// What ADD returns: the result of the plugins before, or an empty one.
    pub(crate) fn result(&self) -> Value {
        let empty = json!({"cniVersion": self.version});
        self.previous.clone().unwrap_or(empty)
    }
}

fn list<T>(own: &Value, key: &str, parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, Error> {
    let Some(given) = own.get(key) else {
        return Ok(Vec::new());
    };
    let items = given
        .as_array()
        .filter(|items| items.len() <= LIST_ITEMS_MAX)
        .ok_or_else(|| wrong(key, given, &format!("a list of at most {LIST_ITEMS_MAX}")))?;
    let texts = items.iter().map(|item| {
        item.as_str()
            .map_or_else(|| item.to_string(), str::to_owned)
    });
    texts
        .filter(|text| !text.is_empty())
        .map(|text| parse(&text).map_err(|expected| wrong(key, &text, &expected)))
        .collect()
}

fn wrong(key: &str, given: impl std::fmt::Display, expected: &str) -> Error {
    Error(format!(
        "network configuration: {key}={given}: expected {expected}"
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TEXT: &str = r#"{
        "cniVersion": "0.3.1", "name": "linkerd-cni", "type": "linkerd-cni", "log_level": "debug",
        "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/etc/cni/net.d/ZZZ"},
        "linkerd": {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140, "proxy-uid": 2102,
            "ports-to-redirect": [], "inbound-ports-to-ignore": ["4191", "4190", "5000-5010"],
            "outbound-ports-to-ignore": ["3306"], "simulate": false, "use-wait-flag": false,
            "iptables-mode": "nft", "ipv6": true}}"#;

    #[test]
    fn the_charts_configuration_is_read() {
        let conf = NetConf::parse(TEXT).expect("the chart's");
        assert_eq!("/etc/cni/net.d/ZZZ", conf.kubeconfig);
        assert_eq!(LogLevel::Debug, conf.log_level);
        assert_eq!(
            (4143, 4140),
            (conf.incoming_proxy_port, conf.outgoing_proxy_port)
        );
        assert_eq!((2102, None), (conf.proxy_uid, conf.proxy_gid));
        assert_eq!(3, conf.inbound_ports_to_ignore.len());
        assert!(conf.ipv6 && !conf.simulate);
        assert_eq!(json!({"cniVersion": "0.3.1"}), conf.result());
    }

    #[test]
    fn unusable_values_are_named() {
        for (text, expected) in [
            ("[", "network configuration is no JSON"),
            (
                r#"{"linkerd": {"incoming-proxy-port": 70000}}"#,
                "incoming-proxy-port=70000: expected ports between 1 and 65535",
            ),
            (
                r#"{"linkerd": {"outbound-ports-to-ignore": ["9-1"]}}"#,
                "outbound-ports-to-ignore=9-1: expected a range",
            ),
            (
                r#"{"linkerd": {"ipv6": "yes"}}"#,
                "ipv6=\"yes\": expected true or false",
            ),
        ] {
            let error = NetConf::parse(text).expect_err("unusable");
            assert!(error.0.contains(expected), "{text}: {error}");
        }
    }
}
