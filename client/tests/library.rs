//! The library as a program uses it that knows of no other crate of ours: what it takes and gives can be named.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use client::{
    Announcement, Client, ClientConfig, ClientError, Encoding, ModelId, Options, Outcome, Prediction, Secret,
    SecurityProtocol, Settings, Success, Topics,
};

fn settings() -> Settings {
    Settings {
        // Nobody listens there.
        bootstrap_servers: Some("127.0.0.1:1".to_owned()),
        security_protocol: Some(SecurityProtocol::SaslPlaintext),
        sasl_mechanism: Some("PLAIN".to_owned()),
        sasl_username: Some("me".to_owned()),
        sasl_password: Some(Secret::new("hunter2")),
        ..Settings::default()
    }
}

async fn label(client: &Client, image: Vec<u8>) -> Result<Option<String>, ClientError> {
    let options = Options::model("bird").top_k(1).format(Encoding::Json);
    let Outcome::Success(Success { predictions, model, .. }) = client.predict(image, options).await?.outcome
    else {
        return Ok(None);
    };
    let (ModelId { .. }, first): (ModelId, Option<Prediction>) = (model, predictions.into_iter().next());
    client.close().await?;
    Ok(first.map(|prediction| prediction.label))
}

async fn served(config: &ClientConfig) -> Result<Vec<String>, ClientError> {
    let announced: Vec<Announcement> = client::served_models(config).await?;
    Ok(announced.into_iter().map(|a| a.model).collect())
}

#[tokio::test]
async fn its_types_can_be_named_and_its_secrets_do_not_show() {
    let config = ClientConfig::default()
        .kafka(settings())
        .topics(Topics { results: "answers".to_owned(), ..Topics::default() })
        .connect_timeout(Duration::from_millis(300));
    assert!(!format!("{config:?}").contains("hunter2"));
    let unreachable = |error: ClientError| matches!(error, ClientError::Unreachable(_));
    assert!(unreachable(served(&config).await.unwrap_err()));
    let asked = async {
        let client = Client::connect(config).await?;
        label(&client, Vec::new()).await
    };
    assert!(unreachable(asked.await.unwrap_err()));
}
