//! The methods of `inference.GRPCInferenceService`.

use std::collections::HashMap;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::call::Deadline;
use super::convert;
use super::pb::grpc_inference_service_server::GrpcInferenceService;
use super::pb::model_metadata_response::TensorMetadata;
use super::pb::repository_index_response::ModelIndex;
use super::pb::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use crate::caller::Caller;
use crate::infer::repository::{self, Wish};
use crate::infer::{self, models};
use crate::problem::Problem;
use crate::routes::{Shared, v2};

/// The service.
pub(super) struct Service {
    pub(super) gateway: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.gateway.health.ready().is_ok() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        may_ask(&request, &request.get_ref().name)?;
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = models::ready(&self.gateway, &name, infer::version(&version)?);
        match ready {
            Ok(()) => Ok(Response::new(ModelReadyResponse { ready: true })),
            // That nobody serves it is an answer; that it is not known whether anybody does is none.
            Err(_) if self.gateway.backend.world().is_ok() => {
                Ok(Response::new(ModelReadyResponse { ready: false }))
            }
            Err(problem) => Err(problem.into()),
        }
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: models::SERVER.to_owned(),
            version: models::VERSION.to_owned(),
            extensions: models::EXTENSIONS.map(str::to_owned).into(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        may_ask(&request, &request.get_ref().name)?;
        let ModelMetadataRequest { name, version } = request.into_inner();
        let found = models::find(&self.gateway, &name, infer::version(&version)?)?;
        let tensor = |tensor: v2::TensorMetadata| TensorMetadata {
            name: tensor.name.to_owned(),
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape,
        };
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: found.keys().map(u32::to_string).collect(),
            platform: models::PLATFORM.to_owned(),
            inputs: v2::inputs().into_iter().map(tensor).collect(),
            outputs: v2::outputs().into_iter().map(tensor).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let deadline = request.extensions().get::<Deadline>().copied();
        let mut inference = convert::read(request.into_inner(), self.gateway.config.limits.max_batch_images)?;
        let id = inference.id.clone();
        if let Some(Deadline(ends)) = deadline {
            let left = ends.saturating_duration_since(Instant::now());
            let asked = inference.timeout.unwrap_or(self.gateway.config.requests.timeout);
            inference.timeout = Some(asked.min(left));
        }
        let inferred = infer::infer(&self.gateway, inference, &caller).await?;
        Ok(Response::new(convert::write(inferred, id)))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let index = models::index(&self.gateway, request.into_inner().ready)?;
        let entry = |entry: models::Indexed| ModelIndex {
            name: entry.model,
            version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
            state: entry.state.to_owned(),
            reason: entry.reason,
        };
        Ok(Response::new(RepositoryIndexResponse { models: index.into_iter().map(entry).collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let RepositoryModelLoadRequest { model_name, parameters, .. } = request.get_ref();
        self.change(Wish::Load, &request, model_name, parameters).await?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let RepositoryModelUnloadRequest { model_name, parameters, .. } = request.get_ref();
        self.change(Wish::Unload, &request, model_name, parameters).await?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}

impl Service {
    /// Has workers load a version or let it go.
    async fn change<T>(
        &self,
        wish: Wish,
        request: &Request<T>,
        model: &str,
        parameters: &HashMap<String, ModelRepositoryParameter>,
    ) -> Result<(), Problem> {
        may_ask(request, model)?;
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let version = convert::repository_version(parameters)?;
        repository::carry_out(&self.gateway, wish, model, version, &caller).await
    }
}

/// Sees that whoever calls may ask that model.
fn may_ask<T>(request: &Request<T>, model: &str) -> Result<(), Problem> {
    request.extensions().get::<Caller>().map_or(Ok(()), |caller| caller.who.may_ask(Some(model)))
}
