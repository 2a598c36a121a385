//! Captured log lines.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::instrument::WithSubscriber;

/// Collects what is logged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Runs a future and returns the lines that it logs.
    pub(crate) async fn of(future: impl Future<Output = ()>) -> Vec<String> {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        future.with_subscriber(subscriber).await;
        let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("UTF-8");
        text.lines()
            .map(|line| line.trim_start().to_owned())
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
