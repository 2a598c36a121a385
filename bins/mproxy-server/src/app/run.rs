//! What the running proxy does about each event.

use tokio::time::timeout;

use super::code_pages;
use super::drain::Drained;
use super::event::{Event, Events};
use super::service_manager;
use super::supervisor::Supervisor;

impl Supervisor {
    /// Runs until the process must stop, then drains.
    pub(crate) async fn run(mut self, mut events: Events) -> Drained {
        self.watch_upstreams();
        service_manager::ready();
        tokio::spawn(service_manager::be_watched());
        loop {
            let event = match timeout(code_pages::SETTLED, events.next()).await {
                Ok(event) => event,
                Err(_) => {
                    // what the start, or a reload, took
                    code_pages::give_back();
                    events.next().await
                }
            };
            match event {
                Event::Stop { .. } => return self.stop(&mut events).await,
                Event::Reload(reload) => self.reload(reload, &mut events).await,
                Event::Drain(request) => {
                    if !self.drain_on_request(request, &mut events).await {
                        return self.stop(&mut events).await;
                    }
                }
                Event::Undo(request) => self.nothing_to_undo(request),
            }
        }
    }
}
