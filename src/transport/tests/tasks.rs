//! The task set.
use super::*;

#[tokio::test]
async fn stop_waits_for_those_that_listen() {
    let tasks = Tasks::new();
    let token = tasks.token();
    let task = tasks.spawn("listens", async move {
        token.cancelled().await;
        7
    });
    assert!(tasks.close(SECOND).await);
    assert_eq!(task.await.unwrap(), 7);
}

#[tokio::test]
async fn stop_cuts_those_that_do_not() {
    let tasks = Tasks::new();
    let cut = tasks.cut();
    tasks.spawn("stays", async move { cut.cancelled().await });
    assert!(!tasks.close(Duration::from_millis(20)).await);
    assert!(tasks.is_empty());
}

#[tokio::test]
async fn a_panic_is_counted_out() {
    let tasks = Tasks::new();
    assert!(tasks.spawn("panics", async { panic!("planted") }).await.is_err());
    assert!(tasks.is_empty() && tasks.close(SECOND).await);
}

#[tokio::test]
async fn children_stop_with_their_parent_and_alone() {
    let parent = Tasks::new();
    let (one, two) = (parent.child(), parent.child());
    one.close(SECOND).await;
    assert!(one.token().is_cancelled() && !two.token().is_cancelled() && !parent.token().is_cancelled());
    parent.close(SECOND).await;
    assert!(two.token().is_cancelled());
}
