//! The unit file.

use std::path::Path;

use super::{Copy, read, seconds};
use crate::tools::Run;

#[test]
fn unit_is_valid() {
    // It warns of unknown keys and goes on, with exit code 0 unless asked otherwise.
    let verify = |unit: &Path| {
        let args = ["verify", "--man=no", "--recursive-errors=no"];
        Run::on_file("systemd-analyze", &args, unit)
    };
    verify(&installed().path("mproxy.service")).accepts();
    verify(&installed().path("mproxy.socket")).accepts();
    let typo = installed().with("mproxy.service", "\nRestartSec=", "\nRestartSecs=");
    verify(&typo.path("mproxy.service")).refuses("Unknown key 'RestartSecs'");
}

#[test]
fn unit_is_hardened() {
    // The scale ends at 100; 20 is what the manual calls OK.
    let security = |unit: &Path| {
        let args = ["security", "--offline=true", "--threshold=20"];
        Run::on_file("systemd-analyze", &args, unit)
    };
    security(&installed().path("mproxy.service")).accepts();
    let open = installed().with(
        "mproxy.service",
        "\nSystemCallFilter=@system-service\n",
        "\n",
    );
    security(&open.path("mproxy.service")).refuses("Overall exposure level");
}

#[test]
fn unit_waits_longer_than_the_drain() {
    let unit = read("systemd/mproxy.service");
    assert!(seconds(&unit, "TimeoutStopSec=") > DEFAULT_DRAIN_TIMEOUT);
}

/// A copy that is valid on a machine without mproxy: it names another program.
fn installed() -> Copy {
    let (program, present) = ("ExecStart=/usr/bin/mproxy-server", "ExecStart=/bin/true");
    Copy::of("systemd").with("mproxy.service", program, present)
}

/// Seconds; what `server.drain_timeout` is when a configuration does not say.
const DEFAULT_DRAIN_TIMEOUT: u64 = 30;
