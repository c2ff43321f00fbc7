//! What TLS alone costs: the cipher on records of 16 KiB, and rustls from buffer to buffer.
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;

use openpool_proxy::transport::tls::ServerTls;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
    PrefixedPayload,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, ContentType, ProtocolVersion, RootCertStore, ServerConnection};

use super::rig::now;

/// Plain bytes of a full record.
const RECORD: usize = 16 << 10;
const ROUNDS: usize = 200;

/// Milliseconds for one segment's bytes: half of them encrypted, half decrypted.
pub struct Floor {
    pub bytes: usize,
    pub suite: String,
    pub cipher_ms: f64,
    pub rustls_ms: f64,
}

// === impl Floor ===

impl Floor {
    pub fn print(&self) {
        println!("floor for {} bytes (half encrypted, half decrypted), {}:", self.bytes, self.suite);
        for (what, ms) in [("AES-GCM alone", self.cipher_ms), ("rustls in memory", self.rustls_ms)] {
            println!("  {what:<18} {ms:>6.2} ms ({:.2} GB/s)", self.bytes as f64 / ms / 1e6);
        }
    }
}

/// Measures both on this machine now; the best of some rounds, since others share it.
pub fn floor(bytes: usize) -> Floor {
    let (mut client, mut server) = pair();
    let suite = client.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    let half = bytes / 2;
    let plain = vec![0x47; RECORD];
    let mut cipher_ms = f64::INFINITY;
    let (mut encrypt, mut decrypt) = keys();
    let mut sequence = 0;
    for _ in 0..ROUNDS {
        let begun = now();
        for _ in 0..half / RECORD {
            let mut sealed = seal(&mut *encrypt, &plain, sequence);
            black_box(open(&mut *decrypt, sealed.as_mut(), sequence));
            sequence += 1;
        }
        cipher_ms = cipher_ms.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    let mut rustls_ms = f64::INFINITY;
    let (mut wire, mut read) = (Vec::with_capacity(RECORD * 2), vec![0; RECORD]);
    for _ in 0..ROUNDS {
        let begun = now();
        for _ in 0..half / RECORD {
            server.writer().write_all(&plain).expect("room");
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("a record");
            }
            pour(&mut client, &wire, &mut read);
        }
        rustls_ms = rustls_ms.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    Floor { bytes, suite, cipher_ms, rustls_ms }
}

fn keys() -> (Box<dyn MessageEncrypter>, Box<dyn MessageDecrypter>) {
    let suite = ring::cipher_suite::TLS13_AES_256_GCM_SHA384.tls13().expect("a suite of TLS 1.3");
    let key = || AeadKey::from([7; 32]);
    (suite.aead_alg.encrypter(key(), Iv::from([9; 12])), suite.aead_alg.decrypter(key(), Iv::from([9; 12])))
}

fn seal(encrypt: &mut dyn MessageEncrypter, plain: &[u8], sequence: u64) -> PrefixedPayload {
    let message = OutboundPlainMessage {
        typ: ContentType::ApplicationData,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(plain),
    };
    encrypt.encrypt(message, sequence).expect("a sealed record").payload
}

fn open(decrypt: &mut dyn MessageDecrypter, sealed: &mut [u8], sequence: u64) -> usize {
    let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, sealed);
    decrypt.decrypt(message, sequence).expect("an opened record").payload.len()
}

fn pour(client: &mut ClientConnection, mut wire: &[u8], read: &mut [u8]) {
    while !wire.is_empty() {
        client.read_tls(&mut wire).expect("bytes");
        client.process_new_packets().expect("records");
        while let Ok(bytes) = client.reader().read(read)
            && bytes > 0
        {
            black_box(&read[..bytes]);
        }
    }
}

/// A connection in memory, handshake done.
fn pair() -> (ClientConnection, ServerConnection) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tls = ServerTls::kept_in(folder.path()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    let pem = folder.path().join(openpool_proxy::transport::tls::CERTIFICATE_FILE);
    let certificate = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_file(pem);
    roots.add(certificate.expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("client");
    let mut server = ServerConnection::new(tls.config.clone()).expect("server");
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("bytes");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("bytes");
            server.process_new_packets().expect("a handshake");
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("bytes");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("bytes");
            client.process_new_packets().expect("a handshake");
        }
    }
    (client, server)
}
