//! Streamed answers: each chunk at once, an end in any case.
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::domain::outcome::Failure;
use openpool_proxy::pool::ai::{AiVerdict, Road};
use openpool_proxy::sim::ai_orchestrator::AiFate;
use tokio::time::Instant;

use super::hand::*;
use crate::bed::until;

#[tokio::test(flavor = "multi_thread")]
async fn each_chunk_of_a_stream_goes_up_at_once() {
    let (bed, mut hand) = one(Pipeline::Llm).await;
    let work = async {
        let (asked, claim) = hand.next().await;
        assert!(asked.stream);
        let mut feed = claim.stream().unwrap();
        let mut sent = Vec::new();
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            sent.push(Instant::now());
            assert!(feed.chunk(chunk(&format!("w{n} "), (n == 19).then_some("stop"))).await);
            // Nothing may come of a chunk without a choice.
            assert!(feed.chunk(Bytes::from_static(b"{\"choices\":[]}")).await);
        }
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
        sent
    };
    let (fate, sent) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), work);
    let AiFate::Stream { chunks, ended, units } = fate else { panic!("{fate:?}") };
    assert_eq!((chunks.len(), ended, units), (20, true, 64));
    let said: String = chunks.iter().map(|c| c.json["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert!(said.starts_with("w0 w1 ") && said.ends_with("w19 "), "{said}");
    let mut late: Vec<Duration> = chunks.iter().zip(&sent).map(|(c, at)| c.at.duration_since(*at)).collect();
    late.sort();
    // Other tests share the machine: the middle one counts, and that none waited for its successor.
    assert!(late[10] < Duration::from_millis(5), "{late:?}");
    assert!(late[19] < Duration::from_millis(40), "{late:?}");
    until("counted", || ai_status(&bed).side.results_accepted == 1).await;
    let counters = bed.orchestrators[0].ai().counters();
    assert_eq!((counters.chunks_after_the_end, counters.bad_chunks, counters.panics), (0, 0, 0));
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_has_an_end_and_is_not_paid() {
    let (bed, mut hand) = one(Pipeline::Llm).await;
    let work = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("one ", None)).await && feed.chunk(chunk("two ", None)).await);
        feed.failed(Failure::BadUpload("cut".into())).await;
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), work);
    let AiFate::Stream { chunks, ended, .. } = fate else { panic!("{fate:?}") };
    assert!(ended, "{chunks:?}");
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[2].json["choices"][0]["finish_reason"], "length", "and nobody takes it for whole");
    let counters = bed.orchestrators[0].ai().counters();
    assert_eq!((counters.unfinished_streams, counters.panics), (0, 0));
    let books = bed.books().await;
    assert_eq!((books.posted, books.pending), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_chunk_a_broken_stream_goes_to_another_worker() {
    let (bed, mut bad) = one(Pipeline::Llm).await;
    let fails = async {
        let (_, claim) = bad.next().await;
        let mut good = Hand::join(&bed, "good", Road::Worker, &[(Pipeline::Llm, MODEL, 1)]);
        claim.stream().unwrap().failed(Failure::BadUpload("cut".into())).await;
        let (_, claim) = good.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("whole", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), fails);
    let AiFate::Stream { chunks, ended: true, .. } = fate else { panic!("{fate:?}") };
    assert_eq!(chunks[0].json["choices"][0]["delta"]["content"], "whole");
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_job_beyond_the_capacity_waits_for_its_turn() {
    let bed = bed(|_| {}, |_| {}).await;
    let mut hand = Hand::join(&bed, "rig", Road::Worker, &[(Pipeline::Llm, MODEL, 1)]);
    registered(&bed.orchestrators[0], 1).await;
    let second = async {
        // The orchestrator takes the slot for free as soon as the first stream has begun.
        until("the slot is given back", || offered(&bed.orchestrators[0]) == vec![(33, MODEL.to_owned(), 1)]).await;
        submit(&bed, Pipeline::Llm, llm(true), None).await
    };
    let work = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("first ", None)).await);
        until("the second is there", || ai_status(&bed).side.tasks_received == 2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(feed.chunk(chunk("last", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("second", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
    };
    let begin = async {
        // The slot is in use until the first chunk.
        let first = submit(&bed, Pipeline::Llm, llm(true), None);
        let later = async {
            until("the first is sent", || offered(&bed.orchestrators[0]) == vec![(33, MODEL.to_owned(), 0)]).await;
            second.await
        };
        tokio::join!(first, later)
    };
    let ((first, second), ()) = tokio::join!(begin, work);
    for fate in [first, second] {
        assert!(matches!(fate, AiFate::Stream { ended: true, .. }), "{fate:?}");
    }
    assert_eq!(bed.books().await.posted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_end_ends_before_the_budget() {
    let bed = hurried().await;
    let mut hand = Hand::of(&bed, Pipeline::Llm);
    registered(&bed.orchestrators[0], 1).await;
    let talk = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        let mut said = 0;
        while feed.chunk(chunk("and ", None)).await {
            said += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        said
    };
    let began = Instant::now();
    let (fate, said) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), talk);
    let AiFate::Stream { chunks, ended, .. } = fate else { panic!("{fate:?}") };
    assert!(ended && said > 10 && began.elapsed() < 4 * SECOND, "{said} {:?}", began.elapsed());
    assert_eq!(chunks.last().unwrap().json["choices"][0]["finish_reason"], "length");
    assert_eq!(bed.books().await.posted, 0);
}
