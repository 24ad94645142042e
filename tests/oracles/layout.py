"""How a model is spread over processes: tensor-, pipeline- and expert-parallel sizes."""
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Layout:
    tp: int = 1
    pp: int = 1
    ep: int = 1
    etp: int | None = None  # tensor-parallel size of the experts; None: that of the rest

    @property
    def expert_tp(self):
        return self.etp or self.tp

    @property
    def world(self):
        """The fewest processes: each expert shard and each other shard exists once at least."""
        return self.pp * math.lcm(self.tp, self.expert_tp * self.ep)

    # megatron-core's order of ranks: tensor, then expert, then data, then pipeline

    def tp_rank(self, rank):
        return rank % self.tp

    def expert_tp_rank(self, rank):
        return rank % self.expert_tp
