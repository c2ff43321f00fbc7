//! The lines around the bytes: the boundary, and the headers of a part.
use super::{BadMultipart, PartFault};
use crate::wire::headers::{self, FORM_TYPE, MULTIPART_TYPE};

const MOST_BOUNDARY: usize = 70;
const MOST_TYPE: usize = 128;

/// The headers of a part that mean something to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// Empty when the part has none.
    pub content_type: String,
    pub content_length: Option<u64>,
    /// A rendition has them; a perceptual hash has not.
    pub pixels: Option<u64>,
    /// The Content-Disposition; empty when the part has none that can be read.
    pub disposition: String,
}

// === impl PartHead ===

impl PartHead {
    /// A parameter of the Content-Disposition: `name`, `filename`.
    pub fn parameter(&self, wanted: &str) -> Option<String> {
        let (_, mut rest) = self.disposition.split_once(';')?;
        loop {
            let (name, after) = rest.split_once('=')?;
            let (value, left) = disposition_value(after);
            if name.trim().eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
            rest = left;
        }
    }
}

/// A value with or without quotes, and what follows its semicolon. In quotes a backslash stands
/// before a quote or another backslash.
fn disposition_value(after: &str) -> (String, &str) {
    let Some(quoted) = after.trim_start().strip_prefix('"') else {
        let (value, left) = after.split_once(';').unwrap_or((after, ""));
        return (value.trim().to_owned(), left);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, quoted[at + 1..].split_once(';').map_or("", |(_, left)| left)),
            '\\' => match quoted[at + 1..].chars().next() {
                Some(escaped @ ('"' | '\\')) => {
                    value.push(escaped);
                    letters.next();
                }
                _ => value.push(letter),
            },
            _ => value.push(letter),
        }
    }
    (value, "")
}

/// The boundary of a `multipart/mixed` type.
pub fn boundary_from_content_type(value: &str) -> Result<String, BadMultipart> {
    boundary(value, MULTIPART_TYPE)
}

/// The boundary of a `multipart/form-data` type.
pub fn form_boundary(value: &str) -> Result<String, BadMultipart> {
    boundary(value, FORM_TYPE)
}

fn boundary(value: &str, wanted: &str) -> Result<String, BadMultipart> {
    let (kind, mut rest) = value.split_once(';').ok_or(BadMultipart::ContentType)?;
    if !kind.trim().eq_ignore_ascii_case(wanted) {
        return Err(BadMultipart::ContentType);
    }
    let mut found = None;
    while !rest.trim().is_empty() {
        let (name, value) = rest.split_once('=').ok_or(BadMultipart::ContentType)?;
        let (text, left) = parameter(value)?;
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(text).is_some() {
            return Err(BadMultipart::Boundary);
        }
        rest = left;
    }
    let boundary = found.ok_or(BadMultipart::ContentType)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    if boundary.is_empty()
        || boundary.len() > MOST_BOUNDARY
        || boundary.ends_with(' ')
        || !boundary.bytes().all(allowed)
    {
        return Err(BadMultipart::Boundary);
    }
    Ok(boundary.to_owned())
}

/// One parameter's value, quoted or not, and what follows its semicolon.
fn parameter(value: &str) -> Result<(&str, &str), BadMultipart> {
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let (text, left) = value.split_once(';').unwrap_or((value, ""));
        return Ok((text.trim(), left));
    };
    // No character that a boundary may hold needs an escape.
    let (text, left) = quoted.split_once('"').ok_or(BadMultipart::ContentType)?;
    let left = left.trim_start();
    match left.strip_prefix(';') {
        Some(left) => Ok((text, left)),
        None if left.is_empty() => Ok((text, left)),
        None => Err(BadMultipart::ContentType),
    }
}

/// Reads header lines, each with its CRLF, without the empty line that ends them.
pub(super) fn read_head(mut lines: &[u8]) -> Result<PartHead, PartFault> {
    let mut head = PartHead::default();
    let mut typed = false;
    while let Some(end) = memchr::memmem::find(lines, b"\r\n") {
        let (line, rest) = (&lines[..end], &lines[end + 2..]);
        lines = rest;
        let colon = memchr::memchr(b':', line).ok_or(PartFault::Head)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        if name.is_empty() || !name.iter().all(token) {
            return Err(PartFault::Head);
        }
        if name.eq_ignore_ascii_case(b"content-type") {
            if std::mem::replace(&mut typed, true) {
                return Err(PartFault::Repeated("Content-Type"));
            }
            head.content_type = read_type(value)?;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            read_number(&mut head.content_length, value, "Content-Length")?;
        } else if name.eq_ignore_ascii_case(b"pixels") {
            read_number(&mut head.pixels, value, "Pixels")?;
        } else if name.eq_ignore_ascii_case(b"content-disposition") && head.disposition.is_empty() {
            // Transcoders do not send it: what cannot be read does not count.
            let text = std::str::from_utf8(value).unwrap_or_default();
            head.disposition = text.chars().filter(|c| !c.is_control()).collect();
        }
    }
    Ok(head)
}

fn read_type(value: &[u8]) -> Result<String, PartFault> {
    let plain = value.len() <= MOST_TYPE && value.iter().all(|b| (0x20..0x7f).contains(b));
    let text = std::str::from_utf8(value).ok().filter(|_| plain).ok_or(PartFault::Malformed("Content-Type"))?;
    if text.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return Err(PartFault::Nested);
    }
    Ok(text.to_owned())
}

fn read_number(slot: &mut Option<u64>, value: &[u8], name: &'static str) -> Result<(), PartFault> {
    let number = headers::number(value, name).map_err(|_| PartFault::Malformed(name))?;
    // go-livepeer reads both signed.
    if number > i64::MAX as u64 {
        return Err(PartFault::Malformed(name));
    }
    if slot.replace(number).is_some() { Err(PartFault::Repeated(name)) } else { Ok(()) }
}
