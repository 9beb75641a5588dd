//! A hundred rotations under load: no log-in is lost.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::credential::{Credential, LogIn, Login, Refusal};

/// A server that knows the password of each user.
type Passwords = Arc<Mutex<HashMap<String, String>>>;

fn value(user: &str, password: &str) -> String {
    format!("{{\"username\":\"{user}\",\"password\":\"{password}\"}}")
}

/// How many rotations.
const ROTATIONS: usize = 100;

/// Eight tasks log in without a pause while the secret `id` is rotated. After each rotation 20 log-ins must succeed, and
/// every tenth comes right behind the one before. Answers how many log-ins there were, and how often the server refused.
async fn under_load(moto: &Moto, id: &str, passwords: &Passwords, rotate: impl AsyncFn(usize)) -> (usize, usize) {
    let log_in = Arc::new(LogIn::new(Arc::new(secret_at(&moto.url, id))));
    let (done, refused, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::default());
    let task = || {
        let (log_in, passwords, done) = (Arc::clone(&log_in), Arc::clone(passwords), Arc::clone(&done));
        let (refused, times) = (Arc::clone(&refused), Arc::<AtomicUsize>::clone(&times));
        async move {
            let login = Login::new("db", 5432, None);
            while !done.load(Ordering::Relaxed) {
                let attempt = async |credential: Credential| {
                    tokio::time::sleep(Duration::from_micros(500)).await;
                    let passwords = passwords.lock().unwrap();
                    if passwords.get(&credential.user).map(String::as_bytes) == Some(credential.password.expose()) {
                        return Ok(());
                    }
                    refused.fetch_add(1, Ordering::Relaxed);
                    Err::<(), Refusal>(Refusal::Credential(Error::credential(&"the server", "28P01")))
                };
                log_in.connect(&login, attempt).await.unwrap();
                times.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(task())).collect();
    for number in 1..=ROTATIONS {
        rotate(number).await;
        let before = times.load(Ordering::Relaxed);
        while number % 10 != 0 && times.load(Ordering::Relaxed) < before + 20 {
            assert!(tasks.iter().all(|task| !task.is_finished()), "a log-in was lost");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    (times.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
}

/// One user: the password changes in the database first and in the secret a moment later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_of_one_users_password_lose_no_log_in() {
    let Some(moto) = Moto::shared() else { return };
    moto.create("one-user", &value("app", "p0")).await;
    let passwords = Passwords::new(Mutex::new(HashMap::from([("app".to_owned(), "p0".to_owned())])));
    let rotate = async |number| {
        let password = format!("p{number}");
        passwords.lock().unwrap().insert("app".to_owned(), password.clone());
        tokio::time::sleep(Duration::from_millis(10)).await;
        moto.put("one-user", &value("app", &password)).await;
    };
    let (times, refused) = under_load(moto, "one-user", &passwords, rotate).await;
    assert!(times > 20 * ROTATIONS / 2 && refused > ROTATIONS / 2, "{times} log-ins, {refused} refused");
}

/// Two users in turn: the one that is not in use gets its new password, then the secret names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_between_two_users_lose_no_log_in() {
    let Some(moto) = Moto::shared() else { return };
    moto.create("two-users", &value("app", "p0")).await;
    let passwords = Passwords::new(Mutex::new(HashMap::from([("app".to_owned(), "p0".to_owned())])));
    let rotate = async |number| {
        let (user, password) = (if number % 2 == 0 { "app" } else { "app_clone" }, format!("p{number}"));
        passwords.lock().unwrap().insert(user.to_owned(), password.clone());
        moto.put("two-users", &value(user, &password)).await;
    };
    let (times, refused) = under_load(moto, "two-users", &passwords, rotate).await;
    // Every second rotation changes the password of the user whose credential is still kept.
    assert!(times > 20 * ROTATIONS / 2 && refused >= ROTATIONS / 4, "{times} log-ins, {refused} refused");
}
