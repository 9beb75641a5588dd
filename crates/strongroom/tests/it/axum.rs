//! A session per request, through a real server on loopback and clients that hang up.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::stream;
use strongroom::axum::{ReadSession, Session, SessionLayer};
use strongroom::{Database, Result, params};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::{Keep, Place, Server, all, count, create_entry};

const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";
const SOON: Duration = Duration::from_secs(10);

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn ask(address: SocketAddr, path: &str) -> String {
    rest(send(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
}

async fn add(session: &Session, id: i64) -> Result<()> {
    session.lock().await?.execute(INSERT, params![id, format!("text {id}")]).await.map(drop)
}

/// Waits until nothing of a request is left: no lent connection, no open transaction, a free writer.
async fn all_is_closed(db: &Database, keep: &Keep) {
    timeout(SOON, async {
        while db.stats().readers.active != 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a connection stays lent");
    timeout(SOON, db.execute(INSERT, params![1000, "free"])).await.expect("the writer stays taken").unwrap();
    db.execute("DELETE FROM entry WHERE id = 1000", params![]).await.unwrap();
    if let Keep::Postgres(server) = keep {
        let open = "select state from pg_stat_activity where datname = current_database() and state like 'idle in%'";
        assert_eq!(server.query(open), [[""; 0]; 0]);
    }
}

/// The status decides, and the session's own wish. Asked right after the answer, so a commit that came later would show.
#[tokio::test]
async fn an_answer_below_400_is_stored_before_it_is_sent_and_others_are_not() {
    for (db, keep) in all().await {
        let status = |code: u16| {
            move |session: Session| async move {
                add(&session, i64::from(code)).await?;
                Ok::<_, strongroom::Error>(StatusCode::from_u16(code).unwrap())
            }
        };
        let trial = |session: Session| async move {
            add(&session, 1).await?;
            session.roll_back();
            Ok::<_, strongroom::Error>("tried")
        };
        let router = Router::new().route("/trial", get(trial));
        let router = [201, 302, 404, 500]
            .into_iter()
            .fold(router, |router, code| router.route(&format!("/{code}"), get(status(code))));
        let address = serve(router.layer(SessionLayer::new(db.clone()))).await;
        for (path, stored) in [("201", 1), ("302", 2), ("404", 2), ("500", 2), ("trial", 2)] {
            let answer = ask(address, &format!("/{path}")).await;
            assert!(answer.contains(&format!(" {} ", if path == "trial" { "200" } else { path })), "{answer}");
            assert_eq!(count(&db).await, stored, "{path}");
        }
        all_is_closed(&db, &keep).await;
    }
}

/// Middleware writes first, the handler sees it and writes twice at once; the status takes all of it back, or none.
#[tokio::test]
async fn middleware_and_handler_share_one_session() {
    for (db, keep) in all().await {
        let handler = |status: StatusCode| {
            move |session: Session| async move {
                let seen: Option<i64> =
                    session.lock().await?.fetch_value("SELECT count(*) FROM entry", params![]).await?;
                let (one, two) = tokio::join!(add(&session, 2), add(&session, 3));
                one.and(two)?;
                Ok::<_, strongroom::Error>((status, format!("saw {}", seen.unwrap_or_default())))
            }
        };
        let before = |session: Session, request: Request, next: Next| async move {
            add(&session, 1).await?;
            Ok::<_, strongroom::Error>(next.run(request).await)
        };
        let router = Router::new()
            .route("/bad", get(handler(StatusCode::BAD_REQUEST)))
            .route("/good", get(handler(StatusCode::OK)))
            .layer(from_fn(before))
            .layer(SessionLayer::new(db.clone()));
        let address = serve(router).await;
        assert!(ask(address, "/bad").await.ends_with("saw 1"));
        assert_eq!(count(&db).await, 0);
        assert!(ask(address, "/good").await.ends_with("saw 1"));
        assert_eq!(count(&db).await, 3);
        all_is_closed(&db, &keep).await;
    }
}

/// A deferred foreign key fails at the commit: the handler's 200 must not reach the client, nor the names inside.
#[tokio::test]
async fn a_commit_that_fails_is_answered_as_an_error_without_inner_detail() {
    for (db, keep) in all().await {
        db.execute("CREATE TABLE child (entry INTEGER REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED)", params![])
            .await
            .unwrap();
        let handler = |session: Session| async move {
            session.lock().await?.execute("INSERT INTO child (entry) VALUES (7)", params![]).await?;
            Ok::<_, strongroom::Error>("stored")
        };
        let address = serve(Router::new().route("/", get(handler)).layer(SessionLayer::new(db.clone()))).await;
        let answer = ask(address, "/").await;
        assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        for inner in ["stored\"", "child", "INSERT", "FOREIGN", "foreign key", ".rs"] {
            assert!(!answer.contains(inner), "{inner}: {answer}");
        }
        all_is_closed(&db, &keep).await;
    }
}

/// While a body is awaited somebody else writes; a client that never sends the rest leaves nothing.
#[tokio::test]
async fn a_slow_body_holds_nothing() {
    for (db, keep) in all().await {
        let handler = |session: Session, body: String| async move {
            session.lock().await?.execute(INSERT, params![5, body]).await?;
            Ok::<_, strongroom::Error>(())
        };
        let address = serve(Router::new().route("/", post(handler)).layer(SessionLayer::new(db.clone()))).await;
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nab";
        let mut slow = send(address, head).await;
        let gone = send(address, head).await;
        sleep(Duration::from_millis(100)).await;
        all_is_closed(&db, &keep).await;
        drop(gone);
        slow.write_all(b"cd").await.unwrap();
        assert!(rest(slow).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(count(&db).await, 1);
        all_is_closed(&db, &keep).await;
    }
}

/// The handler has written when its client hangs up, it panics, or its time is up, and a task of its own keeps the session.
#[tokio::test]
async fn a_handler_that_is_cut_short_leaves_nothing() {
    for (db, keep) in all().await {
        let (reached, mut at) = mpsc::unbounded_channel();
        let handler = |panics: bool| {
            let reached = reached.clone();
            move |session: Session| async move {
                add(&session, 1).await?;
                let kept = session.clone();
                tokio::spawn(async move {
                    let _guard = kept.lock().await;
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
                reached.send(()).unwrap();
                assert!(!panics, "as planned");
                std::future::pending::<()>().await;
                Ok::<_, strongroom::Error>(())
            }
        };
        let limit = |request: Request, next: Next| async move {
            timeout(Duration::from_millis(100), next.run(request)).await.map_err(|_| StatusCode::GATEWAY_TIMEOUT)
        };
        let layer = SessionLayer::new(db.clone());
        let router = Router::new()
            .route("/wait", get(handler(false)))
            .route("/panic", get(handler(true)))
            .layer(layer.clone())
            .merge(Router::new().route("/limit", get(handler(false))).layer(layer).layer(from_fn(limit)));
        let address = serve(router).await;
        for path in ["/wait", "/panic", "/limit"] {
            let stream = send(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
            timeout(SOON, at.recv()).await.unwrap().unwrap();
            match path {
                "/wait" => drop(stream),
                "/panic" => assert_eq!(rest(stream).await, ""),
                _ => assert!(rest(stream).await.starts_with("HTTP/1.1 504 ")),
            }
            all_is_closed(&db, &keep).await;
            assert_eq!(count(&db).await, 0, "{path}");
        }
    }
}

/// The body reads on after its head was sent, in the handler's snapshot; then the client takes all of it, or hangs up.
#[tokio::test]
async fn a_read_session_lives_until_the_body_ends_or_is_dropped() {
    for (db, keep) in files_and_servers().await {
        let (go, gate) = tokio::sync::watch::channel(false);
        let handler = move |reading: ReadSession| async move {
            let before: Option<i64> =
                reading.lock().await?.fetch_value("SELECT count(*) FROM entry", params![]).await?;
            let parts = stream::unfold(0, move |part| {
                let (reading, mut gate) = (reading.clone(), gate.clone());
                async move {
                    let text = match part {
                        0 => format!("before {};", before.unwrap_or_default()),
                        1 => {
                            gate.wait_for(|open| *open).await.unwrap();
                            let mut view = reading.lock().await.unwrap();
                            let after: Option<i64> =
                                view.fetch_value("SELECT count(*) FROM entry", params![]).await.unwrap();
                            format!("after {};", after.unwrap_or_default())
                        }
                        _ => return None,
                    };
                    Some((Ok::<_, Infallible>(text), part + 1))
                }
            });
            Ok::<_, strongroom::Error>(Response::new(Body::from_stream(parts)))
        };
        let address = serve(Router::new().route("/", get(handler)).layer(SessionLayer::new(db.clone()))).await;
        for hangs_up in [true, false] {
            let mut stream = send(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let mut seen = Vec::new();
            while !seen.ends_with(b"before 0;\r\n") {
                assert_ne!(timeout(SOON, stream.read_buf(&mut seen)).await.unwrap().unwrap(), 0);
            }
            assert_eq!(db.stats().readers.active, 1, "opened once, and still open");
            if hangs_up {
                drop(stream);
            } else {
                db.execute(INSERT, params![1, "later"]).await.unwrap();
                go.send(true).unwrap();
                assert!(rest(stream).await.contains("after 0;"), "the snapshot is the handler's");
            }
            all_is_closed(&db, &keep).await;
        }
    }
}

/// One session holds the writer, or the only connection; the request's wait ends with 503 and names nobody.
#[tokio::test]
async fn an_exhausted_pool_is_answered_with_503_and_retry_after() {
    let place = Place::new();
    let mut configs = vec![place.config()];
    let server = Server::if_there();
    configs.extend(server.as_ref().map(|server| server.config().pool_max_size(1)));
    for config in configs {
        let db = config.acquire_timeout(Duration::from_secs(1)).connect().await.unwrap();
        create_entry(&db).await;
        let handler = |session: Session| async move { add(&session, 1).await };
        let address = serve(Router::new().route("/", get(handler)).layer(SessionLayer::new(db.clone()))).await;
        let holder = db.session().await.unwrap();
        let answer = ask(address, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1"), "{answer}");
        assert!(answer.contains("urn:strongroom:busy") && !answer.contains(".rs"), "{answer}");
        drop(holder);
        assert!(ask(address, "/").await.starts_with("HTTP/1.1 200 "));
    }
}

/// A handler gives its guard to a task and answers 200: what that task has half done must not be stored.
#[tokio::test]
async fn a_session_still_in_use_when_the_answer_is_ready_is_rolled_back() {
    for (db, keep) in all().await {
        let handler = |session: Session| async move {
            let mut guard = session.lock().await?;
            guard.execute(INSERT, params![1, "half"]).await?;
            tokio::spawn(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
            Ok::<_, strongroom::Error>("done")
        };
        let address = serve(Router::new().route("/", get(handler)).layer(SessionLayer::new(db.clone()))).await;
        assert!(ask(address, "/").await.starts_with("HTTP/1.1 500 "));
        all_is_closed(&db, &keep).await;
        assert_eq!(count(&db).await, 0);
    }
}

/// Kept beyond the answer, a clone that was used, and one that was not, tell so.
#[tokio::test]
async fn a_session_kept_beyond_the_answer_has_ended() {
    for (db, _keep) in all().await {
        for used in [true, false] {
            let (keep, mut kept) = mpsc::unbounded_channel();
            let handler = move |session: Session| async move {
                if used {
                    add(&session, 1).await?;
                }
                keep.send(session).unwrap();
                Ok::<_, strongroom::Error>(())
            };
            let address = serve(Router::new().route("/", get(handler)).layer(SessionLayer::new(db.clone()))).await;
            assert!(ask(address, "/").await.starts_with("HTTP/1.1 200 "));
            let session = kept.recv().await.unwrap();
            assert!(matches!(session.lock().await, Err(strongroom::Error::SessionEnded)));
        }
    }
}

/// The programmer's mistake is a plain 500, and says nothing to the client.
#[tokio::test]
async fn a_route_without_the_layer_answers_500() {
    let address = serve(Router::new().route("/", get(async |_: Session| "unreachable"))).await;
    let answer = ask(address, "/").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(!answer.contains("SessionLayer"), "{answer}");
}

/// Not in memory, where a snapshot keeps everybody else waiting.
async fn files_and_servers() -> Vec<(Database, Keep)> {
    all().await.into_iter().filter(|(_, keep)| !matches!(keep, Keep::Sqlite(None))).collect()
}
