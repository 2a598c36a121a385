//! One accepted connection, from its socket to its last log line.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mproxy_session::{Session, SessionHandle, Summary};
use mproxy_transport::{Accepted, DialError, Stream};

use super::counted::Counted;
use super::open::{Opened, Unopened};
use super::recorder::ConnectionRecorder;
use crate::app::chain::LiveChain;
use crate::app::gate::Pass;
use crate::app::service::Service;
use crate::app::worker_recorder::WorkerRecorder;

impl Service {
    /// Serves a connection until it is closed.
    pub(crate) fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        worker: Arc<WorkerRecorder>,
        pass: Pass,
        handle: SessionHandle,
    ) -> impl Future<Output = ()> + Send {
        // boxed, so that memory of the opening is freed when the session runs
        let beginning = Box::pin(Arc::clone(&self).begin(accepted, worker, pass, handle));
        Serve {
            service: self,
            stage: Stage::Beginning { beginning },
        }
    }

    /// Brings a connection to the point where its session can run.
    async fn begin(
        self: Arc<Self>,
        accepted: Accepted,
        worker: Arc<WorkerRecorder>,
        mut pass: Pass,
        handle: SessionHandle,
    ) -> Option<(
        impl Future<Output = Summary> + Send + use<>,
        Arc<ConnectionRecorder>,
    )> {
        let metrics = self.metrics.accepted();
        let opened = match self.open(accepted, &mut pass, &handle).await {
            Ok(opened) => opened,
            Err(Unopened::Refused(reason)) => {
                metrics.refused(reason);
                return None;
            }
            Err(Unopened::Limited(client, refused)) => {
                self.refused(client, refused, metrics);
                return None;
            }
            Err(Unopened::TurnedAway(client, unwelcome)) => {
                self.turned_away(client, &unwelcome, metrics);
                return None;
            }
            Err(Unopened::Unused(side, reason)) => {
                metrics.closed(side, reason);
                return None;
            }
        };
        let Opened {
            stream,
            peer,
            destination,
            ..
        } = opened;
        tracing::debug!(
            target: "mproxy::session",
            listener = &*self.name, peer = %peer,
            "accepted"
        );
        let recorder = ConnectionRecorder::new(worker, metrics, pass, Arc::clone(&self));
        #[cfg(feature = "ocsp")]
        let recorder = recorder.attended(opened.attended);
        let recorder = Arc::new(recorder);
        let session = Session::new(peer)
            .limits(Arc::clone(&self.limits))
            .recorder(Arc::clone(&recorder) as Arc<_>)
            .turns(Arc::clone(&recorder) as Arc<_>)
            .handle(handle);
        Some((self.run(session, stream, destination, &recorder), recorder))
    }

    /// Tells everybody that a session has ended. Not inlined, as [`poll_outside`].
    #[cold]
    #[inline(never)]
    fn ended(&self, summary: &Summary, recorder: &ConnectionRecorder) {
        recorder.closed(summary);
        self.upstream.closed(summary);
        self.offended_by(summary);
        self.report(summary);
    }

    /// Runs the session with the chain of its listener, even one without layers: a reload may
    /// add some.
    fn run(
        &self,
        session: Session,
        stream: Stream,
        destination: Option<Box<SocketAddr>>,
        recorder: &Arc<ConnectionRecorder>,
    ) -> impl Future<Output = Summary> + Send + use<> {
        let upstream = Arc::clone(&self.upstream);
        let recorder = Arc::clone(recorder);
        let dial = move |connect: &mproxy_session::Connect| {
            let version = connect.packet().version();
            let head = upstream.head(connect.peer(), destination.as_deref().copied());
            async move {
                let (stream, open) = upstream.dial(head, version).await?;
                upstream.admission.sends().await;
                recorder.dialled();
                Ok::<_, DialError>(Counted::new(stream, open))
            }
        };
        session.run_watched(stream, Stream::has_left, LiveChain::of(&self.policy), dial)
    }
}

pin_project_lite::pin_project! {
    /// A connection being opened. Not an async block, which would reserve room for its session twice:
    /// this is the memory of an idle connection.
    struct Serve<B, R> {
        service: Arc<Service>,
        #[pin]
        stage: Stage<B, R>,
    }
}

pin_project_lite::pin_project! {
    #[project = StageProj]
    enum Stage<B, R> {
        Beginning { beginning: Pin<Box<B>> },
        Running { #[pin] running: R, recorder: Arc<ConnectionRecorder> },
    }
}

impl<B, R> Future for Serve<B, R>
where
    B: Future<Output = Option<(R, Arc<ConnectionRecorder>)>>,
    R: Future<Output = Summary>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Beginning { beginning } => {
                    let Some((running, recorder)) = ready!(poll_outside(beginning.as_mut(), cx))
                    else {
                        return Poll::Ready(());
                    };
                    this.stage.set(Stage::Running { running, recorder });
                }
                StageProj::Running { running, recorder } => {
                    let summary = ready!(running.poll(cx));
                    this.service.ended(&summary, recorder);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Not inlined: the frame of what is polled would be in that of every packet.
#[cold]
#[inline(never)]
fn poll_outside<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(cx)
}

#[cfg(test)]
mod tests {
    use mproxy_session::{Admission, Connect, PacketService};

    use super::*;

    fn live_size_behind<A, U, D>(_: fn(&Service) -> A) -> usize
    where
        A: tower::Service<Connect, Response = Admission<U, D>>,
        U: PacketService,
        D: PacketService,
    {
        Session::live_size::<Stream, Counted, U, D, A>()
    }

    /// The next size class of jemalloc is 640: 128 MB more for a million idle clients.
    #[test]
    fn an_idle_session_fits_a_size_class_of_512_bytes() {
        let size = live_size_behind(|service| LiveChain::of(&service.policy));
        assert!(size <= 512, "{size} bytes");
    }
}
