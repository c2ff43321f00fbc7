//! Limits that need no flood: strangers, crowds, malformed beginnings.
use super::*;

#[tokio::test]
async fn speaks_http2_and_1_by_alpn() {
    let served = start(EdgeLimits::default()).await;
    let (client, _connection) = h2(served.address).await;
    let mut answer = get(&client, "/").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "answer");
    let text = h1(served.address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_closed() {
    let served = start(EdgeLimits::default()).await;
    let mut tcp = TcpStream::connect(served.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!read_to_end(&mut tcp).await.contains("HTTP"));
    assert_eq!(count(&served.stats.bad_handshakes), 1);
    until("the place is free", || count(&served.stats.open) == 0).await;
}

#[tokio::test]
async fn half_a_handshake_is_closed_in_time() {
    let limits = EdgeLimits { tls_handshake: Duration::from_millis(200), ..EdgeLimits::default() };
    let served = start(limits).await;
    let mut tcp = TcpStream::connect(served.address).await.unwrap();
    let began = Instant::now();
    tcp.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
    read_to_end(&mut tcp).await;
    assert!(began.elapsed() >= Duration::from_millis(190) && began.elapsed() < SECOND);
    assert_eq!(count(&served.stats.bad_handshakes), 1);
}

#[tokio::test]
async fn a_wrong_preface_is_closed() {
    let served = start(EdgeLimits::default()).await;
    let mut stream = tls(served.address, "h2").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn strangers_leave_and_workers_stay() {
    let limits = EdgeLimits { authenticate_within: Duration::from_millis(300), ..EdgeLimits::default() };
    let served = start(limits).await;
    let (_stranger, stranger_ends) = h2(served.address).await;
    let (worker, worker_ends) = h2(served.address).await;
    get(&worker, "/auth").await.unwrap();
    timeout(SECOND, stranger_ends).await.expect("the stranger stayed").unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!worker_ends.is_finished());
    assert_eq!(get(&worker, "/").await.unwrap().status(), StatusCode::OK);
    assert_eq!(count(&served.stats.never_authenticated), 1);
}

#[tokio::test]
async fn short_memory_closes_the_door_and_then_sends_strangers_away() {
    let served = start(EdgeLimits::default()).await;
    let (_stranger, stranger_ends) = h2(served.address).await;
    let (worker, worker_ends) = h2(served.address).await;
    get(&worker, "/auth").await.unwrap();
    served.stats.pressure.set(80);
    assert!(try_tls(served.address, "h2").await.is_err(), "no new connections");
    assert!(!stranger_ends.is_finished());
    served.stats.pressure.set(95);
    let _ = timeout(SECOND, stranger_ends).await.expect("the stranger stayed");
    assert_eq!(get(&worker, "/").await.unwrap().status(), StatusCode::OK);
    assert!(!worker_ends.is_finished());
    assert_eq!(count(&served.stats.no_memory), 2);
    served.stats.pressure.set(79);
    assert!(try_tls(served.address, "h2").await.is_ok(), "the door is open again");
}

#[tokio::test]
async fn a_quiet_connection_that_answers_no_ping_is_ended() {
    let limits = EdgeLimits {
        ping_every: Duration::from_millis(200),
        ping_timeout: Duration::from_millis(200),
        ..EdgeLimits::default()
    };
    let served = start(limits).await;
    let (client, connection) = h2::client::handshake(tls(served.address, "h2").await).await.unwrap();
    let mut connection = Box::pin(connection);
    let answer = tokio::select! {
        answer = get(&client, "/forever") => answer.unwrap(),
        _ = &mut connection => panic!("the connection ended"),
    };
    // It is driven, so that it answers, for longer than the limits allow it to be silent.
    let _ = timeout(SECOND, &mut connection).await.expect_err("a connection that answers stays");
    assert_eq!(count(&served.stats.open), 1);
    // Stopped: the socket stays open and says nothing.
    let began = Instant::now();
    until("the dead connection is dropped", || count(&served.stats.open) == 0).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    drop((answer, client, connection));
}

#[tokio::test]
async fn a_stranger_with_open_requests_is_cut() {
    let limits = EdgeLimits { authenticate_within: Duration::from_millis(200), ..EdgeLimits::default() };
    let served = start(limits).await;
    let (client, ends) = h2(served.address).await;
    let waits = get(&client, "/wait").await;
    assert!(waits.is_err());
    timeout(SECOND, ends).await.expect("still connected").unwrap().ok();
    until("the place is free", || count(&served.stats.open) == 0).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let limits = EdgeLimits { connections_per_ip: 3, ..EdgeLimits::default() };
    let served = start(limits).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(h2(served.address).await);
    }
    assert!(try_tls(served.address, "h2").await.is_err());
    assert_eq!(count(&served.stats.full_address), 1);
    kept.pop();
    until("a place is free", || count(&served.stats.open) == 2).await;
    assert!(try_tls(served.address, "h2").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_waits_its_turn() {
    let limits = EdgeLimits { unauthenticated_per_ip: 2, connections_per_ip: 500, ..EdgeLimits::default() };
    let served = start(limits).await;
    let tasks = Tasks::new();
    let crowd: Vec<_> = (0..60)
        .map(|_| {
            let address = served.address;
            tasks.spawn("worker", async move {
                let (client, connection) = h2(address).await;
                (get(&client, "/auth").await.map(|answer| answer.status()), client, connection)
            })
        })
        .collect();
    let mut kept = Vec::new();
    for worker in crowd {
        let (status, client, connection) = worker.await.unwrap();
        assert_eq!(status.unwrap(), StatusCode::OK);
        kept.push((client, connection));
    }
    assert_eq!((count(&served.stats.open), count(&served.stats.full_strangers)), (60, 0));
}

#[tokio::test]
async fn those_that_wait_too_long_are_closed() {
    let limits =
        EdgeLimits { unauthenticated_per_ip: 1, tls_handshake: Duration::from_millis(200), ..EdgeLimits::default() };
    let served = start(limits).await;
    let _stranger = h2(served.address).await;
    assert!(timeout(SECOND, try_tls(served.address, "h2")).await.unwrap().is_err());
    assert_eq!(count(&served.stats.full_strangers), 1);
}

#[tokio::test]
async fn a_stranger_has_four_requests_at_a_time() {
    let served = start(EdgeLimits::default()).await;
    let (client, _ends) = h2(served.address).await;
    let tasks = Tasks::new();
    for _ in 0..4 {
        let client = client.clone();
        tasks.spawn("request", async move {
            let _ = get(&client, "/wait").await;
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(get(&client, "/").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Ten results may arrive at once on a worker's new connection.
#[tokio::test]
async fn requests_over_the_limit_wait_for_a_credential() {
    let served = start(EdgeLimits::default()).await;
    let (client, _ends) = h2(served.address).await;
    let answers = futures_util::future::join_all((0..20).map(|_| get(&client, "/auth"))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
}

#[tokio::test]
async fn a_panic_is_an_answer_not_a_reset() {
    let served = start(EdgeLimits::default()).await;
    let (client, _ends) = h2(served.address).await;
    assert_eq!(get(&client, "/panic").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&client, "/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn headers_have_a_size_and_a_time() {
    let limits = EdgeLimits { h1_header: Duration::from_millis(200), ..EdgeLimits::default() };
    let served = start(limits).await;
    let fields: String = (0..70).map(|n| format!("x-{n}: 1\r\n")).collect();
    let text = h1(served.address, format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "a".repeat(9000));
    let text = h1(served.address, long.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let began = Instant::now();
    h1(served.address, b"GET / HTTP/1.1\r\nHost: ").await;
    assert!(began.elapsed() < SECOND);
    let (client, _ends) = h2(served.address).await;
    let many = (0..70).fold(Request::get("https://x/"), |request, n| request.header(format!("x-{n}"), "1"));
    let (answer, _) = client.clone().send_request(many.body(()).unwrap(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let big = Request::get("https://x/").header("x", "a".repeat(5000)).body(()).unwrap();
    let (answer, _) = client.clone().ready().await.unwrap().send_request(big, true).unwrap();
    match answer.await {
        Ok(answer) => assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(error) => assert!(!error.is_io(), "{error}"),
    }
}

#[tokio::test]
async fn idle_connections_leave_and_busy_ones_stay() {
    let limits = EdgeLimits { idle: Duration::from_millis(300), ..EdgeLimits::default() };
    let limits = EdgeLimits { authenticate_within: Duration::from_millis(100), ..limits };
    let served = start(limits).await;
    let (idle, idle_ends) = h2(served.address).await;
    get(&idle, "/auth").await.unwrap().into_body().data().await;
    let (busy, busy_ends) = h2(served.address).await;
    let stream = get(&busy, "/forever").await.unwrap();
    timeout(SECOND, idle_ends).await.expect("idle and still here").unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!busy_ends.is_finished());
    drop(stream);
    timeout(SECOND, busy_ends).await.expect("idle and still here").unwrap().unwrap();
}
