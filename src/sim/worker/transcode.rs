//! The work: renditions from the library, or from the machine's ffmpeg.
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::{Shared, Transcode};
use crate::domain::work::{Counted, MediaFacts, Profile};
use crate::wire::media::Probe;
use crate::wire::messages::Notice;

/// One result.
pub(super) struct Made {
    /// Decoded pixels.
    pub(super) decoded: u64,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) pixels: u64,
}

/// ffmpeg's time for one rendition of a segment.
const FFMPEG: Duration = Duration::from_secs(60);

/// The renditions that a notice asks for, or the text of an error result.
pub(super) async fn run(shared: &Shared, source: &Bytes, notice: &Notice, pause: Duration) -> Result<Made, String> {
    match shared.plan.transcode {
        Transcode::Prepared => {
            sleep(pause).await;
            prepared(shared, source, notice)
        }
        Transcode::Ffmpeg => by_ffmpeg(source, notice).await,
    }
}

fn prepared(shared: &Shared, source: &Bytes, notice: &Notice) -> Result<Made, String> {
    let item = shared.plan.library.find(source).ok_or("simulated: the source is not as it was sent")?;
    let part = |profile: &Profile| {
        let rendition = item.rendition(profile.width, profile.height)?;
        Some(Part { bytes: rendition.bytes.clone(), pixels: rendition.pixels })
    };
    let parts: Option<Vec<Part>> = notice.profiles.iter().map(part).collect();
    Ok(Made { decoded: item.pixels, parts: parts.ok_or("simulated: no such rendition")? })
}

async fn by_ffmpeg(source: &Bytes, notice: &Notice) -> Result<Made, String> {
    let decoded = count(source)?.pixels();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let input = folder.path().join("in.ts");
    tokio::fs::write(&input, source).await.map_err(|error| error.to_string())?;
    let mut parts = Vec::new();
    for profile in &notice.profiles {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-threads", "1", "-i"]).arg(&input);
        ffmpeg.args(["-s", &format!("{}x{}", profile.width, profile.height)]);
        if profile.fps > 0 {
            ffmpeg.args(["-r", &format!("{}/{}", profile.fps, profile.fps_den.max(1))]);
        }
        ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-b:v", "250k", "-c:a", "copy"]);
        ffmpeg.args(["-f", "mpegts", "pipe:1"]);
        ffmpeg.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let ran = timeout(FFMPEG, ffmpeg.output()).await.map_err(|_| "ffmpeg took too long".to_owned())?;
        let output = ran.map_err(|error| format!("ffmpeg: {error}"))?;
        if !output.status.success() {
            return Err(format!("ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let bytes = Bytes::from(output.stdout);
        parts.push(Part { pixels: count(&bytes)?.pixels(), bytes });
    }
    Ok(Made { decoded, parts })
}

fn count(bytes: &[u8]) -> Result<Counted, String> {
    let mut probe = Probe::new();
    probe.feed(bytes);
    match probe.finish() {
        MediaFacts::Counted(facts) => Ok(facts),
        MediaFacts::Uncounted { what } => Err(format!("simulated: cannot count {what}")),
        MediaFacts::Broken { why } => Err(why),
    }
}
