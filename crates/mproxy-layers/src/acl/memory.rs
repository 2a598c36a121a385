//! The last verdict of a session.

use super::session::{Client, Verdict};

/// Maximum length of a topic that is remembered with its verdict, which an idle session keeps.
const REMEMBERED_TOPIC: usize = 256;

/// The verdict on the last topic that was published to.
///
/// The first topic is not remembered: most devices have only one, for which the session itself
/// remembers the verdict ([`wrap_remembered`](mproxy_session::Tap::wrap_remembered)), so their idle
/// sessions need no memory here.
#[derive(Debug, Default)]
pub(super) enum Memory {
    #[default]
    Unasked,
    Asked,
    Last(Box<Remembered>),
}

#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Empty if nothing is remembered, because a topic name is never empty.
    topic: Vec<u8>,
    verdict: Verdict,
}

impl Memory {
    #[inline]
    pub(super) fn judge_publish(&mut self, client: &Client, topic: &[u8]) -> Verdict {
        match self {
            Self::Last(last) => last.judge_publish(client, topic),
            Self::Asked => {
                let mut last = Box::new(Remembered::default());
                let verdict = last.judge_publish(client, topic);
                *self = Self::Last(last);
                verdict
            }
            Self::Unasked => {
                *self = Self::Asked;
                client.judge_publish(topic)
            }
        }
    }
}

impl Remembered {
    #[inline]
    fn judge_publish(&mut self, client: &Client, topic: &[u8]) -> Verdict {
        if topic.is_empty() || self.topic != topic {
            self.verdict = client.judge_publish(topic);
            // The allocation is kept, so that a device with several topics does not allocate
            // either.
            self.topic.clear();
            if topic.len() <= REMEMBERED_TOPIC {
                self.topic.extend_from_slice(topic);
            }
        }
        self.verdict
    }
}

/// The copy of a memory is a fresh one.
impl Clone for Memory {
    fn clone(&self) -> Self {
        Self::default()
    }
}
