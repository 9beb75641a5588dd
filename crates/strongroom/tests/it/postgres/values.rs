//! Values both ways.

use strongroom::{Error, QueryErrorKind, Value, params};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::Server;

#[tokio::test]
async fn every_kind_of_value_reads_back_as_it_was_written_with_and_without_named_statements() {
    let Some(server) = Server::if_there() else { return };
    let (id, moment) = (Uuid::now_v7(), datetime!(9999-12-31 23:59:59.123456 UTC));
    for named in [true, false] {
        let db = server.config().named_statements(named).connect().await.unwrap();
        let sql = "SELECT $1::int8 AS n, $2::bool AS b, $3::int8 AS i, $4::float8 AS f, $5::text AS t, $6::bytea AS y, \
                   $7::uuid AS u, $8::timestamptz AS m, $9::timestamp AS z, $10::date AS d, $11::int2 AS s, \
                   $12::int4 AS w, $13::float4 AS g, $14::varchar AS v, $15::jsonb AS j, $16::numeric AS e";
        let params = params![
            Option::<i64>::None,
            true,
            i64::MIN,
            0.1,
            "grüße \\ \" ' {}",
            vec![0_u8, 255],
            id,
            moment,
            datetime!(1950-01-01 01:00:00.5 +1),
            datetime!(0001-01-01 00:00 UTC),
            -32_768,
            7,
            0.5,
            "v",
            "{\"a\": 1}",
            "12345678901234567890.0123456789000"
        ];
        let row = db.fetch_one(sql, params).await.unwrap();
        assert_eq!(row.get::<Option<i64>>("n").unwrap(), None);
        assert!(row.get::<bool>("b").unwrap());
        assert_eq!(row.get::<i64>("i").unwrap(), i64::MIN);
        assert_eq!(row.get::<f64>("f").unwrap(), 0.1);
        assert_eq!(row.get::<String>("t").unwrap(), "grüße \\ \" ' {}");
        assert_eq!(row.get::<Vec<u8>>("y").unwrap(), [0, 255]);
        assert_eq!(row.get::<Uuid>("u").unwrap(), id);
        assert_eq!(row.get::<OffsetDateTime>("m").unwrap(), moment);
        assert_eq!(row.get::<OffsetDateTime>("z").unwrap(), datetime!(1950-01-01 00:00:00.5 UTC));
        assert_eq!(row.get::<OffsetDateTime>("d").unwrap(), datetime!(0001-01-01 00:00 UTC));
        assert_eq!((row.get::<i16>("s").unwrap(), row.get::<i32>("w").unwrap()), (-32_768, 7));
        assert_eq!((row.get::<f64>("g").unwrap(), row.get::<String>("v").unwrap()), (0.5, "v".to_owned()));
        assert_eq!(row.get::<String>("j").unwrap(), "{\"a\": 1}");
        assert_eq!(row.get::<String>("e").unwrap(), "12345678901234567890.0123456789000");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_and_not_changed() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    for (sql, value, expected) in [
        ("SELECT $1::int2", Value::Int(40_000), "parameter $1: an integer out of the range of int2"),
        ("SELECT $1::int4", Value::Int(1 << 40), "an integer out of the range of int4"),
        ("SELECT $1::float8", Value::Int(i64::MAX), "integer given, and the server expects float8"),
        ("SELECT $1::float4", Value::Float(1e300), "a float out of the range of float4"),
        ("SELECT $1::int8", Value::Text("7".into()), "text given, and the server expects int8"),
        ("SELECT $1::text", Value::Int(7), "integer given, and the server expects text"),
        ("SELECT $1::bool", Value::Int(1), "integer given, and the server expects bool"),
        ("SELECT $1::bytea", Value::Text("canary".into()), "text given, and the server expects bytea"),
        ("SELECT $1::text", Value::Text("canary\0".into()), "a NUL character, at byte 6"),
        ("SELECT $1::date", datetime!(2026-01-01 00:00:01 UTC).into(), "not midnight"),
        ("SELECT $1::int8", Value::Array(vec![Value::Int(1)]), "array given, and the server expects int8"),
    ] {
        let error = db.fetch_one(sql, params![value]).await.unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::Parameters), "{sql}: {error}");
        assert!(error.to_string().contains(expected), "{sql}: {error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    for (sql, params) in [("SELECT $1::int8, $2::int8", params![1]), ("SELECT $1::int8", params![1, 2])] {
        let error = db.fetch_one(sql, params).await.unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::Parameters), "{error}");
    }
    let row = db.fetch_one("SELECT $2::int8, $1::int8, $2", params![1, 2]).await.unwrap();
    assert_eq!(row.values(), [Value::Int(2), Value::Int(1), Value::Int(2)]);
    assert_eq!(db.stats().readers.created, 1);
}

#[tokio::test]
async fn a_numeric_reads_as_the_text_that_the_server_writes() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    for number in [
        "0",
        "0.0",
        "0.00001",
        "-0.5",
        "1",
        "10000",
        "9999",
        "100000000",
        "-12345.6700",
        "1e20",
        "1e-20",
        "123456789.0001",
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "0.9999",
        "10000.00010000",
        "1e131",
        "-1e-131",
    ] {
        let sql = format!("SELECT ({number})::numeric AS n, ({number})::numeric::text AS t");
        let row = db.fetch_one(&sql, params![]).await.unwrap();
        assert_eq!(row.get::<String>("n").unwrap(), row.get::<String>("t").unwrap(), "{number}");
    }
}

#[tokio::test]
async fn arrays_go_both_ways() {
    let Some(server) = Server::if_there() else { return };
    let id = Uuid::now_v7();
    for named in [true, false] {
        let db = server.config().named_statements(named).connect().await.unwrap();
        let sql = "SELECT $1::text[] AS t, $2::int8[] AS i, $3::bytea[] AS b, $4::uuid[] AS u, $5::timestamptz[] AS m, \
                   $6::int8[] AS e";
        let moment = datetime!(2026-11-21 08:00 UTC);
        let texts = vec![Some("a,\"b\\"), None, Some("NULL"), Some("")];
        let row = db
            .fetch_one(
                sql,
                params![
                    texts.clone(),
                    vec![1_i64, -2],
                    vec![vec![0_u8, 92], vec![]],
                    vec![id],
                    vec![moment],
                    Vec::<i64>::new()
                ],
            )
            .await
            .unwrap();
        let read: Vec<Option<String>> = row.get("t").unwrap();
        assert_eq!(read.iter().map(Option::as_deref).collect::<Vec<_>>(), texts);
        assert_eq!(row.get::<Vec<i64>>("i").unwrap(), [1, -2]);
        assert_eq!(row.get::<Vec<Vec<u8>>>("b").unwrap(), [vec![0_u8, 92], vec![]]);
        assert_eq!(row.get::<Vec<Uuid>>("u").unwrap(), [id]);
        assert_eq!(row.get::<Vec<OffsetDateTime>>("m").unwrap(), [moment]);
        assert_eq!(row.get::<Vec<i64>>("e").unwrap(), [0_i64; 0]);
        assert!(row.get::<Vec<String>>("t").is_err(), "it holds a NULL");
    }
    let db = server.open().await;
    db.execute("CREATE TABLE seen (id int8 PRIMARY KEY, der bytea)", params![]).await.unwrap();
    let import = "INSERT INTO seen (id, der) SELECT * FROM unnest($1::int8[], $2::bytea[]) ON CONFLICT DO NOTHING";
    let ids: Vec<i64> = (0..3_000).collect();
    let ders: Vec<Vec<u8>> = ids.iter().map(|id| id.to_be_bytes().to_vec()).collect();
    assert_eq!(db.execute(import, params![ids.clone(), ders.clone()]).await.unwrap(), 3_000);
    assert_eq!(db.execute(import, params![ids, ders]).await.unwrap(), 0);
}

#[tokio::test]
async fn types_of_the_servers_and_the_users_own_are_written_as_text_and_read_where_they_are_text() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    db.execute_script(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS int8 CHECK (value > 0);
         CREATE TABLE t (m mood, p positive, i inet, d interval, ms mood[])",
    )
    .await
    .unwrap();
    let insert = "INSERT INTO t (m, p, i, d) VALUES ($1, $2, $3, $4)";
    db.execute(insert, params!["happy", 7, "10.0.0.1", "1 day"]).await.unwrap();
    let row = db.fetch_one("SELECT m, p, i::text, d::text FROM t", params![]).await.unwrap();
    assert_eq!(row.values()[..2], [Value::Text("happy".into()), Value::Int(7)]);
    assert_eq!(row.get::<String>("i").unwrap(), "10.0.0.1/32");
    let error = db.execute(insert, params!["canary", 7, "10.0.0.1", "1 day"]).await.unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
    assert_eq!(
        db.execute(insert, params!["sad", 0, "::1", "1 s"]).await.unwrap_err().query_kind(),
        Some(QueryErrorKind::Check)
    );
    let error = db.fetch_one("SELECT i FROM t", params![]).await.unwrap_err();
    assert!(matches!(&error, Error::Decode { .. }) && error.to_string().contains("cast it to text"), "{error}");
    let error = db.fetch_one("SELECT 'infinity'::timestamptz AS m", params![]).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    assert_eq!(db.stats().readers.created, 1);
}
