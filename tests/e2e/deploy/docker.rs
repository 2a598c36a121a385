//! The image and the compose file.

use std::path::Path;

use super::{Copy, deployed, read, seconds};
use crate::tools::Run;

#[test]
fn dockerfile_passes_hadolint() {
    let lint = |file: &Path| Run::on_file("hadolint", &[], file);
    lint(&deployed("docker/Dockerfile")).accepts();
    let unpinned = Copy::of("docker").with("Dockerfile", "rust:1.95-bookworm", "rust:latest");
    lint(&unpinned.path("Dockerfile")).refuses("DL3007");
}

#[test]
fn image_is_not_root_and_has_a_health_check() {
    let dockerfile = read("docker/Dockerfile");
    let last_stage = dockerfile.rfind("\nFROM ").expect("there is a stage");
    let last_stage = &dockerfile[last_stage..];
    assert!(last_stage.contains("\nUSER 65532:65532\n"));
    assert!(last_stage.contains(r#"CMD ["/usr/local/bin/mproxy-server", "healthcheck"]"#));
    // What the sidecar's preStop hook runs.
    assert!(last_stage.contains(" /bin/kill\n"));
}

#[test]
fn compose_file_follows_the_compose_specification() {
    let args = ["--builtin-schema", "vendor.compose-spec"];
    let check = |file: &Path| Run::on_file("check-jsonschema", &args, file);
    check(&deployed("docker/compose.yaml")).accepts();
    let typo = Copy::of("docker").with("compose.yaml", "stop_grace_period", "stop_grace_perod");
    check(&typo.path("compose.yaml")).refuses("stop_grace_perod");
}

#[test]
fn compose_waits_longer_than_the_drain() {
    let grace = seconds(&read("docker/compose.yaml"), "stop_grace_period");
    let drain = seconds(&read("docker/mproxy.toml"), "drain_timeout");
    assert!(grace > drain, "{grace} s for a drain of {drain} s");
}
