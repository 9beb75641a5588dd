//! Data keys, against moto.

use std::collections::BTreeMap;

use super::*;
use crate::aws::kms::decrypt_as;

/// What moto encrypted comes back with its context, and not with another.
#[tokio::test]
async fn a_data_key_is_decrypted_with_its_context_and_refused_with_another() {
    let Some(moto) = Moto::shared() else { return };
    let made = serde_json::from_slice::<serde_json::Value>(
        &account(&moto.url)
            .call(
                &"t",
                &Operation { service: "kms", variable: "", target: "TrentService.CreateKey", permission: "" },
                b"{}",
            )
            .await
            .unwrap(),
    );
    let id = made.unwrap()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let plain = openssl::base64::encode_block(CANARY.as_bytes());
    let body = format!(
        "{{\"KeyId\":\"{id}\",\"Plaintext\":\"{plain}\",\"EncryptionContext\":{{\"app\":\"le\\\"dger\",\"b\":\"2\"}}}}"
    );
    let encrypted = moto.call("kms", "TrentService.Encrypt", &body).await;
    let encrypted = openssl::base64::decode_block(encrypted.text("CiphertextBlob").unwrap()).unwrap();

    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let context = BTreeMap::from([pair("b", "2"), pair("app", "le\"dger")]);
    let account = account(&moto.url);
    let decrypted = decrypt_as(&account, REGION, &id, &context, &encrypted).await.unwrap();
    assert_eq!(*decrypted, CANARY.as_bytes());
    for wrong in [vec![pair("b", "2")], vec![pair("app", "other"), pair("b", "2")], vec![]] {
        let error = decrypt_as(&account, REGION, &id, &wrong.into_iter().collect(), &encrypted).await.unwrap_err();
        assert!(
            chain(&error).starts_with("AWS KMS in eu-central-1: what is to be decrypted, or its encryption context")
        );
        assert!(!error.is_passing());
    }
    let error = decrypt_as(&account, REGION, &id, &context, b"no ciphertext").await.unwrap_err();
    assert!(!error.is_passing(), "{}", chain(&error));
}
