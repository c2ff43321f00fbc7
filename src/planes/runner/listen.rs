//! Accepts callers and deals them out to threads, each with a runtime and a proxy of its own:
//! work that never moves between threads was the fastest that we measured.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::body::Room;
use super::config::RunnerConfig;
use super::door::Doorman;
use super::proxy::RunnerProxy;
use super::wire::{HeadWatch, Socket, Wire};
use crate::telemetry;
use crate::transport::tasks::Tasks;
use crate::transport::tls::{ServerTls, TlsError};

type Proxy = HttpProxy<RunnerProxy>;

/// A port that is bound; it serves until its tasks are told to stop.
pub struct RunnerPort {
    pub address: SocketAddr,
    open: Arc<AtomicUsize>,
}

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0} cannot be opened: {1}")]
    Bind(SocketAddr, io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
}

/// A caller that has just come.
struct Caller {
    tcp: std::net::TcpStream,
    place: Place,
}

/// Counts a connection, everywhere that it is counted, until it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    of_thread: Arc<AtomicUsize>,
    of_port: Arc<AtomicUsize>,
}

/// A thread as the acceptor sees it.
struct Worker {
    to: mpsc::Sender<Caller>,
    open: Arc<AtomicUsize>,
}

/// What a thread needs.
struct Bench {
    proxy: Arc<Proxy>,
    config: Arc<RunnerConfig>,
    tls: Option<TlsAcceptor>,
    stopping: watch::Receiver<bool>,
    tasks: Tasks,
}

/// Callers on their way to a thread.
const ON_THE_WAY: usize = 64;
const AFTER_A_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Binds the port and serves it under `tasks`. Closing them takes no new requests, lets running
/// ones end, and cuts what is left when the time is over.
pub async fn open(config: RunnerConfig, doorman: Arc<dyn Doorman>, tasks: &Tasks) -> Result<RunnerPort, OpenError> {
    let bind = |why| OpenError::Bind(config.listen, why);
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let tls = match &config.tls {
        Some((certificate, key)) => Some(acceptor(&ServerTls::from_files(certificate, key)?)),
        None => None,
    };
    let config = Arc::new(config);
    let (stop, stopping) = watch::channel(false);
    let room = Room::new(config.limits.most_held_bytes);
    let mut workers = Vec::new();
    for number in 0..config.threads.max(1) {
        let proxy = proxy(RunnerProxy { doorman: doorman.clone(), config: config.clone(), room: room.clone() });
        let (config, tls, stopping) = (config.clone(), tls.clone(), stopping.clone());
        let bench = Bench { proxy, config, tls, stopping, tasks: tasks.clone() };
        workers.push(bench.start(number, tasks).map_err(OpenError::Thread)?);
    }
    let open = Arc::new(AtomicUsize::new(0));
    let accept = accept(listener, config, workers, open.clone(), stop, tasks.clone());
    tasks.spawn("runner port", accept);
    Ok(RunnerPort { address, open })
}

/// HTTP/1.1 only: WebSockets need it, and Go's client speaks it as gladly.
fn acceptor(tls: &ServerTls) -> TlsAcceptor {
    let mut config = (*tls.config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn proxy(inner: RunnerProxy) -> Arc<Proxy> {
    // Ours is the count that matters; stale connections come on top of it.
    let max_retries = inner.config.limits.tries as usize * 3 + 1;
    let conf = ServerConf { max_retries, threads: 1, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(inner, Arc::new(conf));
    proxy.handle_init_modules();
    Arc::new(proxy)
}

async fn accept(
    listener: TcpListener,
    config: Arc<RunnerConfig>,
    workers: Vec<Worker>,
    open: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    tasks: Tasks,
) {
    let room = Arc::new(Semaphore::new(config.limits.connections));
    let stopping = tasks.token();
    loop {
        let arrived = tokio::select! {
            () = stopping.cancelled() => break,
            arrived = next(&listener, &room) => arrived,
        };
        let (tcp, permit) = match arrived {
            Ok(arrived) => arrived,
            Err(why) => {
                telemetry::accept_failed(&why);
                tokio::time::sleep(AFTER_A_FAILED_ACCEPT).await;
                continue;
            }
        };
        let Some(worker) = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else { break };
        worker.open.fetch_add(1, Ordering::Relaxed);
        open.fetch_add(1, Ordering::Relaxed);
        let place = Place { _permit: permit, of_thread: worker.open.clone(), of_port: open.clone() };
        // A full queue makes callers wait in the listener's backlog.
        if worker.to.send(Caller { tcp, place }).await.is_err() {
            telemetry::fault("runner port", "a thread has ended");
        }
    }
    stop.send_replace(true);
}

/// Accepts only when there is room; until then callers wait.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(std::net::TcpStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    Ok((tcp.into_std()?, permit))
}

// === impl RunnerPort ===

impl RunnerPort {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.of_thread.fetch_sub(1, Ordering::Relaxed);
        self.of_port.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Bench ===

impl Bench {
    /// Starts the thread; `tasks` end no sooner than it does.
    fn start(self, number: usize, tasks: &Tasks) -> io::Result<Worker> {
        let (to, from) = mpsc::channel(ON_THE_WAY);
        let open = Arc::new(AtomicUsize::new(0));
        let (done, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("runner-{number}")).spawn(move || {
            runtime.block_on(self.run(from));
            // Dropped with it: whatever was not done in time.
            drop(runtime);
            drop(done);
        })?;
        tasks.spawn("runner thread", async move {
            let _ = ended.await;
        });
        Ok(Worker { to, open })
    }

    async fn run(self, mut from: mpsc::Receiver<Caller>) {
        let connections = Tasks::new();
        let bench = Arc::new(self);
        let stopping = bench.tasks.token();
        loop {
            let caller = tokio::select! {
                () = stopping.cancelled() => break,
                caller = from.recv() => caller,
            };
            let Some(caller) = caller else { break };
            connections.spawn("runner connection", bench.clone().serve(caller));
        }
        let mut stopping = bench.stopping.clone();
        let _ = stopping.wait_for(|stopped| *stopped).await;
        // Ends connections that wait for a request.
        bench.proxy.http_cleanup().await;
        let cut = bench.tasks.cut();
        tokio::select! {
            _ = connections.close(Duration::MAX) => {}
            () = cut.cancelled() => {}
        }
    }

    /// One caller, from the handshake to the end.
    async fn serve(self: Arc<Self>, caller: Caller) {
        let _place = caller.place;
        let Ok(tcp) = TcpStream::from_std(caller.tcp) else { return };
        let socket = match &self.tls {
            None => Socket::Plain(tcp),
            Some(tls) => match tokio::time::timeout(self.config.limits.tls_handshake, tls.accept(tcp)).await {
                Ok(Ok(tls)) => Socket::Tls(Box::new(tls)),
                Ok(Err(_)) | Err(_) => return telemetry::edge("bad_handshake"),
            },
        };
        let head = Arc::new(HeadWatch::default());
        let mut wire: pingora_core::protocols::Stream = Box::new(Wire::new(socket, head.clone()));
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            let mut session = ServerSession::new_http1(wire);
            match settings.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(self.config.limits.keep_alive.as_secs())),
            }
            head.expect();
            let next = tokio::select! {
                next = self.proxy.process_new_http(session, &self.stopping) => next,
                () = overdue(&head, self.config.limits.head_within) => return telemetry::edge("slow_head"),
            };
            let Some(reused) = next else { return };
            (wire, settings) = reused.consume();
        }
    }
}

/// Ends when a head has begun and not ended within `within`.
async fn overdue(head: &HeadWatch, within: Duration) {
    head.begun().await;
    tokio::time::sleep(within).await;
    if !head.is_coming() {
        std::future::pending::<()>().await;
    }
}
