//! The edits as a layer of the CONNECT stage.

use std::sync::Arc;

use mproxy_codec::{EncodeError, KindSet};
use mproxy_session::{Connect, ConnectRefusal, Filter, Heads, Hooks, JudgeConnect, Tap, WrapHooks};

use super::{
    Edits, PropertyEditToClient, PropertyEditToServer,
    to_server::{PropertyEditor, Shared},
};
use crate::{
    Names, Observer,
    observed::{Observed, wrap},
    unwritable,
};

/// Edits User Properties: a layer for the CONNECT stage.
///
/// See the [module documentation](super). A session that [is judged
/// again](mproxy_session::SessionHandle::renew) gets the new edits for its packets; those of its CONNECT
/// stay what they were.
pub type PropertyEditLayer<O = ()> = Observed<Edited, O>;

/// What a [`PropertyEditLayer`] edits.
#[derive(Debug, Clone)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Edited {
    to_server: Edits,
    to_client: Edits,
    reauthentication: bool,
}

impl PropertyEditLayer {
    /// Applies edits to what clients send, and to what they receive.
    pub const fn new(to_server: Edits, to_client: Edits) -> Self {
        Self::by_nobody(Edited {
            to_server,
            to_client,
            reauthentication: false,
        })
    }
}

impl<O> PropertyEditLayer<O> {
    /// Sets whether an MQTT 5.0 client may authenticate again while it is connected (AUTH 0x19),
    /// although packets contain its names. By default it is closed with 0x8C, because for the broker it
    /// may be another user then. Edits that are the same for all clients let it pass. `[MQTT-4.12.1-1]`
    #[must_use]
    pub const fn pass_reauthentication(mut self, pass: bool) -> Self {
        self.settings.reauthentication = pass;
        self
    }
}

/// The edits of one session.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Session<O> {
    to_server: Option<Arc<Shared<O>>>,
    to_client: Option<Arc<Shared<O>>>,
    /// The client's names are in what is written.
    judges_identity: bool,
}

impl<O: Observer> PropertyEditLayer<O> {
    /// Edits the CONNECT.
    fn edit_connect(&self, connect: &mut Connect) -> Result<Session<O>, EncodeError> {
        if !connect.packet().version().is_v5() {
            return Ok(Session {
                to_server: None,
                to_client: None,
                judges_identity: false,
            });
        }
        let (settings, names) = (&self.settings, Names::of(connect));
        let shared = |edits: &Edits| -> Result<_, EncodeError> {
            if edits.is_empty() {
                return Ok(None);
            }
            let edits = edits.for_client(names)?;
            let observer = self.observer.clone();
            Ok(Some(Arc::new(Shared { edits, observer })))
        };
        let session = Session {
            to_server: shared(&settings.to_server)?,
            to_client: shared(&settings.to_client)?,
            judges_identity: !settings.reauthentication
                && (settings.to_server.goes_by_names() || settings.to_client.goes_by_names()),
        };
        let Some(edits) = &session.to_server else {
            return Ok(session);
        };
        if connect.is_renewal() {
            // its CONNECT goes nowhere
            return Ok(session);
        }
        let own = edits.edited(&connect.packet().properties());
        if let Some(properties) = own {
            connect.packet_mut().set_properties(&properties)?;
        }
        Ok(session)
    }
}

impl<O: Observer> JudgeConnect for PropertyEditLayer<O> {
    type Wrap = Session<O>;

    fn judge(&mut self, connect: &mut Connect) -> Result<Session<O>, ConnectRefusal> {
        self.edit_connect(connect)
            .map_err(|error| unwritable::refuse_connect(&self.observer, error))
    }
}

impl<U, D, O> WrapHooks<U, D> for Session<O> {
    type ToServer = Heads<PropertyEditToServer<Tap<U>, O>>;
    type ToClient = Heads<PropertyEditToClient<Tap<D>, O>>;

    fn wrap(self, _: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, Self::ToClient> {
        let kinds = |edits: &Option<_>, kinds| match edits {
            Some(_) => kinds,
            None => KindSet::NONE,
        };
        let to_server = kinds(&self.to_server, KindSet::PUBLISH | KindSet::SUBSCRIBE);
        let to_client = kinds(&self.to_client, KindSet::PUBLISH);
        let judges = self.judges_identity;
        let both = [&self.to_server, &self.to_client];
        let held = both.into_iter().flatten().map(|it| it.edits.size()).sum();
        let growth = self.to_server.as_ref().map_or(0, |it| it.edits.growth());
        hooks.holds(held).map(
            |tap| {
                wrap(tap, to_server, judges, |inner| {
                    Filter::new(inner, PropertyEditor(self.to_server))
                })
                .grows(growth)
            },
            |tap| {
                wrap(tap, to_client, judges, |inner| {
                    PropertyEditToClient::new(inner, self.to_client)
                })
            },
        )
    }
}
