//! Whether and how a pod is redirected: a function of the pod, its namespace and the configuration.
//!
//! Ports and user are those of the pod's own proxy container, so that the rules fit what runs.

use serde_json::Value;

use super::config::NetConf;
use crate::settings::{self, LogFormat, Ports, Settings};
use crate::Error;

const SKIP_INBOUND: &str = "config.linkerd.io/skip-inbound-ports";
const SKIP_OUTBOUND: &str = "config.linkerd.io/skip-outbound-ports";
const SKIP_SUBNETS: &str = "config.linkerd.io/skip-subnets";
const COMPONENT: &str = "linkerd.io/control-plane-component";

/// Whether the pod has a proxy and no init container that redirects.
pub(crate) fn is_ours(pod: &Value) -> bool {
    container(pod, "linkerd-proxy").is_some() && container(pod, "linkerd-init").is_none()
}

/// Whether the pod belongs to the control plane, which asks the API server directly.
pub(crate) fn is_control_plane(pod: &Value) -> bool {
    pod["metadata"]["labels"].get(COMPONENT).is_some()
}

/// The ports and target ports of a Service.
pub(crate) fn service_ports(service: &Value) -> Vec<u16> {
    let entries = service["spec"]["ports"].as_array().into_iter().flatten();
    entries
        .flat_map(|port| [&port["port"], &port["targetPort"]])
        .filter_map(|port| u16::try_from(port.as_u64()?).ok())
        .collect()
}

/// What redirects a pod for which [`is_ours`] holds, `netns` left open.
///
/// Annotations of the pod go before those of its namespace, and these before the configuration; the
/// proxy's control and admin ports are never redirected.
pub(crate) fn settings(
    conf: &NetConf,
    pod: &Value,
    namespace: &Value,
    api_ports: &[u16],
) -> Result<Settings, Error> {
    let proxy = container(pod, "linkerd-proxy").unwrap_or(&Value::Null);
    let mut inbound = ports(&[pod, namespace], SKIP_INBOUND)?
        .unwrap_or_else(|| conf.inbound_ports_to_ignore.clone());
    inbound.extend(
        [("CONTROL", 4190), ("ADMIN", 4191)]
            .map(|(name, default)| single(listen_port(proxy, name).unwrap_or(default))),
    );
    let mut outbound = ports(&[pod, namespace], SKIP_OUTBOUND)?
        .unwrap_or_else(|| conf.outbound_ports_to_ignore.clone());
    outbound.extend(api_ports.iter().copied().map(single));
    let subnets = match annotation(&[pod, namespace], SKIP_SUBNETS) {
        Some(text) => settings::items(text, settings::subnet)
            .map_err(|expected| wrong(SKIP_SUBNETS, text, &expected))?,
        None => conf.subnets_to_ignore.clone(),
    };
    let user = |key: &str| u32::try_from(proxy["securityContext"][key].as_u64()?).ok();
    Ok(Settings {
        incoming_proxy_port: listen_port(proxy, "INBOUND").unwrap_or(conf.incoming_proxy_port),
        outgoing_proxy_port: listen_port(proxy, "OUTBOUND").unwrap_or(conf.outgoing_proxy_port),
        proxy_uid: Some(user("runAsUser").unwrap_or(conf.proxy_uid)),
        proxy_gid: user("runAsGroup").filter(|&gid| gid > 0).or(conf.proxy_gid),
        ports_to_redirect: conf.ports_to_redirect.clone(),
        inbound_ports_to_ignore: unique(inbound),
        outbound_ports_to_ignore: unique(outbound),
        subnets_to_ignore: subnets,
        simulate: conf.simulate,
        netns: None,
        timeout_close_wait_s: None,
        ipv6: conf.ipv6,
        log_format: LogFormat::Plain,
        log_level: conf.log_level,
        one_user: false,
    })
}

fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["initContainers", "containers"]
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array())
        .flatten()
        .find(|container| container["name"] == name)
}

fn listen_port(proxy: &Value, name: &str) -> Option<u16> {
    let variable = format!("LINKERD2_PROXY_{name}_LISTEN_ADDR");
    let entries = proxy["env"].as_array()?;
    let entry = entries
        .iter()
        .find(|entry| entry["name"] == variable.as_str())?;
    let (_, port) = entry["value"].as_str()?.rsplit_once(':')?;
    port.parse().ok().filter(|&port| port > 0)
}

fn annotation<'a>(objects: &[&'a Value], key: &str) -> Option<&'a str> {
    objects
        .iter()
        .find_map(|object| object["metadata"]["annotations"][key].as_str())
}

fn ports(objects: &[&Value], key: &str) -> Result<Option<Vec<Ports>>, Error> {
    annotation(objects, key)
        .map(|text| {
            settings::items(text, settings::ports).map_err(|expected| wrong(key, text, &expected))
        })
        .transpose()
}

fn single(port: u16) -> Ports {
    Ports {
        first: port,
        last: port,
    }
}

fn unique(mut ports: Vec<Ports>) -> Vec<Ports> {
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn wrong(key: &str, text: &str, expected: &str) -> Error {
    Error(format!("annotation {key}={text}: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::tests::TEXT;
    use super::*;

    fn pod(annotations: &Value) -> Value {
        let variable = |name: &str, value: &str| json!({"name": format!("LINKERD2_PROXY_{name}_LISTEN_ADDR"), "value": value});
        json!({
            "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": annotations},
            "spec": {
                "initContainers": [{
                    "name": "linkerd-proxy",
                    "securityContext": {"runAsUser": 7000},
                    "env": [variable("INBOUND", "0.0.0.0:5143"), variable("OUTBOUND", "127.0.0.1:5140"),
                            variable("CONTROL", "0.0.0.0:5190"), variable("ADMIN", "[::]:5191")],
                }],
                "containers": [{"name": "web"}],
            },
        })
    }

    fn decided(pod: &Value, namespace: &Value, api_ports: &[u16]) -> Result<Settings, Error> {
        settings(
            &NetConf::parse(TEXT).expect("the chart's"),
            pod,
            namespace,
            api_ports,
        )
    }

    fn firsts(ports: &[Ports]) -> Vec<u16> {
        ports.iter().map(|ports| ports.first).collect()
    }

    #[test]
    fn only_pods_with_a_proxy_that_do_not_redirect_themselves_are_ours() {
        let with = |init: &str, app: &str| json!({"spec": {"initContainers": [{"name": init}], "containers": [{"name": app}]}});
        for (pod, expected) in [
            (with("linkerd-network-validator", "linkerd-proxy"), true),
            (with("linkerd-proxy", "web"), true),
            (with("linkerd-init", "linkerd-proxy"), false),
            (with("migrate", "web"), false),
            (json!({}), false),
        ] {
            assert_eq!(expected, is_ours(&pod), "{pod}");
        }
    }

    #[test]
    fn ports_and_user_are_those_of_the_pods_proxy() {
        let found = decided(&pod(&json!({})), &json!({}), &[]).expect("usable");
        assert_eq!(
            (5143, 5140),
            (found.incoming_proxy_port, found.outgoing_proxy_port)
        );
        assert_eq!(Some(7000), found.proxy_uid);
        assert_eq!(
            vec![4190, 4191, 5000, 5190, 5191],
            firsts(&found.inbound_ports_to_ignore)
        );
        assert_eq!(vec![3306], firsts(&found.outbound_ports_to_ignore));
    }

    #[test]
    fn annotations_go_from_pod_to_namespace_to_configuration() {
        let namespace = json!({"metadata": {"annotations": {
            "config.linkerd.io/skip-outbound-ports": "25", "config.linkerd.io/skip-inbound-ports": "1",
        }}});
        let own = json!({"config.linkerd.io/skip-outbound-ports": "26,27-28"});
        let found = decided(&pod(&own), &namespace, &[443, 6443]).expect("usable");
        assert_eq!(
            vec![26, 27, 443, 6443],
            firsts(&found.outbound_ports_to_ignore)
        );
        assert_eq!(vec![1, 5190, 5191], firsts(&found.inbound_ports_to_ignore));

        let bad = json!({"config.linkerd.io/skip-subnets": "10.0.0.0/99"});
        let error = decided(&pod(&bad), &namespace, &[]).expect_err("no network");
        assert!(error
            .0
            .starts_with("annotation config.linkerd.io/skip-subnets=10.0.0.0/99"));
    }

    #[test]
    fn a_service_is_known_by_ports_and_numeric_target_ports() {
        let service = json!({"spec": {"ports": [{"port": 443, "targetPort": 6443}, {"port": 1, "targetPort": "x"}]}});
        assert_eq!(vec![443, 6443, 1], service_ports(&service));
    }
}
