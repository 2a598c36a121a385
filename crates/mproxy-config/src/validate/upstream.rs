//! `[upstreams.NAME]`.

use super::{Named, bounds};
use crate::context::Context;
use crate::file::{HealthFile, Located, UpstreamFile};
use crate::model::{
    Dialect, HealthCheck, Upstream, UpstreamAddress, UpstreamHealth, WhenUnreachable,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The broker that there is when none was named.
const DEFAULT_NAME: &str = "broker";

/// Checks all upstreams; there is at least one afterwards.
pub(super) fn upstreams(
    cx: &mut Context,
    files: &BTreeMap<String, Located<UpstreamFile>>,
) -> Named<Upstream> {
    let mut upstreams = Named::new();
    for (name, file) in files {
        let checked = upstream(cx, name, &file.value);
        upstreams.insert(name.clone(), (Arc::new(checked), Some(file.span.clone())));
    }
    if upstreams.is_empty() {
        let default = upstream(cx, DEFAULT_NAME, &UpstreamFile::default());
        upstreams.insert(DEFAULT_NAME.to_owned(), (Arc::new(default), None));
    }
    upstreams
}

fn upstream(cx: &mut Context, name: &str, file: &UpstreamFile) -> Upstream {
    let local = UpstreamAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 1883,
    };
    let seconds = Duration::from_secs;
    let keepalive = cx.checked(&file.tcp_keepalive, seconds(60), bounds::tcp_keepalive);
    Upstream {
        name: name.to_owned(),
        address: cx.value(&file.address, local),
        dialect: cx.value(&file.dialect, Dialect::Mqtt),
        connect_timeout: cx.checked(&file.connect_timeout, seconds(5), bounds::timeout),
        connack_timeout: cx.checked(&file.connack_timeout, seconds(30), bounds::timeout),
        tcp_nodelay: cx.value(&file.tcp_nodelay, true),
        tcp_keepalive: Some(keepalive).filter(|it| !it.is_zero()),
        when_unreachable: cx.value(&file.when_unreachable, WhenUnreachable::Close),
        health: health(cx, &file.health),
    }
}

fn health(cx: &mut Context, file: &HealthFile) -> UpstreamHealth {
    let interval = Duration::from_secs(5);
    UpstreamHealth {
        check: cx.value(&file.check, HealthCheck::Session),
        interval: cx.checked(&file.interval, interval, bounds::health_interval),
    }
}
