//! What a WebSocket listener accepts.

use std::time::Duration;

use super::paths::Paths;

/// The rules for upgrade requests.
///
/// ```
/// use mproxy_transport::WsOptions;
///
/// let options = WsOptions::default()
///     .paths(["/mqtt", "/tenant/*"])
///     .origins(["https://app.example.com"])
///     .max_message_size(1024 * 1024);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsOptions {
    pub(super) paths: Paths,
    pub(super) origins: Vec<String>,
    pub(super) handshake_timeout: Duration,
    pub(super) max_header_size: usize,
    pub(super) rules: Rules,
    pub(super) headers: Vec<String>,
}

/// Options of an open WebSocket, on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) max_message_size: usize,
    pub(super) max_idle_frames: u32,
    pub(super) idle_period: Duration,
    pub(super) write_timeout: Duration,
}

impl WsOptions {
    /// Sets the paths to serve; none, the default, means any, as in most MQTT brokers.
    ///
    /// A path is exact, or ends with `/*`: `/tenant/*` matches every path that begins with `/tenant/`,
    /// so `/tenant/x`, `/tenant/x/y` and `/tenant/`, but not `/tenant`. A path is compared with
    /// the one of the request as it came, without its query, and with no percent-encoding undone.
    #[must_use]
    pub fn paths<I>(mut self, paths: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.paths = Paths::new(paths);
        self
    }

    /// Sets the origins whose pages may connect, such as `https://app.example.com`; none, the default,
    /// means any.
    ///
    /// This keeps out pages of other sites in browsers, which cannot fake their origin. A
    /// client that sends no `Origin` is not a browser, and is let through.
    #[must_use]
    pub fn origins<I>(mut self, origins: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long the whole upgrade may take, including the wait for the first byte; 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the largest head of an upgrade request, 16 KiB by default and at least 8 KiB; larger ones
    /// are answered with status 431. The cookies of the page's site are part of it. It may
    /// have 200 headers.
    #[must_use]
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.max_header_size = bytes;
        self
    }

    /// Sets the longest WebSocket message to accept, 1 GiB by default; longer ones end the connection
    /// with close code 1009. Use at least the largest MQTT packet that is served, because clients send one
    /// packet per message; the maximum of MQTT is 256 MiB.
    ///
    /// No memory depends on it: a message streams through, whatever its length.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.rules.max_message_size = bytes;
        self
    }

    /// Sets how many frames without payload a client may send in a period, 600 per minute by default:
    /// pings, pongs and empty data frames, counted beyond one for each frame with payload. One more ends
    /// the connection with close code 1008. `u32::MAX` sets no limit. Clients and load balancers
    /// ping at most every 5 s.
    #[must_use]
    pub fn max_idle_frames(mut self, frames: u32, period: Duration) -> Self {
        self.rules.max_idle_frames = frames;
        self.rules.idle_period = period;
        self
    }

    /// Sets how long a client may accept none of the WebSocket's own bytes, 120 s by default: pongs, a
    /// Close frame, and the part of a frame that the socket did not accept. Reading and writing then
    /// fail with [`WsWriteTimeout`](super::WsWriteTimeout).
    ///
    /// A timer runs only while such bytes wait. The writer of the stream must limit its own
    /// writes; this limit is for bytes that only the WebSocket knows of.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.rules.write_timeout = timeout;
        self
    }

    /// Further request headers to keep in [`WsRequest`](super::WsRequest), such as
    /// `authorization` or `cookie`.
    #[must_use]
    pub fn keep_headers<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.headers = names.into_iter().map(Into::into).collect();
        self
    }
}

impl Default for WsOptions {
    fn default() -> Self {
        Self {
            paths: Paths::default(),
            origins: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            max_header_size: 16 * 1024,
            rules: Rules::default(),
            headers: Vec::new(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_message_size: MAX_MESSAGE_SIZE,
            max_idle_frames: MAX_IDLE_FRAMES,
            idle_period: IDLE_PERIOD,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// Ten per second: fifty times what the most eager honest client sends.
const MAX_IDLE_FRAMES: u32 = 600;
const IDLE_PERIOD: Duration = Duration::from_secs(60);

/// The default of an MQTT session.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// MQTT packets are always smaller, so a greater length is an error of its sender.
const MAX_MESSAGE_SIZE: usize = 1 << 30;
