//! The kustomize folder: it builds, its objects follow the schemas, and the traps stay avoided.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::NamedTempFile;

use super::{Copy, deployed, read, seconds};
use crate::tools::Run;

#[test]
fn objects_follow_the_schemas() {
    for overlay in OVERLAYS {
        let objects = build(&deployed("kustomize"), overlay).accepts();
        for version in VERSIONS {
            let report = validate(&objects, version).accepts();
            for kind in [
                "statefulset/",
                "service/",
                "networkpolicy/",
                "configmap/mproxy-",
            ] {
                assert!(report.contains(kind), "{overlay}: no {kind} in {report}");
            }
        }
    }
}

#[test]
fn mistakes_are_refused() {
    let spoilt = |file: &str, from: &str, to: &str| {
        let copy = Copy::of("kustomize").with(file, from, to);
        build(copy.dir.path(), "mosquitto")
    };
    let sidecar = "components/sidecar/sidecar.yaml";
    let typo = spoilt(sidecar, "restartPolicy: Always", "restartPolcy: Always").accepts();
    validate(&typo, VERSIONS[0]).refuses("restartPolcy");
    let kind = spoilt(sidecar, "containerPort: 1884", "containerPort: mqtt").accepts();
    validate(&kind, VERSIONS[0]).refuses("containerPort");
    let missing = "overlays/mosquitto/kustomization.yaml";
    spoilt(missing, "broker.yaml", "brokr.yaml").refuses("brokr.yaml");
}

#[test]
fn sidecar_starts_before_its_broker_and_never_waits_for_it() {
    for overlay in OVERLAYS {
        let pod = pod(overlay);
        let proxy = proxy(&pod);
        assert_eq!(proxy["restartPolicy"], "Always", "a native sidecar");
        assert_eq!(proxy["startupProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(proxy["livenessProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(proxy["readinessProbe"]["httpGet"]["path"], "/readyz");
        assert_eq!(
            pod["enableServiceLinks"], false,
            "no MPROXY_ variables from a Service"
        );
        assert!(
            proxy["resources"]["limits"]["cpu"].is_string(),
            "sizes the worker threads"
        );
    }
}

#[test]
fn every_service_leads_to_the_proxy() {
    for overlay in OVERLAYS {
        let objects = objects(overlay);
        let pod = pod(overlay);
        let sidecar_ports = port_names(proxy(&pod));
        let broker_ports = port_names(&pod["containers"][0]);
        for service in objects.iter().filter(|object| object["kind"] == "Service") {
            for port in array(&service["spec"]["ports"]) {
                let target = port["targetPort"].as_str().expect("a name, not a number");
                assert!(sidecar_ports.contains(&target), "{overlay}: {target}");
                assert!(
                    !broker_ports.contains(&target),
                    "{overlay}: {target} is the broker's"
                );
            }
        }
    }
}

#[test]
fn broker_is_on_loopback() {
    let conf = read("kustomize/overlays/mosquitto/mosquitto.conf");
    let listeners: Vec<_> = conf
        .lines()
        .filter(|line| line.starts_with("listener "))
        .collect();
    assert_eq!(listeners, ["listener 1883 127.0.0.1"]);
    assert!(
        pod("emqx")["containers"][0]["env"]
            .as_array()
            .is_some_and(|env| { env.iter().any(|var| var["value"] == "127.0.0.1:1883") })
    );
    let toml = read("kustomize/components/sidecar/mproxy.toml");
    assert!(toml.contains("address = \"mqtt://127.0.0.1:1883\""));
}

#[test]
fn broker_outlives_the_drain() {
    let drain = seconds(
        &read("kustomize/components/sidecar/mproxy.toml"),
        "drain_timeout",
    );
    for overlay in OVERLAYS {
        let pod = pod(overlay);
        let hook = &pod["containers"][0]["lifecycle"]["preStop"];
        let sleep = hook["sleep"]["seconds"]
            .as_u64()
            .expect("the broker sleeps");
        let grace = pod["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("set by the component");
        assert!(
            drain < sleep && sleep + BROKER_STOP < grace,
            "{drain}, {sleep}, {grace}"
        );
        // Begins the drain: SIGTERM itself reaches a sidecar only when its broker has ended.
        let begin = &proxy(&pod)["lifecycle"]["preStop"]["exec"]["command"];
        assert_eq!(*begin, serde_json::json!(["/bin/kill", "-TERM", "1"]));
    }
}

#[test]
fn nobody_is_root() {
    for overlay in OVERLAYS {
        let pod = pod(overlay);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for container in array(&pod["containers"])
            .iter()
            .chain(array(&pod["initContainers"]))
        {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
            assert!(context["runAsUser"].as_u64().is_some_and(|user| user > 0));
        }
        assert_eq!(
            proxy(&pod)["securityContext"]["readOnlyRootFilesystem"],
            true
        );
    }
}

#[test]
fn network_policy_opens_the_proxy_only() {
    for overlay in OVERLAYS {
        let objects = objects(overlay);
        let policy = objects
            .iter()
            .find(|object| object["kind"] == "NetworkPolicy");
        let spec = &policy.expect("the component has one")["spec"];
        let template = &stateful_set(&objects)["spec"]["template"];
        let (label, value) = ("mproxy-sidecar", "true");
        assert_eq!(spec["podSelector"]["matchLabels"][label], value);
        assert_eq!(template["metadata"]["labels"][label], value);
        for rule in array(&spec["ingress"]) {
            for port in array(&rule["ports"]) {
                assert_ne!(port["port"], 1883, "the broker's own port");
                let admin = port["port"] == 9883;
                assert_eq!(
                    admin,
                    rule["from"].is_array(),
                    "only the monitoring asks the admin port"
                );
            }
        }
    }
}

fn build(kustomize: &Path, overlay: &str) -> Run {
    let folder = kustomize.join("overlays").join(overlay);
    Run::on_file("kubectl", &["kustomize"], &folder)
}

fn validate(objects: &str, version: &str) -> Run {
    let file = NamedTempFile::with_suffix(".yaml").expect("a temporary file can be made");
    fs::write(&file, objects).expect("the temporary file is ours");
    Run::on_file(
        "kubernetes-validate",
        &["--strict", "-k", version],
        file.path(),
    )
}

/// The objects of an overlay.
fn objects(overlay: &str) -> Vec<Value> {
    let yaml = build(&deployed("kustomize"), overlay).accepts();
    let script =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let json = Run::on_input("python", &["-c", script], &yaml).accepts();
    serde_json::from_str(&json).expect("json.dump writes JSON")
}

fn stateful_set(objects: &[Value]) -> &Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == "StatefulSet");
    found.expect("every overlay has a broker")
}

fn pod(overlay: &str) -> Value {
    stateful_set(&objects(overlay))["spec"]["template"]["spec"].clone()
}

fn proxy(pod: &Value) -> &Value {
    let proxy = array(&pod["initContainers"]).first();
    proxy.expect("the component adds an init container")
}

fn port_names(container: &Value) -> Vec<&str> {
    let ports = array(&container["ports"]).iter();
    ports.filter_map(|port| port["name"].as_str()).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

const OVERLAYS: [&str; 2] = ["mosquitto", "emqx"];
/// The oldest that has all that is used, and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
/// Seconds that a broker may take to store its state.
const BROKER_STOP: u64 = 10;
