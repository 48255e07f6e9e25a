//! `linkerd-proxy cni repair`: ends pods that were made before the plugin was on their node.
//!
//! Such a pod's validator exits with [`UNREDIRECTED`]; a new pod gets its rules.
//!
//! Source: linkerd/linkerd2-proxy-init cni-repair-controller (event's reason).

use serde_json::{json, Value};

use super::api::Api;
use crate::log::Log;
use crate::validate::UNREDIRECTED;
use crate::Error;

/// How often the node's pods are looked at.
pub const INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const REASON: &str = "LinkerdCNINotConfigured";
const MESSAGE: &str = "Deleting pod to create a new one with proper CNI config";

/// Looks once at the pods of `node` and deletes those whose traffic is not redirected.
///
/// The token is read each time, as it is renewed.
///
/// # Errors
/// The API server cannot be asked; the message says what failed.
pub fn step(env: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
    let need = |name: &str| {
        env(name).ok_or_else(|| Error(format!("environment variable {name} is not set")))
    };
    let read = |name: &str| {
        let path = format!("{ACCOUNT}/{name}");
        std::fs::read_to_string(&path).map_err(|error| Error(format!("{path}: {error}")))
    };
    let node = need("LINKERD_CNI_REPAIR_CONTROLLER_NODE_NAME")?;
    let host = need("KUBERNETES_SERVICE_HOST")?;
    let port = need("KUBERNETES_SERVICE_PORT")?;
    let api = Api::new(
        &format!("https://{host}:{port}"),
        read("token")?,
        &read("ca.crt")?,
    )?;
    let pods = api.get(&format!(
        "/api/v1/pods?fieldSelector=spec.nodeName={node}&labelSelector=linkerd.io/control-plane-ns"
    ))?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        if is_unredirected(pod) {
            replace(&api, pod, &node)?;
        }
    }
    Ok(())
}

fn replace(api: &Api, pod: &Value, node: &str) -> Result<(), Error> {
    let metadata = &pod["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    api.request(
        "POST",
        &format!("/api/v1/namespaces/{namespace}/events"),
        Some(&event(namespace, name, text("uid"), node)),
    )?;
    // By uid: a new pod of the same name has done nothing wrong.
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": text("uid")},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    api.request("DELETE", &path, Some(&options))?;
    let fields = [("namespace", namespace), ("pod", name)];
    Log::default().info("pod without redirect rules deleted", &fields);
    Ok(())
}

fn event(namespace: &str, name: &str, uid: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
        "reason": REASON,
        "message": MESSAGE,
        "type": "Normal",
        "action": "Deleting",
        "count": 1,
        "reportingComponent": "linkerd-cni-repair-controller",
        "reportingInstance": node,
        "source": {"component": "linkerd-cni-repair-controller", "host": node},
    })
}

/// Whether the pod's validator found the traffic not redirected, now or the last time.
fn is_unredirected(pod: &Value) -> bool {
    let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
    let statuses = pod["status"]["initContainerStatuses"].as_array();
    let exited = |status: &Value, which: &str| {
        status[which]["terminated"]["exitCode"].as_u64() == Some(u64::from(UNREDIRECTED))
    };
    !deleted
        && statuses.into_iter().flatten().any(|status| {
            status["name"] == "linkerd-network-validator"
                && (exited(status, "state") || exited(status, "lastState"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_whose_validator_failed_are_replaced() {
        let status = |name: &str, which: &str, code: u64| {
            json!({"metadata": {}, "status": {"initContainerStatuses": [
                {"name": name, which: {"terminated": {"exitCode": code}}}]}})
        };
        let validator = "linkerd-network-validator";
        let mut going = status(validator, "state", 95);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (pod, expected) in [
            (status(validator, "state", 95), true),
            (status(validator, "lastState", 95), true),
            (status(validator, "state", 0), false),
            (status("migrate", "state", 95), false),
            (going, false),
            (json!({}), false),
        ] {
            assert_eq!(expected, is_unredirected(&pod), "{pod}");
        }
    }
}
