//! Threads that wait awake for the next tasks: short phases of work that follow each other closely are shared out without waking anyone.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Members of a crew at most, and shares at most into which the tasks of a phase are divided that members want again.
const MOST: usize = 32;
/// Tasks that are dealt in turn at most.
const MOST_IN_TURN: usize = u32::MAX as usize;
/// The bit of the open shares that tells that they are dealt in turn.
const IN_TURN: u64 = 1 << 32;
/// The first bit of the number of the phase.
const NUMBER: u32 = 33;
/// How long a thread waits for the next phase before it goes.
const PATIENCE: Duration = Duration::from_micros(300);
/// How often a thread looks for something to do before it offers its processor to others.
const LOOKS: u32 = 40;

/// Who takes which tasks of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deal {
    /// A member finds the tasks of the last phase dealt so again if it can, the latest first, since its cache still has what they
    /// read; when its own are done it takes others'.
    Again,
    /// Whoever is free takes the next, so that the members end at nearly the same time where the largest come first.
    InTurn,
}

/// A thread that leads and others of the current pool that help it, as long as phases follow each other.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    board: Arc<Board>,
    /// Whether a thread leads a phase.
    busy: AtomicBool,
}

/// What the members share.
#[derive(Default)]
struct Board {
    /// The number of the phase from bit [`NUMBER`] on. Below it [`IN_TURN`], then the number of shares that nobody has taken, or,
    /// where they are not dealt in turn, a bit for each of them.
    open: AtomicU64,
    /// Shares of the phase that are done.
    done: AtomicUsize,
    /// Members that are there or on their way, a bit for each; the leader is the first and has none.
    helpers: AtomicU32,
    /// How many members the phase is meant for, and how many shares it has: only a preference follows from them.
    members: AtomicUsize,
    shares: AtomicUsize,
    /// Whether there will be no more phases.
    dismissed: AtomicBool,
    /// What a task has panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    phase: UnsafeCell<Option<Phase>>,
}

/// Tasks that run side by side, called with the member and the number of the task.
#[derive(Clone, Copy)]
struct Phase {
    task: *const (dyn Fn(usize, usize) + Sync),
    count: usize,
    shares: usize,
}

// SAFETY: the phase is only written by the thread that leads, while no share is open or under way, and only read by a thread that has
// taken a share of it; `open` orders the two. What it points to may be called from every thread.
unsafe impl Sync for Board {}
// SAFETY: as above.
unsafe impl Send for Board {}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("open", &self.open).field("helpers", &self.helpers).finish_non_exhaustive()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.board.dismissed.store(true, Ordering::Release);
    }
}

impl Crew {
    /// What `task` makes of the items, in their order.
    ///
    /// # Panics
    /// As `task` does.
    pub(crate) fn map<T: Send, R: Send>(
        &self,
        deal: Deal,
        items: impl IntoIterator<Item = T>,
        task: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        let places: Vec<Mutex<(Option<T>, Option<R>)>> =
            items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
        self.run(deal, places.len(), &|_, index| {
            let mut place = places[index].lock().unwrap_or_else(PoisonError::into_inner);
            place.1 = place.0.take().map(&task);
        });
        places.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
    }

    /// Cuts `numbers` into pieces of `width` (at least 1) and calls `task(member, index, piece)` for each.
    ///
    /// # Panics
    /// As `task` does.
    pub(crate) fn for_each_piece(
        &self,
        numbers: &mut [f64],
        width: usize,
        task: &(dyn Fn(usize, usize, &mut [f64]) + Sync),
    ) {
        /// A start of pieces, of which every member takes others.
        struct Start(*mut f64);
        // SAFETY: no two threads make a slice of the same piece.
        unsafe impl Sync for Start {}
        impl Start {
            fn piece(&self, index: usize, width: usize) -> *mut f64 {
                // SAFETY: the piece lies within the slice that was started from.
                unsafe { self.0.add(index * width) }
            }
        }
        let count = numbers.len() / width.max(1);
        let start = Start(numbers.as_mut_ptr());
        self.run(Deal::Again, count, &|member, index| {
            // SAFETY: every index below `count` is handed out once, so that nobody else has this piece of the borrowed numbers.
            let piece = unsafe { std::slice::from_raw_parts_mut(start.piece(index, width), width) };
            task(member, index, piece);
        });
    }

    /// Calls `task` once with every number below `count`; returns when all calls have.
    fn run(&self, deal: Deal, count: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        /// Lets others lead.
        struct Free<'a>(&'a AtomicBool);
        impl Drop for Free<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        let members = rayon::current_num_threads().min(count).min(MOST);
        if members < 2 || self.busy.swap(true, Ordering::Acquire) {
            // Whoever finds the crew at work is one of several threads that have enough to do.
            (0..count).for_each(|index| task(0, index));
            return;
        }
        let free = Free(&self.busy);
        self.call(members);
        self.board.lead(deal, members, count, task);
        drop(free);
        let panic = self.board.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Sends for the helpers that have gone.
    fn call(&self, members: usize) {
        let wanted = u32::MAX >> (MOST - members) & !1;
        let missing = wanted & !self.board.helpers.load(Ordering::Relaxed);
        if missing == 0 {
            return;
        }
        self.board.helpers.fetch_or(missing, Ordering::Relaxed);
        for member in (0..MOST).filter(|member| missing >> member & 1 == 1) {
            let board = Arc::clone(&self.board);
            rayon::spawn(move || board.help(member));
        }
    }
}

impl Board {
    /// Opens a phase, takes part in it and waits for its end.
    fn lead(&self, deal: Deal, members: usize, count: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime changes. The pointer is used by those alone who have taken a share of this phase, and this function
        // does not return, and cannot unwind, before they are done.
        let task = unsafe {
            std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), *const (dyn Fn(usize, usize) + Sync)>(task)
        };
        let shares = match deal {
            Deal::Again => count.min(MOST),
            Deal::InTurn => count.min(MOST_IN_TURN),
        };
        // SAFETY: no share is open or under way, so that nobody else reads or writes it.
        unsafe { *self.phase.get() = Some(Phase { task, count, shares }) };
        self.done.store(0, Ordering::Relaxed);
        self.members.store(members, Ordering::Relaxed);
        self.shares.store(shares, Ordering::Relaxed);
        let number = ((self.open.load(Ordering::Relaxed) >> NUMBER) + 1) << NUMBER;
        let all = match deal {
            Deal::Again => u64::from(u32::MAX >> (MOST - shares)),
            Deal::InTurn => IN_TURN | shares as u64,
        };
        self.open.store(number | all, Ordering::Release);
        while self.take_one(0) {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < shares {
            look_again(&mut looks);
        }
    }

    /// Takes shares until none has come for a while.
    fn help(&self, member: usize) {
        let (mut looks, mut since) = (0, Instant::now());
        while !self.dismissed.load(Ordering::Acquire) {
            if self.take_one(member) {
                (looks, since) = (0, Instant::now());
            } else if look_again(&mut looks) && since.elapsed() > PATIENCE {
                break;
            }
        }
        self.helpers.fetch_and(!(1 << member), Ordering::Relaxed);
    }

    /// Takes a share and does its tasks, if one is open.
    fn take_one(&self, member: usize) -> bool {
        let mut open = self.open.load(Ordering::Acquire);
        while open as u32 != 0 {
            let in_turn = open & IN_TURN != 0;
            let (share, rest) = if in_turn {
                (open as u32 as usize, open - 1)
            } else {
                let share = self.choose(member, open);
                (share, open & !(1 << share))
            };
            match self.open.compare_exchange_weak(open, rest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: this thread has taken a share of the phase, which stays until the share is done.
                    if let Some(Phase { task, count, shares }) = unsafe { *self.phase.get() } {
                        // Those in turn are counted from the last.
                        let share = if in_turn { shares - share } else { share };
                        let tasks = share * count / shares..(share + 1) * count / shares;
                        // SAFETY: as above.
                        let work = || tasks.for_each(|index| unsafe { (*task)(member, index) });
                        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                        }
                    }
                    self.done.fetch_add(1, Ordering::AcqRel);
                    return true;
                }
                Err(now) => open = now,
            }
        }
        false
    }

    /// The share that a member takes next: of its own, in turn upwards and downwards, so that what it saw last in one phase it sees
    /// first in the next; then what others would take last.
    fn choose(&self, member: usize, open: u64) -> usize {
        let (mask, upwards) = (open as u32, open >> NUMBER & 1 == 0);
        let members = self.members.load(Ordering::Relaxed).max(1);
        let shares = self.shares.load(Ordering::Relaxed);
        let (from, to) = (member * shares / members, ((member + 1) * shares / members).min(MOST));
        let below = |bit: usize| if bit >= MOST { u32::MAX } else { (1 << bit) - 1 };
        let own = mask & below(to) & !below(from.min(MOST));
        let lowest = |mask: u32| mask.trailing_zeros() as usize;
        let highest = |mask: u32| (MOST - 1) - mask.leading_zeros() as usize;
        match (own, upwards) {
            (0, true) => highest(mask),
            (0, false) => lowest(mask),
            (own, true) => lowest(own),
            (own, false) => highest(own),
        }
    }
}

/// Waits a little; whether it has offered the processor to others.
fn look_again(looks: &mut u32) -> bool {
    *looks += 1;
    let long = looks.is_multiple_of(LOOKS);
    if long {
        std::thread::yield_now()
    } else {
        std::hint::spin_loop()
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_piece_is_seen_once_in_every_phase() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                let crew = Crew::default();
                for count in [0, 1, 3, 31, 32, 33, 100] {
                    let mut numbers = vec![0.0; count * 3 + 2];
                    for phase in 1..=50 {
                        crew.for_each_piece(&mut numbers, 3, &|_, index, piece| {
                            piece.iter_mut().for_each(|number| *number += index as f64);
                        });
                        let all = numbers[..count * 3].iter().enumerate();
                        assert!(all.clone().all(|(i, n)| *n == (phase * (i / 3)) as f64), "{threads} {count}");
                    }
                    assert_eq!(numbers[count * 3..], [0.0; 2]);
                }
            });
        }
    }

    #[test]
    fn every_phase_sees_what_the_one_before_it_left() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                let crew = Crew::default();
                for count in [0, 1, 3, 100] {
                    let mut numbers: Vec<usize> = (0..count).collect();
                    for phase in 0..50 {
                        let deal = if phase % 3 == 0 { Deal::Again } else { Deal::InTurn };
                        let sums = crew.map(deal, numbers.iter_mut(), |number| {
                            *number += 1;
                            *number
                        });
                        assert_eq!(sums, numbers);
                    }
                    let last = crew.map(Deal::InTurn, &numbers, |number| number * 2);
                    assert!(last.iter().enumerate().all(|(index, &number)| number == 2 * (index + 50)), "{threads}");
                    assert_eq!(last.len(), count);
                }
            });
        }
    }

    #[test]
    fn helpers_that_have_gone_are_sent_for_again() {
        pool(3).install(|| {
            let crew = Crew::default();
            let mut numbers = vec![0.0; 64];
            for _ in 0..4 {
                crew.for_each_piece(&mut numbers, 1, &|_, _, piece| piece[0] += 1.0);
                std::thread::sleep(PATIENCE * 4);
            }
            assert_eq!(numbers, [4.0; 64]);
        });
    }

    #[test]
    fn several_threads_may_lead_at_once() {
        let crew = Crew::default();
        pool(4).install(|| {
            rayon::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|_| {
                        let mut numbers = vec![0.0; 40];
                        (0..100).for_each(|_| crew.for_each_piece(&mut numbers, 2, &|_, _, piece| piece[1] += 1.0));
                        assert!(numbers.chunks(2).all(|piece| piece == [0.0, 100.0]));
                    });
                }
            });
        });
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_leader_and_leaves_the_crew_in_order() {
        for threads in [1, 3] {
            pool(threads).install(|| {
                let crew = Crew::default();
                let mut numbers = vec![0.0; 40];
                let result = catch_unwind(AssertUnwindSafe(|| {
                    crew.for_each_piece(&mut numbers, 1, &|_, index, _| assert_ne!(index, 17));
                }));
                assert!(result.is_err());
                let result = catch_unwind(AssertUnwindSafe(|| {
                    crew.map(Deal::InTurn, 0..40, |index| assert_ne!(index, 17));
                }));
                assert!(result.is_err());
                crew.for_each_piece(&mut numbers, 1, &|_, _, piece| piece[0] = 1.0);
                assert_eq!(numbers, [1.0; 40]);
            });
        }
    }
}
