//! The pool's core, model-checked: loom runs the threads of a scene in every order that its lock allows (up to three
//! preemptions), and what must hold is asserted in each.
//!
//! The core is compiled here a second time, with loom's lock in `sync`.

#![allow(missing_docs)]
// What only the pool itself uses of the core.
#![allow(dead_code, unreachable_pub)]

#[path = "../../src/pool/counters.rs"]
mod counters;
#[path = "../../src/pool/queue.rs"]
mod queue;
#[path = "../../src/pool/slots.rs"]
mod slots;

/// What `src/pool/sync.rs` is to the pool.
mod sync {
    pub(crate) use std::sync::PoisonError;
    pub(crate) use std::time::Instant;

    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use loom::thread;

use counters::CloseReason;
use queue::{Notice, Waiter};
use slots::{Loan, Sizes, Slots, Taken, Tell, Unwanted, Verdict};

/// A connection; how many live is counted.
struct Connection(Arc<AtomicUsize>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Expired,
    Failed,
    Closed,
}

/// The core, and what the threads have seen. What is counted here is no part of what is checked, and not loom's.
struct Scene {
    slots: Slots<Connection, Refusal>,
    size: usize,
    live: Arc<AtomicUsize>,
    /// Told to connect, and not yet looked.
    wakes: AtomicUsize,
    quiet: AtomicUsize,
    /// Callbacks that were called with a connection, and without.
    called: AtomicUsize,
    refused: AtomicUsize,
}

/// Counts wakes.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Somebody in the queue.
struct Asking {
    place: usize,
    bell: Arc<Bell>,
}

/// The clock stands still: loom's threads must not depend on it.
fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn here() -> &'static Location<'static> {
    Location::caller()
}

fn waiter(timeout: Duration) -> Waiter {
    Waiter { location: here(), since: now(), deadline: now() + timeout }
}

const LONG: Duration = Duration::from_secs(1000);

impl Scene {
    /// `size` slots, and as many idle connections as `idle`.
    fn new(size: usize, idle: usize) -> Arc<Self> {
        let scene = Arc::new(Scene {
            slots: Slots::new(size),
            size,
            live: Arc::default(),
            wakes: AtomicUsize::new(0),
            quiet: AtomicUsize::new(0),
            called: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        for _ in 0..idle {
            let (slot, generation) = scene.slots.reserve(idle).expect("a vacant slot");
            scene.give(slot, generation, scene.connection());
        }
        scene
    }

    fn connection(&self) -> Connection {
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(live <= self.size, "more connections than slots");
        Connection(Arc::clone(&self.live))
    }

    fn tell(&self, tell: Tell) {
        self.wakes.fetch_add(usize::from(tell.connect), Ordering::SeqCst);
        self.quiet.fetch_add(usize::from(tell.quiet), Ordering::SeqCst);
    }

    fn give(&self, slot: usize, generation: u64, item: Connection) {
        if let Err(unwanted) = self.slots.give(Loan { slot, generation, item }, now()) {
            self.close(vec![unwanted]);
        }
    }

    fn give_back(&self, loan: Loan<Connection>) {
        self.give(loan.slot, loan.generation, loan.item);
    }

    fn close(&self, unwanted: Vec<Unwanted<Connection>>) {
        for Unwanted { slot, reason, item } in unwanted {
            drop(item);
            self.tell(self.slots.vacate(slot, Some(reason), now()));
        }
    }

    fn take(&self, timeout: Duration) -> Option<Result<Loan<Connection>, Asking>> {
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        match self.slots.take(waiter(timeout), now(), || Notice::Waker(waker)).ok()? {
            Taken::Loan(loan) => Some(Ok(loan)),
            Taken::Queued(place, tell) => {
                self.tell(tell);
                Some(Err(Asking { place, bell }))
            }
        }
    }

    fn poll(&self, asking: &Asking) -> Poll<Result<Loan<Connection>, Refusal>> {
        self.slots.poll(asking.place, &Waker::from(Arc::clone(&asking.bell)))
    }

    /// Takes and gives back; who is queued polls once and gives up.
    fn borrow_impatiently(&self) {
        match self.take(LONG) {
            Some(Ok(loan)) => self.give_back(loan),
            Some(Err(asking)) => match self.poll(&asking) {
                Poll::Ready(Ok(loan)) => self.give_back(loan),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.leave(&asking),
            },
            None => {}
        }
    }

    fn leave(&self, asking: &Asking) {
        if let Some(loan) = self.slots.leave(asking.place) {
            self.give_back(loan);
        }
    }

    /// Asks by callback; whoever calls it gives back at once.
    fn borrow_by_callback(self: &Arc<Self>) {
        let scene = Arc::clone(self);
        let callback = move |served: Result<Loan<Connection>, Refusal>| match served {
            Ok(loan) => {
                scene.called.fetch_add(1, Ordering::SeqCst);
                scene.give_back(loan);
            }
            Err(_) => drop(scene.refused.fetch_add(1, Ordering::SeqCst)),
        };
        let mut callback = Some(Box::new(callback));
        let notice = || Notice::Callback(callback.take().expect("asked for once"));
        match self.slots.take(waiter(LONG), now(), notice) {
            Ok(Taken::Loan(loan)) => callback.take().expect("not queued")(Ok(loan)),
            Ok(Taken::Queued(_, tell)) => self.tell(tell),
            Err(_) => callback.take().expect("not queued")(Err(Refusal::Closed)),
        }
    }

    /// What the background task does once it is woken: makes what is wanted.
    fn drive(&self) {
        while self.wakes.swap(0, Ordering::SeqCst) > 0 {
            while let Some((slot, generation)) = self.slots.reserve(0) {
                self.give(slot, generation, self.connection());
            }
        }
    }

    fn sizes(&self) -> Sizes {
        self.slots.sizes()
    }

    /// Nobody uses the pool any more: every slot is idle or vacant, and what is open is what is idle.
    fn assert_whole(&self) {
        let sizes = self.sizes();
        assert_eq!((sizes.lent, sizes.connecting, sizes.waiting), (0, 0, 0), "{sizes:?}");
        assert_eq!(self.live.load(Ordering::SeqCst), sizes.idle);
        let (_, _, counters) = self.slots.numbers();
        assert_eq!(counters.acquired, counters.released);
        assert_eq!(counters.created, sizes.idle as u64 + counters.closed.iter().sum::<u64>());
    }

    /// Who waits is served, if only the background task is allowed to run: no demand was lost.
    fn assert_served(&self, asking: &Asking) {
        self.drive();
        assert!(asking.bell.0.load(Ordering::SeqCst) > 0, "he was not woken: {:?}", self.sizes());
        match self.poll(asking) {
            Poll::Ready(Ok(loan)) => self.give_back(loan),
            other => panic!("he has nothing: {:?}", other.map(|served| served.map(drop))),
        }
    }
}

/// Checks a scene in every order of its threads.
fn check(scene: impl Fn() + Send + Sync + 'static) {
    let orders = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&orders);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        scene();
    });
    assert!(orders.load(Ordering::SeqCst) > 1, "nothing was checked");
}

/// Starts a thread of a scene.
fn spawn<T: 'static>(scene: &Arc<Scene>, run: impl FnOnce(&Arc<Scene>) -> T + 'static) -> thread::JoinHandle<T> {
    let scene = Arc::clone(scene);
    thread::spawn(move || run(&scene))
}

#[test]
fn takers_and_givers_lose_nothing() {
    check(|| {
        let scene = Scene::new(2, 1);
        let threads = [
            spawn(&scene, |scene| scene.borrow_impatiently()),
            spawn(&scene, |scene| {
                scene.borrow_impatiently();
                scene.borrow_impatiently();
            }),
        ];
        scene.borrow_impatiently();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        scene.drive();
        scene.assert_whole();
    });
}

/// One connection, lent. Of two who wait, the first leaves just when it comes home.
#[test]
fn a_loan_served_to_who_leaves_reaches_the_next() {
    check(|| {
        let scene = Scene::new(1, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let Some(Err(first)) = scene.take(LONG) else { panic!("it is lent") };
        let Some(Err(second)) = scene.take(LONG) else { panic!("it is lent") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let leaving = spawn(&scene, move |scene| scene.leave(&first));
        giving.join().unwrap();
        leaving.join().unwrap();
        scene.assert_served(&second);
        scene.assert_whole();
    });
}

#[test]
fn a_waiter_that_polls_while_it_is_served_misses_nothing() {
    check(|| {
        let scene = Scene::new(1, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let Some(Err(asking)) = scene.take(LONG) else { panic!("it is lent") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        match scene.poll(&asking) {
            Poll::Ready(served) => {
                giving.join().unwrap();
                scene.give_back(served.unwrap());
            }
            Poll::Pending => {
                giving.join().unwrap();
                scene.assert_served(&asking);
            }
        }
        scene.assert_whole();
    });
}

#[test]
fn close_leaves_no_waiter_and_no_connection() {
    check(|| {
        let scene = Scene::new(2, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let taking = spawn(&scene, |scene| match scene.take(LONG) {
            Some(Ok(loan)) => {
                scene.give_back(loan);
                None
            }
            Some(Err(asking)) => Some(asking),
            None => None,
        });
        scene.close(scene.slots.close(|| Refusal::Closed));
        giving.join().unwrap();
        if let Some(asking) = taking.join().unwrap() {
            match scene.poll(&asking) {
                Poll::Ready(Ok(loan)) => scene.give_back(loan),
                Poll::Ready(Err(refusal)) => assert_eq!(refusal, Refusal::Closed),
                Poll::Pending => panic!("he waits in a closed pool"),
            }
        }
        assert!(scene.slots.is_quiet());
        assert!(scene.quiet.load(Ordering::SeqCst) > 0, "nobody was told");
        scene.assert_whole();
        assert_eq!(scene.live.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn during_a_pause_nothing_is_lent_and_after_it_who_waits_is_served() {
    check(|| {
        let scene = Scene::new(1, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let taking = spawn(&scene, |scene| match scene.take(LONG) {
            Some(Ok(loan)) => {
                scene.give_back(loan);
                None
            }
            asked => asked.and_then(Result::err),
        });
        scene.close(scene.slots.pause().unwrap());
        let is_quiet = scene.slots.is_quiet();
        if is_quiet {
            assert_eq!((scene.sizes().lent, scene.live.load(Ordering::SeqCst)), (0, 0));
            assert!(scene.slots.try_take(here(), now(), |_| true).unwrap().is_none());
            assert!(scene.slots.reserve(1).is_none());
        }
        scene.tell(scene.slots.resume());
        giving.join().unwrap();
        if let Some(asking) = taking.join().unwrap() {
            scene.assert_served(&asking);
        }
        scene.assert_whole();
    });
}

#[test]
fn a_connection_of_an_ended_generation_is_not_lent_again() {
    check(|| {
        let scene = Scene::new(2, 2);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let borrowing = spawn(&scene, |scene| scene.borrow_impatiently());
        scene.close(scene.slots.end_generation(0));
        // A second one who finds it ends nothing.
        assert!(scene.slots.end_generation(0).is_empty());
        giving.join().unwrap();
        borrowing.join().unwrap();
        assert_eq!(scene.sizes().idle, 0);
        scene.assert_whole();
    });
}

#[test]
fn callbacks_are_called_once_each_and_their_loans_go_home() {
    check(|| {
        let scene = Scene::new(1, 1);
        let threads =
            [spawn(&scene, |scene| scene.borrow_by_callback()), spawn(&scene, |scene| scene.borrow_by_callback())];
        scene.borrow_impatiently();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(scene.called.load(Ordering::SeqCst), 2);
        scene.assert_whole();
    });
}

#[test]
fn callbacks_are_called_when_the_pool_is_closed_too() {
    check(|| {
        let scene = Scene::new(1, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let asking = spawn(&scene, |scene| scene.borrow_by_callback());
        scene.close(scene.slots.close(|| Refusal::Closed));
        giving.join().unwrap();
        asking.join().unwrap();
        let called = scene.called.load(Ordering::SeqCst) + scene.refused.load(Ordering::SeqCst);
        assert_eq!(called, 1);
        scene.assert_whole();
    });
}

/// Time runs out for the first of two just when the connection comes home: one of them gets it, nobody both or neither.
#[test]
fn time_that_runs_out_while_a_connection_comes_home_loses_nothing() {
    check(|| {
        let scene = Scene::new(1, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let Some(Err(first)) = scene.take(Duration::ZERO) else { panic!("it is lent") };
        let Some(Err(second)) = scene.take(LONG) else { panic!("it is lent") };
        let giving = spawn(&scene, |scene| scene.give_back(loan));
        let expiring = spawn(&scene, |scene| scene.slots.expire(now(), |_, _| Refusal::Expired));
        giving.join().unwrap();
        expiring.join().unwrap();
        match scene.poll(&first) {
            Poll::Ready(Ok(loan)) => scene.give_back(loan),
            Poll::Ready(Err(refusal)) => assert_eq!(refusal, Refusal::Expired),
            Poll::Pending => panic!("his time is up"),
        }
        scene.assert_served(&second);
        scene.assert_whole();
    });
}

/// A broken connection comes home while somebody joins the queue and another attempt fails: whoever waits is told that none
/// could be made, or one is made for him.
#[test]
fn no_demand_is_lost_when_slots_become_vacant() {
    check(|| {
        let scene = Scene::new(2, 1);
        let Some(Ok(loan)) = scene.take(LONG) else { panic!("one is idle") };
        let (slot, _) = scene.slots.reserve(2).expect("a vacant slot");
        let breaking = spawn(&scene, move |scene| {
            let Loan { slot, item, .. } = loan;
            drop(item);
            scene.tell(scene.slots.vacate(slot, Some(CloseReason::Unclean), now()));
        });
        let failing = spawn(&scene, move |scene| scene.tell(scene.slots.abandon(slot, now(), Refusal::Failed)));
        let asked = scene.take(LONG).and_then(Result::err);
        breaking.join().unwrap();
        failing.join().unwrap();
        let asking = asked.expect("nothing was idle");
        if let Poll::Ready(served) = scene.poll(&asking) {
            assert_eq!(served.err(), Some(Refusal::Failed));
        } else {
            scene.assert_served(&asking);
        }
        scene.assert_whole();
    });
}

/// The background task makes connections while those who want them come and go.
#[test]
fn what_is_made_for_who_left_is_idle_and_who_stays_is_served() {
    check(|| {
        let scene = Scene::new(1, 0);
        let driving = spawn(&scene, |scene| scene.drive());
        let leaving = spawn(&scene, |scene| scene.borrow_impatiently());
        let asked = scene.take(LONG);
        driving.join().unwrap();
        leaving.join().unwrap();
        match asked {
            Some(Ok(loan)) => scene.give_back(loan),
            Some(Err(asking)) => scene.assert_served(&asking),
            None => panic!("the pool is open"),
        }
        scene.assert_whole();
    });
}

#[test]
fn a_sweep_takes_nothing_from_who_comes_meanwhile() {
    check(|| {
        let scene = Scene::new(2, 2);
        let taking = spawn(&scene, |scene| scene.take(LONG));
        let mut is_first = true;
        let swept = scene.slots.sweep(|_, _, _| {
            if std::mem::take(&mut is_first) { Verdict::Close(CloseReason::Idle) } else { Verdict::Test }
        });
        scene.close(swept.unwanted);
        swept.test.into_iter().for_each(|loan| scene.give_back(loan));
        match taking.join().unwrap() {
            Some(Ok(loan)) => scene.give_back(loan),
            Some(Err(asking)) => scene.assert_served(&asking),
            None => panic!("the pool is open"),
        }
        scene.assert_whole();
    });
}
