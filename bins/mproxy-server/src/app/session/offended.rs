//! Offences of clients, for the bans.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mproxy_admin::Offence;
use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Order, Peer, SessionHandle, SessionInfo, Summary, When};

use crate::app::bans::{self, Banned, Offender};
use crate::app::service::Service;

impl Service {
    /// Counts the offence with which a session ended, if it was one.
    pub(super) fn offended_by(&self, summary: &Summary) {
        if self.bans.counts() {
            let session = summary.session.as_ref().filter(|_| summary.established());
            self.offended(bans::of_end(summary), &summary.peer, session);
        }
    }

    /// Counts an offence, if it is one. True if the session, if it still runs, must end.
    pub(super) fn offended(
        &self,
        offence: Option<Offence>,
        peer: &Peer,
        session: Option<&SessionInfo>,
    ) -> bool {
        let Some(offence) = offence else {
            return false;
        };
        let offender = Offender {
            // what a load balancer does is not its own fault
            address: peer.address.filter(|_| !self.trust.defers(peer.address)),
            ipv6_prefix: self.ipv6_prefix,
            session,
        };
        self.bans.note(offence, &offender)
    }

    /// Ends a session that is banned, before the broker hears of it.
    pub(super) fn end_if_banned(&self, session: &SessionHandle) {
        let Some(info) = session.info() else {
            return;
        };
        // the ban of an address may be younger than the connection
        let address = info.peer().address;
        let address = address.filter(|_| !self.trust.defers(address));
        let by_address = address.and_then(|it| self.bans.address(it.ip()));
        let by_name = || self.bans.names(info.user_name(), info.client_id());
        if by_address.or_else(by_name).is_some() {
            session.close(Order::new(CloseReason::Banned, ReasonCode::BANNED).when(When::Now));
        }
    }
}

/// The ban that ended a session, if it still counts.
pub(super) fn ban_of(service: &Service, summary: &Summary) -> Option<Banned> {
    if summary.reason != CloseReason::Banned {
        return None;
    }
    let session = summary.session.as_ref()?;
    let by_name = service.bans.names(session.user_name(), session.client_id());
    by_name.or_else(|| service.bans.address(session.peer().address?.ip()))
}

/// PINGREQs that are an offence if they come within [`PINGS_TIME`]: no keep alive asks for so many.
const PINGS: u32 = 60;

/// See [`PINGS`].
const PINGS_TIME: Duration = Duration::from_secs(15);

/// The PINGREQs of a session.
#[derive(Debug)]
pub(super) struct Pings {
    session: SessionHandle,
    /// How many came, and since when.
    counted: Mutex<(u32, Instant)>,
}

impl Pings {
    pub(super) fn of(session: &SessionHandle) -> Self {
        Self {
            session: session.clone(),
            counted: Mutex::new((0, Instant::now())),
        }
    }

    /// Counts some, and ends the session of a client that has three quarters of the points for a ban.
    pub(super) fn add(&self, pings: u32, service: &Service) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = *counted;
        let count = count.saturating_add(pings);
        let (offences, rest) = (count / PINGS, count % PINGS);
        if offences == 0 {
            counted.0 = count;
            return;
        }
        *counted = (rest, Instant::now());
        drop(counted);
        let is_offence = since.elapsed() < PINGS_TIME;
        let Some(session) = self.session.info().filter(|_| is_offence) else {
            return;
        };
        for _ in 0..offences {
            if service.offended(Some(Offence::Pings), session.peer(), Some(session)) {
                self.session.close(misbehaved());
                break;
            }
        }
    }
}

/// Ends the session of a client that has three quarters of the points for a ban.
const fn misbehaved() -> Order {
    Order::new(CloseReason::Misbehaved, ReasonCode::MESSAGE_RATE_TOO_HIGH)
}
