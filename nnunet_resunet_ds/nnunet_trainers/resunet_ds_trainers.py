"""What nnU-Net sees of us: it imports this file by its bare name and looks the class up by ``-tr``.

The classes live in the installed package, so that they can be pickled in spawned workers. One ImportError here would
break the discovery of every external trainer: import only what comes with nnU-Net.
"""

try:
    from nnunet_resunet_ds.experiments.comparison.trainers import (
        BraTSAttentionUNetTrainer,
        BraTSResUNetVAETrainer,
        BraTSUNETRTrainer,
        BraTSUNetTrainer,
    )
    from nnunet_resunet_ds.trainer import ResUNetDSTrainer
    from nnunet_resunet_ds.training.variants import (
        ResUNetDSTrainerBCE,
        ResUNetDSTrainerBenchmark_5epochs,
        ResUNetDSTrainerBenchmark_5epochs_noDataLoading,
        ResUNetDSTrainerDepth6,
        ResUNetDSTrainerDepth6Wide,
        ResUNetDSTrainerModalityDropout,
        ResUNetDSTrainerNoDeepSupervision,
        ResUNetDSTrainerNoResidual,
        ResUNetDSTrainerNoSalientChannel,
        ResUNetDSTrainerSGD,
    )
except ModuleNotFoundError as error:
    # The search path is inherited by processes of other environments, in which we may not be installed.
    if error.name != "nnunet_resunet_ds":
        raise
else:
    __all__ = [
        "BraTSAttentionUNetTrainer",
        "BraTSResUNetVAETrainer",
        "BraTSUNETRTrainer",
        "BraTSUNetTrainer",
        "ResUNetDSTrainer",
        "ResUNetDSTrainerBCE",
        "ResUNetDSTrainerBenchmark_5epochs",
        "ResUNetDSTrainerBenchmark_5epochs_noDataLoading",
        "ResUNetDSTrainerDepth6",
        "ResUNetDSTrainerDepth6Wide",
        "ResUNetDSTrainerModalityDropout",
        "ResUNetDSTrainerNoDeepSupervision",
        "ResUNetDSTrainerNoResidual",
        "ResUNetDSTrainerNoSalientChannel",
        "ResUNetDSTrainerSGD",
    ]
