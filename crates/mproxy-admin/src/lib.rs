#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api;
mod build_info;
mod health;
mod http;
mod labels;
mod metrics;

pub use api::{
    Api, BanEntry, BanFilter, BanList, BanQuery, BanRefused, Bannable, BoxFuture, Connection, Crl,
    CrlFetch, CrlState, Disconnect, Drain, DrainHow, DrainRefused, DrainState, Filter, NewBan,
    Page, ReloadRefused, Reloaded, ScoreEntry, Sort,
};
pub use build_info::BuildInfo;
pub use health::{CheckHandle, Health, Named, Readiness};
pub use http::{Admin, bind, router, serve};
pub use labels::{
    Action, BanSource, BanSubject, ConnectionLimit, Decision, DialResult, Direction, OcspResult,
    Offence, PacketType, QueueRefusal, Reason, RefuseReason, ShedStage, Side, Version,
};
pub use metrics::{
    BanMetrics, Certificate, ConnectionMetrics, FetchedList, Format, LayerMetrics, ListFile,
    ListenerMetrics, LogMetrics, MemoryMetrics, Metrics, OcspMetrics, OverloadMetrics, TlsSide,
    Traffic, TrafficCounters, UpstreamConnection, UpstreamMetrics,
};
