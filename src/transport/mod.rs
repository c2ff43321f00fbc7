//! Sockets and TLS; has never heard of a job.
mod ahead;
pub mod client;
pub mod conn;
mod door;
pub mod limits;
mod meter;
pub mod serve;
pub mod tasks;
pub mod tls;

pub use conn::ConnectionInfo;
pub use limits::EdgeLimits;
pub use tasks::Tasks;

#[cfg(test)]
mod tests;

/// Any body that goes out.
pub type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A short body.
pub fn full(bytes: impl Into<bytes::Bytes>) -> Body {
    use http_body_util::BodyExt;
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
