"""EM's entropy as an ms-swift loss: `swift sft --external_plugins FILE --loss_type em_ft`, where FILE is this file.

The loss is `em_hf.entropy_loss`, so training is off-policy: it lowers the entropy of the completions in the dataset,
which the model generated beforehand. Only em-hf's core is needed, since ms-swift pins older versions of TRL and PEFT.
"""

from typing import Any

from swift.loss import BaseLoss, loss_map
from torch import Tensor

from em_hf.training.losses import entropy_loss


class EMFTLoss(BaseLoss):
    """Token entropy, in nats, of the completions in the dataset, averaged over the tokens of the step.

    Raises:
        ValueError: when called with `loss_scale`, which weights tokens, or under sequence parallelism, which splits
            sequences over processes.
    """

    def __call__(
        self,
        outputs: Any,
        labels: Tensor,
        *,
        num_items_in_batch: Tensor | int | None = None,
        loss_scale: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if loss_scale is not None:
            raise ValueError("loss_scale weighs tokens, but em_ft counts them all alike: set --loss_scale default")
        split = getattr(getattr(self.trainer, "template", None), "sequence_parallel_size", 1)
        if split > 1:
            raise ValueError(f"sequence_parallel_size is {split}, but em_ft needs whole sequences: set it to 1")
        return entropy_loss(outputs, labels, num_items_in_batch)


loss_map["em_ft"] = EMFTLoss
