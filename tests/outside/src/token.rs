//! Who a client is: a layer of the CONNECT stage with a name of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use mproxy_codec::ReasonCode;
use mproxy_session::{Authenticate, AuthenticateConnect, Connect, ConnectRefusal, Identity};
use tower::Layer;

/// The plant that a client belongs to, for the layers inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plant(pub String);

/// Knows the tokens. In another gateway, a service on the network.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    tokens: Arc<HashMap<String, Plant>>,
}

impl Directory {
    /// Tokens, and the plant that each one is for.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let tokens = tokens
            .into_iter()
            .map(|(token, plant)| (token.to_owned(), Plant(plant.to_owned())));
        Self {
            tokens: Arc::new(tokens.collect()),
        }
    }

    async fn plant(&self, token: &[u8]) -> Option<Plant> {
        tokio::task::yield_now().await; // as something that answers later
        let token = str::from_utf8(token).ok()?;
        self.tokens.get(token).cloned()
    }
}

/// Lets in those whose password is a token of the [`Directory`], and keeps the token to itself.
#[derive(Clone, Debug)]
pub struct TokenLayer {
    directory: Directory,
}

impl TokenLayer {
    /// A layer that asks this directory.
    #[must_use]
    pub const fn new(directory: Directory) -> Self {
        Self { directory }
    }
}

impl<S> Layer<S> for TokenLayer {
    type Service = Authenticate<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate::new(inner, self.clone())
    }
}

impl AuthenticateConnect for TokenLayer {
    type Future = Pin<Box<dyn Future<Output = Result<Connect, ConnectRefusal>> + Send>>;

    fn authenticate(&mut self, mut connect: Connect) -> Self::Future {
        let directory = self.directory.clone();
        Box::pin(async move {
            let token = connect.packet().password().unwrap_or_default().to_vec();
            let Some(plant) = directory.plant(&token).await else {
                return Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
            };
            let without = connect.packet_mut().set_password(None);
            without.map_err(mproxy_session::Refusal::from)?;
            connect.set_identity(Identity::new(plant.0.clone()));
            connect.extensions_mut().insert(plant);
            Ok(connect)
        })
    }
}
