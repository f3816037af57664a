"""Running a network on a device as fast as it goes there: layout, number format, batches that fit, compilation."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from nnunet_resunet_ds.base.errors import first_line
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.compute.formats import AUTO
from nnunet_resunet_ds.compute.precision import autocast, autocast_dtype, compile_is_wished, use_dtype
from nnunet_resunet_ds.network.layout import lay_out_for


class ForwardPass:
    """A network, laid out for a device, that takes as many inputs at once as fit.

    Args:
        network: with any weights; it is changed in place.
        device: where to run it.
        precision: see `nnunet_resunet_ds.compute.precision`.
        batch_size: inputs at once, to begin with; halved where memory runs out.
        may_compile: whether inputs have one shape; compiled is then where ``nnUNet_compile`` asks for it.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str = AUTO,
        *,
        batch_size: int = 1,
        may_compile: bool = True,
    ) -> None:
        self.device = device
        self.dtype = autocast_dtype(precision, device)
        self.batch_size = batch_size
        self._network = network.to(device).eval()
        lay_out_for(network, device)
        self._autocast_dtype = None if use_dtype(network, self.dtype, device) else self.dtype
        compiles = may_compile and compile_is_wished()
        LOG.debug("network on %s in %s%s", device, self.dtype or torch.float32, ", compiled" if compiles else "")
        self._compiled: Callable[[Tensor], Tensor] | None = torch.compile(network, dynamic=False) if compiles else None

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of another fold."""
        self._network.load_state_dict(weights)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return fp32 logits (B, R, Z, Y, X) of inputs (B, C, Z, Y, X), on the device.

        Raises:
            torch.OutOfMemoryError: not even one input fits.
        """
        while True:
            try:
                return torch.cat([self._run(chunk) for chunk in torch.split(inputs, self.batch_size)])
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
            torch.cuda.empty_cache()
            LOG.warning("out of memory on %s: going on with %d at a time", self.device, self.batch_size)

    def _run(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(self.device, memory_format=torch.channels_last_3d)
        if self.dtype and not self._autocast_dtype:
            inputs = inputs.to(self.dtype)
        with autocast(self._autocast_dtype, self.device):
            return self._logits(inputs).float()

    def _logits(self, inputs: Tensor) -> Tensor:
        if self._compiled is not None:
            try:
                return self._compiled(inputs)
            except TorchDynamoException as error:
                LOG.warning("torch.compile failed and is left out from here on: %s", first_line(error))
                self._compiled = None
        return self._network(inputs)  # type: ignore[no-any-return]
