//! Statistics, and their text for Prometheus.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Act, SECOND, World, plain, settle, take};
use crate::pool::CloseReason;

#[tokio::test(start_paused = true)]
async fn statistics_say_what_happened() {
    let world = World::new();
    let pool = world.pool(plain(3).connect_attempts(1));
    assert_eq!((pool.size(), pool.stats().size()), (0, 0));
    let mut all = take(&pool, 2).await;
    tokio::time::advance(2 * SECOND).await;
    drop(all.pop());
    world.connect.once(Act::Fatal);
    let more = take(&pool, 1).await;
    assert!(pool.acquire().await.is_err());
    world.connect.always(Act::Never);
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.acquire().await.map(drop) })
    };
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.active, stats.connecting, stats.waiting), (0, 2, 1, 1));
    assert_eq!((stats.size(), pool.size()), (3, 3));
    assert_eq!((stats.created, stats.acquired, stats.released), (2, 3, 1));
    assert_eq!((stats.timeouts, stats.connect_errors), (0, 1));
    let oldest = stats.oldest.unwrap();
    assert_eq!(oldest.age, 2 * SECOND);
    assert!(oldest.location.file().ends_with("tests.rs"));
    tokio::time::sleep(SECOND).await;
    drop((all, more));
    waiting.await.unwrap().unwrap();
    world.check_in.once(Act::Error);
    drop(pool.acquire().await.unwrap());

    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.released, stats.active), (5, 5, 0));
    assert_eq!((stats.closed(CloseReason::Unclean), stats.closed(CloseReason::Idle)), (1, 0));
    assert_eq!((stats.waits.count(), stats.waits.total()), (5, SECOND));
    // Two used for no time, one for 2 s, one for 3 s, one for 1 s.
    assert_eq!((stats.uses.count(), stats.uses.total()), (5, 6 * SECOND));
    let within: u64 = stats
        .uses
        .buckets()
        .take_while(|(bound, _)| bound.is_some_and(|bound| bound < SECOND))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(within, 2);
}

/// Read by a parser that allows less than the format does: it finds each metric described once and before its samples, and
/// each histogram complete and growing.
#[tokio::test(start_paused = true)]
async fn the_text_for_prometheus_is_well_formed_and_says_the_same() {
    let world = World::new();
    let pool = world.pool(plain(3));
    let held = take(&pool, 2).await;
    tokio::time::advance(Duration::from_millis(1500)).await;
    drop(held);
    let _held = take(&pool, 1).await;
    let stats = pool.stats();
    let name = "a \"b\"\\\nc";
    let text = stats.to_prometheus(name);
    let metrics = parse(&text);

    let names: HashSet<_> = metrics.keys().map(String::as_str).collect();
    let expected = [
        ("connections", "gauge"),
        ("waiting", "gauge"),
        ("created_total", "counter"),
        ("acquired_total", "counter"),
        ("released_total", "counter"),
        ("timeouts_total", "counter"),
        ("connect_errors_total", "counter"),
        ("closed_total", "counter"),
        ("wait_seconds", "histogram"),
        ("use_seconds", "histogram"),
    ];
    let prefixed: Vec<_> = expected.iter().map(|(name, kind)| (format!("strongroom_pool_{name}"), *kind)).collect();
    assert_eq!(names, prefixed.iter().map(|(name, _)| name.as_str()).collect());
    for (name, kind) in &prefixed {
        assert_eq!(metrics[name].kind, *kind, "{name}");
    }
    for metric in metrics.values() {
        for sample in &metric.samples {
            assert_eq!(sample.labels[0], ("pool".to_owned(), name.to_owned()));
        }
    }
    let value = |metric: &str, label: Option<&str>| {
        let samples = &metrics[&format!("strongroom_pool_{metric}")].samples;
        let found = samples.iter().find(|sample| sample.labels.get(1).map(|(_, value)| value.as_str()) == label);
        found.unwrap().value
    };
    assert_eq!(value("connections", Some("idle")), 1.0);
    assert_eq!(value("connections", Some("active")), 1.0);
    assert_eq!(value("connections", Some("connecting")), 0.0);
    assert_eq!(value("acquired_total", None), 3.0);
    assert_eq!(value("released_total", None), 2.0);
    assert_eq!(metrics["strongroom_pool_closed_total"].samples.len(), CloseReason::ALL.len());
    for (name, histogram) in [("use_seconds", &stats.uses), ("wait_seconds", &stats.waits)] {
        let full = format!("strongroom_pool_{name}");
        let samples = &metrics[&full].samples;
        let [buckets @ .., sum, count] = samples.as_slice() else { panic!("{samples:?}") };
        assert_eq!((sum.name.clone(), sum.value), (format!("{full}_sum"), histogram.total().as_secs_f64()));
        assert_eq!((count.name.clone(), count.value), (format!("{full}_count"), histogram.count() as f64));
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in buckets {
            assert_eq!((bucket.name.clone(), bucket.labels[1].0.as_str()), (format!("{full}_bucket"), "le"));
            let bound: f64 = bucket.labels[1].1.replace("+Inf", "inf").parse().unwrap();
            assert!(bound > last.0 && bucket.value >= last.1, "{bucket:?} after {last:?}");
            last = (bound, bucket.value);
        }
        assert_eq!(last, (f64::INFINITY, count.value));
    }
    let used: Vec<_> = metrics["strongroom_pool_use_seconds"].samples.iter().map(|sample| sample.value).collect();
    // 1.5 s is within 4.2 s, and not within 1.05 s.
    assert_eq!(used[10..13], [0.0, 2.0, 2.0]);
}

#[derive(Debug)]
struct Metric {
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
fn parse(text: &str) -> HashMap<String, Metric> {
    assert!(text.ends_with('\n'));
    let mut metrics = HashMap::new();
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, help) =
            help.strip_prefix("# HELP ").expect("a metric begins with its help").split_once(' ').unwrap();
        assert!(is_name(name) && !help.is_empty(), "{name}");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).expect("the type follows");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = parse_sample(line);
            let suffix = sample.name.strip_prefix(name).expect("samples follow their own metric");
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            samples.push(sample);
        }
        let series: HashSet<_> = samples.iter().map(|sample| (&sample.name, format!("{:?}", sample.labels))).collect();
        assert_eq!(series.len(), samples.len(), "{name}: a series twice");
        let metric = Metric { kind: kind.to_owned(), samples };
        assert!(metrics.insert(name.to_owned(), metric).is_none(), "{name} is described twice");
    }
    metrics
}

fn parse_sample(line: &str) -> Sample {
    let (name, rest) = line.split_once('{').unwrap();
    let mut labels = Vec::new();
    let mut rest = rest;
    loop {
        let (label, value) = rest.split_once("=\"").unwrap();
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => text.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, other @ ('\\' | '"'))) => other,
                    other => panic!("{other:?} is no escape"),
                }),
                (_, other) => text.push(other),
            }
        };
        assert!(is_name(label) && !label.contains(':'), "{label}");
        labels.push((label.to_owned(), text));
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                let value = value[end + 1..].strip_prefix("} ").expect("a value");
                assert!(is_name(name), "{name}");
                return Sample { name: name.to_owned(), labels, value: value.parse().unwrap() };
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_alphabetic() || "_:".contains(character);
    name.starts_with(is_letter) && name.chars().all(|character| is_letter(character) || character.is_ascii_digit())
}
