//! multipart bodies as Go's reader takes them apart; whole, in memory.
use bytes::Bytes;
use memchr::memmem;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: String,
    /// Whether it has a Content-Disposition, and the file name in it.
    pub(super) disposition: bool,
    pub(super) name: String,
    pub(super) body: Bytes,
}

const MOST_PARTS: usize = 1024;

/// The parts up to the end or the fault, and the fault. A body that is cut off within a part's
/// headers counts as ended.
pub(super) fn parts(body: &Bytes, boundary: &str) -> (Vec<Part>, Option<&'static str>) {
    let mut parts = Vec::new();
    let delimiter = format!("\r\n--{boundary}");
    let first = format!("--{boundary}");
    let mut at = match body.strip_prefix(first.as_bytes()) {
        Some(_) => first.len(),
        None => match memmem::find(body, delimiter.as_bytes()) {
            Some(found) => found + delimiter.len(),
            None => return (parts, Some("multipart: NextPart: EOF")),
        },
    };
    while parts.len() < MOST_PARTS {
        if body[at..].starts_with(b"--") {
            return (parts, None);
        }
        let Some(head) = memmem::find(&body[at..], b"\r\n\r\n") else { return (parts, None) };
        let begin = at + head + 4;
        let Some(length) = memmem::find(&body[begin - 2..], delimiter.as_bytes()) else {
            return (parts, Some("unexpected EOF"));
        };
        let end = (begin - 2 + length).max(begin);
        parts.push(part(&body[at..at + head], body.slice(begin..end)));
        at = begin - 2 + length + delimiter.len();
    }
    (parts, Some("multipart: too many parts"))
}

fn part(head: &[u8], body: Bytes) -> Part {
    let head = String::from_utf8_lossy(head);
    let find = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    let disposition = find("content-disposition");
    let name = disposition.as_deref().and_then(|value| parameter(value, "filename")).unwrap_or_default();
    // Go gives the last element of a path only.
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    Part { kind: find("content-type").unwrap_or_default(), disposition: disposition.is_some(), name, body }
}

/// A parameter of a media type or disposition, quoted or not.
pub(super) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, found) = rest.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
    Some(found.trim().trim_matches('"').to_owned())
}
