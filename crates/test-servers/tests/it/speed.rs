use test_servers::*;
#[test]
fn speed() {
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let s = Postgres::plain().start();
        let a = t.elapsed();
        let t = std::time::Instant::now();
        let d = s.create_database();
        let b = t.elapsed();
        let t = std::time::Instant::now();
        drop(d);
        let c = t.elapsed();
        let t = std::time::Instant::now();
        drop(s);
        println!("start {a:?} create {b:?} dropdb {c:?} drop {:?}", t.elapsed());
    }
}
