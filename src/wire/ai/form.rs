//! The runner API's forms: multipart/form-data, read as it comes and written with a known length.
use bytes::{Bytes, BytesMut};

use super::MOST_REQUEST;
use crate::wire::headers::{FORM_TYPE, OCTETS_TYPE};
use crate::wire::multipart::{BadMultipart, Event, Reader, form_boundary};

const MOST_NAME: usize = 256;

/// What a form is made of, in the order of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormEvent {
    Field {
        name: String,
        value: String,
    },
    FileStart {
        name: String,
        file_name: String,
        content_type: String,
    },
    /// Bytes of the file: slices of the chunks as they came.
    FileData(Bytes),
    FileEnd,
    /// The closing boundary was seen.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    #[error(transparent)]
    Multipart(#[from] BadMultipart),
    #[error("part {0} has no name, or one that is too long")]
    NoName(u32),
    #[error("the fields of the form are longer than {MOST_REQUEST} bytes")]
    FieldsTooLong,
    #[error("the file is longer than the {0} bytes that are allowed")]
    FileTooLong(u64),
    #[error("the field {0} is not UTF-8")]
    NotUtf8(String),
}

/// Reads one form: `feed` a chunk, then take events by `next` until there are none, then the next
/// chunk; `finish` when the body ended.
pub struct FormReader {
    reader: Reader,
    part: Part,
    most_file: u64,
    /// Bytes of all fields so far.
    taken: usize,
    /// Bytes of all files so far.
    files: u64,
    failed: Option<BadForm>,
}

enum Part {
    None,
    Field { name: String, value: BytesMut },
    File,
}

/// Everything of a form but the bytes of its file: write `head`, the file, `tail`.
#[derive(Clone, Debug)]
pub struct FormWriter {
    boundary: String,
    head: Bytes,
    tail: Bytes,
    length: u64,
}

/// The file of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormFile<'a> {
    /// The field's name: `image` or `audio`.
    pub name: &'a str,
    pub file_name: &'a str,
    pub length: u64,
}

// === impl BadForm ===

impl BadForm {
    /// The form broke a limit rather than a rule.
    pub fn is_limit(&self) -> bool {
        match self {
            BadForm::Multipart(bad) => bad.is_limit(),
            BadForm::FieldsTooLong | BadForm::FileTooLong(_) => true,
            _ => false,
        }
    }
}

// === impl FormReader ===

impl FormReader {
    /// `most_file` is the limit on the bytes of all files together.
    pub fn new(content_type: &str, most_file: u64) -> Result<FormReader, BadForm> {
        let boundary = form_boundary(content_type)?;
        let reader = Reader::new(&boundary, most_file.max(MOST_REQUEST as u64));
        Ok(FormReader { reader, part: Part::None, most_file, taken: 0, files: 0, failed: None })
    }

    pub fn feed(&mut self, chunk: Bytes) {
        self.reader.feed(chunk);
    }

    /// The next event; `None` when it takes another chunk. Not an iterator: after `None` come
    /// more events.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<FormEvent>, BadForm> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.step().inspect_err(|error| {
            self.part = Part::None;
            self.failed = Some(error.clone());
        })
    }

    fn step(&mut self) -> Result<Option<FormEvent>, BadForm> {
        while let Some(event) = self.reader.next()? {
            match (event, &mut self.part) {
                (Event::Part(head), _) => {
                    let name = head.parameter("name").filter(|name| (1..=MOST_NAME).contains(&name.len()));
                    let name = name.ok_or_else(|| BadForm::NoName(self.reader.parts()))?;
                    let Some(file_name) = head.parameter("filename").or_else(|| head.parameter("filename*")) else {
                        self.part = Part::Field { name, value: BytesMut::new() };
                        continue;
                    };
                    self.part = Part::File;
                    return Ok(Some(FormEvent::FileStart { name, file_name, content_type: head.content_type }));
                }
                (Event::Data(data), Part::Field { value, .. }) => {
                    self.taken += data.len();
                    if self.taken > MOST_REQUEST {
                        return Err(BadForm::FieldsTooLong);
                    }
                    value.extend_from_slice(&data);
                }
                (Event::Data(data), _) => {
                    self.files += data.len() as u64;
                    if self.files > self.most_file {
                        return Err(BadForm::FileTooLong(self.most_file));
                    }
                    return Ok(Some(FormEvent::FileData(data)));
                }
                (Event::PartEnd, part) => match std::mem::replace(part, Part::None) {
                    Part::Field { name, value } => {
                        let value = String::from_utf8(value.into()).map_err(|_| BadForm::NotUtf8(name.clone()))?;
                        return Ok(Some(FormEvent::Field { name, value }));
                    }
                    _ => return Ok(Some(FormEvent::FileEnd)),
                },
                (Event::End, _) => return Ok(Some(FormEvent::End)),
            }
        }
        Ok(None)
    }

    /// The body ended: an error unless the closing boundary was seen.
    pub fn finish(self) -> Result<(), BadForm> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.reader.finish()?),
        }
    }
}

// === impl FormWriter ===

impl FormWriter {
    /// `chance` makes the boundary. The file goes first, as a stock program writes it.
    pub fn new(chance: u128, file: Option<FormFile<'_>>, fields: &[(&str, String)]) -> FormWriter {
        let boundary = format!("{chance:032x}");
        let (mut head, mut tail) = (String::new(), String::new());
        if let Some(FormFile { name, file_name, .. }) = file {
            let (name, file_name) = (escaped(name), escaped(file_name));
            head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
                 Content-Type: {OCTETS_TYPE}\r\n\r\n"
            );
        }
        for (n, (name, value)) in fields.iter().enumerate() {
            let before = if n == 0 && file.is_none() { "" } else { "\r\n" };
            let name = escaped(name);
            tail.push_str(&format!(
                "{before}--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}"
            ));
        }
        tail.push_str(&format!("\r\n--{boundary}--\r\n"));
        let length = (head.len() + tail.len()) as u64 + file.map_or(0, |file| file.length);
        FormWriter { boundary, head: head.into(), tail: tail.into(), length }
    }

    pub fn content_type(&self) -> String {
        format!("{FORM_TYPE}; boundary={}", self.boundary)
    }

    /// Bytes of the whole body.
    pub fn content_length(&self) -> u64 {
        self.length
    }

    /// What stands before the bytes of the file.
    pub fn head(&self) -> Bytes {
        self.head.clone()
    }

    /// What stands behind them: the fields.
    pub fn tail(&self) -> Bytes {
        self.tail.clone()
    }
}

fn escaped(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    plain.replace('\\', "\\\\").replace('"', "\\\"")
}
