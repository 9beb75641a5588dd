//! Lists: filters, pages and what expires soon.

use std::time::Duration as StdDuration;

use time::Duration;
use trust_ledger_registry::{
    Annotations, Category, Error, Expiring, Filter, NamePattern, Page, Record, Registry, RevocationReason,
    RevocationRequest, RevocationTarget, Serial, Status,
};
use uuid::Uuid;

use crate::support::{Ca, Leaf, NOW, add, ledgers};

fn ids(records: &[Record]) -> Vec<Uuid> {
    records.iter().map(|record| record.id).collect()
}

/// All that match, read in pages of two.
async fn listed(registry: &Registry, filter: &Filter) -> Vec<Uuid> {
    let mut page = Page { limit: 2, total: true, ..Page::default() };
    let mut found = Vec::new();
    loop {
        let some = registry.list(filter, &page).await.unwrap();
        found.extend(ids(&some.records));
        match some.next {
            Some(next) => page.after = Some(next),
            None => {
                assert_eq!(some.total, Some(found.len() as u64), "{filter:?}");
                return found;
            }
        }
    }
}

fn named(pattern: &str) -> Filter {
    Filter { name: Some(NamePattern::parse_with_scan(pattern).unwrap()), ..Filter::default() }
}

#[tokio::test]
async fn pages_are_newest_registered_first_without_gap_or_repetition() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let mut expected = Vec::new();
        for _ in 0..7 {
            expected.insert(0, add(&registry, &ca.issue(&Leaf::new("a.example"))).await);
        }
        assert_eq!(listed(&registry, &Filter::default()).await, expected);
        // A page begins where the one before ended, whatever was registered in between.
        let first = registry.list(&Filter::default(), &Page { limit: 3, ..Page::default() }).await.unwrap();
        add(&registry, &ca.issue(&Leaf::new("a.example"))).await;
        let second = Page { limit: 3, after: first.next, ..Page::default() };
        assert_eq!(ids(&registry.list(&Filter::default(), &second).await.unwrap().records), expected[3..6]);
        assert_eq!(Page::default().limit, 100);
        // No time is so late that it cannot be asked for.
        let end = time::PrimitiveDateTime::MAX.assume_utc();
        assert_eq!(listed(&registry, &Filter { registered_until: Some(end), ..Filter::default() }).await.len(), 8);
    }
}

#[tokio::test]
async fn a_wrong_cursor_and_a_wrong_page_size_are_refused() {
    for registry in ledgers().await {
        let cursor = Page { after: Some("nonsense".to_owned()), ..Page::default() };
        assert!(matches!(registry.list(&Filter::default(), &cursor).await, Err(Error::Cursor { .. })));
        for limit in [0, 10_001] {
            let page = Page { limit, ..Page::default() };
            assert!(matches!(registry.list(&Filter::default(), &page).await, Err(Error::PageSize { .. })));
        }
    }
}

/// Each filter alone, and each pair of them, selects what a look at every record does.
#[tokio::test]
async fn every_filter_and_every_pair_of_filters_selects_what_it_says() {
    for registry in ledgers().await {
        let (ca, other) = (Ca::new("CA"), Ca::new("Other"));
        let day = Duration::days;
        let lives = [(-90, -2), (-20, 40), (-20, 400), (3, 90), (-9, 9)];
        for number in 0..60_usize {
            let (from, until) = lives[number % 5];
            let leaf = Leaf::new(&format!("host{number}.{}.example", ["a", "b", "c"][number % 3]))
                .valid(NOW + day(from), NOW + day(until));
            let leaf = if number % 7 == 0 { leaf.sha1() } else { leaf };
            let issuer = if number % 4 == 0 { &other } else { &ca };
            let some = |condition: bool, text: &str| condition.then(|| text.to_owned());
            let annotations = Annotations {
                owner: some(number % 2 == 0, "team"),
                source: some(number % 3 == 1, "vault"),
                tags: if number % 5 < 2 { vec!["prod".to_owned(), "x".to_owned()] } else { Vec::new() },
                category: (number % 6 == 0).then_some(Category::Internal),
                ..Annotations::default()
            };
            let at = NOW - day(i64::try_from(60 - number).unwrap());
            let then = registry.with_clock(move || at);
            let id = then.register(&issuer.issue(&leaf), &annotations).await.unwrap().id();
            if number % 8 == 1 {
                let reason =
                    if number % 16 == 1 { RevocationReason::CertificateHold } else { RevocationReason::Superseded };
                let request = RevocationRequest { reason, ..RevocationRequest::default() };
                registry.revoke(&RevocationTarget::Id(id), &request).await.unwrap();
            }
        }
        let all = registry.list(&Filter::default(), &Page { limit: 1_000, ..Page::default() }).await.unwrap().records;
        type Test = Box<dyn Fn(&Record) -> bool>;
        let mut filters: Vec<(Filter, Test)> = Vec::new();
        for status in Status::ALL {
            let filter = Filter { status: Some(status), ..Filter::default() };
            filters.push((filter, Box::new(move |record| record.status == status)));
        }
        for category in [Category::Service, Category::Internal] {
            let filter = Filter { category: Some(category), ..Filter::default() };
            filters.push((filter, Box::new(move |record| record.category == category)));
        }
        let issuer = all[0].issuer_id;
        let text = |text: &str| Some(text.to_owned());
        let serial = all[3].serial.clone();
        filters.push((
            Filter { serial: Serial::parse_candidates(&format!("0x{serial}")).unwrap().pop(), ..Filter::default() },
            Box::new(move |record| record.serial == serial),
        ));
        filters.push((
            Filter { issuer: Some(issuer), ..Filter::default() },
            Box::new(move |record| record.issuer_id == issuer),
        ));
        filters.push((
            Filter { owner: text("team"), ..Filter::default() },
            Box::new(|record| record.owner.as_deref() == Some("team")),
        ));
        filters.push((
            Filter { source: text("vault"), ..Filter::default() },
            Box::new(|record| record.source.as_deref() == Some("vault")),
        ));
        filters.push((
            Filter { tag: text("prod"), ..Filter::default() },
            Box::new(|record| record.tags.iter().any(|tag| tag == "prod")),
        ));
        filters.push((Filter { weak: true, ..Filter::default() }, Box::new(|record| !record.findings.is_empty())));
        filters.push((
            Filter { expires_from: Some(NOW), expires_until: Some(NOW + day(40)), ..Filter::default() },
            Box::new(move |record| record.not_after >= NOW && record.not_after < NOW + day(40)),
        ));
        filters.push((
            Filter { registered_from: Some(NOW - day(40)), registered_until: Some(NOW - day(9)), ..Filter::default() },
            Box::new(move |record| record.registered_at >= NOW - day(40) && record.registered_at < NOW - day(9)),
        ));
        for pattern in ["host7.b.example", "HOST1*", "*.B.example", "*st4*.c*"] {
            let parsed = NamePattern::parse_with_scan(pattern).unwrap();
            filters
                .push((named(pattern), Box::new(move |record| parsed.matches(record.common_name.as_deref().unwrap()))));
        }
        let select = |test: &dyn Fn(&Record) -> bool| ids(&all.iter().filter(|r| test(r)).cloned().collect::<Vec<_>>());
        for (filter, test) in &filters {
            let expected = select(test);
            assert!(!expected.is_empty() && expected.len() < all.len(), "{filter:?} tells something");
            assert_eq!(listed(&registry, filter).await, expected, "{filter:?}");
        }
        for (one, test_one) in &filters {
            for (two, test_two) in &filters {
                let Some(both) = together(one, two) else { continue };
                let expected = select(&|record| test_one(record) && test_two(record));
                assert_eq!(listed(&registry, &both).await, expected, "{both:?}");
            }
        }
    }
}

/// Both filters at once; None when they speak of the same thing.
fn together(one: &Filter, two: &Filter) -> Option<Filter> {
    macro_rules! merge {
        ($($field:ident),+) => {
            Filter {
                weak: one.weak || two.weak,
                $($field: match (&one.$field, &two.$field) {
                    (Some(_), Some(_)) => return None,
                    (a, b) => a.clone().or_else(|| b.clone()),
                }),+
            }
        };
    }
    Some(merge!(
        serial,
        status,
        category,
        issuer,
        name,
        owner,
        tag,
        source,
        expires_from,
        expires_until,
        registered_from,
        registered_until
    ))
}

/// Matches of a pattern are met in the list's order where they are frequent, and sorted where they are rare: from all, over
/// one in five, to one in forty, every page must be the same as by looking at each record.
#[tokio::test]
async fn patterns_are_paged_alike_whether_their_matches_are_frequent_or_rare() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let mut certificates = Vec::new();
        for number in 0..240 {
            let fifth = if number % 5 == 0 { "fifth" } else { "rest" };
            let rare = if number % 40 == 3 { "rare" } else { "common" };
            certificates
                .push(ca.issue(&Leaf::new(&format!("x.{fifth}.{rare}.all")).dns(&format!("{rare}.{fifth}.one.all"))));
        }
        registry.register_many(certificates, &Annotations::default()).await.unwrap();
        let all = registry.list(&Filter::default(), &Page { limit: 1_000, ..Page::default() }).await.unwrap().records;
        for pattern in ["*.all", "*.fifth.one.all", "rare.*", "x.fifth.rare*", "*.rare.all", "*.none.all"] {
            let parsed = NamePattern::parse(pattern).unwrap();
            let fits = |record: &&Record| {
                let names = record.names.iter().map(|name| name.value.as_str());
                names.chain(record.common_name.as_deref()).any(|name| parsed.matches(name))
            };
            let expected = ids(&all.iter().filter(fits).cloned().collect::<Vec<_>>());
            assert_eq!(listed(&registry, &named(pattern)).await, expected, "{pattern}");
        }
    }
}

#[tokio::test]
async fn names_of_any_length_are_listed_by_name_prefix_and_suffix() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let long = format!("{}.long.example", "x".repeat(230));
        let id = add(&registry, &ca.issue(&Leaf::new("short").dns(&long))).await;
        for pattern in [long.as_str(), "xxxx*", "*.long.example", "*.example", "short", "*x.lo*"] {
            assert_eq!(listed(&registry, &named(pattern)).await, [id], "{pattern}");
        }
        assert!(listed(&registry, &named("long.example")).await.is_empty());
    }
}

/// Status does not depend on what writers have noticed: a ledger that nobody wrote to since lists by the clock alone,
/// and one whose clock was wrong once is right again.
#[tokio::test]
async fn lists_by_status_follow_the_clock_even_if_nobody_writes() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let mut ids = Vec::new();
        for days in [5, 10, 15] {
            let leaf = Leaf::new("a.example").valid(NOW - Duration::days(1), NOW + Duration::days(days));
            ids.insert(0, add(&registry, &ca.issue(&leaf)).await);
        }
        let valid = Filter { status: Some(Status::Valid), ..Filter::default() };
        let expired = Filter { status: Some(Status::Expired), ..Filter::default() };
        let later = registry.with_clock(|| NOW + Duration::days(11));
        assert_eq!(listed(&later, &valid).await, ids[..1]);
        assert_eq!(listed(&later, &expired).await, ids[1..]);
        // A writer far in the future notices that all have expired.
        let far = registry.with_clock(|| NOW + Duration::days(1_000));
        add(&far, &ca.issue(&Leaf::new("b.example").valid(NOW, NOW + Duration::days(2_000)))).await;
        assert_eq!(listed(&far, &expired).await, ids);
        assert_eq!(listed(&registry, &valid).await.len(), 4);
        assert!(listed(&registry, &expired).await.is_empty());
        assert_eq!(
            registry
                .expiring(&Expiring {
                    all: true,
                    within: Some(StdDuration::from_secs(86_400 * 12)),
                    ..Expiring::default()
                })
                .await
                .unwrap()
                .len(),
            2
        );
    }
}

#[tokio::test]
async fn expiring_is_a_third_of_the_lifetime_or_thirty_days_whichever_is_less() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let hours = Duration::hours;
        let lives = [
            // Of 90 days, less than 30 left; of 365 days, 30 left or not; of 24 hours, 8 left or not.
            ("ninety-late", 90 * 24 - 29 * 24, 29 * 24, true),
            ("ninety-early", 90 * 24 - 31 * 24, 31 * 24, false),
            ("year-late", 335 * 24, 29 * 24, true),
            ("year-early", 333 * 24, 32 * 24, false),
            ("day-late", 17, 7, true),
            ("day-early", 15, 9, false),
            ("expired", 50, -1, false),
        ];
        for (name, past, left, _) in lives {
            add(&registry, &ca.issue(&Leaf::new(name).valid(NOW - hours(past), NOW + hours(left)))).await;
        }
        let expiring = registry.expiring(&Expiring::default()).await.unwrap();
        let names: Vec<_> = expiring.iter().map(|record| record.common_name.as_deref().unwrap()).collect();
        let mut expected: Vec<_> = lives.iter().filter(|life| life.3).collect();
        expected.sort_by_key(|life| life.2);
        assert_eq!(names, expected.iter().map(|life| life.0).collect::<Vec<_>>(), "soonest first");
        let within = Expiring { within: Some(StdDuration::from_secs(9 * 3_600)), ..Expiring::default() };
        let within = registry.expiring(&within).await.unwrap();
        assert_eq!(
            within.iter().map(|record| record.common_name.as_deref().unwrap()).collect::<Vec<_>>(),
            ["day-late", "day-early"]
        );
    }
}

#[tokio::test]
async fn replaced_and_revoked_certificates_do_not_expire_unless_asked_for() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let day = Duration::days;
        let leaf = |from: i64, until: i64| ca.issue(&Leaf::new("a.example").valid(NOW + day(from), NOW + day(until)));
        let replaced = add(&registry, &leaf(-80, 5)).await;
        let current = add(&registry, &leaf(-60, 10)).await;
        let revoked = add(&registry, &ca.issue(&Leaf::new("b.example").valid(NOW - day(9), NOW + day(1)))).await;
        registry.revoke(&RevocationTarget::Id(revoked), &RevocationRequest::default()).await.unwrap();
        add(&registry, &ca.issue(&Leaf::new("c.example").valid(NOW + day(1), NOW + day(2)))).await;
        assert_eq!(ids(&registry.expiring(&Expiring::default()).await.unwrap()), [current]);
        let all = Expiring { all: true, ..Expiring::default() };
        assert_eq!(ids(&registry.expiring(&all).await.unwrap()), [replaced, current]);
        let one = Expiring { limit: 1, ..all };
        assert_eq!(ids(&registry.expiring(&one).await.unwrap()), [replaced]);
    }
}

#[tokio::test]
async fn what_expires_goes_on_after_the_last_of_a_page_and_can_be_counted() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        for number in 0..5 {
            // Two of one moment: the order of ids tells them apart.
            let until = NOW + Duration::days(1 + number / 2);
            add(&registry, &ca.issue(&Leaf::new(&format!("{number}.example")).valid(NOW - Duration::days(50), until)))
                .await;
        }
        let mut question = Expiring { within: Some(StdDuration::from_secs(86_400 * 9)), ..Expiring::default() };
        let all = ids(&registry.expiring(&question).await.unwrap());
        assert_eq!((all.len(), registry.count_expiring(&question).await.unwrap()), (5, 5));
        question.limit = 1;
        assert_eq!(registry.count_expiring(&question).await.unwrap(), 5, "a limit is of the list");
        let mut walked = Vec::new();
        while let Some(record) = registry.expiring(&question).await.unwrap().pop() {
            question.after = Some((record.not_after, record.id));
            walked.push(record.id);
        }
        assert_eq!(walked, all);
    }
}
