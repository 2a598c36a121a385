//! Level-triggered epoll with nanosecond time-outs.
//!
//! Level-triggered, so that one `recv` an event is enough and none of them ends in `EAGAIN`; the
//! fine time-out lets a paced load send on time.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events fetched in one call.
const EVENTS: usize = 256;

/// What to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// One source that can be read or written without waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: usize,
    /// Also set on error and hang-up: the next read reports it.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll instance. A closed socket leaves it by itself.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    pub(crate) fn add(
        &self,
        source: impl AsFd,
        token: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::add(
            &self.0,
            source,
            EventData::new_u64(token as u64),
            interest.flags(),
        )
    }

    pub(crate) fn change(
        &self,
        source: impl AsFd,
        token: usize,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::modify(
            &self.0,
            source,
            EventData::new_u64(token as u64),
            interest.flags(),
        )
    }

    /// Replaces the content of `ready` by what is ready within `timeout`.
    pub(crate) fn wait(&self, timeout: Duration, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        ready.clear();
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let events = match epoll::wait(&self.0, &mut events, Some(&timeout)) {
            Ok((events, _)) => events,
            // A signal: the caller's loop looks at its stop flag.
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        let failed = EventFlags::ERR | EventFlags::HUP;
        ready.extend(events.iter().map(|event| {
            // `Event` is packed on some targets: copy the fields out before using them.
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64() as usize,
                readable: flags.intersects(EventFlags::IN | failed),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
