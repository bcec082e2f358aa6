//! From the URL of an object store to the store. Who asks, and where the store is if it is not its cloud's own, stands in the
//! environment, as that cloud's own tools have it; none of it is ever shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{Certificate, ClientOptions, Error, RetryConfig};

use super::Patience;
use super::cloud::Both;
use super::fault::StoreFault;

/// So long a store may take to accept a connection, and so long it may say nothing.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(20);
/// So long a request is tried again.
const TRIES: Duration = Duration::from_secs(8);
/// So often is one of those who ask again soon.
const FEW: usize = 2;

/// The stores that there are.
enum Scheme {
    S3,
    Google,
    Azure,
}

/// The store that an URL names, and the prefix in it.
pub(super) fn open(url: &str, patience: Patience) -> Result<(Arc<dyn Both>, Key), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = match scheme {
        "s3" | "s3a" => Scheme::S3,
        "gs" => Scheme::Google,
        "az" | "azure" => Scheme::Azure,
        _ => return Err("a store's URL is s3://, gs:// or az:// and a bucket".into()),
    };
    if bucket.is_empty() || bucket.contains(['@', '?', '#']) {
        return Err("behind :// stands the name of a bucket; credentials belong into the environment".into());
    }
    let prefix = Key::parse(prefix.trim_matches('/')).map_err(|error| error.to_string())?;
    let store = scheme
        .build(bucket, client_options()?, patience)
        .map_err(|error| StoreFault::new(error).to_string())?;
    Ok((store, prefix))
}

impl Scheme {
    fn build(
        &self,
        bucket: &str,
        options: ClientOptions,
        patience: Patience,
    ) -> Result<Arc<dyn Both>, Error> {
        let mut retry = RetryConfig { retry_timeout: TRIES, ..RetryConfig::default() };
        if patience == Patience::Little {
            retry.max_retries = FEW;
        }
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let plain =
            |endpoint: Option<String>| endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        Ok(match self {
            Self::S3 => {
                let endpoint = set("AWS_ENDPOINT_URL_S3")
                    .or_else(|| set("AWS_ENDPOINT_URL"))
                    .or_else(|| set("AWS_ENDPOINT"));
                let options = options.with_allow_http(plain(endpoint));
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                Arc::new(builder.with_client_options(options).with_retry(retry).build()?)
            }
            Self::Google => {
                let options = options.with_allow_http(plain(set("GOOGLE_BASE_URL")));
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                Arc::new(builder.with_client_options(options).with_retry(retry).build()?)
            }
            Self::Azure => {
                let endpoint = set("AZURE_STORAGE_ENDPOINT").or_else(|| set("AZURE_ENDPOINT"));
                let emulated = set("AZURE_STORAGE_USE_EMULATOR").is_some();
                let options = options.with_allow_http(emulated || plain(endpoint));
                let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                // As Azure's own command has them.
                if let Some(account) = set("AZURE_STORAGE_ACCOUNT") {
                    builder = builder.with_account(account);
                }
                if let Some(key) = set("AZURE_STORAGE_KEY") {
                    builder = builder.with_access_key(key);
                }
                Arc::new(builder.with_client_options(options).with_retry(retry).build()?)
            }
        })
    }
}

/// How requests are made. The certificates of a private authority are those that other tools trust too.
fn client_options() -> Result<ClientOptions, String> {
    // A large file takes as long as it takes, but never stands still.
    let mut options =
        ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled().with_read_timeout(SILENCE);
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let Some(file) = env::var_os(variable).filter(|file| !file.is_empty()) else { continue };
        let shown = PathBuf::from(&file);
        let shown = shown.display();
        let pem = fs::read(&file).map_err(|error| format!("cannot read {shown} ({variable}): {error}"))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(format!("{shown} ({variable}) holds no certificates in PEM"));
        }
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
        break;
    }
    Ok(options)
}
