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

/// What holds for a WebSocket once it is open, on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) max_message_size: usize,
    pub(super) max_idle_frames: u32,
    pub(super) idle_period: Duration,
    pub(super) write_timeout: Duration,
}

impl WsOptions {
    /// The paths that are served; none, the default, means any, as MQTT brokers have it.
    ///
    /// A path is exact, or ends with `/*`: `/tenant/*` is every path that begins with `/tenant/`,
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

    /// The origins whose pages may connect, as in `https://app.example.com`; none, the default,
    /// means any.
    ///
    /// This keeps out other sites' pages in browsers, which cannot lie about their origin. A
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

    /// How long the whole upgrade may take, from the first byte waited for; 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The largest head of an upgrade request, 16 KiB by default and 8 KiB at least; larger ones
    /// are answered with status 431. Large cookies of the page's site are what fills it. It may
    /// hold 200 headers.
    #[must_use]
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.max_header_size = bytes;
        self
    }

    /// The longest WebSocket message to accept, 1 GiB by default; longer ones end the connection
    /// with close code 1009. At least the largest MQTT packet that is served, since clients send a
    /// packet a message; the largest that MQTT can say has 256 MiB.
    ///
    /// No memory depends on it: a message streams through, whatever its length.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.rules.max_message_size = bytes;
        self
    }

    /// How many frames without payload a client may send in a period, 600 in a minute by default:
    /// pings, pongs and empty data frames, counted beyond one for each frame with payload. One more ends
    /// the connection with close code 1008. `u32::MAX` sets no limit. Clients and load balancers
    /// ping every 5 s at the most.
    #[must_use]
    pub fn max_idle_frames(mut self, frames: u32, period: Duration) -> Self {
        self.rules.max_idle_frames = frames;
        self.rules.idle_period = period;
        self
    }

    /// How long a client may take none of the bytes that the WebSocket itself has for it, 120 s by
    /// default: pongs, a Close frame, and the part of a frame that the socket did not take. Reading
    /// and writing then fail with [`WsWriteTimeout`](super::WsWriteTimeout).
    ///
    /// There is a timer only while such bytes wait. Whoever writes to the stream limits how long
    /// that may take; this is for what nobody but the WebSocket knows of.
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

/// Ten a second: fifty times what the most eager honest client sends.
const MAX_IDLE_FRAMES: u32 = 600;
const IDLE_PERIOD: Duration = Duration::from_secs(60);

/// That of an MQTT session by default.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Whoever speaks MQTT is below it, and a length beyond it is an error of its sender.
const MAX_MESSAGE_SIZE: usize = 1 << 30;
