//! Tokens: made, presented, expired, revoked, and found nowhere they should not be.

use time::Duration;
use trust_ledger_registry::{Error, EventFilter, Page, Registry, Role};
use uuid::Uuid;

use crate::support::{NOW, ledgers, machines};

#[tokio::test]
async fn a_token_is_known_by_its_whole_text_and_by_nothing_else() {
    for registry in ledgers().await {
        let until = NOW + Duration::days(30);
        let registry = registry.acting_as("anna");
        let (made, text) = registry.create_token(" ci ", Role::Registrar, Some(until)).await.unwrap();
        let (other, _) = registry.create_token("other", Role::Admin, None).await.unwrap();
        let text = text.expose();
        assert_eq!((made.name.as_str(), made.created_by.as_str(), made.created_at), ("ci", "anna", NOW));
        assert_eq!(registry.token(text).await.unwrap(), Some(made.clone()));
        assert_eq!(registry.tokens().await.unwrap(), [other.clone(), made.clone()]);
        let (id, secret) = (made.id.simple().to_string(), &text[36..]);
        assert_eq!((text.len(), &text[..3], &text[3..35]), (79, "tl_", id.as_str()));
        let changed = if secret.ends_with('A') { 'B' } else { 'A' };
        for wrong in [
            String::new(),
            "tl_".to_owned(),
            text[..78].to_owned(),
            format!("{text}A"),
            format!("{text} "),
            text.to_uppercase(),
            format!("{}{changed}", &text[..78]),
            // The secret of another, and of none.
            format!("tl_{}_{secret}", other.id.simple()),
            format!("tl_{}_{secret}", Uuid::now_v7().simple()),
            format!("tl_{}_{secret}", made.id.hyphenated()),
            format!("tl_{id}_{}", "é".repeat(22)),
            format!("tl_{id}_{}", "\0".repeat(43)),
        ] {
            assert_eq!(registry.token(&wrong).await.unwrap(), None, "{wrong:?}");
        }
    }
}

#[tokio::test]
async fn a_token_is_live_until_it_expires_or_is_revoked_and_known_after() {
    for registry in ledgers().await {
        let until = NOW + Duration::days(30);
        let (made, text) = registry.create_token("ci", Role::Reader, Some(until)).await.unwrap();
        assert!(made.is_live(NOW) && made.is_live(until - Duration::SECOND) && !made.is_live(until));
        let later = registry.with_clock(|| NOW + Duration::HOUR);
        let revoked = later.acting_as("bob").revoke_token(made.id).await.unwrap().unwrap();
        assert!(!revoked.is_live(NOW));
        assert_eq!(revoked.revoked_at, Some(NOW + Duration::HOUR));
        // The first time counts.
        assert_eq!(registry.revoke_token(made.id).await.unwrap(), Some(revoked.clone()));
        assert_eq!(registry.token(text.expose()).await.unwrap(), Some(revoked));
        assert_eq!(registry.revoke_token(Uuid::now_v7()).await.unwrap(), None);
        let events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        let told: Vec<_> =
            events.iter().map(|event| (event.actor.as_str(), event.action.as_str(), event.object)).collect();
        assert_eq!(told, [("bob", "token.revoked", made.id), ("ledger", "token.created", made.id)]);
        let said = serde_json::json!({ "name": "ci", "role": "reader", "expires_at": "2026-12-21T12:00:00Z" });
        assert_eq!((&events[1].before, events[1].after.as_ref()), (&None, Some(&said)));
        assert_eq!((events[0].before.as_ref(), &events[0].after), (Some(&said), &None));
    }
}

#[tokio::test]
async fn two_live_tokens_never_have_one_name() {
    for registry in ledgers().await {
        let create = async |registry: &Registry, name: &str| {
            registry.create_token(name, Role::Reader, Some(NOW + Duration::days(30))).await.map(|(token, _)| token)
        };
        let first = create(&registry, "ci").await.unwrap();
        let refused = create(&registry, " ci").await;
        assert!(matches!(&refused, Err(Error::TokenNameTaken { name }) if name == "ci"), "{refused:?}");
        create(&registry, "CI").await.unwrap();
        registry.revoke_token(first.id).await.unwrap();
        create(&registry, "ci").await.unwrap();
        // The name of one that has expired is free, too.
        let later = registry.with_clock(|| NOW + Duration::days(30));
        let never = later.create_token("ci", Role::Reader, None).await.unwrap().0;
        assert!(matches!(create(&registry, "ci").await, Err(Error::TokenNameTaken { .. })));
        let tokens = registry.tokens().await.unwrap();
        assert_eq!((tokens.len(), tokens[0].id), (4, never.id));
        assert!(matches!(create(&registry, " \t").await, Err(Error::TokenWithoutName)));
        let past = later.create_token("past", Role::Reader, Some(NOW)).await;
        assert!(matches!(past, Err(Error::TokenExpiresInPast { .. })));
        assert_eq!(registry.tokens().await.unwrap().len(), 4);
    }
}

/// Machines that create a token of one name at the same moment, many times: one of them has it each time.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_machines_that_take_a_name_at_once_one_gets_it() {
    let machines = machines(2).await;
    let [one, other] = &machines[..] else { return };
    for round in 0..20 {
        let name = format!("ci {round}");
        let (first, second) =
            tokio::join!(one.create_token(&name, Role::Reader, None), other.create_token(&name, Role::Reader, None));
        let refused = match (first, second) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("{both:?}"),
        };
        assert!(matches!(refused, Error::TokenNameTaken { .. }), "{refused:?}");
    }
    assert_eq!(one.tokens().await.unwrap().len(), 20);
}

#[tokio::test]
async fn the_last_use_only_moves_forward_and_leaves_no_event() {
    for registry in ledgers().await {
        let (token, text) = registry.create_token("ci", Role::Reader, None).await.unwrap();
        let (unused, _) = registry.create_token("unused", Role::Reader, None).await.unwrap();
        let last_use = async || registry.token(text.expose()).await.unwrap().unwrap().last_used_at;
        assert_eq!(last_use().await, None);
        let at = |minutes| NOW + Duration::minutes(minutes);
        registry.note_token_uses(&[]).await.unwrap();
        let uses = [(token.id, at(1)), (Uuid::now_v7(), at(9)), (token.id, at(3)), (token.id, at(2))];
        registry.note_token_uses(&uses).await.unwrap();
        assert_eq!(last_use().await, Some(at(3)));
        registry.note_token_uses(&[(token.id, at(2))]).await.unwrap();
        assert_eq!(last_use().await, Some(at(3)));
        registry.note_token_uses(&[(token.id, at(4))]).await.unwrap();
        assert_eq!(last_use().await, Some(at(4)));
        assert_eq!(registry.tokens().await.unwrap()[0], unused);
        let events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        assert_eq!(events.len(), 2);
    }
}

#[tokio::test]
async fn a_tokens_text_is_not_shown_by_debug() {
    let (token, text) = Registry::in_memory().await.unwrap().create_token("ci", Role::Admin, None).await.unwrap();
    assert!(!format!("{token:?} {text:?}").contains(&text.expose()[36..]));
    assert_eq!(format!("{text:?}"), "TokenText(…)");
}

#[test]
fn roles_are_read_as_they_are_shown_and_nothing_else_is_one() {
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    for wrong in ["", "Reader", "root", " admin"] {
        assert!(wrong.parse::<Role>().unwrap_err().to_string().contains("revoker"), "{wrong}");
    }
}
