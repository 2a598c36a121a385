//! Knows every client by its name, and ends the session of one when its name is typed.
//!
//! ```text
//! cargo run -p mproxy-session --example kick
//! mosquitto_sub -p 1884 -V 5 -i device-1 -t '#' -d    # in another window
//! device-1                                            # typed into the first one
//! ```
//!
//! A client that connects again takes its own session over, and the older session ends after the newer
//! one has begun. So an entry is removed only by the session that it is of: handles can be compared.

#[path = "common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_session::{
    BoxError, Connect, ConnectRefusal, Hooks, JudgeConnect, NoRecorder, OnConnect, Order,
    SessionHandle, WrapHooks, new_hooks,
};

/// The sessions by the identifiers of their clients.
#[derive(Clone, Default)]
struct Registry(Arc<Mutex<HashMap<String, SessionHandle>>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, SessionHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session of this client. It is told 0x98, administrative action, within 100 ms, whatever
    /// the session does.
    fn kick(&self, client_id: &str) {
        let handle = self.lock().get(client_id).cloned();
        match handle {
            Some(handle) => {
                println!("session {} of {client_id:?} ends", handle.id());
                handle.close(Order::kick());
            }
            None => println!("no client is called {client_id:?}"),
        }
    }
}

/// The entry of one session.
struct Entry {
    registry: Registry,
    client_id: String,
    handle: SessionHandle,
}

impl JudgeConnect for Registry {
    type Wrap = Entry;

    fn judge(&mut self, connect: &mut Connect) -> Result<Entry, ConnectRefusal> {
        let entry = Entry {
            registry: self.clone(),
            client_id: connect.packet().client_id().to_owned(),
            handle: connect.handle().clone(),
        };
        self.lock()
            .insert(entry.client_id.clone(), entry.handle.clone());
        Ok(entry)
    }
}

impl<U, D> WrapHooks<U, D> for Entry {
    type ToServer = U;
    type ToClient = D;

    fn wrap(self, _: &Connect, hooks: Hooks<U, D>) -> Hooks<U, D> {
        hooks.on_close(move |_| {
            let mut sessions = self.registry.lock();
            if sessions.get(&self.client_id) == Some(&self.handle) {
                sessions.remove(&self.client_id);
            }
            std::future::ready(())
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let registry = Registry::default();
    let typed = registry.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            typed.kick(line.trim());
        }
    });
    let admit = OnConnect::new(new_hooks(|_| Hooks::none()), registry);
    common::serve(admit, Arc::new(NoRecorder)).await
}
