#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admit;
mod context;
mod hook;
mod summary;

pub use self::{
    admit::{Admission, Connect, ConnectRefusal, NewHooks, new_hooks},
    context::{Identity, Peer, SessionInfo, UpgradeRequest},
    hook::{
        Authorize, AuthorizeFuture, AuthorizeLayer, Filter, FilterFuture, FilterLayer, Forward,
        Handler, HandlerAdmission, HandlerFuture, HandlerLayer, HandlerPackets, Hooks, Inspect,
        InspectFuture, InspectLayer, OnKind, OnKindFuture, OnPublishLayer, OnSubscribeLayer,
        Packet, PacketService, PublishMut, PublishRef, Refusal, Rewrite, RewriteLayer,
        SubscribeMut, Tap, TapFuture, Verdict,
    },
    summary::{CloseReason, Side, Summary, Traffic},
};

/// A boxed error, as tower's own layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
