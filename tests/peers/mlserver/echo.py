"""What MLServer serves in `make bench-peers`: a model without any work, so that what is measured is MLServer."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        output = ResponseOutput(name="label", shape=[1], datatype="BYTES", data=["red"])
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
