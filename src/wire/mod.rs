//! What bytes mean: go-livepeer's messages, headers, multipart bodies and media.
pub mod ai;
pub mod headers;
pub mod media;
pub mod messages;
pub mod multipart;
