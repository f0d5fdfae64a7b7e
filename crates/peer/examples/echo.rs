//! What a call costs: 64 callers of 150-byte bodies, on loopback, beside a plain echo that neither
//! authenticates nor multiplexes more than it must.
//!
//! Both ends run in this process, on one thread. Prints calls a second and the processor's time for
//! each, both ends together. `cargo run --release -p larder-peer --example echo`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_peer::{Credentials, Handler, Link, PeerId, Refusal, Secret, Settings, serve};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: usize = 64;
const CALLS_EACH: usize = 5000;
const BODY: [u8; 150] = [7; 150];

struct Echo;

impl Handler for Echo {
    async fn handle(self: Arc<Self>, _: PeerId, _: u8, body: Bytes) -> Result<Bytes, Refusal> {
        Ok(body)
    }
}

type Done = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    for _ in 0..3 {
        let plain = measure("plain echo", plain().await?).await?;
        let peer = measure("larder-peer", peer().await?).await?;
        println!("{:.2} times the processor's time of a plain echo", peer / plain);
    }
    Ok(())
}

/// Makes all calls, and returns the nanoseconds of processor time that each took.
async fn measure<C, F>(name: &str, call: C) -> Result<f64, Box<dyn Error + Send + Sync>>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Done> + Send,
{
    let (began, used) = (Instant::now(), processor_time()?);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let call = call.clone();
        callers.spawn(async move {
            for _ in 0..CALLS_EACH {
                call().await?;
            }
            Done::Ok(())
        });
    }
    for done in callers.join_all().await {
        done?;
    }
    let calls = f64::from(u32::try_from(CALLERS * CALLS_EACH)?);
    let each = processor_time()?.saturating_sub(used).as_secs_f64() * 1e9 / calls;
    println!("{name:12} {:9.0} calls/s {each:7.0} ns each", calls / began.elapsed().as_secs_f64());
    Ok(each)
}

fn processor_time() -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}

/// Calls through this crate.
async fn peer() -> Result<impl Fn() -> Call + Clone, Box<dyn Error + Send + Sync>> {
    let me = |id| {
        let secret = Secret::new(b"an example is no secret")?;
        Credentials::new("example", PeerId { id, name: "echo".into() }, secret)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let settings = Settings::default();
    let forever = std::future::pending();
    tokio::spawn(serve(listener, me(1)?, Arc::new(Echo), settings.clone(), forever));
    let link = Arc::new(Link::open(&address, Some(1), me(2)?, settings));
    Ok(move || {
        let link = Arc::clone(&link);
        let deadline = Instant::now() + Duration::from_secs(10);
        let call: Call = Box::pin(async move {
            link.call(0, Bytes::from_static(&BODY), deadline).await?;
            Ok(())
        });
        call
    })
}

type Call = std::pin::Pin<Box<dyn Future<Output = Done> + Send>>;

/// Calls by bodies of one length whose answers come in order: batched, and nothing else.
async fn plain() -> Result<impl Fn() -> Call + Clone, Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut near = TcpStream::connect(listener.local_addr()?).await?;
    let (mut far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = far.read(&mut buffer).await {
            far.write_all(buffer.get(..len).unwrap_or_default()).await?;
        }
        Done::Ok(())
    });
    let (calls, mut called) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    tokio::spawn(async move {
        let mut batch = Vec::new();
        let mut bytes = Vec::new();
        while called.recv_many(&mut batch, CALLERS).await > 0 {
            bytes.resize(batch.len() * BODY.len(), 7);
            near.write_all(&bytes).await?;
            near.read_exact(&mut bytes).await?;
            for answer in batch.drain(..) {
                // A caller that is gone needs none.
                let _ = answer.send(());
            }
        }
        Done::Ok(())
    });
    Ok(move || {
        let (answer, answered) = oneshot::channel();
        let sent = calls.send(answer);
        let call: Call = Box::pin(async move {
            sent.map_err(|_| "the echo is gone")?;
            Ok(answered.await?)
        });
        call
    })
}
