//! AWS from outside. What it does is tested beside it, in `src/aws/tests`; here is what a build without the feature says.

use strongroom::{AwsSecret, CredentialProvider, Dsql, KeySource, Login, RdsIam};

/// Each source can be named in every build; one that cannot ask it says how to get a build that can.
#[tokio::test]
#[cfg(not(feature = "aws"))]
async fn without_the_feature_aws_an_error_names_it() {
    let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
    let errors = [
        RdsIam::from_environment().region("eu-central-1").credential(&login).await.unwrap_err(),
        Dsql::from_environment().profile("x").credential(&login).await.unwrap_err(),
        AwsSecret::new("app/db").credential(&login).await.unwrap_err(),
        KeySource::aws_secret("app/key", Some("db_key")).secret().await.unwrap_err(),
    ];
    let sources = ["RDS IAM token", "DSQL token", "AWS secret app/db", "AWS secret app/key"];
    for (error, source) in errors.iter().zip(sources) {
        let expected = "this build has no AWS support; build with the feature `aws` \
                        (cargo install trust-ledger --features aws)";
        assert_eq!(error.to_string(), format!("{source}: {expected}"));
    }
}

/// A region that cannot be one is refused before anything is asked, and no message or `Debug` shows more than names.
#[tokio::test]
#[cfg(feature = "aws")]
async fn a_region_that_is_none_is_refused() {
    let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
    let providers: [Box<dyn CredentialProvider>; 3] = [
        Box::new(RdsIam::from_environment().region("")),
        Box::new(Dsql::from_environment().region("EU/x")),
        Box::new(AwsSecret::new("app/db").region("a.b")),
    ];
    for provider in providers {
        let error = provider.credential(&login).await.unwrap_err();
        assert!(error.to_string().contains("is none; expected one such as eu-central-1"), "{error}");
    }
    let source = KeySource::aws_secret("app/key", None);
    assert_eq!(format!("{source:?}"), "KeySource(AWS secret app/key)");
}
