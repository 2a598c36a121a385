#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admit;
mod cause;
mod context;
mod error;
mod flow;
mod handle;
mod hook;
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
    context::{Identity, Peer, SessionInfo, UpgradeRequest},
    handle::{Order, SessionHandle, SessionId, When, renew_all},
    hook::{
        Authenticate, AuthenticateConnect, AuthenticateFuture, AuthenticateLayer, Authorize,
        AuthorizeFuture, AuthorizeLayer, AuthorizePacket, BoxPacketFuture, BoxPacketService,
        Filter, FilterFuture, FilterLayer, Forward, Handler, HandlerAdmission, HandlerAnswer,
        HandlerFuture, HandlerLayer, HandlerPackets, HeadOnly, Heads, HeadsFuture, Hooks, Inspect,
        InspectFuture, InspectLayer, JudgeConnect, OnConnect, OnConnectFuture, OnConnectLayer,
        OnKind, OnKindFuture, OnPublishLayer, OnSubscribeLayer, Packet, PacketHead, PacketService,
        PublishMut, PublishRef, Refusal, RefuseErrors, RefuseErrorsFuture, RefuseErrorsLayer,
        Repeated, Review, ReviewFuture, ReviewLayer, Reviewer, Rewrite, RewriteLayer, SubscribeMut,
        Tap, TapFuture, Verdict, Whole, WrapHooks,
    },
    limits::{
        Bridges, Conformance, ControlCharacters, Limits, Rate, ReceiveMaximum, RefusedPublish,
        RefusedWill, ServerReference, Versions, WhenUnreachable,
    },
    memory::MemoryBudget,
    recorder::{Batch, Counters, Events, NoRecorder, Recorder},
    session::{Session, dial_with},
    summary::{CloseReason, Glimpse, Side, Summary, Traffic},
};

#[doc = include_str!("guide.md")]
pub mod guide {}

/// A boxed error, as tower's own layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
