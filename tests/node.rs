//! A Larder node in this process, on a free port, started for one test and stopped with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use larder::{CacheBackend, StoreBackend};
use larder_server::{Backend, Listener, Settings};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A running node. Dropping it stops it.
pub(crate) struct Node {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    // Where a store keeps its items.
    _folder: Option<TempDir>,
}

impl Node {
    pub(crate) fn cache() -> Self {
        let settings = Settings { workers: 1, ..Settings::default() };
        Self::cache_of(larder_cache::Options::default(), settings)
    }

    pub(crate) fn cache_of(options: larder_cache::Options, settings: Settings) -> Self {
        Self::serve(listener(), CacheBackend::new(options), settings, None)
    }

    pub(crate) fn store() -> Self {
        let folder = TempDir::new().unwrap();
        let store = larder_store::Store::open(folder.path(), larder_store::Options::default());
        let backend = StoreBackend::new(Arc::new(store.unwrap()));
        let settings = Settings { workers: 1, ..Settings::default() };
        Self::serve(listener(), backend, settings, Some(folder))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn serve<B: Backend>(
        listener: Listener,
        backend: B,
        settings: Settings,
        folder: Option<TempDir>,
    ) -> Self {
        let address = listener.tcp_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let shutdown = async {
                // Whether it is sent or dropped, it is time to stop.
                let _ = stopped.await;
            };
            larder_server::run(vec![listener], Arc::new(backend), settings, shutdown).unwrap();
        });
        Self { address, stop: Some(stop), thread: Some(thread), _folder: folder }
    }
}

/// Bound before a node is there, so that whoever connects finds it.
fn listener() -> Listener {
    Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), 128).unwrap()
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A node that panicked has already said so.
            let _ = thread.join();
        }
    }
}
