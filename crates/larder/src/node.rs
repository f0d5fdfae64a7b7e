//! A node as the operating system sees it: sockets, limits, user, files, signals.
//!
//! [`Node::prepare`] does what must be done before an engine is opened, [`Node::serve`] what must
//! be done once it is.

mod daemon;
mod file;
mod limit;
mod socket;
mod stop;
mod user;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use larder_protocol::Limits;
use larder_server::{Backend, Listener, Overflow, Settings};
use nix::sys::mman::{MlockAllFlags, mlockall};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tracing::{info, warn};

pub(crate) use daemon::{is_ready, launch};
pub(crate) use socket::ANOTHER_PORT;
pub(crate) use stop::Signals;

use self::stop::{Hangup, Stop};
use crate::config::{NodeConfig, Note};
use crate::failure::Failure;
use crate::logging;

/// A node that can be reached, but does not serve yet.
pub(crate) struct Node<'c> {
    tier: &'static str,
    config: &'c NodeConfig,
    listeners: Vec<Listener>,
    connections: usize,
    stop: Stop,
    hangup: Hangup,
}

impl<'c> Node<'c> {
    /// Binds the sockets and becomes who it should be. `files` is how many files its engine keeps
    /// open.
    pub(crate) fn prepare(
        tier: &'static str,
        config: &'c NodeConfig,
        notes: &[Note],
        files: u64,
    ) -> Result<Self, Failure> {
        // Before there is any other thread: they inherit what is blocked here.
        let signals = Signals::block()?;
        if config.role.detached {
            daemon::detach()?;
        }
        logging::init(config.verbosity);
        for note in notes {
            if note.warning {
                warn!("{}", note.text);
            } else {
                info!("{}", note.text);
            }
        }
        if config.core_dumps {
            limit::raise_core()?;
        }
        let connections = limit::raise_files(config.connections, config.threads, files)?;
        let mut listeners = socket::bind_tcp(config)?;
        if config.lock_memory {
            limit::raise_locked();
        }
        user::become_user(config.user.as_deref())?;
        // A UNIX socket belongs to who makes it, so only now.
        if let Some(path) = &config.unix_socket {
            listeners.push(socket::bind_unix(path, config)?);
        }
        if config.lock_memory {
            lock_memory();
        }
        let hangup = Hangup::default();
        let stop = signals.watch(config.role.stops_on_eof, Arc::clone(&hangup))?;
        Ok(Self { tier, config, listeners, connections, stop, hangup })
    }

    /// Has SIGHUP do this.
    pub(crate) fn on_hangup(&self, reread: impl Fn() + Send + Sync + 'static) {
        // It is said once.
        self.hangup.set(Box::new(reread)).ok();
    }

    /// What `open` gives, which may wait for long; nothing if the node is told to stop before that.
    /// It is then left to the end of the process.
    pub(crate) fn await_opened<T: Send + 'static>(
        &mut self,
        open: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Failure> {
        let failed = |error: io::Error| Failure::system(format!("cannot wait: {error}"));
        let (sender, opened) = oneshot::channel();
        let name = format!("{}-opening", self.tier);
        thread::Builder::new()
            .name(name)
            .spawn(move || sender.send(open()).ok())
            .map_err(failed)?;
        let runtime = Builder::new_current_thread().build().map_err(failed)?;
        runtime.block_on(async {
            tokio::select! {
                opened = opened => opened.map(Some).map_err(|_| Failure::system("cannot be opened")),
                () = stop::told(&mut self.stop) => Ok(None),
            }
        })
    }

    /// Says that it serves, serves, and takes back what would mislead once it is gone. When it is told to
    /// stop, `parting` comes first.
    pub(crate) fn serve(
        self,
        backend: Arc<impl Backend>,
        parting: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let pidfile = self.announce()?;
        let settings = self.settings();
        let stop = async {
            stop::wait(self.stop).await;
            parting.await;
        };
        let served = larder_server::run(self.listeners, backend, settings, stop);
        if let Some(path) = pidfile {
            std::fs::remove_file(path).ok();
        }
        info!(tier = self.tier, pid = std::process::id(), "stopped");
        served.map_err(|error| Failure::system(format!("cannot serve: {error}")))
    }

    fn settings(&self) -> Settings {
        let idle = Duration::from_secs(self.config.idle_timeout_secs);
        Settings {
            workers: self.config.threads,
            max_connections: self.connections,
            overflow: if self.config.maxconns_fast { Overflow::Refuse } else { Overflow::Wait },
            requests_per_turn: self.config.requests_per_event,
            idle_timeout: Some(idle).filter(|idle| !idle.is_zero()),
            limits: Limits {
                item: usize::try_from(self.config.item_size_max).unwrap_or(usize::MAX),
                ..Limits::default()
            },
            buffer_memory: self.config.buffer_memory_mb << 20,
            shutdown_command: self.config.shutdown_enabled,
            flush_command: self.config.flush_enabled,
            dump_command: self.config.dump_enabled,
            verbosity: self.config.verbosity.into(),
            on_verbosity: logging::change,
            ..Settings::default()
        }
    }

    /// Tells everyone who waits for it that the node serves. Answers the file of its process id.
    fn announce(&self) -> Result<Option<PathBuf>, Failure> {
        info!(
            tier = self.tier,
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            threads = self.config.threads,
            connections = self.connections,
            item_size_max = self.config.item_size_max,
            "starting"
        );
        for listener in &self.listeners {
            let tcp = listener.tcp_address().map(|address| address.to_string());
            info!("listening on {}", tcp.unwrap_or_else(|| listener.address()));
        }
        socket::warn_if_open(&self.listeners);
        file::write_ports(&self.listeners);
        let pidfile = self.config.pidfile.clone().filter(|path| file::write_pid(path));
        if self.config.role.detached {
            daemon::let_go(self.config)?;
        } else if self.config.role.announces {
            daemon::say_ready();
        }
        Ok(pidfile)
    }
}

/// Keeps all memory, present and to come, from being swapped out.
fn lock_memory() {
    // With a limit the lock would hold now, and an allocation fail at an hour of its choosing.
    if !limit::locked_is_unlimited() {
        warn!(
            "-k: memory is not locked: the limit on locked memory is finite; set \
             LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited"
        );
        return;
    }
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    // As it is touched: what is only set aside would be had at once, beyond the limit.
    #[cfg(target_os = "linux")]
    let flags = flags | MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    if let Err(error) = mlockall(flags) {
        warn!("-k: memory is not locked: {error}");
    }
}
