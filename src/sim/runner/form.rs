//! `multipart/form-data` as a strict server reads it.
use bytes::Bytes;
use memchr::memmem;

pub(super) struct Part {
    pub(super) name: String,
    /// Files have one.
    pub(super) filename: Option<String>,
    pub(super) bytes: Bytes,
}

/// More than any pipeline has.
const MOST_PARTS: usize = 1000;

/// The parts of a form in their order; `None` when it is no such form at all.
pub(super) fn read(content_type: &str, body: &Bytes) -> Option<Result<Vec<Part>, String>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let Some(boundary) = parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty()) else {
        return Some(Err("Missing boundary in multipart.".into()));
    };
    Some(parts(&boundary, body))
}

fn parts(boundary: &str, body: &Bytes) -> Result<Vec<Part>, String> {
    let opening = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut at = match body.strip_prefix(opening.as_bytes()) {
        Some(_) => opening.len(),
        None => return Err("Did not find boundary character at the start".into()),
    };
    let mut parts = Vec::new();
    loop {
        match body.get(at..at + 2) {
            Some(b"--") => return Ok(parts),
            Some(b"\r\n") => at += 2,
            _ => return Err("Did not find CR at end of boundary".into()),
        }
        let length = memmem::find(&body[at..], between.as_bytes()).ok_or("The form does not end")?;
        parts.push(part(body.slice(at..at + length))?);
        if parts.len() > MOST_PARTS {
            return Err("Too many parts".into());
        }
        at += length + between.len();
    }
}

fn part(bytes: Bytes) -> Result<Part, String> {
    let end = memmem::find(&bytes, b"\r\n\r\n").ok_or("A part without an end of its headers")?;
    let headers = std::str::from_utf8(&bytes[..end]).map_err(|_| "A part's headers are not text")?;
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.trim())
    });
    let (kind, parameters) = disposition.and_then(|value| value.split_once(';')).ok_or("No Content-Disposition")?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err("A Content-Disposition other than form-data".into());
    }
    Ok(Part {
        name: parameter(parameters, "name").ok_or("The Content-Disposition header field \"name\" must be provided.")?,
        filename: parameter(parameters, "filename"),
        bytes: bytes.slice(end + 4..),
    })
}

/// `name="value"` or `name=value` among others; a quoted value may hold `\"` and `;`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut letters = quoted.char_indices();
                let end = loop {
                    match letters.next()? {
                        (_, '\\') => value.push(letters.next()?.1),
                        (at, '"') => break at + 1,
                        (_, letter) => value.push(letter),
                    }
                };
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left;
    }
}
