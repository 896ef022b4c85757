//! A bounded number of threads, made when there is work and gone when there was none for a minute.
//!
//! Nothing waits in a line here: whoever finds no thread is told so at once and decides himself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for another job before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// What a thread is to do.
pub type Job = Box<dyn FnOnce() + Send>;

/// The threads; a copy is the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    limit: AtomicUsize,
    stack: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    threads: usize,
    idle: usize,
    /// Never more than there are idle threads.
    jobs: VecDeque<Job>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pool of {}", self.name)
    }
}

impl Pool {
    /// Up to `limit` threads of this name, each with so many octets of stack.
    pub fn new(name: &'static str, limit: usize, stack: usize) -> Self {
        let state = Mutex::default();
        let work = Condvar::new();
        Self {
            shared: Arc::new(Shared {
                name,
                limit: AtomicUsize::new(limit),
                stack,
                state,
                work,
            }),
        }
    }

    /// From now on there may be so many; who works goes on.
    pub fn set_limit(&self, limit: usize) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    /// Starts a job on a free thread, or on a new one.
    ///
    /// # Errors
    /// The job itself: the pool is full, or the system has no room for another thread.
    pub fn try_run(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        if state.jobs.len() < state.idle {
            state.jobs.push_back(job);
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.threads >= self.shared.limit.load(Ordering::Relaxed) {
            return Err(job);
        }
        // The job waits in the state, so that it comes back if there is to be no thread.
        state.threads += 1;
        state.jobs.push_back(job);
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(self.shared.name.to_owned())
            .stack_size(self.shared.stack);
        match thread.spawn(move || shared.work_off()) {
            Ok(_) => Ok(()),
            Err(_) => {
                state.threads -= 1;
                match state.jobs.pop_back() {
                    Some(job) => Err(job),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Shared {
    /// Nothing that can panic is done under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_off(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// The next job; `None`: there was none for a while, and the thread is not counted any more.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        if let Some(job) = state.jobs.pop_front() {
            return Some(job);
        }
        state.idle += 1;
        let waited = self
            .work
            .wait_timeout_while(state, IDLE, |state| state.jobs.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn pool(limit: usize) -> Pool {
        Pool::new("test", limit, 128 * 1024)
    }

    #[test]
    fn a_full_pool_says_so_and_has_room_again() {
        let pool = pool(2);
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (done, ended) = mpsc::channel();
        let job = || {
            let (gate, done) = (Arc::clone(&gate), done.clone());
            let job = move || {
                gate.lock().unwrap().recv().unwrap();
                done.send(()).unwrap();
            };
            Box::new(job) as Job
        };
        assert!(pool.try_run(job()).is_ok());
        assert!(pool.try_run(job()).is_ok());
        assert!(pool.try_run(job()).is_err()); // G7
        go.send(()).unwrap();
        ended.recv().unwrap();
        // The thread says that it is free a moment later.
        let mut again = Some(job());
        while let Some(job) = again.take() {
            again = pool.try_run(job).err();
            thread::yield_now();
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        ended.recv().unwrap();
        ended.recv().unwrap();
    }
}
