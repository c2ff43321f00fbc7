//! What a form costs, told from its bytes as they pass to a runner.
use bytes::Bytes;

use crate::domain::ai::Pipeline;
use crate::wire::ai::{
    FileMeasure, FormEvent, FormReader, ImageSize, MOST_IMAGE_HEAD, charge, form_to_request, image_size,
};

/// Reads along. It never fails: what cannot be read costs nothing, and its runner refuses it.
pub(super) struct FormMeter {
    pipeline: Pipeline,
    content_type: String,
    most: u64,
    reader: Option<FormReader>,
    fields: Vec<(String, String)>,
    /// The picture's first bytes, until its size is known.
    head: Vec<u8>,
    size: ImageSize,
}

/// Fields that are kept, and bytes of one.
const MOST_FIELDS: usize = 64;

// === impl FormMeter ===

impl FormMeter {
    pub(super) fn new(pipeline: Pipeline, content_type: &str, most: u64) -> FormMeter {
        let reader = FormReader::new(content_type, most).ok();
        let (fields, head) = (Vec::new(), Vec::new());
        FormMeter { pipeline, content_type: content_type.to_owned(), most, reader, fields, head, size: ImageSize::More }
    }

    /// For the same form, which is sent once more.
    pub(super) fn again(&self) -> FormMeter {
        FormMeter::new(self.pipeline, &self.content_type, self.most)
    }

    pub(super) fn feed(&mut self, chunk: Bytes) {
        let Some(reader) = &mut self.reader else { return };
        reader.feed(chunk);
        loop {
            match reader.next() {
                Ok(Some(FormEvent::FileData(data))) if self.size == ImageSize::More => {
                    let room = MOST_IMAGE_HEAD - self.head.len().min(MOST_IMAGE_HEAD);
                    self.head.extend_from_slice(&data[..data.len().min(room)]);
                    self.size = image_size(&self.head);
                }
                Ok(Some(FormEvent::Field { name, value })) if self.fields.len() < MOST_FIELDS => {
                    self.fields.push((name, value));
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.reader = None;
                    return;
                }
            }
        }
    }

    /// The units that an orchestrator charges; None when the form cannot be read.
    pub(super) fn units(&self) -> Option<u64> {
        let request = form_to_request(self.pipeline, &self.fields).ok()?;
        let file = match self.size {
            ImageSize::Size(width, height) => Some(FileMeasure::Image { width, height }),
            _ => None,
        };
        charge(self.pipeline, &request, file).ok()
    }
}
