//! Threads that stay together for a step and share out the tasks of its phases, without falling asleep in between.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most threads of a team.
const MOST_THREADS: usize = 32;

/// How often a thread looks for something to do before it offers its processor to others.
const LOOKS: u32 = 50;

/// What the threads of a team share.
struct Board {
    /// The number of the phase in the upper half, in the lower how many of its tasks nobody has taken.
    open: AtomicU64,
    /// Tasks of the phase that are done.
    done: AtomicUsize,
    /// Whether there will be no more phases.
    finished: AtomicBool,
    phase: UnsafeCell<Phase>,
}

/// Tasks that run side by side.
#[derive(Clone, Copy)]
struct Phase {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: the phase is only written by the thread that leads, while no task is open or under way, and only read by a thread that has
// taken a task of it; `open` orders the two. What it points to may be called from every thread.
unsafe impl Sync for Board {}
// SAFETY: as above.
unsafe impl Send for Board {}

/// The thread that says what there is to do, and takes its share of it.
pub(super) struct Team<'a> {
    board: &'a Board,
}

/// Runs `work` with up to `most` threads of the current pool.
///
/// Between phases they keep looking for the next: falling asleep and being woken takes longer than the pause. A thread that is
/// busy elsewhere is not waited for.
pub(super) fn with_team<T: Send>(most: usize, work: impl FnOnce(&mut Team<'_>) -> T + Send) -> T {
    /// Lets the other threads go even where `work` panics.
    struct Finish<'a>(&'a Board);
    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            self.0.finished.store(true, Ordering::Release);
        }
    }
    let board = Board {
        open: AtomicU64::new(0),
        done: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
        phase: UnsafeCell::new(Phase { task: &|_| {}, count: 0 }),
    };
    let helpers = rayon::current_num_threads().min(most).min(MOST_THREADS).saturating_sub(1);
    rayon::scope(|scope| {
        let board = &board;
        let finish = Finish(board);
        for _ in 0..helpers {
            scope.spawn(|_| board.help());
        }
        let result = work(&mut Team { board });
        drop(finish);
        result
    })
}

impl Team<'_> {
    /// What `task` makes of the items, in their order. Which thread takes which item is open.
    pub(super) fn map<T: Send, R: Send>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        task: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        let places: Vec<Mutex<(Option<T>, Option<R>)>> =
            items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
        self.run(places.len(), &|index| {
            let mut place = places[index].lock().unwrap_or_else(PoisonError::into_inner);
            place.1 = place.0.take().map(&task);
        });
        places.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
    }

    /// Calls `task` with every number below `count`; returns when all calls have.
    fn run(&mut self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        /// Waits for all tasks that were taken, even where one of this thread panics.
        struct Wait<'a>(&'a Board, usize);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                let Self(board, count) = *self;
                let left = board.open.fetch_and(!u64::from(u32::MAX), Ordering::AcqRel) as u32 as usize;
                let mut looks = 0;
                while board.done.load(Ordering::Acquire) + left < count {
                    look_again(&mut looks);
                }
            }
        }
        let Self { board } = *self;
        // SAFETY: only the lifetime changes. The pointer is used by those alone who have taken a task of this phase, and `Wait`
        // keeps this function from returning before they are done.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(task) };
        // SAFETY: no task is open or under way, so that nobody else reads or writes it.
        unsafe { *board.phase.get() = Phase { task, count } };
        board.done.store(0, Ordering::Relaxed);
        let number = (board.open.load(Ordering::Relaxed) >> 32) + 1;
        board.open.store(number << 32 | count as u64, Ordering::Release);
        let wait = Wait(board, count);
        while board.take_one() {}
        drop(wait);
    }
}

impl Board {
    /// Takes tasks until there will be no more.
    fn help(&self) {
        let mut looks = 0;
        while !self.finished.load(Ordering::Acquire) {
            if self.take_one() {
                looks = 0;
            } else {
                look_again(&mut looks);
            }
        }
    }

    /// Takes a task and does it, if one is open.
    fn take_one(&self) -> bool {
        /// Counts a task as done even where it panics.
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::AcqRel);
            }
        }
        let mut open = self.open.load(Ordering::Acquire);
        while open as u32 > 0 {
            match self.open.compare_exchange_weak(open, open - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let _done = Done(&self.done);
                    // SAFETY: this thread has taken a task of the phase, which stays until the task is done.
                    let Phase { task, count } = unsafe { *self.phase.get() };
                    // SAFETY: as above.
                    unsafe { (*task)(count - open as u32 as usize) };
                    return true;
                }
                Err(now) => open = now,
            }
        }
        false
    }
}

fn look_again(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_phase_sees_what_the_one_before_it_left() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                for count in [0, 1, 3, 100] {
                    let mut numbers: Vec<usize> = (0..count).collect();
                    let last = with_team(8, |team| {
                        for _ in 0..50 {
                            let sums = team.map(numbers.iter_mut(), |number| {
                                *number += 1;
                                *number
                            });
                            assert_eq!(sums, numbers);
                        }
                        team.map(&numbers, |number| number * 2)
                    });
                    assert!(last.iter().enumerate().all(|(index, &number)| number == 2 * (index + 50)), "{threads}");
                    assert_eq!(last.len(), count);
                }
            });
        }
    }

    #[test]
    fn a_panic_in_a_task_ends_the_team() {
        for threads in [1, 3] {
            let result = std::panic::catch_unwind(|| {
                pool(threads).install(|| {
                    with_team(8, |team| {
                        team.map(0..40, |index| assert_ne!(index, 17));
                    });
                });
            });
            assert!(result.is_err());
        }
    }
}
