//! A hand-off to threads, in batches: a wake-up brings all that has gathered.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A hand-off to one or more threads.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    idle: usize,
    /// A thread was woken and has not yet looked: it will wake another if there is work for two.
    waking: bool,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let items = VecDeque::new();
        let inner = Mutex::new(Inner { items, idle: 0, waking: false, closed: false });
        Self { inner, ready: Condvar::new() }
    }

    /// Appends; gives it back if the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(item);
        }
        inner.items.push_back(item);
        let wake = inner.wants_waking();
        drop(inner);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits for items, then lets `pick` take some into `taken`. `false` once the queue is closed and
    /// empty.
    pub(crate) fn take(
        &self,
        taken: &mut Vec<T>,
        pick: impl FnOnce(&mut VecDeque<T>, &mut Vec<T>),
    ) -> bool {
        let mut inner = self.inner.lock();
        while inner.items.is_empty() {
            if inner.closed {
                return false;
            }
            inner.idle += 1;
            self.ready.wait(&mut inner);
            inner.idle -= 1;
            inner.waking = false;
        }
        pick(&mut inner.items, taken);
        let wake = !inner.items.is_empty() && inner.wants_waking();
        drop(inner);
        if wake {
            self.ready.notify_one();
        }
        true
    }

    /// Puts `items` before all others; gives them back if the queue is closed.
    pub(crate) fn put_back(&self, mut items: VecDeque<T>) -> Result<(), VecDeque<T>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(items);
        }
        items.append(&mut inner.items);
        inner.items = items;
        let wake = !inner.items.is_empty() && inner.wants_waking();
        drop(inner);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// All that waits.
    pub(crate) fn drain(&self) -> VecDeque<T> {
        std::mem::take(&mut self.inner.lock().items)
    }

    /// Takes no more items; those it has are still handed out.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.ready.notify_all();
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().items.len()
    }
}

impl<T> Inner<T> {
    fn wants_waking(&mut self) -> bool {
        let wants = self.idle > 0 && !self.waking;
        self.waking |= wants;
        wants
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_item_reaches_one_thread_and_closing_ends_them() {
        let queue = Arc::new(Queue::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || {
                    let (mut sum, mut taken) = (0_u64, Vec::new());
                    while queue.take(&mut taken, |items, taken| taken.extend(items.pop_front())) {
                        sum += taken.drain(..).sum::<u64>();
                    }
                    sum
                })
            })
            .collect();
        for number in 1..=9_000 {
            queue.push(number).unwrap();
        }
        queue.put_back((9_001..=10_000).collect()).unwrap();
        queue.close();
        assert_eq!(queue.push(1), Err(1));
        assert_eq!(queue.put_back([1].into()), Err([1].into()));
        let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 10_000 * 10_001 / 2);
    }
}
