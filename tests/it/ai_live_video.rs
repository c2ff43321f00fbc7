//! Live video through the pool: what is published comes out, whoever works at it.
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::ai::{ModelKey, ModelOffer, Pipeline};
use openpool_proxy::domain::money::{BasisPoints, Price};
use openpool_proxy::planes::runner::runners::{CareConfig, RunnerWorker};
use openpool_proxy::planes::runner::{LiveLimits, RunnerConfig};
use openpool_proxy::sim::ai_client::{LiveVideo, RunnerEntry};
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::runner::{LivePlan, RunnerPlan, SimRunner};
use openpool_proxy::sim::trickle::{Channel, Follower, Received};
use openpool_proxy::state::store::ledger::{By, Range, report};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bed::{Bed, until};

mod peers;

use peers::{ask, old_orchestrator, open, yes};

const MODEL: &str = "comfyui";
const SECOND: u64 = 1280 * 720 * 30;
/// Pieces of a segment, and the time between them.
const PIECES: usize = 5;
const GAP: Duration = Duration::from_millis(100);

fn runner(name: &str) -> SimRunner {
    let live = LivePlan { append: Bytes::from_static(b"!"), events: Duration::from_millis(300) };
    let plan = RunnerPlan { live, ..RunnerPlan::new(name).with(Pipeline::LiveVideoToVideo, MODEL, 1) };
    SimRunner::start(plan).unwrap()
}

/// A pool with these runners, and one orchestrator whose `aiModels.json` names it.
async fn pool(runners: &[(&str, SocketAddr)], change: impl FnOnce(&mut LiveLimits)) -> Bed {
    let runners = runners.iter().map(|(name, address)| RunnerWorker {
        name: (*name).into(),
        url: format!("http://{address}").parse().unwrap(),
        token: None,
        address: None,
        region: None,
        pin: None,
        health: "/health".into(),
        models: vec![ModelOffer {
            key: ModelKey::new(Pipeline::LiveVideoToVideo, MODEL),
            capacity: 1,
            warm: true,
            version: String::new(),
        }],
    });
    let runners: Vec<RunnerWorker> = runners.collect();
    let known = runners.len();
    let bed = Bed::new(1, |settings| {
        // Whole pixels, one wei each: what a worker is paid is what it did.
        settings.rules.ai.price = Price { wei: 1, units: 1 };
        settings.rules.commission = BasisPoints::new(0).unwrap();
        let plane = &mut settings.runner;
        let mut port = RunnerConfig { listen: ([127, 0, 0, 1], 0).into(), threads: 2, ..RunnerConfig::default() };
        // Long waits are usual on channels, whatever is allowed elsewhere.
        port.limits.body_gap = Duration::from_millis(700);
        plane.port = Some(port);
        plane.care = CareConfig { health_every: Duration::from_millis(500), ..CareConfig::default() };
        plane.runners = runners;
        change(&mut plane.live);
    })
    .await;
    let capacity = || bed.app().pool.ai_models().iter().map(|offer| offer.capacity).sum::<u32>() as usize;
    until("every runner has its seat", || capacity() == known).await;
    let entry = RunnerEntry {
        pipeline: Pipeline::LiveVideoToVideo,
        model: MODEL.into(),
        url: format!("http://{}", bed.app().runner_addr.unwrap()),
        token: None,
        capacity: 1,
    };
    bed.orchestrators[0].ai().warm(entry).await.unwrap();
    bed
}

async fn start(bed: &Bed) -> LiveVideo {
    bed.orchestrators[0].ai().live_video(MODEL, json!({"prompt": "a"})).await.unwrap()
}

/// All that comes out of a channel.
fn collect(channel: &Arc<Channel>) -> JoinHandle<Vec<Received>> {
    let mut follower = Follower::new(channel.clone(), 0);
    #[expect(clippy::disallowed_methods, reason = "a test has no task set")]
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(segment) = follower.next().await {
            all.push(segment);
        }
        all
    })
}

fn body(number: usize) -> String {
    (0..PIECES).map(|piece| format!("{number:04}.{piece} ")).collect()
}

/// One segment, piece by piece, in half a second; when its last piece went.
async fn publish(video: &LiveVideo, number: usize) -> Instant {
    let mut writer = video.input.begin();
    for piece in 0..PIECES {
        if piece > 0 {
            sleep(GAP).await;
        }
        writer.write(format!("{number:04}.{piece} ").into());
    }
    let last = Instant::now();
    sleep(GAP).await;
    last
}

/// Ends a video when its orchestrator's clock is in the middle of a second; its units.
async fn end(video: &LiveVideo, began: Instant) -> u64 {
    let into = began.elapsed().subsec_millis();
    sleep(Duration::from_millis(u64::from((1500 - into) % 1000))).await;
    video.end();
    video.units()
}

/// What each worker was paid, in seconds, and the jobs of each.
fn paid(data: &Path) -> Vec<(String, u64, u64)> {
    let rows = report(&data.join("ledger.db"), By::Worker, Range::default()).unwrap();
    let seconds = |row: &str| {
        let units: u64 = row.parse().unwrap();
        assert_eq!(units % SECOND, 0, "{row}");
        units / SECOND
    };
    rows.into_iter().map(|row| (row.key, row.ai_jobs, seconds(&row.gross.to_string()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_segment_comes_out_while_it_goes_in_and_seconds_are_paid() {
    let a = runner("a");
    let mut bed = pool(&[("a", a.address())], |_| {}).await;
    let began = Instant::now();
    let video = start(&bed).await;
    let out = collect(&video.output);
    let events = collect(&video.events);
    let mut written = Vec::new();
    for number in 0..11 {
        written.push(publish(&video, number).await);
        if number == 3 {
            video.keep_alive();
        }
        if number == 5 {
            video.control.publish(r#"{"prompt":"b"}"#.into());
        }
    }
    until("all are out", || video.output.latest() >= 11).await;
    let units = end(&video, began).await;
    let out = out.await.unwrap();
    let bodies: Vec<_> = out.iter().map(|segment| segment.body.clone()).collect();
    let wanted: Vec<_> = (0..11).map(|number| Bytes::from(format!("{}!", body(number)))).collect();
    assert_eq!(bodies, wanted);
    // Streamed: its first byte was out before its last was in.
    let early = out.iter().zip(&written).filter(|(out, written)| out.first < **written).count();
    assert!(early >= 9, "{early} of 11");
    let seen = a.counters();
    assert_eq!((seen.keepalives, seen.last_params.as_deref()), (1, Some(r#"{"prompt":"b"}"#)));
    assert!(events.await.unwrap().len() >= 10);
    until("the runner heard of the end", || a.counters().live_ended == 1 && a.counters().live_running == 0).await;
    until("the pool, too", || bed.app().pool.view().jobs == 0).await;
    bed.stop().await;
    assert_eq!(paid(&bed.settings.data), [("a".to_owned(), 1, units / SECOND)]);
    assert_eq!(units / SECOND, 6);
    let books = bed.books().await;
    assert_eq!((books.posted, books.pending, books.in_doubt_total), (1, 0, 0));
}

/// A worker is killed in the middle: another goes on. `segments` of half a second each.
async fn with_a_loss(segments: usize, at: usize) {
    let (a, b) = (runner("a"), runner("b"));
    let mut bed = pool(&[("a", a.address()), ("b", b.address())], |_| {}).await;
    let began = Instant::now();
    let video = start(&bed).await;
    let out = collect(&video.output);
    let events = collect(&video.events);
    until("somebody works", || a.counters().live_running + b.counters().live_running == 1).await;
    let (first, second) = if a.counters().live_running == 1 { (&a, &b) } else { (&b, &a) };
    let mut killed = None;
    for number in 0..segments {
        if number == 2 {
            video.control.publish(r#"{"prompt":"b"}"#.into());
        }
        if number == at {
            until("it works", || video.output.latest() >= at as i64 - 2).await;
            first.stop().await;
            killed = Some(Instant::now());
        }
        publish(&video, number).await;
        if number % 20 == 19 {
            video.keep_alive();
        }
    }
    let killed = killed.unwrap();
    until("all that was read is out", || second.counters().live_running == 1).await;
    sleep(GAP * 5).await;
    let units = end(&video, began).await;
    let out = out.await.unwrap();
    let back = out.iter().find(|segment| segment.first > killed).unwrap();
    assert!(back.first - killed < Duration::from_secs(4), "{:?}", back.first - killed);
    // In order, and whole but for what broke off; only what passed during the change is missing.
    let number = |segment: &Received| String::from_utf8_lossy(&segment.body[..4]).parse::<usize>().unwrap();
    let whole: Vec<usize> = out
        .iter()
        .filter(|segment| segment.body.ends_with(b"!"))
        .map(|segment| {
            let number = number(segment);
            assert_eq!(segment.body, format!("{}!", body(number)));
            number
        })
        .collect();
    assert!(whole.is_sorted(), "{whole:?}");
    eprintln!("back after {:?}, {} of {segments} segments missing", back.first - killed, segments - whole.len());
    assert!(out.len() - whole.len() <= 2, "{} of {}", whole.len(), out.len());
    assert!(whole.len() + 6 >= segments && whole.last() == Some(&(segments - 1)), "{whole:?}");
    let events = events.await.unwrap();
    let silent = events.windows(2).map(|two| two[1].first - two[0].last).max().unwrap();
    assert!(silent < Duration::from_secs(5), "{silent:?}");
    until("the second heard of the end", || second.counters().live_running == 0).await;
    bed.stop().await;
    let paid = paid(&bed.settings.data);
    let of = |runner: &SimRunner| paid.iter().find(|(name, ..)| *name == runner.plan().name).unwrap().2;
    let (total, ours) = (units / SECOND, of(first) + of(second));
    assert!(ours <= total && total - ours <= 4, "{paid:?} of {total}");
    let died = (killed - began).as_secs();
    assert!((died.saturating_sub(1)..=died).contains(&of(first)), "{paid:?}, killed after {died} s");
    let books = bed.books().await;
    assert_eq!((books.posted, books.pending, books.in_doubt_total), (2, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_goes_on_where_one_is_lost() {
    with_a_loss(16, 6).await;
}

/// `cargo test --test it sixty_seconds -- --ignored`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn sixty_seconds_with_a_loss_in_the_middle() {
    with_a_loss(120, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orchestrators_end_ends_the_video() {
    let a = runner("a");
    let mut bed = pool(&[("a", a.address())], |_| {}).await;
    let video = start(&bed).await;
    for number in 0..3 {
        publish(&video, number).await;
    }
    bed.orchestrators[0].stop().await;
    until("the runner heard of it", || a.counters().live_running == 0).await;
    bed.stop().await;
    let paid = paid(&bed.settings.data);
    assert!(paid.len() == 1 && (1..=6).contains(&paid[0].2), "{paid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_there_is_room_for_and_none_without_a_worker() {
    let a = runner("a");
    let bed = pool(&[("a", a.address())], |limits| limits.jobs = 1).await;
    let orchestrator = &bed.orchestrators[0];
    let video = start(&bed).await;
    match orchestrator.ai().live_video(MODEL, Value::Null).await {
        Err(AiFate::Error(words)) => assert!(words.contains("1 live videos are at work"), "{words}"),
        _ => panic!("it should have been refused"),
    }
    assert_eq!(orchestrator.ai().counters().panics, 0);
    video.end();
    until("it is over", || a.counters().live_running == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_cannot_be_guessed_and_do_what_they_are_for() {
    let (address, mut asked) = yes().await;
    let bed = pool(&[("yes", address)], |limits| {
        limits.quiet = Duration::from_secs(2);
        limits.succeed_within = Duration::from_secs(1);
    })
    .await;
    let video = start(&bed).await;
    let given = asked.recv().await.unwrap();
    let url = |key: &str| given[key].as_str().unwrap().to_owned();
    let (input, output) = (url("subscribe_url"), url("publish_url"));
    let (control, events) = (url("control_url"), url("events_url"));
    assert_eq!((&given["params"], &given["model_id"]), (&json!({"prompt": "a"}), &json!(MODEL)));
    assert!(!given.to_string().contains(&bed.orchestrators[0].address().to_string()), "{given}");
    let name = input.rsplit_once('/').unwrap().1;
    assert!(name.len() >= 32 && !input.contains(&video.id), "{input}");
    let (end, none) = ("\r\n", "Content-Length: 0\r\n\r\n");
    let some = "Content-Length: 4\r\nExpect: 100-continue\r\n\r\ndata";
    // Names: of others, of ends that there are none of, of nobody.
    let base = input.rsplit_once('/').unwrap().0;
    for wrong in [format!("{base}/{}", video.id), format!("{base}/{:032x}-in", 5), format!("{input}x"), base.into()] {
        let answer = ask("GET", &format!("{wrong}/0"), end).await;
        assert!(answer.starts_with("http/1.1 404") && answer.contains("connection: close"), "{wrong}: {answer}");
    }
    // An open body is not waited for.
    let unended = "Transfer-Encoding: chunked\r\n\r\n";
    assert!(ask("POST", &format!("{base}/nobody-out/0"), unended).await.starts_with("http/1.1 404"));
    // Roles.
    for (method, wrong) in [
        ("POST", format!("{input}/0")),
        ("POST", format!("{control}/0")),
        ("DELETE", input.clone()),
        ("DELETE", control.clone()),
        ("GET", format!("{output}/0")),
        ("GET", format!("{events}/-2")),
        ("PUT", format!("{output}/0")),
        ("GET", format!("{input}/../{}", video.id)),
        ("GET", format!("{input}/0/1")),
    ] {
        let answer = ask(method, &wrong, none).await;
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        assert!(["405", "404"].contains(&status.as_str()), "{method} {wrong}: {answer}");
    }
    // What they are for, headers and statuses unchanged.
    let answer = ask("GET", &format!("{output}/next"), end).await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("lp-trickle-latest: 0"), "{answer}");
    let answer = ask("POST", &format!("{output}/0"), some).await;
    assert!(answer.contains("http/1.1 100") && answer.contains("http/1.1 200"), "{answer}");
    assert!(answer.contains("lp-trickle-seq: 0"), "{answer}");
    assert_eq!(video.output.latest(), 1);
    video.input.publish("in".into());
    let answer = ask("GET", &format!("{input}/-2"), end).await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("lp-trickle-seq: 0"), "{answer}");
    assert!(answer.contains("video/mp2t") && answer.contains("in"), "{answer}");
    let answer = ask("GET", &format!("{input}/7"), end).await;
    assert!(answer.starts_with("http/1.1 470") && answer.contains("lp-trickle-latest: 1"), "{answer}");
    // A writer that waits for what is not coming is told so, and not kept.
    let mut ahead = open("POST", &format!("{output}/1"), "").await;
    // Nobody is there to take its place: then the video ends, and its names with it.
    until("the orchestrator heard of it", || video.input.closed() && video.output.closed()).await;
    let answer = ask("GET", &format!("{input}/0"), end).await;
    assert!(answer.starts_with("http/1.1 404"), "{answer}");
    let mut told = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), ahead.read_to_string(&mut told)).await;
    assert!(read.is_ok() && told.to_lowercase().contains("lp-trickle-closed: terminated"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_is_replaced_and_cannot_write_any_more() {
    let ((one, mut asked_one), (two, mut asked_two)) = (yes().await, yes().await);
    let mut bed = pool(&[("one", one), ("two", two)], |limits| {
        limits.quiet = Duration::from_millis(1_500);
        limits.succeed_within = Duration::from_secs(1);
    })
    .await;
    let video = start(&bed).await;
    let out = collect(&video.output);
    let (given, first) = tokio::select! {
        given = asked_one.recv() => (given.unwrap(), "one"),
        given = asked_two.recv() => (given.unwrap(), "two"),
    };
    let url = |given: &Value, key: &str| given[key].as_str().unwrap().to_owned();
    let output = url(&given, "publish_url");
    // It works for a second, has a segment half written and the next one open, and falls silent.
    let whole = "Content-Length: 4\r\n\r\n";
    assert!(ask("POST", &format!("{output}/0"), &format!("{whole}zero")).await.starts_with("http/1.1 200"));
    video.control.publish(r#"{"prompt":"b"}"#.into());
    let control = ask("GET", &format!("{}/-2", url(&given, "control_url")), "\r\n").await;
    assert!(control.contains(r#"{"prompt":"b"}"#), "{control}");
    sleep(Duration::from_secs(1)).await;
    let half = open("POST", &format!("{output}/1"), "4\r\nhalf\r\n").await;
    let mut ahead = open("POST", &format!("{output}/2"), "").await;
    let after = if first == "one" { asked_two.recv() } else { asked_one.recv() };
    let after = tokio::time::timeout(Duration::from_secs(5), after).await.unwrap().unwrap();
    assert_eq!(after["params"], json!({"prompt": "b"}));
    // The one before it is locked out.
    let _ = ahead.write_all(b"3\r\nbad\r\n0\r\n\r\n").await;
    assert_eq!(ahead.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(ask("POST", &format!("{output}/2"), &format!("{whole}evil")).await.starts_with("http/1.1 404"));
    // Its successor counts from 0, and goes on behind it.
    let output = url(&after, "publish_url");
    let next = ask("GET", &format!("{output}/next"), "\r\n").await;
    assert!(next.contains("lp-trickle-latest: 0") && next.trim_end().ends_with('0'), "{next}");
    let answer = ask("POST", &format!("{output}/0"), &format!("{whole}more")).await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("lp-trickle-seq: 0"), "{answer}");
    assert_eq!(video.output.latest(), 3);
    sleep(Duration::from_millis(1_100)).await;
    let answer = ask("POST", &format!("{output}/1"), &format!("{whole}last")).await;
    assert!(answer.contains("lp-trickle-seq: 1"), "{answer}");
    // That it stops is its own affair; with nobody left the video ends.
    assert!(ask("DELETE", &output, "\r\n").await.starts_with("http/1.1 200"));
    let out = out.await.unwrap();
    let seen: Vec<_> = out.iter().map(|s| (s.number, &s.body[..])).collect();
    assert_eq!(seen, [(0, &b"zero"[..]), (1, b"half"), (2, b"more"), (3, b"last")]);
    until("all channels are closed", || video.input.closed() && video.events.closed()).await;
    drop(half);
    bed.stop().await;
    let paid = paid(&bed.settings.data);
    assert!(paid.len() == 2 && paid.iter().all(|(_, jobs, seconds)| (*jobs, *seconds) == (1, 1)), "{paid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_ours_ends_the_video_at_once_and_pays_it() {
    let a = runner("a");
    let mut bed = pool(&[("a", a.address())], |_| {}).await;
    let video = start(&bed).await;
    for number in 0..4 {
        publish(&video, number).await;
    }
    let stopped = Instant::now();
    bed.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
    assert!(video.input.closed() && video.events.closed());
    let paid = paid(&bed.settings.data);
    assert!(paid.len() == 1 && (2..=3).contains(&paid[0].2), "{paid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_an_older_orchestrator_the_next_worker_finds_its_number_too() {
    let ((one, mut asked_one), (two, mut asked_two)) = (yes().await, yes().await);
    let (orchestrator, seen) = old_orchestrator().await;
    let bed = pool(&[("one", one), ("two", two)], |limits| limits.quiet = Duration::from_secs(1)).await;
    let channel = |end: &str| format!("http://{orchestrator}/ai/trickle/ab12cd34{end}");
    let request = json!({
        "subscribe_url": channel(""), "publish_url": channel("-out"), "control_url": channel("-control"),
        "events_url": channel("-events"), "model_id": MODEL,
    })
    .to_string();
    let url = format!("http://{}/live-video-to-video", bed.app().runner_addr.unwrap());
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{request}", request.len());
    let started = ask("POST", &url, &more).await;
    assert!(started.starts_with("http/1.1 200") && started.contains("application/json"), "{started}");
    let (given, first) = tokio::select! {
        given = asked_one.recv() => (given.unwrap(), true),
        given = asked_two.recv() => (given.unwrap(), false),
    };
    let whole = "Content-Length: 4\r\n\r\ndata";
    for number in 0..2 {
        let answer = ask("POST", &format!("{}/{number}", given["publish_url"].as_str().unwrap()), whole).await;
        assert!(answer.contains("http/1.1 100") && answer.contains("http/1.1 200"), "{answer}");
    }
    let next = if first { asked_two.recv() } else { asked_one.recv() };
    let next = tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap();
    for number in 0..2 {
        ask("POST", &format!("{}/{number}", next["publish_url"].as_str().unwrap()), whole).await;
    }
    let posts: Vec<_> = seen.lock().iter().filter(|(line, _)| line.starts_with("post")).cloned().collect();
    let path = |number: usize| format!("post /ai/trickle/ab12cd34-out/{number}");
    assert_eq!(posts, [(path(0), false), (path(1), false), (path(2), true), (path(3), false)]);
}
