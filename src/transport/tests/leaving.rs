//! The way out: streams end in peace or the socket is cut; never a reset.
use super::*;

#[tokio::test]
async fn streams_end_in_peace() {
    let served = start(EdgeLimits::default()).await;
    let (client, ends) = h2(served.address).await;
    let mut body = get(&client, "/until-stop").await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    let began = Instant::now();
    assert!(served.tasks.close(3 * SECOND).await);
    assert_eq!(body.data().await.unwrap().unwrap(), "last");
    while let Some(bytes) = body.data().await {
        assert_eq!(bytes.unwrap(), "");
    }
    ends.await.unwrap().unwrap();
    assert!(began.elapsed() < SECOND);
    assert!(TcpStream::connect(served.address).await.is_err(), "still listening");
}

#[tokio::test]
async fn streams_that_do_not_end_are_cut_and_never_reset() {
    let served = start(EdgeLimits::default()).await;
    let (client, ends) = h2(served.address).await;
    let mut body = get(&client, "/forever").await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    assert!(!served.tasks.close(Duration::from_millis(100)).await);
    let error = body.data().await.unwrap().unwrap_err();
    assert!(error.is_io() && error.reason() != Some(h2::Reason::CANCEL), "{error:?}");
    assert!(!error.is_reset(), "{error:?}");
    let _ = ends.await;
    until("all tasks ended", || served.tasks.is_empty()).await;
}

#[tokio::test]
async fn nothing_new_is_taken_on_the_way_out() {
    let served = start(EdgeLimits::default()).await;
    let (client, _ends) = h2(served.address).await;
    let mut body = get(&client, "/forever").await.unwrap().into_body();
    body.data().await.unwrap().unwrap();
    let tasks = served.tasks.clone();
    let stopping = Tasks::new().spawn("stop", async move { tasks.close(SECOND).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = get(&client, "/").await;
    assert!(late.is_err(), "{late:?}");
    assert!(!stopping.await.unwrap());
}
