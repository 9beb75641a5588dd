//! Secrets in AWS, and the identity that asks for them.

use strongroom::{
    AwsSecret, Config, CredentialProvider, Dsql, KeySource, Login, Password, RdsIam, Result, Secret, SecretProvider,
};
use test_servers::{Moto, needs};

use crate::secret;
use crate::server::closed_port;
use crate::silence::{show, show_debug, show_failure};

const REGION: &str = "eu-central-1";

pub(crate) async fn is_silent() {
    tokens().await;
    let nobody = format!("http://127.0.0.1:{}", closed_port());
    let unreachable = || AwsSecret::new("app/db").region(REGION).endpoint_url(&nobody);
    show(&unreachable());
    show_failure(log_in(&unreachable()).await);
    show_failure(unreachable().field("db_key").secret().await);
    show_failure(log_in(&AwsSecret::new("app/db").region("none at all")).await);
    let Some(python) = needs::moto() else { return };
    secrets(&Moto::start(&python)).await;
}

/// Tokens are signed with the secret key, and carry the session token.
async fn tokens() {
    let local = format!("postgres://app@127.0.0.1:{}/app", closed_port());
    let providers: [Box<dyn CredentialProvider>; 4] = [
        Box::new(RdsIam::from_environment().region(REGION)),
        Box::new(RdsIam::from_environment().region("")),
        Box::new(Dsql::from_environment().region(REGION)),
        Box::new(Dsql::admin().region("none at all")),
    ];
    for provider in &providers {
        println!("{provider}");
        match log_in(provider.as_ref()).await {
            Ok(credential) => assert!(credential.password.expose_str().unwrap().contains("X-Amz-Security-Token")),
            refused => show_failure(refused),
        }
    }
    show_failure(providers[0].credential(&Login::new("", 5432, None)).await);
    show_failure(providers[2].credential(&Login::new("", 5432, None)).await);
    show_debug(&RdsIam::from_environment().profile("x"));
    show_debug(&Dsql::from_environment().region(REGION));
    let config = Config::from_url(&local).unwrap().connect_attempts(1);
    let config = config.credentials(RdsIam::from_environment().region(REGION));
    show(&config);
    show_failure(config.connect().await);
}

/// Secrets in all the forms that are read, and in some that are not.
async fn secrets(moto: &Moto) {
    let secret = String::from_utf8(secret()).unwrap();
    let url = format!("postgres://127.0.0.1:{}/app", closed_port());
    for (value, is_credential, is_key) in [
        (format!("{{\"username\":\"app\",\"password\":\"{secret}\",\"host\":\"127.0.0.1\"}}"), true, true),
        (secret.clone(), false, true),
        (format!("{{\"password\":\"{secret}\""), false, true),
        (format!("{{\"password\":\"{secret}\"}}"), false, true),
        (format!("{{\"username\":\"app\",\"passwort\":\"{secret}\"}}"), false, true),
        (format!("{{\"username\":\"app\",\"password\":[\"{secret}\"]}}"), false, true),
        (format!("{{\"username\":\"app\",\"password\":\"{secret}\",\"engine\":\"mysql\"}}"), false, true),
        (format!("{{\"username\":\"app\",\"password\":\"{secret}\",\"port\":\"{secret}\"}}"), false, true),
        (format!("{{\"username\":\"app\",\"password\":\"x\",\"password\":\"{secret}\"}}"), false, true),
        (format!("[\"{secret}\"]"), false, true),
    ] {
        moto.put_secret(REGION, "app/db", &value);
        let asked = || AwsSecret::new("app/db").region(REGION).endpoint_url(moto.endpoint());
        shown(log_in(&asked()).await, is_credential);
        shown(asked().secret().await, is_key);
        shown(asked().field("nothing").secret().await, false);
        let config = Config::from_url(&url).unwrap().connect_attempts(1).credentials(asked());
        show(&config);
        show_failure(config.connect().await);
        show_debug(&Password::new("app", asked().into()));
    }
    let gone = KeySource::from(AwsSecret::new("not/there").region(REGION).endpoint_url(moto.endpoint()));
    show(&gone);
    shown::<Secret>(gone.secret().await, false);
}

fn shown<T: std::fmt::Debug>(outcome: Result<T>, is_given: bool) {
    match outcome {
        Ok(given) if is_given => show_debug(&given),
        outcome => show_failure(outcome),
    }
}

async fn log_in(provider: &dyn CredentialProvider) -> Result<strongroom::Credential> {
    provider.credential(&Login::new("db.test", 5432, Some("app".into()))).await
}
