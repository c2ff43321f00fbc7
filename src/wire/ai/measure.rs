//! What a file is charged by: a picture's size from its first bytes.
use std::io::ErrorKind::UnexpectedEof;

use imagesize::{ImageError, ImageType};

/// Bytes of a picture's beginning within which its size must stand: pictures carry whole
/// thumbnails and colour profiles before it.
pub const MOST_IMAGE_HEAD: usize = 1 << 20;

/// A picture's size, as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    Size(u32, u32),
    /// It may be a picture; more bytes will tell.
    More,
    /// No PNG, JPEG, GIF or WebP.
    NotAnImage,
}

/// What is known of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMeasure {
    Image { width: u32, height: u32 },
    Audio { ms: u64 },
}

pub fn image_size(head: &[u8]) -> ImageSize {
    let head = &head[..head.len().min(MOST_IMAGE_HEAD)];
    match imagesize::image_type(head) {
        Ok(ImageType::Png | ImageType::Jpeg | ImageType::Gif | ImageType::Webp) => {}
        _ if head.len() < 16 => return ImageSize::More,
        _ => return ImageSize::NotAnImage,
    }
    let side = |length: usize| u32::try_from(length).ok().filter(|length| (1..=1 << 20).contains(length));
    match imagesize::blob_size(head) {
        Ok(size) => match (side(size.width), side(size.height)) {
            (Some(width), Some(height)) => ImageSize::Size(width, height),
            _ => ImageSize::NotAnImage,
        },
        Err(ImageError::IoError(error)) if error.kind() == UnexpectedEof && head.len() < MOST_IMAGE_HEAD => {
            ImageSize::More
        }
        Err(_) => ImageSize::NotAnImage,
    }
}
