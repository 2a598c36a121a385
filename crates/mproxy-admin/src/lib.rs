#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api;
mod build_info;
mod health;
mod http;
mod labels;
mod metrics;

pub use api::{
    Api, BoxFuture, Connection, Disconnect, Drain, DrainHow, DrainRefused, DrainState, Filter,
    Page, ReloadRefused, Reloaded, Sort,
};
pub use build_info::BuildInfo;
pub use health::{CheckHandle, Health, Named, Readiness};
pub use http::{Admin, bind, router, serve};
pub use labels::{
    Action, ConnectionLimit, Decision, DialResult, Direction, PacketType, QueueRefusal, Reason,
    RefuseReason, ShedStage, Side, Version,
};
pub use metrics::{
    Certificate, ConnectionMetrics, FetchedList, Format, LayerMetrics, ListenerMetrics, LogMetrics,
    MemoryMetrics, Metrics, OverloadMetrics, Traffic, TrafficCounters, UpstreamConnection,
    UpstreamMetrics,
};
