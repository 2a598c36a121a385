#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admit;
mod cause;
mod context;
mod error;
mod flow;
mod handle;
pub mod hook;
mod latency;
mod limits;
mod memory;
mod pipe;
mod recorder;
mod reply;
mod rules;
mod scratch;
mod session;
mod slow;
mod summary;

pub use http::Extensions;

pub use self::{
    admit::{Admission, Connect, ConnectRefusal, NewHooks, new_hooks},
    context::{ClientCertificate, Identity, Peer, SessionInfo, TlsPeer, UpgradeRequest},
    handle::{Order, SessionHandle, SessionId, When, renew_all},
    hook::{
        Authenticate, AuthenticateConnect, AuthenticateLayer, Authorize, AuthorizeLayer,
        AuthorizePacket, BoxPacketService, Filter, FilterFuture, FilterLayer, Forward, Handler,
        HandlerLayer, HeadOnly, Heads, Hooks, Inspect, InspectLayer, Judge, JudgeConnect,
        KnownErrors, MapError, OnConnect, OnConnectFuture, OnConnectLayer, OnPublishLayer,
        OnSubscribeLayer, Packet, PacketHead, PacketService, PublishMut, PublishRef, Refusal,
        RefuseErrors, RefuseErrorsLayer, Repeated, Review, ReviewFuture, ReviewLayer, Reviewer,
        Rewrite, RewriteLayer, SubscribeMut, Tap, Verdict, Whole, WrapHooks,
    },
    limits::{
        Bridges, Conformance, ControlCharacters, Limits, Pace, Rate, ReceiveMaximum,
        RefusedPublish, RefusedWill, ServerReference, SlowConsumer, Versions, WhenUnreachable,
    },
    memory::MemoryBudget,
    recorder::{Batch, Counters, Events, NoRecorder, Recorder},
    session::{Busy, Session, Turn, Turns, dial_with},
    summary::{CloseReason, Glimpse, Side, Summary, Traffic},
};

#[doc = include_str!("guide.md")]
pub mod guide {}

/// A boxed error, as tower's own layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
