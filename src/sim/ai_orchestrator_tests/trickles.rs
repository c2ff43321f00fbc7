//! Trickle over the wire and by the gateway's helpers.
use super::trickle::{Follower, Read};
use super::*;

async fn ask(
    orchestrator: &SimOrchestrator,
    method: &str,
    path: &str,
    body: &'static str,
) -> (u16, http::HeaderMap, Bytes) {
    let uri = format!("/ai/trickle/{path}");
    let request = http::Request::builder().method(method).uri(uri).body(whole(body)).unwrap();
    let (status, headers, body) = send(orchestrator.address(), request).await;
    (status.as_u16(), headers, body)
}

fn text<'a>(headers: &'a http::HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_count_from_zero_and_five_are_kept() {
    let orchestrator = orchestrator(|_| {}).await;
    let o = &orchestrator;
    assert_eq!(ask(o, "POST", "a/0", "x").await.0, 404);
    assert_eq!(ask(o, "POST", "a/0", "x").await.1["connection"], "close");
    assert_eq!(ask(o, "DELETE", "a", "").await.0, 400);
    let channel = o.ai().trickle().open("a", "video/MP2T").unwrap();
    for n in 0..7 {
        let (status, headers, _) = ask(o, "POST", "a/-1", "data").await;
        assert_eq!((status, headers["lp-trickle-seq"].to_str().unwrap()), (200, n.to_string().as_str()));
    }
    let (status, headers, body) = ask(o, "GET", "a/-2", "").await;
    assert_eq!((status, &body[..]), (200, &b"data"[..]));
    assert_eq!(
        (text(&headers, "lp-trickle-seq"), text(&headers, "lp-trickle-latest"), text(&headers, "content-type")),
        ("6", "7", "video/MP2T")
    );
    for (old, wanted) in [(1, 470), (2, 200), (6, 200), (8, 470)] {
        let (status, headers, _) = ask(o, "GET", &format!("a/{old}"), "").await;
        assert_eq!((status, text(&headers, "lp-trickle-latest")), (wanted, "7"), "{old}");
    }
    let (status, headers, body) = ask(o, "GET", "a/next", "").await;
    assert_eq!((status, text(&headers, "lp-trickle-latest"), &body[..]), (200, "7", &b"7"[..]));
    // Nothing was written: its number is used up.
    assert_eq!(ask(o, "POST", "a/7", "").await.0, 200);
    assert_eq!(channel.latest(), 8);
    assert_eq!(ask(o, "DELETE", "a/7", "").await.0, 200);
    assert_eq!(ask(o, "DELETE", "a/99", "").await.0, 400);
    assert_eq!((ask(o, "DELETE", "a", "").await.0, ask(o, "GET", "a/0", "").await.0), (200, 404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_get_a_segment_while_it_is_written_and_the_end_of_the_channel() {
    let orchestrator = orchestrator(|_| {}).await;
    let o = &orchestrator;
    let channel = o.ai().trickle().open("b", "video/MP2T").unwrap();
    let (pieces, body) = streamed();
    let request = http::Request::post("/ai/trickle/b/0").body(body).unwrap();
    let write = send(o.address(), request);
    let read = channel.read(0);
    let feed = async {
        pieces.send("one".into()).await.unwrap();
        until("begun", || channel.latest() == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        pieces.send("two".into()).await.unwrap();
        drop(pieces);
    };
    let (_, read, ()) = tokio::join!(write, read, feed);
    let Read::Segment(segment) = read else { panic!("{read:?}") };
    assert_eq!(&segment.body[..], b"onetwo");
    assert!(segment.last - segment.first >= Duration::from_millis(50));
    // A waiting writer and a waiting reader are woken by the end of the channel.
    let (open, body) = streamed();
    let waiting = send(o.address(), http::Request::post("/ai/trickle/b/1").body(body).unwrap());
    let end = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(o.ai().trickle().close("b"));
    };
    let mut follower = Follower::new(channel.clone(), 1);
    let ((status, headers, _), got, (reader, ..), ()) =
        tokio::join!(waiting, follower.next(), ask(o, "GET", "b/1", ""), end);
    assert_eq!((status.as_u16(), headers["lp-trickle-closed"].to_str().unwrap()), (200, "terminated"));
    assert_eq!((got, reader), (None, 200));
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_jumps_and_idle_channels_close() {
    let orchestrator = orchestrator(|plan| plan.trickle_idle = Duration::from_millis(200)).await;
    let channel = orchestrator.ai().trickle().open("c", "video/MP2T").unwrap();
    for n in 0..9u8 {
        channel.publish(Bytes::from(vec![n]));
    }
    let mut follower = Follower::new(channel.clone(), 0);
    let mut writer = channel.begin();
    writer.write(Bytes::from_static(b"nine"));
    drop(writer);
    let segment = follower.next();
    // 0 is gone: it goes on at the newest, which is yet to be written.
    let later = async { channel.publish(Bytes::from_static(b"ten")) };
    let (segment, number) = tokio::join!(segment, later);
    assert_eq!((segment.unwrap().number, number, follower.missed), (10, 10, 10));
    until("swept", || channel.closed()).await;
    assert_eq!(follower.next().await, None);
}
