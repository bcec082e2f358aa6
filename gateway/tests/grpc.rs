//! The Open Inference Protocol by gRPC, with reflection and the health service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::StreamExt as _;
use gateway::Gateway;
use gateway::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use gateway::grpc::pb::infer_parameter::ParameterChoice;
use gateway::grpc::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use gateway::grpc::pb::model_repository_parameter::ParameterChoice as Choice;
use gateway::grpc::pb::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelMetadataRequest, ModelReadyRequest,
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{
    self, Running, announce, announcement, broker, config, config_with, eventually, limited,
};
use tower::ServiceExt as _;

use crate::v2::bird_worker;

type Client = GrpcInferenceServiceClient<Channel>;

async fn channel(gateway: &Running) -> Channel {
    let address = format!("http://{}", gateway.ready.grpc.as_ref().unwrap());
    limited("a connection", Endpoint::from_shared(address).unwrap().connect()).await.unwrap()
}

async fn client(gateway: &Running) -> Client {
    GrpcInferenceServiceClient::new(channel(gateway).await)
}

fn number(number: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(number)) }
}

/// Images as contents.
fn asked(images: &[&str]) -> ModelInferRequest {
    let contents = InferTensorContents {
        bytes_contents: images.iter().map(|image| image.as_bytes().to_vec()).collect(),
        ..InferTensorContents::default()
    };
    let input = InferInputTensor {
        name: "image".into(),
        datatype: "BYTES".into(),
        shape: vec![i64::try_from(images.len()).unwrap()],
        contents: Some(contents),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: "bird".into(),
        id: "mine".into(),
        inputs: vec![input],
        ..ModelInferRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_and_its_models_are_described() {
    let broker = broker(1);
    announce(&broker, &announcement("w1", "bird", 2));
    let gateway = Running::of(config(&broker)).await;
    let mut client = client(&gateway).await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let ready = async |client: &mut Client, name: &str, version: &str| {
        let request = ModelReadyRequest { name: name.into(), version: version.into() };
        client.model_ready(request).await.unwrap().into_inner().ready
    };
    let mut other = client.clone();
    eventually("the worker is known", async || ready(&mut other, "bird", "").await).await;
    assert!(ready(&mut client, "bird", "2").await);
    assert!(!ready(&mut client, "bird", "3").await);
    assert!(!ready(&mut client, "../../etc", "").await);
    let server = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(server.name, "mlaas");
    assert!(server.extensions.contains(&"classification".to_owned()));
    let request = ModelMetadataRequest { name: "bird".into(), version: String::new() };
    let model = client.model_metadata(request).await.unwrap().into_inner();
    assert_eq!((model.versions, model.inputs[0].datatype.as_str()), (vec!["2".to_owned()], "BYTES"));
    assert_eq!(
        (model.outputs[0].name.as_str(), &model.outputs[0].shape[..]),
        ("probabilities", &[-1, -1][..])
    );
    let request = ModelMetadataRequest { name: "cat".into(), version: String::new() };
    assert_eq!(client.model_metadata(request).await.unwrap_err().code(), Code::NotFound);
    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap().into_inner();
    assert_eq!((index.models[0].name.as_str(), index.models[0].state.as_str()), ("bird", "READY"));
    let load = RepositoryModelLoadRequest { model_name: "bird".into(), ..Default::default() };
    client.repository_model_load(load.clone()).await.unwrap();
    let file = ModelRepositoryParameter { parameter_choice: Some(Choice::BytesParam(vec![0])) };
    let with_a_file =
        RepositoryModelLoadRequest { parameters: [("file:1/model.onnx".to_owned(), file)].into(), ..load };
    let status = client.repository_model_load(with_a_file).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("'file:1/model.onnx'"), "{status}");
    let unload = RepositoryModelUnloadRequest { model_name: "cat".into(), ..Default::default() };
    assert_eq!(client.repository_model_unload(unload).await.unwrap_err().code(), Code::NotFound);
    let counted =
        gateway.metric("mlaas_gateway_requests_total", "/inference.GRPCInferenceService/ModelMetadata").await;
    assert_eq!(counted, 2.0);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_as_contents_or_raw_have_raw_probabilities_and_labels() {
    let broker = broker(1);
    let _worker = bird_worker(&broker);
    let gateway = Running::of(config(&broker)).await;
    let mut client = client(&gateway).await;
    let mut raw = asked(&["macaw", "car"]);
    raw.inputs[0].contents = None;
    raw.raw_input_contents = vec![[&[5, 0, 0, 0][..], b"macaw", &[3, 0, 0, 0], b"car"].concat()];
    let row = [0, 0, 0, 0x3e, 0, 0, 0x80, 0x3e, 0, 0, 0, 0x3f];
    for request in [asked(&["macaw", "car"]), raw] {
        let answer = client.model_infer(request).await.unwrap().into_inner();
        assert_eq!(
            (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
            ("bird", "2", "mine")
        );
        assert_eq!(
            (answer.outputs[0].name.as_str(), &answer.outputs[0].shape[..]),
            ("probabilities", &[2, 3][..])
        );
        assert_eq!((answer.outputs[1].datatype.as_str(), &answer.outputs[1].shape[..]), ("BYTES", &[2][..]));
        assert_eq!(answer.raw_output_contents[0], row.repeat(2));
        assert_eq!(
            answer.raw_output_contents[1],
            [&[5, 0, 0, 0][..], b"macaw", &[10, 0, 0, 0], b"not a bird"].concat()
        );
    }
    let outputs = vec![InferRequestedOutputTensor {
        name: "probabilities".into(),
        parameters: [("classification".to_owned(), number(1))].into(),
    }];
    let request = ModelInferRequest { outputs, model_version: "7".into(), ..asked(&["car"]) };
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!((answer.model_version.as_str(), &answer.outputs[0].shape[..]), ("7", &[1, 1][..]));
    assert_eq!(answer.raw_output_contents, [[&[16, 0, 0, 0][..], b"0.500000:2:macaw"].concat()]);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_has_its_code() {
    let broker = broker(1);
    let _worker = support::double(&broker, |received| {
        let answered = |received: client::double::Received| {
            let code = String::from_utf8_lossy(&received.request.image).into_owned();
            let code = client::ErrorCode::ALL.into_iter().find(|known| known.name() == code);
            code.map(|code| (received, client::Outcome::Error(client::ErrorReply::new(code, "so it is"))))
        };
        received.and_then(answered).into_iter().collect()
    });
    let keys = [
        ("limits.max_batch_bytes", "1000000"),
        ("limits.max_image_bytes", "500000"),
        ("limits.max_batch_images", "2"),
    ];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let mut client = client(&gateway).await;
    for (name, code) in [
        ("INVALID_ARGUMENT", Code::InvalidArgument),
        ("NOT_FOUND", Code::NotFound),
        ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
        ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
        ("UNAVAILABLE", Code::Unavailable),
        ("INTERNAL", Code::Internal),
        ("OUT_OF_RANGE", Code::OutOfRange),
    ] {
        let status = client.model_infer(asked(&[name])).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "image 0: so it is"));
    }
    let mut pixels = asked(&["x"]);
    pixels.inputs[0].datatype = "FP32".into();
    let mut twice = asked(&["x"]);
    twice.raw_input_contents = vec![vec![1, 0, 0, 0, 7]];
    let mut none = asked(&["x"]);
    none.inputs.clear();
    let large = "x".repeat(500_001);
    for (request, code, said) in [
        (pixels, Code::InvalidArgument, "FP32 or UINT8"),
        (twice, Code::InvalidArgument, "either contents"),
        (none, Code::InvalidArgument, "0 inputs"),
        (asked(&[]), Code::InvalidArgument, "no image"),
        (asked(&["x", "x", "x"]), Code::InvalidArgument, "than the 2"),
        (asked(&[&large]), Code::OutOfRange, "500000 bytes"),
        (ModelInferRequest { model_name: "../x".into(), ..asked(&["x"]) }, Code::NotFound, "'../x'"),
        (ModelInferRequest { model_version: "new".into(), ..asked(&["x"]) }, Code::InvalidArgument, "'new'"),
    ] {
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(said), "{status}");
    }
    // Over the limit of a message: refused by its length, before it comes.
    let huge = "x".repeat(2_000_000);
    assert_eq!(client.model_infer(asked(&[&huge])).await.unwrap_err().code(), Code::OutOfRange);
    // The deadline of the call, and that of the request.
    let begun = Instant::now();
    let mut request = asked(&["nothing"]);
    request.parameters = [("timeout".to_owned(), number(300_000))].into();
    assert_eq!(client.model_infer(request).await.unwrap_err().code(), Code::DeadlineExceeded);
    let mut request = Request::new(asked(&["nothing"]));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(client.model_infer(request).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(begun.elapsed() < Duration::from_secs(20));
    gateway.finish().await.unwrap();
}

/// A client of tonic's gives up by itself at its deadline: so with none.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_call_is_kept_by_the_server() {
    let broker = broker(1);
    let _worker = support::silent(&broker);
    let gateway = Arc::new(Gateway::new(config(&broker)).unwrap());
    let end = CancellationToken::new();
    let (shared, ended) = (Arc::clone(&gateway), end.clone());
    let backend = tokio::spawn(async move { shared.backend.run(ended).await });
    eventually("it is ready", async || gateway.health.ready().is_ok()).await;
    let message = asked(&["nothing"]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let whole = [&[0][..], &length, &message].concat();
    // One message is whole, and of the other half comes and then nothing.
    for body in [Body::from(whole.clone()), {
        let half = futures_util::stream::iter([Ok::<_, std::io::Error>(whole[..9].to_vec())]);
        Body::from_stream(half.chain(futures_util::stream::pending()))
    }] {
        let request = axum::http::Request::post("/inference.GRPCInferenceService/ModelInfer")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "300m")
            .body(body)
            .unwrap();
        let answer = gateway::grpc::router(&gateway).unwrap().oneshot(request);
        let answer = limited("an answer", answer).await.unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "4", "{answer:?}");
        assert_eq!(gateway.admission.in_flight(), 0);
        assert_eq!(gateway.admission.bytes(), 0);
    }
    end.cancel();
    limited("the end", backend).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_frees_its_place() {
    let broker = broker(1);
    let _worker = support::silent(&broker);
    let gateway = Running::of(config(&broker)).await;
    let mut client = client(&gateway).await;
    let call = tokio::spawn(async move { client.model_infer(asked(&["x"])).await });
    eventually("it is on its way", async || gateway.metric("mlaas_gateway_in_flight", "").await == 1.0).await;
    call.abort();
    eventually("its place is free", async || gateway.metric("mlaas_gateway_in_flight", "").await == 0.0)
        .await;
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_nothing_of_the_service_can_ask_what_it_is_and_how_it_does() {
    let broker = broker(1);
    let gateway = Running::of(config(&broker)).await;
    let channel = channel(&gateway).await;
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let ask = |question| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        tokio_stream_once(request)
    };
    let mut answers = reflection
        .server_reflection_info(ask(MessageRequest::ListServices(String::new())))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let mut health = HealthClient::new(channel);
    let asked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    eventually("it serves", async || {
        let answer = health.check(asked("inference.GRPCInferenceService")).await;
        answer.is_ok_and(|answer| answer.into_inner().status == ServingStatus::Serving as i32)
    })
    .await;
    // Whoever watches is told of the end, and does not hold it up.
    let mut watched = health.watch(asked("")).await.unwrap().into_inner();
    let serving = watched.message().await.unwrap().unwrap().status;
    assert_eq!(serving, ServingStatus::Serving as i32);
    let begun = Instant::now();
    let finished = tokio::spawn(gateway.finish());
    let mut last = serving;
    while let Ok(Some(answer)) = limited("the end of the watch", watched.message()).await {
        last = answer.status;
    }
    assert_eq!(last, ServingStatus::NotServing as i32);
    finished.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// One message, as a stream.
fn tokio_stream_once<T: Send + 'static>(message: T) -> impl futures_util::Stream<Item = T> + Send + 'static {
    futures_util::stream::once(async move { message })
}
