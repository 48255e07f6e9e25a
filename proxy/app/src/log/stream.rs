//! Log events for readers of `/logs.json`, besides those that go to stdout.
//!
//! Nobody reads most of the time; then no callsite is of interest here, and an event costs what it
//! costs without this module. A reader that is too slow loses events and is told how many.
//!
//! Source: linkerd2-proxy linkerd/tracing/src/stream.rs (behaviour).

use super::json;
use super::WallClock;
use crate::http::Broken;
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{sleep, Sleep};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields};
use tracing_subscriber::layer::{Context as Scope, Filter, Layer};
use tracing_subscriber::{fmt, EnvFilter, Registry};

/// Readers at once.
const READERS_MAX: usize = 8;
/// What waits for one reader.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Between two parts of a body: sending one may itself cause events.
const PAUSE: Duration = Duration::from_millis(100);

/// Who reads; one layer of the subscriber, and its filter.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

struct Shared {
    streams: RwLock<Arc<[Arc<Stream>]>>,
    /// Notes the fields of spans, which whoever prints an event relies on.
    spans: Formatter,
}

type Formatter<W = fn() -> io::Stdout> =
    fmt::Layer<Registry, JsonFields, Format<Json, WallClock>, W>;

/// Why nobody can read.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The text is not a filter.
    #[error("{0}")]
    Filter(#[from] ParseError),
    /// As many read already as may.
    #[error("{READERS_MAX} others are reading already")]
    TooMany,
}

struct Stream {
    filter: EnvFilter,
    format: Formatter<Arc<Waiting>>,
    waiting: Arc<Waiting>,
}

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Shared {
            streams: RwLock::new(Arc::new([])),
            spans: json(),
        }))
    }
}

impl Streams {
    /// Begins to collect what passes `filter`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn read(&self, filter: &str) -> Result<Reader, Refused> {
        let waiting = Arc::<Waiting>::default();
        let stream = Arc::new(Stream {
            filter: EnvFilter::try_new(filter)?,
            format: json().with_writer(waiting.clone()),
            waiting,
        });
        self.change(|now| {
            if now.len() >= READERS_MAX {
                return Err(Refused::TooMany);
            }
            Ok(now.iter().chain([&stream]).cloned().collect())
        })?;
        Ok(Reader {
            streams: self.clone(),
            stream,
            pause: None,
        })
    }

    /// A copy, because what formats an event may cause another.
    fn all(&self) -> Arc<[Arc<Stream>]> {
        let streams = self
            .0
            .streams
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        streams.clone()
    }

    fn change<E>(
        &self,
        change: impl FnOnce(&[Arc<Stream>]) -> Result<Arc<[Arc<Stream>]>, E>,
    ) -> Result<(), E> {
        let mut streams = self
            .0
            .streams
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *streams = change(&streams)?;
        drop(streams);
        // Asks again, under no lock of ours, which callsites are of interest.
        tracing_core::callsite::rebuild_interest_cache();
        Ok(())
    }
}

impl Filter<Registry> for Streams {
    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        let interested = |stream: &Arc<Stream>| {
            !Filter::<Registry>::callsite_enabled(&stream.filter, meta).is_never()
        };
        // Every filter has to see every callsite, so that it knows its spans.
        if self.all().iter().filter(|one| interested(one)).count() == 0 {
            Interest::never()
        } else {
            Interest::sometimes()
        }
    }

    fn enabled(&self, meta: &Metadata<'_>, scope: &Scope<'_, Registry>) -> bool {
        let streams = self.all();
        let mut streams = streams.iter();
        streams.any(|one| one.filter.enabled(meta, scope.clone()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let streams = self.all();
        let levels = streams.iter().map(|one| one.filter.max_level_hint());
        levels.max().unwrap_or(Some(LevelFilter::OFF))
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            one.filter.on_new_span(attrs, id, scope.clone());
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            one.filter.on_record(id, values, scope.clone());
        }
    }

    fn on_enter(&self, id: &Id, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            one.filter.on_enter(id, scope.clone());
        }
    }

    fn on_exit(&self, id: &Id, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            one.filter.on_exit(id, scope.clone());
        }
    }

    fn on_close(&self, id: Id, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            one.filter.on_close(id.clone(), scope.clone());
        }
    }
}

impl Layer<Registry> for Streams {
    fn on_event(&self, event: &Event<'_>, scope: Scope<'_, Registry>) {
        for one in self.all().iter() {
            if one.filter.enabled(event.metadata(), scope.clone()) {
                one.format.on_event(event, scope.clone());
            }
        }
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, scope: Scope<'_, Registry>) {
        self.0.spans.on_new_span(attrs, id, scope);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: Scope<'_, Registry>) {
        self.0.spans.on_record(id, values, scope);
    }
}

/// Lines that a reader has not taken yet.
#[derive(Default)]
struct Waiting(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    lines: BytesMut,
    dropped: u64,
    reader: Option<Waker>,
}

impl Waiting {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for &Waiting {
    /// Takes a whole line or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut pending = self.pending();
        if pending.lines.len() + line.len() > WAITING_BYTES_MAX {
            pending.dropped += 1;
        } else {
            pending.lines.extend_from_slice(line);
        }
        let reader = pending.reader.take();
        drop(pending);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A response body of one JSON object a line: events, and `{"dropped_events":N}` after those
/// between which some are missing. Dropping it ends the stream.
pub struct Reader {
    streams: Streams,
    stream: Arc<Stream>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let mut pending = self.stream.waiting.pending();
        if pending.lines.is_empty() && pending.dropped == 0 {
            pending.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut lines = std::mem::take(&mut pending.lines);
        let dropped = std::mem::take(&mut pending.dropped);
        drop(pending);
        if dropped > 0 {
            // A BytesMut grows, so there is room.
            let _ = writeln!(lines, "{{\"dropped_events\":{dropped}}}");
        }
        self.pause = Some(Box::pin(sleep(PAUSE)));
        Poll::Ready(Some(Ok(Frame::data(lines.freeze()))))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let gone = |one: &&Arc<Stream>| !Arc::ptr_eq(one, &self.stream);
        let Ok(()) = self.streams.change(|now| {
            Ok::<_, std::convert::Infallible>(now.iter().filter(gone).cloned().collect())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::sync::MutexGuard;
    use tracing::subscriber::{set_default, DefaultGuard};
    use tracing::{debug, info};
    use tracing_subscriber::layer::SubscriberExt;

    /// What is of interest is told to the whole process, so these tests take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// Collects on this thread, as the proxy does on all of them.
    async fn collecting() -> (Streams, (DefaultGuard, MutexGuard<'static, ()>)) {
        let turn = TURN.lock().await;
        let streams = Streams::default();
        let layer = streams.clone().with_filter(streams.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        (streams, (set_default(subscriber), turn))
    }

    async fn next(reader: &mut Reader) -> String {
        let frame = reader.frame().await.expect("it never ends");
        let data = frame.expect("it cannot break").into_data();
        String::from_utf8_lossy(&data.expect("there are no trailers")).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_gets_what_passes_its_filter_as_json() {
        let (streams, _guard) = collecting().await;
        let mut all = streams.read("trace").expect("a filter");
        let mut some = streams.read("other=trace,warn").expect("a filter");
        info!(size = 3, "first");
        debug!(target: "other", "second");
        let both = next(&mut all).await;
        let lines: Vec<&str> = both.lines().collect();
        assert_eq!(2, lines.len(), "{both}");
        let first = r#""level":"INFO","fields":{"message":"first","size":3},"target":"#;
        assert!(lines[0].contains(first), "{both}");
        let one = next(&mut some).await;
        assert_eq!(1, one.lines().count(), "{one}");
        assert!(one.contains("second"), "{one}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_told_how_many_events_it_missed() {
        let (streams, _guard) = collecting().await;
        let mut reader = streams.read("info").expect("a filter");
        let long = "x".repeat(WAITING_BYTES_MAX / 4);
        for _ in 0..5 {
            info!("{long}");
        }
        let part = next(&mut reader).await;
        assert!(part.len() <= WAITING_BYTES_MAX + 100, "{}", part.len());
        let last = part.lines().last().expect("a line");
        assert_eq!(r#"{"dropped_events":2}"#, last);
        info!("again");
        let part = next(&mut reader).await;
        assert_eq!(1, part.lines().count(), "{part}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_comes_while_a_reader_waits_wakes_it() {
        let (streams, _guard) = collecting().await;
        let mut reader = streams.read("info").expect("a filter");
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            info!("late");
        };
        let (line, ()) = tokio::join!(next(&mut reader), late);
        assert!(line.contains("late"), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn other_layers_print_what_they_did_before() {
        let _turn = TURN.lock().await;
        let streams = Streams::default();
        let printed = Arc::<Waiting>::default();
        let other = fmt::layer().with_writer(printed.clone());
        let subscriber = tracing_subscriber::registry()
            .with(streams.clone().with_filter(streams.clone()))
            .with(other.with_filter(EnvFilter::new("info")));
        let _guard = set_default(subscriber);
        let mut reader = streams.read("trace").expect("a filter");
        let span = tracing::debug_span!("work", step = 1);
        span.in_scope(|| {
            debug!("only read");
            info!("printed too");
        });
        let read = next(&mut reader).await;
        assert_eq!(2, read.lines().count(), "{read}");
        assert!(
            read.contains(r#""spans":[{"step":1,"name":"work"}]"#),
            "{read}"
        );
        let printed = String::from_utf8_lossy(&printed.pending().lines).into_owned();
        assert_eq!(1, printed.lines().count(), "{printed}");
        assert!(!printed.contains("work"), "{printed}");
        // Who comes later does not know the span, and has no trouble with it.
        drop(reader);
        let mut later = streams.read("trace").expect("a filter");
        span.in_scope(|| debug!("later"));
        let read = next(&mut later).await;
        assert!(read.contains("later"), "{read}");
    }

    #[tokio::test]
    async fn nothing_is_of_interest_while_nobody_reads() {
        let (streams, _guard) = collecting().await;
        assert!(!tracing::enabled!(tracing::Level::ERROR));
        let reader = streams.read("debug").expect("a filter");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(!tracing::enabled!(tracing::Level::TRACE));
        drop(reader);
        assert!(!tracing::enabled!(tracing::Level::ERROR));
    }

    #[tokio::test]
    async fn readers_are_limited_and_filters_checked() {
        let _turn = TURN.lock().await;
        let streams = Streams::default();
        let readers: Vec<_> = (0..READERS_MAX).map(|_| streams.read("info")).collect();
        assert!(readers.iter().all(Result::is_ok));
        assert!(matches!(streams.read("info"), Err(Refused::TooMany)));
        drop(readers);
        assert!(streams.read("info").is_ok());
        assert!(matches!(streams.read("a=b=c"), Err(Refused::Filter(_))));
    }
}
