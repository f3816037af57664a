"""Running a network on a device as fast as it goes there: number format, batches that fit, compilation that pays."""

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from nnunet_resunet_ds.compiling import compile_wish
from nnunet_resunet_ds.errors import first_line
from nnunet_resunet_ds.instance_norm import lay_out_for
from nnunet_resunet_ds.precision import autocast, autocast_dtype, use_dtype
from nnunet_resunet_ds.recipe import AUTO

COMPILE_SECONDS = 60.0
"""What torch.compile costs for the paper's network on two cores (docs/performance.md)."""
COMPILE_GAIN = 0.25
"""Share of the time of a forward pass that it saves, at least."""
MARGIN = 2
"""How many times its cost compiling must save: a busy machine makes forward passes look slow."""
_TIMED_PASSES = 6
"""The least of them counts; the first warms up."""

Say = Callable[[str], None]


class ForwardPass:
    """A network, laid out for a device, that takes as many inputs at once as fit.

    Args:
        network: with any weights; it is changed in place.
        device: where to run it.
        precision: see `nnunet_resunet_ds.precision`.
        batch_size: inputs at once, to begin with; halved where memory runs out.
        may_compile: whether inputs have one shape, so that compiling can pay.
        say: takes a line for the user.

    Attributes:
        to_come: forward passes of one input that are still to come, as far as the caller knows: what compiling stands
            against.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str = AUTO,
        *,
        batch_size: int = 1,
        may_compile: bool = True,
        say: Say = print,
    ) -> None:
        self.device = device
        self.dtype = autocast_dtype(precision, device)
        self.batch_size = batch_size
        self.to_come = 0
        self.say = say
        self._network = network.to(device).eval()
        lay_out_for(network, device)
        self._autocast_dtype = None if use_dtype(network, self.dtype, device) else self.dtype
        self._seconds: list[float] = []  # of the first forward passes
        self._compiled: Callable[[Tensor], Tensor] | None = None
        wish = compile_wish()  # where nothing is said, measurement decides
        self._may_compile = may_compile and wish is not False
        if self._may_compile and wish:
            self._compile()

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
            self.say(f"out of memory on {self.device}: going on with {self.batch_size} at a time")

    def _run(self, inputs: Tensor) -> Tensor:
        start = time.perf_counter()
        inputs = inputs.to(self.device, memory_format=torch.channels_last_3d)
        if self.dtype and not self._autocast_dtype:
            inputs = inputs.to(self.dtype)
        with autocast(self._autocast_dtype, self.device):
            logits = self._logits(inputs).float()
        self.to_come -= len(inputs)
        if len(self._seconds) < _TIMED_PASSES:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # or the clock would stop before the card does
            self._seconds.append((time.perf_counter() - start) / len(inputs))
            if len(self._seconds) == _TIMED_PASSES:
                self._compile_if_it_pays(min(self._seconds))
        return logits

    def _logits(self, inputs: Tensor) -> Tensor:
        if self._compiled is not None:
            try:
                return self._compiled(inputs)
            except TorchDynamoException as error:
                self.say(f"torch.compile failed and is left out from here on: {first_line(error)}")
                self._compiled = None
        return self._network(inputs)  # type: ignore[no-any-return]

    def _compile_if_it_pays(self, seconds: float) -> None:
        """Decide once, from the time of one forward pass and the number to come."""
        pays = self.to_come * seconds * COMPILE_GAIN > MARGIN * COMPILE_SECONDS
        if self._may_compile and self._compiled is None and pays:
            self.say(
                f"{self.to_come} forward passes of {seconds:.2g} s to come: the network is compiled, in a minute or so"
            )
            self._compile()

    def _compile(self) -> None:
        self._compiled = torch.compile(self._network, dynamic=False)
