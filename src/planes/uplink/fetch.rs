//! Fetches the source of a segment or the input of an AI job, once, as it arrives.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, timeout_at};

use super::Uplink;
use super::registration::Kind;
use super::stream::chain;
use crate::domain::job::Job;
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::pool::{ShelfFull, SourceWriter, Spool, Stored};
use crate::telemetry;
use crate::transport::client::h1::H1;
use crate::transport::client::{Origin, Speak};
use crate::wire::ai::MOST_IMAGE_HEAD;
use crate::wire::media::Probe;

/// A pause before the second try.
const PAUSE: Duration = Duration::from_millis(50);
/// An AI input may be 300 MB, and its job has minutes.
const INPUT_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the bytes go.
enum Sink<'a> {
    /// Readers follow as they come.
    Source { source: &'a SourceWriter, probe: Probe },
    /// Whole, with its beginning at hand.
    Input { spool: Spool, head: BytesMut, bytes: u64 },
}

/// Why a try came to nothing.
enum Miss {
    /// Another may do better: nothing of the source arrived.
    Again(Failure),
    Final(Failure),
}

// === impl Uplink ===

impl Uplink {
    /// Fetches `url` onto `source` and ends it, well or badly.
    pub(super) async fn fetch(&self, url: &str, job: &Job, source: &SourceWriter) {
        let mut sink = Sink::Source { source, probe: Probe::new() };
        let fetched = self.fetch_by(url, self.config.fetch_timeout, job.answer_by, Kind::Transcoder, &mut sink).await;
        match (fetched, sink) {
            (Ok(()), Sink::Source { probe, .. }) => source.end(Ok(probe.finish())),
            (Ok(()), Sink::Input { .. }) => source.end(Err(astray())),
            (Err(failure), _) => source.end(Err(failure)),
        }
    }

    /// Fetches all of an AI job's input: the file, and its first bytes.
    pub(super) async fn fetch_input(
        &self,
        url: &str,
        answer_by: Moment,
        spool: Spool,
    ) -> Result<(Stored, Bytes), Failure> {
        let mut sink = Sink::Input { spool, head: BytesMut::new(), bytes: 0 };
        self.fetch_by(url, INPUT_TIMEOUT, answer_by, Kind::Ai, &mut sink).await?;
        match sink {
            Sink::Input { spool, head, .. } => {
                let stored = spool.finish().await.map_err(|why| Failure::Pool(why.to_string()))?;
                Ok((stored, head.freeze()))
            }
            Sink::Source { .. } => Err(astray()),
        }
    }

    async fn fetch_by(
        &self,
        url: &str,
        within: Duration,
        answer_by: Moment,
        kind: Kind,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let until = (Instant::now() + within).min(self.pool.clock().instant(answer_by));
        let fetched = match timeout_at(until, self.fetch_with_retry(url, sink)).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let bytes = sink.bytes();
                Err(Failure::Source(format!("the source did not arrive in time ({bytes} bytes of it did)")))
            }
        };
        if let Err(failure) = &fetched {
            telemetry::source_failed(self.name(), failure);
            self.status.of(kind).note(&format!("a source could not be fetched: {failure}"));
        }
        fetched
    }

    async fn fetch_with_retry(&self, url: &str, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let unfit = |why: String| Failure::Source(why);
        let uri: Uri = url.parse().map_err(|_| unfit("the address of the source cannot be read".into()))?;
        let origin = Origin::of(&uri).map_err(|why| unfit(why.to_string()))?;
        // A kept connection may be gone, and a fresh one has another chance besides.
        let mut last = match self.sources.take(&origin) {
            Some(conn) => self.fetch_over(conn, &origin, &uri, sink).await,
            None => self.fetch_fresh(&origin, &uri, sink).await,
        };
        if matches!(last, Err(Miss::Again(_))) {
            tokio::time::sleep(PAUSE).await;
            last = self.fetch_fresh(&origin, &uri, sink).await;
        }
        last.map_err(|miss| match miss {
            Miss::Again(failure) | Miss::Final(failure) => failure,
        })
    }

    async fn fetch_fresh(&self, origin: &Origin, uri: &Uri, sink: &mut Sink<'_>) -> Result<(), Miss> {
        let again = |why: String| Miss::Again(Failure::Source(why));
        self.hosts.check_host(origin).map_err(|why| Miss::Final(Failure::Source(why.to_string())))?;
        let dialled = self.dialer.dial_checked(origin, &self.hosts, Speak::H1).await;
        let dialled = dialled.map_err(|why| again(why.to_string()))?;
        let conn = H1::new(dialled).await.map_err(|why| again(chain(&why)))?;
        self.fetch_over(conn, origin, uri, sink).await
    }

    async fn fetch_over(&self, mut conn: H1, origin: &Origin, uri: &Uri, sink: &mut Sink<'_>) -> Result<(), Miss> {
        let again = |why: String| Miss::Again(Failure::Source(why));
        let refuse = |why: String| Miss::Final(Failure::Source(why));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = HeaderValue::try_from(origin.authority()).map_err(|why| refuse(why.to_string()))?;
        let request = Request::get(path)
            .header(HOST, host)
            .header(ACCEPT_ENCODING, "identity")
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .map_err(|why| refuse(why.to_string()))?;
        let answer = conn.send(request).await.map_err(|why| again(chain(&why)))?;
        if answer.status() != StatusCode::OK {
            return Err(refuse(answer.status().to_string()));
        }
        let encoded = answer.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if encoded {
            return Err(refuse("the source came compressed".into()));
        }
        let mut body = answer.into_body();
        if let (Sink::Source { source, .. }, Some(length)) = (&*sink, http_body::Body::size_hint(&body).exact()) {
            source.length(length).map_err(full)?;
        }
        while let Some(chunk) = conn.next(&mut body).await {
            let chunk = chunk.map_err(|why| match sink.bytes() {
                0 => again(chain(&why)),
                bytes => refuse(format!("the source broke off after {bytes} bytes")),
            })?;
            sink.push(chunk).await.map_err(full)?;
        }
        self.sources.put(origin, conn);
        Ok(())
    }
}

// === impl Sink ===

impl Sink<'_> {
    async fn push(&mut self, chunk: Bytes) -> Result<(), ShelfFull> {
        match self {
            Sink::Source { source, probe } => {
                probe.feed(&chunk);
                source.push(chunk)
            }
            Sink::Input { spool, head, bytes } => {
                *bytes += chunk.len() as u64;
                let room = MOST_IMAGE_HEAD.saturating_sub(head.len());
                head.extend_from_slice(&chunk[..chunk.len().min(room)]);
                spool.push(chunk).await
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Sink::Source { source, .. } => source.bytes(),
            Sink::Input { bytes, .. } => *bytes,
        }
    }
}

fn astray() -> Failure {
    Failure::Pool("what was fetched went to the wrong place".into())
}

fn full(why: ShelfFull) -> Miss {
    Miss::Final(match why {
        ShelfFull::Item(_) => Failure::Source(format!("the source is too large: {why}")),
        ShelfFull::Shelf(_) | ShelfFull::Io(_) => Failure::Pool(why.to_string()),
    })
}
