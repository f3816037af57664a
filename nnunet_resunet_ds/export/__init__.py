"""The bare network as ONNX, with all that another runtime needs to know (``resunet-ds export``)."""
