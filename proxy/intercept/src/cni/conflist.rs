//! A node's network configurations with our plugin in them, and without it.
//!
//! Source: CNI specification 1.1.0 §1 (configuration format).

use serde_json::{json, Value};

use super::NAME;
use crate::Error;

/// Returns the configuration list with `plugin` as its last plugin, whatever else was in it.
///
/// A single configuration becomes a list of one. Doing it twice is doing it once.
///
/// # Errors
/// The text is no JSON, or neither a list nor a plugin's configuration.
pub(crate) fn with_plugin(text: &str, plugin: &Value) -> Result<Value, Error> {
    let mut list = parse(text)?;
    if !list["plugins"].is_array() {
        if !list["type"].is_string() {
            return Err(Error("it has neither plugins nor a type".to_owned()));
        }
        let version = list["cniVersion"].as_str().unwrap_or("0.3.1").to_owned();
        let name = list["name"]
            .as_str()
            .unwrap_or("k8s-pod-network")
            .to_owned();
        list = json!({"cniVersion": version, "name": name, "plugins": [list]});
    }
    keep_others(&mut list);
    if let Some(plugins) = list["plugins"].as_array_mut() {
        plugins.push(plugin.clone());
    }
    Ok(list)
}

/// Returns the list without our plugin, or `None` when it was not there.
///
/// # Errors
/// The text is no JSON.
pub(crate) fn without_plugin(text: &str) -> Result<Option<Value>, Error> {
    let mut list = parse(text)?;
    Ok(keep_others(&mut list).then_some(list))
}

fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error(format!("it is no JSON: {error}")))
}

fn keep_others(list: &mut Value) -> bool {
    let Some(plugins) = list.get_mut("plugins").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = plugins.len();
    plugins.retain(|plugin| plugin["type"] != NAME);
    plugins.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(port: u16) -> Value {
        json!({"type": "linkerd-cni", "name": "linkerd-cni", "port": port})
    }

    #[test]
    fn ours_is_the_last_plugin_and_only_once() {
        let bridge = json!({"type": "bridge"});
        for (text, expected) in [
            (
                json!({"cniVersion": "1.0.0", "name": "n", "plugins": [bridge]}),
                json!({"cniVersion": "1.0.0", "name": "n", "plugins": [bridge, ours(1)]}),
            ),
            (
                json!({"name": "n", "plugins": [ours(9), bridge]}),
                json!({"name": "n", "plugins": [bridge, ours(1)]}),
            ),
            (
                json!({"cniVersion": "0.4.0", "name": "n", "type": "bridge"}),
                json!({"cniVersion": "0.4.0", "name": "n", "plugins": [
                    {"cniVersion": "0.4.0", "name": "n", "type": "bridge"}, ours(1)]}),
            ),
        ] {
            let once = with_plugin(&text.to_string(), &ours(1)).expect("usable");
            assert_eq!(expected, once);
            assert_eq!(Ok(once.clone()), with_plugin(&once.to_string(), &ours(1)));
        }
    }

    #[test]
    fn taking_it_out_leaves_the_others() {
        let bridge = json!({"type": "bridge"});
        let list = json!({"name": "n", "plugins": [bridge, ours(1)]}).to_string();
        let expected = json!({"name": "n", "plugins": [bridge]});
        assert_eq!(Ok(Some(expected.clone())), without_plugin(&list));
        assert_eq!(Ok(None), without_plugin(&expected.to_string()));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in ["", "{", "[]", "{}"] {
            assert!(with_plugin(text, &ours(1)).is_err(), "{text}");
        }
    }
}
