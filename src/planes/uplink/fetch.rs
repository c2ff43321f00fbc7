//! Fetches a source segment onto its shelf, once.
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, timeout_at};

use super::Uplink;
use super::stream::chain;
use crate::domain::job::Job;
use crate::domain::outcome::Failure;
use crate::domain::work::MediaFacts;
use crate::pool::{ShelfFull, SourceWriter};
use crate::telemetry;
use crate::transport::client::h1::H1;
use crate::transport::client::{Origin, Speak};
use crate::wire::media::Probe;

/// A pause before the second try.
const PAUSE: Duration = Duration::from_millis(50);

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
        let clock = self.pool.clock();
        let until = Instant::now() + self.config.fetch_timeout;
        let until = until.min(clock.instant(job.answer_by));
        let fetched = match timeout_at(until, self.fetch_with_retry(url, source)).await {
            Ok(fetched) => fetched,
            Err(_) => {
                Err(Failure::Source(format!("the source did not arrive in time ({} bytes of it did)", source.bytes())))
            }
        };
        if let Err(failure) = &fetched {
            telemetry::source_failed(self.name(), failure);
            self.status.note(&format!("a source could not be fetched: {failure}"));
        }
        source.end(fetched);
    }

    async fn fetch_with_retry(&self, url: &str, source: &SourceWriter) -> Result<MediaFacts, Failure> {
        let unfit = |why: String| Failure::Source(why);
        let uri: Uri = url.parse().map_err(|_| unfit("the address of the source cannot be read".into()))?;
        let origin = Origin::of(&uri).map_err(|why| unfit(why.to_string()))?;
        // A kept connection may be gone, and a fresh one has another chance besides.
        let mut last = match self.sources.take(&origin) {
            Some(conn) => self.fetch_over(conn, &origin, &uri, source).await,
            None => self.fetch_fresh(&origin, &uri, source).await,
        };
        if matches!(last, Err(Miss::Again(_))) {
            tokio::time::sleep(PAUSE).await;
            last = self.fetch_fresh(&origin, &uri, source).await;
        }
        last.map_err(|miss| match miss {
            Miss::Again(failure) | Miss::Final(failure) => failure,
        })
    }

    async fn fetch_fresh(&self, origin: &Origin, uri: &Uri, source: &SourceWriter) -> Result<MediaFacts, Miss> {
        let again = |why: String| Miss::Again(Failure::Source(why));
        self.hosts.check_host(origin).map_err(|why| Miss::Final(Failure::Source(why.to_string())))?;
        let dialled = self.dialer.dial_checked(origin, &self.hosts, Speak::H1).await;
        let dialled = dialled.map_err(|why| again(why.to_string()))?;
        let conn = H1::new(dialled).await.map_err(|why| again(chain(&why)))?;
        self.fetch_over(conn, origin, uri, source).await
    }

    async fn fetch_over(
        &self,
        mut conn: H1,
        origin: &Origin,
        uri: &Uri,
        source: &SourceWriter,
    ) -> Result<MediaFacts, Miss> {
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
        if let Some(length) = http_body::Body::size_hint(&body).exact() {
            source.length(length).map_err(full)?;
        }
        let mut probe = Probe::new();
        while let Some(chunk) = conn.next(&mut body).await {
            let chunk = chunk.map_err(|why| match source.bytes() {
                0 => again(chain(&why)),
                bytes => refuse(format!("the source broke off after {bytes} bytes")),
            })?;
            probe.feed(&chunk);
            source.push(chunk).map_err(full)?;
        }
        self.sources.put(origin, conn);
        Ok(probe.finish())
    }
}

fn full(why: ShelfFull) -> Miss {
    Miss::Final(match why {
        ShelfFull::Item(_) => Failure::Source(format!("the source is too large: {why}")),
        ShelfFull::Shelf(_) | ShelfFull::Io(_) => Failure::Pool(why.to_string()),
    })
}
