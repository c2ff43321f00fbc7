//! HTTP/2 floods, frame by frame: GOAWAY and closed within a second.
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GET, https, `/`, authority `x`, by HPACK's static table.
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
/// The same as a POST.
const POST: &[u8] = &[0x83, 0x87, 0x84, 0x41, 0x01, b'x'];
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends `flood` after a handshake; the kinds of frames that came back, and how long the
/// connection lived on.
async fn flood(flood: &[u8]) -> (Vec<u8>, Duration) {
    let served = start(EdgeLimits::default()).await;
    let mut stream = tls(served.address, "h2").await;
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let began = Instant::now();
    let sending = async {
        // Refused in the middle when the other side is done with us.
        let _ = write.write_all(flood).await;
        let _ = write.flush().await;
    };
    let mut all = Vec::new();
    let reading = async {
        let _ = timeout(3 * SECOND, read.read_to_end(&mut all)).await;
    };
    tokio::join!(sending, reading);
    let lived = began.elapsed();
    let mut kinds = Vec::new();
    let mut rest = &all[..];
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = payload.get(length..).unwrap_or_default();
    }
    (kinds, lived)
}

#[track_caller]
fn ended((kinds, lived): (Vec<u8>, Duration)) {
    assert!(lived < SECOND, "lived on for {lived:?}");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[tokio::test]
async fn pings() {
    ended(flood(&frame(6, 0, 0, &[0; 8]).repeat(2_000)).await);
}

#[tokio::test]
async fn fewer_pings_are_answered() {
    let (kinds, lived) = flood(&frame(6, 0, 0, &[0; 8]).repeat(300)).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == 6).count(), 300);
    assert!(!kinds.contains(&GOAWAY) && lived > 2 * SECOND);
}

#[tokio::test]
async fn settings() {
    ended(flood(&frame(4, 0, 0, &[]).repeat(200)).await);
}

#[tokio::test]
async fn empty_data() {
    let mut bytes = frame(1, 4, 1, POST);
    bytes.extend(frame(0, 0, 1, &[]).repeat(3_000));
    ended(flood(&bytes).await);
}

#[tokio::test]
async fn window_updates() {
    ended(flood(&frame(8, 0, 0, &1u32.to_be_bytes()).repeat(8_000)).await);
}

#[tokio::test]
async fn resets() {
    let bytes: Vec<u8> = (0..300u32)
        .flat_map(|n| [frame(1, 5, 2 * n + 1, GET), frame(3, 0, 2 * n + 1, &8u32.to_be_bytes())].concat())
        .collect();
    ended(flood(&bytes).await);
}

#[tokio::test]
async fn continuations() {
    let mut bytes = frame(1, 0, 1, GET);
    bytes.extend(frame(9, 0, 1, &[]).repeat(5_000));
    ended(flood(&bytes).await);
}
