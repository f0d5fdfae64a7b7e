//! What makes a node end.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::info;

use crate::failure::Failure;

/// Why it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Someone asked.
    Signal(Signal),
    /// Whoever started it is gone.
    InputEnded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.as_str()),
            Self::InputEnded => f.write_str("end of input"),
        }
    }
}

/// What SIGHUP has done, once that is known.
pub(super) type Hangup = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

/// Gives a reason to end, when there is one.
pub(super) type Stop = UnboundedReceiver<Reason>;

/// Ready when there is one.
pub(super) async fn wait(mut stop: Stop) {
    told(&mut stop).await;
}

/// Ready when there is one, which is then taken.
pub(super) async fn told(stop: &mut Stop) {
    if let Some(reason) = stop.recv().await {
        info!(%reason, "told to stop");
    }
}

/// The signals that mean something here, kept from interrupting anything.
#[derive(Debug)]
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Blocks them in this thread and those it starts, until [`watch`](Self::watch) takes them.
    pub(crate) fn block() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1] {
            set.add(signal);
        }
        set.thread_block()
            .map_err(|error| Failure::system(format!("signals cannot be blocked: {error}")))?;
        Ok(Self(set))
    }

    /// Takes signals as a server does: SIGHUP has `hangup` done, if there is anything, any other ends
    /// it, and once more ends it at once.
    pub(super) fn watch(self, until_input_ends: bool, hangup: Hangup) -> Result<Stop, Failure> {
        let (sender, stop) = unbounded_channel();
        if until_input_ends {
            let sender = sender.clone();
            spawn("input", move || wait_for_end_of_input(&sender))?;
        }
        spawn("signals", move || {
            let mut asked = false;
            self.each(|signal| match signal {
                Signal::SIGHUP => {
                    if let Some(reread) = hangup.get() {
                        reread();
                    } else {
                        info!("SIGHUP: there is nothing to read anew; ignored");
                    }
                }
                signal if asked => {
                    info!("{signal} again: ending without waiting for connections");
                    std::process::exit(128 + signal as i32);
                }
                signal => {
                    asked = true;
                    sender.send(Reason::Signal(signal)).ok();
                }
            });
        })?;
        Ok(stop)
    }

    /// Calls `heard` with each signal, for ever.
    pub(crate) fn each(self, mut heard: impl FnMut(Signal)) {
        while let Ok(signal) = self.0.wait() {
            heard(signal);
        }
    }
}

fn wait_for_end_of_input(sender: &UnboundedSender<Reason>) {
    let mut input = std::io::stdin().lock();
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    sender.send(Reason::InputEnded).ok();
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Failure::system(format!("a thread cannot be started: {error}")))
}
