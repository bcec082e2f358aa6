//! The Open Inference Protocol by gRPC, with server reflection and the standard health service.
//!
//! - [`pb`]: what `proto/open_inference_grpc.proto` says, generated.
//! - `service`: its methods; `convert`: its messages; `call`: what belongs to each call.

mod call;
mod convert;
mod service;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::auth::guard;
use crate::caller::{Server, around};
use crate::routes::Shared;
use pb::grpc_inference_service_server::GrpcInferenceServiceServer;
use service::Service;

/// The messages of the Open Inference Protocol, and its service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, let_underscore_drop)]
pub mod pb {
    tonic::include_proto!("inference");
}

/// What server reflection tells of it.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/open_inference_grpc.bin"));
/// Beside the images of a message.
const BESIDE: usize = 1 << 16;
/// Between two looks whether the gateway is ready, for the health service.
const LOOK: Duration = Duration::from_millis(250);

const SERVICE: &str = "/inference.GRPCInferenceService/";
pub(crate) const METHODS: [&str; 9] = [
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",
    "/inference.GRPCInferenceService/ServerMetadata",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/RepositoryIndex",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
];

/// A method's path where it is one of ours: others' paths are anything.
#[must_use]
pub fn known_method(path: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| *method == path)
}

/// What is served by gRPC.
///
/// # Errors
/// Where the descriptors can't be read, which the build made.
pub fn router(gateway: &Shared) -> Result<Router, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report(Arc::clone(gateway), reporter));
    let service = GrpcInferenceServiceServer::new(Service { gateway: Arc::clone(gateway) })
        .max_decoding_message_size(gateway.config.limits.max_batch_bytes.saturating_add(BESIDE))
        .max_encoding_message_size(usize::MAX);
    let routes = Routes::new(service)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What grpcurl and others of before 2023 ask.
        .add_service(reflection().build_v1alpha()?);
    let server = Server { name: "grpc", gateway: Arc::clone(gateway) };
    Ok(routes
        .prepare()
        .into_axum_router()
        .layer(from_fn_with_state(Arc::clone(gateway), call::bounded))
        .layer(from_fn_with_state(Arc::clone(gateway), guard::grpc))
        .layer(from_fn_with_state(server, around)))
}

/// Keeps the health service true until the end; whoever watches it then is told, and not waited for.
async fn report(gateway: Shared, mut reporter: HealthReporter) {
    let services = ["", SERVICE.trim_matches('/')];
    while !gateway.draining.is_cancelled() {
        let status = match gateway.health.ready() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        for service in services {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = gateway.draining.cancelled() => {}
        }
    }
    for service in services {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        reporter.clear_service_status(service).await;
    }
}
